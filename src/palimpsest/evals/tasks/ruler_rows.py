"""Ready-made rows of RULER and of what is like it, as items with a context and a question.

RULER publishes whole prompts: an instruction, the context, the question and the start of an
answer. Key-value pairs are those of Lost in the Middle (Liu et al., 2023), and questions over
facts strewn into essays those of MemReread.
"""

from __future__ import annotations

import json
from pathlib import Path

from palimpsest.datasets.item import Evidence, Item, Passage
from palimpsest.datasets.ruler import GENERATORS
from palimpsest.evals.tasks.numbered import numbered_documents
from palimpsest.evals.tasks.record import Place, Row, content_id, distinct

BASE = "ruler"
_QUESTION = "\nQuestion: "
_QA = ("qa_1", "qa_2")


def ready_item(row: Row, place: Place) -> Item:
    """The item of a row of any of the three kinds."""
    if "ordered_kv_records" in row:
        return _pairs_item(row)
    if "golden" in row:
        return _facts_item(row)
    return _prompt_item(row, place)


def generator_of(file: str) -> str:
    """Which of the thirteen a file is of, by its own name or its folder's; empty for another."""
    path = Path(file)
    names = (path.name, path.parent.name)
    return next((g for name in names for g in GENERATORS if name.startswith(g)), "")


def _prompt_item(row: Row, place: Place) -> Item:
    task = generator_of(place.file)
    context, question = _parts(row["input"])
    if "context" in row:
        context = row["context"]
    return Item(
        task=BASE,
        id=f"{Path(place.file).name.split('.')[0]}-{row['index']}",
        question=question,
        answers=distinct(row["outputs"]),
        metric="ruler_any" if task in _QA else "ruler_all",
        documents=numbered_documents(context),
        category=task,
        details={"length": row["length"]} if "length" in row else {},
    )


def _parts(prompt: str) -> tuple[str, str]:
    """Context and question of a prompt, without its instructions and the begun answer."""
    if _QUESTION in prompt:
        before, _, last = prompt.rpartition(_QUESTION)
        question = last.partition("Answer:")[0]
    else:
        before, _, last = prompt.rstrip().rpartition("\n")
        question = "".join(last.partition("?")[:2])
    instruction, line_end, context = before.strip().partition("\n")
    # Question answering repeats the instruction after the context.
    context = context.strip().removesuffix(instruction).strip() if line_end else instruction
    return context, question.strip()


def _pairs_item(row: Row) -> Item:
    lines = (f"{json.dumps(key)}: {json.dumps(value)}" for key, value in row["ordered_kv_records"])
    place = [key for key, _ in row["ordered_kv_records"]].index(row["key"])
    return Item(
        task=BASE,
        id=f"kv_retrieval-{content_id(row['key'], row['value'])}",
        question=f"Which value stands beside the key {row['key']}?",
        answers=(row["value"],),
        metric="ruler_any",
        documents=(Passage(title="pairs", text="\n".join(lines)),),
        category="kv_retrieval",
        details={"place": place, "pairs": len(row["ordered_kv_records"])},
    )


def _facts_item(row: Row) -> Item:
    context = row["context"]
    return Item(
        task=BASE,
        id=row["id"],
        question=row["question"],
        answers=distinct(row["golden"]),
        metric="substring",
        documents=(Passage(title="context", text=context),),
        gold=(0,),
        evidence=tuple(
            Evidence(document=0, quote=context[start:end].strip())
            for start, end in row["clue_sections"]
        ),
        category="global_reasoning",
        details={"context_length": row["context_length"]},
    )
