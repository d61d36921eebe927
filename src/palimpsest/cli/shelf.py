"""What is shown of saved memories: one with all that is known of it, or the list of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from palimpsest.cli.app import notes
from palimpsest.cli.ask import answer_list
from palimpsest.memory.receipt import Receipt
from palimpsest.models.prices import Price
from palimpsest.remembering import SavedMemory


def facts(saved: SavedMemory, price: Price | None) -> dict[str, Any]:
    """What `--json` prints of a saved memory."""
    plan, reading, pending = saved.plan, saved.reading, saved.pending
    return {
        "name": saved.name,
        "created": plan.created,
        "digest": not plan.questions,
        "questions": plan.questions,
        "reader": plan.reader,
        "settings": plan.settings,
        "model": plan.model,
        "memory": saved.memory,
        "documents": [
            {**document.model_dump(), "pending": document in pending}
            for document in saved.documents
        ],
        "notes": saved.folder.notes(),
        "chunks": len(reading.header.chunks) if reading else 0,
        "source_tokens": reading.header.tokens if reading else 0,
        "guards": [one.model_dump(exclude={"kind"}) for one in (reading.guards if reading else [])],
        "asked": [answer for asked in saved.asked for answer in answer_list(asked)],
        "receipt": saved.receipt(price).model_dump(),
        "folder": str(saved.folder.path),
    }


def print_memory(told: Mapping[str, Any]) -> None:
    """The facts for people: what it is for, what it was given, what it says, what it cost."""
    purpose = "; ".join(told["questions"]) or "whatever may be asked (a digest)"
    print(f"{told['name']}: {told['reader']} with {told['model']}, for {purpose}")
    for document in told["documents"]:
        print(_document_line(document))
    print(f"\n{told['memory']}\n")
    for asked in told["asked"]:
        print(f"Q: {asked['question']}\nA: {asked['answer']}")
    print(Receipt.model_validate(told["receipt"]))


def print_shelf(shelf: Sequence[SavedMemory]) -> None:
    """A line for each memory."""
    table = Table("memory", "documents", "pending", "notes", "asked", "for", box=None)
    for saved in shelf:
        counted = (saved.documents, saved.pending, saved.folder.notes(), saved.folder.asked())
        purpose = "; ".join(saved.plan.questions) or "a digest"
        table.add_row(saved.name, *(str(len(items)) for items in counted), purpose)
    notes.print(f"{len(shelf)} memories", markup=False)
    if shelf:
        Console(highlight=False).print(table)


def _document_line(document: Mapping[str, Any]) -> str:
    version = f" (version {document['version']})" if document["version"] > 1 else ""
    pending = ", pending" if document["pending"] else ""
    return f"- {document['name']}{version}, {document['characters']:,} characters{pending}"
