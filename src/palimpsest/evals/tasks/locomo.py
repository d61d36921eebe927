"""LoCoMo (Maharana et al., 2024): questions on months of chat between two people."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

from palimpsest.datasets.item import Evidence, Item, Passage
from palimpsest.evals.tasks.record import Place, Record, Row, distinct
from palimpsest.evals.tasks.task import Task

CATEGORIES = {1: "multi-hop", 2: "temporal", 3: "open-domain", 4: "single-hop", 5: "adversarial"}
_TURN = re.compile(r"D:?(\d+):(\d+)")


class LoCoMo(Task):
    """Each session of a conversation is a document, titled with its number, date and time.

    Adversarial questions ask of one speaker what the other said, and are not to be answered; what
    would be the trap stands in `details["trap"]`. Evidence is given by turns. The scores differ
    from the paper's for multi-hop answers, whose parts the paper scores one by one.
    """

    base = "locomo"
    about = "questions on long dialogues between two people"
    metrics = ("f1", "exact_match", "substring", "abstain")
    sets: ClassVar[dict[str, tuple[str, ...]]] = {"all": ("locomo*",)}
    categories = tuple(CATEGORIES.values())

    def parse(self, row: Row, place: Place) -> Iterator[Record]:
        """A record for each question of a conversation."""
        sessions = _sessions(row["conversation"])
        documents = tuple(_document(number, *session) for number, session in sessions.items())
        for number, question in enumerate(row["qa"]):
            yield Record((_item(f"{row['sample_id']}-{number}", question, sessions, documents),))


Turn = dict[str, Any]
Sessions = dict[int, tuple[str, list[Turn]]]


def _sessions(conversation: dict[str, Any]) -> Sessions:
    """Date and turns of each session that has any, by its number."""
    numbers = sorted(
        int(m[1]) for key in conversation if (m := re.fullmatch(r"session_(\d+)", key))
    )
    return {
        number: (conversation[f"session_{number}_date_time"], conversation[f"session_{number}"])
        for number in numbers
        if conversation[f"session_{number}"]
    }


def _document(number: int, date: str, turns: list[Turn]) -> Passage:
    text = "\n".join(f"{turn['speaker']}: {_said(turn)}" for turn in turns)
    return Passage(title=f"Session {number}, {date}", text=text)


def _said(turn: Turn) -> str:
    caption = turn.get("blip_caption")
    return f"{turn['text']} [shows {caption}]" if caption else str(turn["text"])


def _item(
    id: str, question: dict[str, Any], sessions: Sessions, documents: tuple[Passage, ...]
) -> Item:
    adversarial = question["category"] == 5
    evidence = _evidence(question.get("evidence") or (), sessions)
    trap = {"trap": question["adversarial_answer"]} if "adversarial_answer" in question else {}
    return Item(
        task=LoCoMo.base,
        id=id,
        question=question["question"],
        answers=() if adversarial else distinct([question["answer"]]),
        metric="abstain" if adversarial else "f1",
        documents=documents,
        gold=tuple(sorted({one.document for one in evidence})),
        evidence=evidence,
        category=CATEGORIES[question["category"]],
        details=trap,
    )


def _evidence(named: Iterable[str], sessions: Sessions) -> tuple[Evidence, ...]:
    """Of dialogue ids as `D8:6`; ids that name no turn, as the data has some, give none."""
    places = {number: place for place, number in enumerate(sessions)}
    found = []
    for session, turn in ((int(s), int(t)) for s, t in _TURN.findall(" ".join(named))):
        for said in sessions.get(session, ("", []))[1]:
            if said["dia_id"] == f"D{session}:{turn}":
                found.append(Evidence(document=places[session], quote=said["text"]))
    return tuple(found)
