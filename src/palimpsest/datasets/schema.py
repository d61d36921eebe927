"""Items as the rows that the papers train and evaluate on, and back.

A training row (MemAgent's Parquet) has `data_source`, `prompt`, `context`, `ability`,
`reward_model` and `extra_info`; an evaluation row (its `eval_{n}.json`) has `context`, `input`,
`answers`, `num_docs`, `index`, and where they are known the fields that MemOCR's and MemReread's
have besides. In both the context is numbered: `Document 1:`, a line end, the title, a line end,
the text; a blank line between.

What else an item holds is kept as JSON in `extra_info.item`, with the lengths of each title and
text, so that rows made here give back equal items. Rows made elsewhere give what they hold.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import ValidationError

from palimpsest.datasets.item import Item, Passage
from palimpsest.errors import InputError

Row = dict[str, Any]

ABILITY = "memory"
_SURROGATES = re.compile("[\ud800-\udfff]")
_HEADING = re.compile(r"^Document (\d+):\n", re.MULTILINE)
_PASSED_ON = ("level", "is_ordered", "is_reverse_ordered", "min_distance", "target_length")
"""Fields of evaluation rows that are an item's `details` by the same name."""


def training_row(item: Item, index: int) -> Row:
    """The item as a row to train on, for verl and whatever reads its Parquet."""
    question = writable(item.question)
    return {
        "data_source": writable(item.task),
        "prompt": [{"role": "user", "content": question}],
        "context": numbered(item.documents),
        "ability": ABILITY,
        "reward_model": {"style": "rule", "ground_truth": list(map(writable, item.answers))},
        "extra_info": {
            "index": index,
            "question": question,
            "num_docs": len(item.documents),
            "item": _packed(item),
        },
    }


def evaluation_row(item: Item, index: int) -> Row:
    """The item as a row of the papers' evaluation files.

    `evidence_idx` counts documents from 0, in the benchmark's own order where it is known;
    `min_distance` is in documents.
    """
    order = list(item.details.get("gold_order") or item.gold)
    known = {
        "evidence_idx": order,
        "is_ordered": order == sorted(order),
        "is_reverse_ordered": order == sorted(order, reverse=True),
    }
    passed_on = {name: item.details[name] for name in _PASSED_ON if name in item.details}
    return {
        "context": numbered(item.documents),
        "input": writable(item.question),
        "answers": list(map(writable, item.answers)),
        "num_docs": len(item.documents),
        "index": index,
        **passed_on,
        **(known if len(order) > 1 else {"evidence_idx": order}),
        "actual_length": item.details.get("tokens"),
        "type": item.category,
        "id": item.id,
        "extra_info": {"data_source": item.task, "item": _packed(item)},
    }


def item_of(row: Row, place: str) -> Item:
    """The item of a training row, of an evaluation row, or of an item's own fields.

    Raises `InputError` that names `place` for any other row, and for one of ours whose context
    was changed.
    """
    extra = row.get("extra_info") or {}
    try:
        if isinstance(extra, dict) and extra.get("item"):
            return _unpacked(extra["item"], row["context"], place)
        if "reward_model" in row:
            return _of_training(row, extra)
        if "input" in row and "context" in row:
            return _of_evaluation(row, extra)
        return Item.model_validate(row)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise InputError(
            f"{place} is no item: {field}: {first['msg']}", hint="docs/datasets.md has the shapes"
        ) from error
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(
            f"{place} is no item: {type(error).__name__}: {error}",
            hint="docs/datasets.md has the shapes",
        ) from error


def numbered(documents: Iterable[Passage]) -> str:
    """Documents as the papers write a context."""
    blocks = (
        f"Document {number}:\n{one.title}\n{one.text}" for number, one in enumerate(documents, 1)
    )
    return writable("\n\n".join(blocks))


def documents_of(context: str) -> tuple[Passage, ...]:
    """The documents of a numbered context; one without a title where it is not numbered.

    Only a number that comes next begins a document, so a text may quote another.
    """
    headings: list[re.Match[str]] = []
    for match in _HEADING.finditer(context):
        if int(match[1]) == len(headings) + 1:
            headings.append(match)
    if not headings:
        return (Passage(title="", text=context),) if context.strip() else ()
    ends = [*(match.start() for match in headings[1:]), len(context)]
    blocks = (
        context[match.end() : end].removesuffix("\n\n")
        for match, end in zip(headings, ends, strict=True)
    )
    return tuple(_titled(block) for block in blocks)


def writable(text: str) -> str:
    """Text that any encoding can write: lone surrogates become U+FFFD, as in a source."""
    return _SURROGATES.sub("\ufffd", text)


def _titled(block: str) -> Passage:
    title, _, text = block.partition("\n")
    return Passage(title=title, text=text)


def _packed(item: Item) -> str:
    """All of an item but the texts of its documents, which are in the context."""
    data = item.model_dump(exclude={"documents"})
    data["documents"] = [[len(one.title), len(one.text)] for one in item.documents]
    return json.dumps(data, ensure_ascii=True, separators=(",", ":"))


def _unpacked(packed: str, context: str, place: str) -> Item:
    data = json.loads(packed)
    documents = _cut_out(context, data["documents"])
    if documents is None:
        raise InputError(
            f"{place}: the context is not the one that the row was written with",
            hint="remove `item` from its extra_info to read the row as it stands",
        )
    return Item.model_validate({**data, "documents": documents})


def _cut_out(context: str, lengths: Sequence[Sequence[int]]) -> list[Passage] | None:
    """Documents of known lengths; None where the context has others."""
    documents = []
    position = 0
    for number, (in_title, in_text) in enumerate(lengths, start=1):
        begin = position + len(f"Document {number}:\n")
        middle = begin + in_title
        end = middle + 1 + in_text
        documents.append(Passage(title=context[begin:middle], text=context[middle + 1 : end]))
        position = end + len("\n\n")
    return documents if numbered(documents) == context else None


def _of_training(row: Row, extra: Row) -> Item:
    truth = row["reward_model"]["ground_truth"]
    question = str(extra.get("question") or row["prompt"][-1]["content"])
    known = (extra.get("id"), extra.get("index"), row.get("index"))
    by_content = hashlib.sha256(question.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return Item(
        task=str(row["data_source"]),
        id=str(next((one for one in known if one is not None), by_content)),
        question=question,
        answers=(truth,) if isinstance(truth, str) else tuple(map(str, truth)),
        documents=documents_of(row["context"]),
    )


def _of_evaluation(row: Row, extra: Row) -> Item:
    answers = row["answers"]
    order = [int(place) for place in row.get("evidence_idx") or ()]
    details = {name: row[name] for name in _PASSED_ON if row.get(name) is not None}
    if order:
        details["gold_order"] = order
    return Item(
        task=str(extra.get("data_source") or row.get("data_source") or "papers"),
        id=str(row.get("id") if row.get("id") is not None else row["index"]),
        question=str(row["input"]),
        answers=(answers,) if isinstance(answers, str) else tuple(map(str, answers)),
        documents=documents_of(row["context"]),
        gold=tuple(sorted(order)),
        category=str(row.get("type") or ""),
        details=details,
    )
