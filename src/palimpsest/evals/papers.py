r"""The papers' own metrics, as published, so that numbers can be set beside theirs; and guarded
ones in their place.

`two_way_substring` reads a parsed answer. The others are verifiers: they read the whole completion
and look for the answer themselves, each in its own way, and to a completion without what they look
for they give 0. Every one of the published can be had without knowing the answer; docs/scoring.md
shows how. `boxed_exact` and `boxed_f1` stand in for them where nothing has to be compared.

Deviations: no accepted answers score 0 (the published code fails), and so does a completion on
which its box finder raises an error, as it does in training.
"""

from __future__ import annotations

from collections.abc import Sequence

from palimpsest.evals.matching import common_subsequence, exact_match, f1, normalize
from palimpsest.readers.answers import parse_answer

_TAIL = 300
"""Characters of the completion that the training verifiers look at."""
_BOX = r"\boxed"
_SPECIAL_TOKENS = ("<｜Assistant｜>", "<｜end▁of▁sentence｜>")
_REWRITES = (
    ("\n", ""), (r"\!", ""), ("\\\\", "\\"), ("tfrac", "frac"), ("dfrac", "frac"),
    (r"\left", ""), (r"\right", ""), (r"^{\circ}", ""), (r"^\circ", ""), (r"\$", ""), (r"\%", ""),
    (" .", " 0."), ("{.", "{0."), (" ", ""),
)  # fmt: skip
"""What the training verifiers take out of LaTeX, in their order; all spaces go last."""


def two_way_substring(prediction: str, answers: Sequence[str]) -> float:
    """1 when an answer stands in the prediction or the prediction in an answer, as characters of
    the normalised texts: the headline of MemAgent, ReMemR1 and MemOCR ("sub_em").

    A prediction of nothing, of "." or of "the" normalises to the empty text, which stands in every
    answer, and scores 1; so does "1" for 1971. Their rounding of each score to two places changes
    nothing here, as it is 0 or 1.
    """
    guess = normalize(prediction)
    return float(any(guess in gold or gold in guess for gold in map(normalize, answers)))


def memagent_lenient(completion: str, answers: Sequence[str]) -> float:
    """MemAgent's evaluation (memory_eval): `two_way_substring` of what follows the last "the answer
    is", in lower case, with the first answer only. Without these words 0."""
    _, found, rest = _answering(completion).replace("*", "").rpartition("the answer is")
    for token in _SPECIAL_TOKENS:
        rest = rest.replace(token, "")
    answer = rest.strip().strip(".").strip()
    return two_way_substring(answer, answers[:1]) if found and answer else 0.0


def memagent_lenient_boxed(completion: str, answers: Sequence[str]) -> float:
    """MemAgent's evaluation with a box: `two_way_substring` of its content, first answer only."""
    return memocr_lenient(completion, answers[:1])


def memocr_lenient(completion: str, answers: Sequence[str]) -> float:
    """MemOCR's evaluation: `two_way_substring` of the content of the last box, all answers."""
    answer = _box(_answering(completion))
    return two_way_substring(answer, answers) if answer else 0.0


def memagent_strict(completion: str, answers: Sequence[str]) -> float:
    r"""MemAgent's training verifier, which is MemOCR's too: 1 when the last `\boxed{}` of the last
    300 characters is an answer once both are in lower case, without LaTeX and without spaces.

    Articles, punctuation and accents count. A box that opens before the 300 characters is not seen.
    """
    answer = _box(completion[-_TAIL:].lower())
    return float(answer is not None and _bare(answer) in {_bare(gold.lower()) for gold in answers})


def memreread_strict(completion: str, answers: Sequence[str]) -> float:
    """MemReread's training verifier ("STRICT_MATH"): as `memagent_strict`, but 1 as soon as an
    answer stands anywhere in the box, so that a box of many answers scores."""
    answer = _box(completion[-_TAIL:].lower())
    return float(
        answer is not None and any(_bare(gold.lower()) in _bare(answer) for gold in answers)
    )


def memreread_lcs(completion: str, answers: Sequence[str]) -> float:
    r"""MemReread's other training verifier: words of the longest common subsequence of the box and
    an answer over the words of the longer. Training calls 0.9 and more correct.

    Only the last `\text{}` of a box is read where it has any.
    """
    answer = _box(completion[-_TAIL:].lower())
    if answer is not None and rf"{_BOX} " not in completion[-_TAIL:].lower():
        answer = answer.rpartition(r"\text")[2].strip(" {}") if r"\text{" in answer else answer
    words = (answer or "").split()
    return max((_lcs_ratio(words, gold.lower().split()) for gold in answers), default=0.0)


def memreread_contains(completion: str, answers: Sequence[str]) -> float:
    r"""MemReread's evaluation on 2WikiMultihopQA: 1 when an answer, case apart, stands anywhere
    after the last `\boxed`, or anywhere at all where there is none."""
    text = _after_box(completion).lower()
    return float(any(answer.lower() in text for answer in answers))


def memreread_global(completion: str, answers: Sequence[str]) -> float:
    """MemReread's evaluation on global reasoning: as `memreread_contains`, but the first answer
    only and in its own case. 12 contains 1."""
    return float(any(answer in _after_box(completion) for answer in answers[:1]))


def boxed_exact(completion: str, answers: Sequence[str]) -> float:
    r"""`exact_match` of the last complete `\boxed{}` of all that follows the thinking; 0 without
    one. Guards `memagent_strict`, `memreread_strict` and the evaluations."""
    parsed = parse_answer(completion.rpartition("</think>")[2])
    return exact_match(parsed.text, answers) if parsed.boxed else 0.0


def boxed_f1(completion: str, answers: Sequence[str]) -> float:
    r"""`f1` of the last complete `\boxed{}`, found as in `boxed_exact`. Guards `memreread_lcs`."""
    parsed = parse_answer(completion.rpartition("</think>")[2])
    return f1(parsed.text, answers) if parsed.boxed else 0.0


def _box(text: str) -> str | None:
    r"""What stands in the last box as the papers' code finds it: after `\boxed ` to the next
    dollar sign where that is written anywhere, else between the braces."""
    if f"{_BOX} " in text:
        return text.rpartition(f"{_BOX} ")[2].partition("$")[0]
    _, found, rest = text.rpartition(_BOX)
    if not found or not rest.startswith("{"):
        return None
    depth = 0
    for place, character in enumerate(rest):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if depth == 0:
            return rest[1:place]
    return None


def _bare(text: str) -> str:
    for old, new in _REWRITES:
        text = text.replace(old, new)
    return text


def _answering(completion: str) -> str:
    """What follows the thinking, or all where nothing does."""
    return completion.rpartition("</think>")[2].strip() or completion.strip()


def _after_box(completion: str) -> str:
    return completion.strip().rpartition("</think>")[2].rpartition(_BOX)[2]


def _lcs_ratio(one: Sequence[str], other: Sequence[str]) -> float:
    longer = max(len(one), len(other))
    return common_subsequence(one, other) / longer if longer else 0.0
