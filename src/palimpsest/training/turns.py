"""The turns of a reading as training sees them: what each is for, and what its step was worth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeGuard

from palimpsest.memory.reading import ChunkRead, Integrated, Reading, Record, Reread, Turn
from palimpsest.readers.memreread import parse_query
from palimpsest.training.recorder import Label, Recorded

STANDARD = "standard"
"""The task of the reading's own question."""
_ANSWERING = frozenset({"final", "read"})
_REPEATED = -1.0

Worth = Callable[[str], float]
"""Of a memory's text, higher where it holds more of what is wanted."""


def answering_turn(reading: Reading) -> Turn | None:
    """The last turn that answered the question, if any did."""
    turns = (turn for turn in reversed(reading.turns) if turn.role in _ANSWERING)
    return next(turns, None)


def labels(
    reading: Reading, recorded: Sequence[Recorded], worth: Worth | None = None
) -> list[Label]:
    """A label for each conversation that was recorded in a reading.

    Turns and calls are matched by the request and the completion, since readers make calls side by
    side. A conversation that is no turn of the reading keeps a name it was given; one without any,
    whose turn a failure elsewhere cut short, is not learnt from. With `worth`, turns that wrote a
    memory have a reward of their own.
    """
    open_ = list(range(len(reading.turns)))
    found = []
    for one in recorded:
        place = next((place for place in open_ if _is_turn(reading.turns[place], one)), None)
        if place is None:
            found.append(one.label._replace(trained=one.label != Label()))
        else:
            open_.remove(place)
            found.append(_label(reading, reading.turns[place], worth))
    return found


def _is_turn(turn: Turn, recorded: Recorded) -> bool:
    return turn.request == recorded.requests[0] and turn.completion == recorded.completions[0]


def _label(reading: Reading, turn: Turn, worth: Worth | None) -> Label:
    return Label(
        role=turn.role,
        task=STANDARD if turn.role in _ANSWERING else "",
        step=_step(reading, turn),
        state_reward=worth and _state_reward(reading, turn, worth),
    )


def _step(reading: Reading, turn: Turn) -> int | None:
    """The chunk for a draft; those of rereads go on counting where the scan before them ended."""
    if turn.chunk is None:
        return None
    return turn.reread * len(reading.header.chunks) + turn.chunk


def _state_reward(reading: Reading, turn: Turn, worth: Worth) -> float | None:
    """What a turn added to the memory; None for one that writes none (MemReread, ReMemR1).

    A sub-question that was asked before costs 1, as in MemReread. A memory that was shortened, or
    kept by a guard, is that of the draft which led to it; the shortening has no reward of its own.
    """
    after = reading.records[_place(reading, turn) + 1 :]
    match turn.role:
        case "draft" if not turn.prompt.endswith("shorten"):
            ends = (one.memory for one in after if _is_chunk_of(one, turn))
        case "integrate":
            ends = (one.memory for one in after if _is_end_of_reread(one, turn, reading))
        case "merge":
            return _merge_reward(reading, turn, worth)
        case "decompose":
            in_vain = _asks(turn) and not isinstance(next(iter(after), None), Reread)
            return _REPEATED if in_vain else 0.0
        case _:
            return None
    return next((_gain(reading, worth, (turn.memory,), memory) for memory in ends), None)


def _merge_reward(reading: Reading, turn: Turn, worth: Worth) -> float | None:
    """A merge is compared with its parts side by side: it can only lose."""
    for number, version in enumerate(reading.memories):
        place = (version.chunk, version.reread, version.parents[:1])
        if place == (None, turn.reread, (turn.memory,)) and len(version.parents) > 1:
            return _gain(reading, worth, version.parents, number)
    return None


def _place(reading: Reading, turn: Turn) -> int:
    return next(place for place, record in enumerate(reading.records) if record is turn)


def _is_chunk_of(record: Record, turn: Turn) -> TypeGuard[ChunkRead]:
    return isinstance(record, ChunkRead) and (record.chunk, record.reread) == (
        turn.chunk,
        turn.reread,
    )


def _is_end_of_reread(record: Record, turn: Turn, reading: Reading) -> TypeGuard[Integrated]:
    if not isinstance(record, Integrated):
        return False
    return reading.rereads[record.reread - 1].parent == turn.reread


def _asks(turn: Turn) -> bool:
    return turn.completion.finish_reason == "stop" and bool(parse_query(turn.completion.text))


def _gain(reading: Reading, worth: Worth, before: Sequence[int | None], after: int | None) -> float:
    joint = "\n".join(map(reading.text_of, before))
    return worth(reading.text_of(after)) - worth(joint)
