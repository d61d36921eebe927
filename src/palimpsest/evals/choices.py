"""Answers that pick from a list: a letter of a multiple choice, a label of a closed set.

Naming more than the one that is right scores 0, so that a list of all of them earns nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from palimpsest.evals.matching import normalize
from palimpsest.readers.answers import parse_answer

_LEAD = r"(?:answer|option|choice)s?(?:\s+is|\s+are)?\s*[:=]?\s*(?:(?:option|choice)\s+)?"
_PICK = r"i\s+(?:would\s+)?(?:choose|pick|select)\s+"
_STATEMENT = re.compile(
    rf"\b(?:(?:the\s+)?(?:(?:correct|right|best|final)\s+)*{_LEAD}|{_PICK})", re.IGNORECASE
)
_BRACKETED = re.compile(r"[(\[]\s*([A-Ha-h])\s*[)\]]")
_GOES_ON = r"(?:is|was|because|since|as|and|or|but|not|which|rather)\b"
# A capital A before a word in lower case is an article, unless the sentence goes on after it.
_STATED = re.compile(rf"(?:A(?!\s+(?!{_GOES_ON})[a-z])|[B-H])\b(?!['’-])|[a-h](?=\s*(?:[.):,;]|$))")
_OPENING = re.compile(
    r"^[ \t]*([A-Ha-h])(?=\s*(?:[.):,;/&]|$)|\s+[-–—]\s|\s+(?:and|or)\s+\(?[A-H]\b)", re.MULTILINE
)
_FURTHER = re.compile(
    r"[.)]?\s*(?:(?:[,/&]|\band\b|\bor\b)\s*)*\(?([A-H])(?=[.),;/&]|\s*$|\s+(?:and|or)\b)",
    re.MULTILINE,
)


def choice(prediction: str, answers: Sequence[str]) -> float:
    r"""1 when the prediction picks the right option, else 0. `answers` hold its letter, then its
    text: `("B", "In Paris")`.

    A letter from A to H is picked where it stands alone, at the start of a line ("B", "B.",
    "B: In Paris"), in brackets ("(B)") or after "answer is", "answer:", "option" and the like; a
    box is opened first. Without any letter the prediction has to be the text of the option. One
    that picks several letters is wrong, whatever it says of them.
    """
    if not answers:
        return 0.0
    parsed = parse_answer(prediction)
    text = re.sub(r"[*_`$]", "", parsed.text if parsed.boxed else prediction).strip()
    letter = answers[0].strip("(). ").upper()
    picked = {found.upper() for found in _picked(text)}
    if picked:
        return float(picked == {letter})
    options = {normalize(form) for one in answers[1:] for form in (one, f"{letter} {one}")}
    said = {normalize(text), normalize(_STATEMENT.sub("", text, count=1))}
    return float(bool((options & said) - {""}))


def only_label(prediction: str, answer: str, labels: Sequence[str], *, question: str = "") -> float:
    """1 when the first sentence of the prediction names the answer and no other label of the task,
    else 0: BABILong's score, as published.

    Labels that the question itself names are left out of account. A label counts wherever its
    letters stand, also within a word.
    """
    said = re.split(r"\.|<context>|<example>", prediction.lower(), maxsplit=1)[0]
    asked = question.lower()
    named = {label.lower() for label in labels if label.lower() in said}
    return float(named - {label for label in named if label in asked} == {answer.lower()})


def _picked(text: str) -> Iterator[str]:
    for match in _BRACKETED.finditer(text):
        yield match[1]
    for match in _OPENING.finditer(text):
        yield match[1]
        yield from _following(text, match.end())
    for statement in _STATEMENT.finditer(text):
        if stated := _STATED.match(text, statement.end()):
            yield stated[0]
            yield from _following(text, stated.end())


def _following(text: str, start: int) -> Iterator[str]:
    """The letters that a list goes on with: "A, C and D"."""
    while match := _FURTHER.match(text, start):
        yield match[1]
        start = match.end()
