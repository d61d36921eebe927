"""Prompts of MiniLongBench taken apart again: LongBench's context and input, without its wording.

A prompt is an instruction, the context, an instruction again and the question, each its own
paragraph.
"""

from __future__ import annotations

import re

_HEADING = re.compile(r"\A(?:The following are given passages\.\n|Story: |Article: |Transcript:\n)")
_QUESTION = re.compile(r"\n(?:Question|Query): *(?P<question>.*?)\s*(?:Answer:)?\s*\Z", re.DOTALL)
_ABSTRACT = "The following is an abstract."
_SHOT = "\nPassage:\n"


def take_apart(prompt: str, subtask: str) -> tuple[str, str]:
    """Context and input of a prompt. Raises `ValueError` where it is of another shape."""
    _, _, body = prompt.partition("\n\n")
    match subtask:
        case "passage_count":
            return _without_last(body, 2), ""
        case "passage_retrieval_en":
            context, _, abstract = body.rpartition(_ABSTRACT)
            return context.strip(), _without_last(abstract, 2).strip()
        case "triviaqa":
            examples, _, shot = f"\n{body}".rpartition(_SHOT)
            return examples.strip(), _SHOT.lstrip() + shot
    return _question(body)


def _question(body: str) -> tuple[str, str]:
    # The pattern matches from the first such line to the end, so the last one is looked for.
    start = max(body.rfind("\nQuestion:"), body.rfind("\nQuery:"))
    match = _QUESTION.match(body, start) if start >= 0 else None
    if match is None:
        raise ValueError("the prompt has no question")
    context = _without_last(body[:start].rstrip(), 1)
    return _HEADING.sub("", context), match["question"]


def _without_last(text: str, paragraphs: int) -> str:
    return text.rsplit("\n\n", paragraphs)[0]
