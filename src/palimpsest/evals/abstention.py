"""Whether a prediction says that the question cannot be answered, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Sequence

_VERB = (
    r"(?:mention|state|say|said|specif(?:y|ied)|provide|give|given|contain|include|tell|told|discuss"
    r"|disclose|reveal|indicate|answer|known?|available|found|find|share|describe|recorded|clear)\w*"
)
_ABILITY = (
    r"(?:answer|determin|tell\b|say\b|find|found|infer|know|identif|establish|deduc|ascertain)\w*"
)
_KNOWLEDGE = r"(?:information|mention|evidence|record|indication|details?|data|context|answer)"
_SAID = re.compile(
    rf"""
      \b(?:do|did)(?:\s+not|n't)\s+(?:actually\s+|really\s+)?(?:know|remember|recall)\b
    | \b(?:do|did|does)(?:\s+not|n't)\s+have\s+(?:enough|sufficient|any|the|this|that)\b
    | \b(?:can(?:\s*not|'t)|could(?:\s+not|n't)|(?:(?:un|not\s+)able|(?:not\s+|im)possible)\s+to)
      \s+(?:be\s+)?(?:\w+ly\s+)?{_ABILITY}
    | \b(?:do|does|did|is|are|was|were|has|have|had)(?:\s+not|n't)\s+(?:been\s+)?
      (?:\w+ly\s+|ever\s+)*{_VERB}
    | \bnever\s+(?:\w+ly\s+)?{_VERB}
    | \bno(?:\s+\w+)?\s+{_KNOWLEDGE}\s+
      (?:is|was|are|were|of|about|on|in|that|to|available|given|found)\b
    | \b(?:not\s+enough|insufficient|lacks?(?:\s+the|\s+any)?)\s+(?:\w+\s+)?{_KNOWLEDGE}\b
    | \bis\s+(?:unanswerable|not\s+answerable|unknown|unspecified|unclear)\b
    """,
    re.VERBOSE,
)
_WHOLE = re.compile(
    rf"(?:it\s+is\s+|this\s+is\s+)?"
    rf"(?:unanswerable|unknown|unspecified|no\s*answer|n/?a|no\s+{_KNOWLEDGE}(?:\s+\w+)?"
    rf"|not\s+(?:\w+ly\s+)?(?:{_VERB}|answerable|applicable))"
    rf"(?:\s+(?:in|by|from)\s+(?:the|this|that|our)\s+\w+(?:\s+\w+)?)?"
)
_GUESS = re.compile(
    r"\b(?:probably|presumably|possibly|perhaps|maybe|likely|guess(?:ing)?|assum(?:e|ing)|suppose"
    r"|i\s+(?:think|believe|suspect)|i(?:'d|\s+would)\s+say|(?:might|may|could|must|should)\s+be"
    r"|answer\s*(?::|is\b(?!\s+(?:not|never|un\w+)\b)))"
)
_OPENER = re.compile(
    r"(?:i'?m\s+(?:very\s+)?sorry|i\s+am\s+sorry|i\s+apologi[sz]e|sorry|unfortunately|well|no"
    r"|based\s+on|according\s+to|given|after\s+(?:reading|reviewing))\b"
)
_DENIAL = re.compile(
    r"(?:not|no|never|nor|neither|none|nothing|without|cannot|unable|unknown|unclear|insufficient)\b"
)
_ELSEWHERE = re.compile(
    r"(?:(?:it|they|there|you|we|i|he|she|(?:the|this)\s+\w+)\s+)(?:(?:do|does|did|just|also|only)\s+)*"
    r"(?:mention|discuss|describe|talk|refer)\w*"
)
_REASON = re.compile(
    r"(?:because|since|as\s+(?:it|there|the)|therefore|based\s+on|according\s+to|given\s+(?:the|that)"
    r"|so\s+(?:i|it|the)|about|regarding|please|sorry|and\s+(?:i|it|so|there|therefore)|if)\b"
)
_SENTENCE = re.compile(r"(?<=[.!?;])\s+|\n+")
_PIECE = re.compile(
    r"[,:()\[\]]|\s[-–—]+\s|—|\b(?:but|however|though|although|yet|still|nevertheless)\b"
)
_MARKUP = str.maketrans(
    {"’": "'", "*": None, "_": None, "`": None, '"': None, "“": None, "”": None}
)


def abstain(prediction: str, answers: Sequence[str] = ()) -> float:
    """1 when the prediction says that the question cannot be answered and proposes no answer, else
    0. For questions that the source does not answer; `answers` are not looked at.

    English only. It counts, in the first sentence: not to know, remember or have the information;
    cannot, unable or impossible to answer, determine, tell, find, infer; not or never mentioned,
    stated, said, specified, provided, given, contained, told, discussed, known, available, found;
    no information, mention, evidence, record; not enough or insufficient information; unknown,
    unclear, unspecified, unanswerable, "no answer" and "n/a" where they are all that is said.

    An empty prediction does not abstain: a reader that fails must not be paid for it. Nor does one
    that goes on to answer: with a guess ("probably", "I think", "might be", "the answer is"), after
    a comma or a "but" ("I cannot say, but Paris"), or in a further sentence ("It is not stated.
    Paris."). What may follow is another denial, a reason, or what the source mentions instead. So
    an honest abstention with a long tail may be missed; a hedged answer is not to pass for one.
    """
    text = prediction.translate(_MARKUP).casefold().strip()
    sentences = [one.strip(" .!?;") for one in _SENTENCE.split(text)]
    sentences = [one for one in sentences if one]
    if not sentences or _GUESS.search(text):
        return 0.0
    return float(_abstains(sentences[0]) and all(map(_adds_nothing, sentences[1:])))


def _abstains(sentence: str) -> bool:
    if _WHOLE.fullmatch(sentence):
        return True
    said = _SAID.search(sentence)
    if not said:
        return False
    *before, _subject = _PIECE.split(sentence[: said.start()])
    _object, *after = _PIECE.split(sentence[said.end() :])
    return all(not one.strip() or _OPENER.match(one.strip()) for one in before) and all(
        map(_proposes_nothing, after)
    )


def _adds_nothing(sentence: str) -> bool:
    return all(map(_proposes_nothing, _PIECE.split(sentence)))


def _proposes_nothing(piece: str) -> bool:
    piece = piece.strip()
    harmless = (_SAID.search, _DENIAL.match, _ELSEWHERE.match, _REASON.match)
    return not piece or any(found(piece) for found in harmless)
