"""Filters: doubles, what nothing answers, what a model knows by heart."""

from __future__ import annotations

import asyncio

import pytest

from palimpsest.datasets import Item, Passage
from palimpsest.datasets.filters import Duplicates, KnownByHeart, Unanswerable, sift, sifted
from palimpsest.errors import TransientError
from palimpsest.evals.scoring import substring_match
from palimpsest.models import RecordedModel, ScriptedModel


def item(id_, question="Who keeps the lamp?", answers=("Ada",), texts=(), gold=(), metric="f1"):
    documents = tuple(Passage(title=f"T{n}", text=text) for n, text in enumerate(texts))
    return Item(
        task="t", id=id_, question=question, answers=answers, documents=documents, gold=gold,
        metric=metric,
    )  # fmt: skip


def run(items, *filters, concurrency=1):
    return asyncio.run(sifted(items, filters, concurrency=concurrency))


def test_a_question_that_came_before_is_dropped():
    found = run([item("1"), item("2", "who keeps THE lamp"), item("3", "Who?")], Duplicates())
    assert [one.id for one in found.kept] == ["1", "3"]
    assert [(one.item.id, one.reason) for one in found.dropped] == [("2", "the same question as 1")]


def test_an_id_that_comes_twice_is_a_double_too():
    assert len(run([item("1"), item("1")], Duplicates()).kept) == 1


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (item("1", texts=("Ada keeps it.",), gold=(0,)), ""),
        (
            item("1", texts=("Bo keeps it.", "Ada."), gold=(0,)),
            "no accepted answer stands in its gold",
        ),
        (item("1", texts=("Bo keeps it.", "Ada.")), ""),
        (item("1", texts=("Bo keeps it.",)), "no accepted answer stands in its documents"),
        (item("1", answers=()), "it has no answer"),
        (item("1", answers=("yes",), texts=("Bo.",), gold=(0,)), ""),
        (item("1", answers=("A", "lamp"), texts=("Bo.",), metric="choice"), ""),
        (item("1", answers=("Zoé",), texts=("Zoe rows.",), gold=(0,)), ""),
        (item("1"), ""),
    ],
)
def test_what_its_documents_do_not_answer_is_dropped(given, reason):
    found = run([given], Unanswerable())
    if reason:
        assert found.dropped[0].reason.startswith(reason)
    else:
        assert found.kept == [given]


def knows(question, at_seed):
    """A model that answers one question at one seed."""

    def answer(messages, sampling):
        right = question in messages[0]["content"] and sampling.seed == at_seed
        return "\\boxed{It is Ada.}" if right else "\\boxed{Bo}"

    return ScriptedModel(answer)


def test_what_a_model_knows_in_any_try_is_dropped():
    model = knows("the lamp", at_seed=2)
    by_heart = KnownByHeart(model, substring_match, tries=4)
    found = run([item("1"), item("2", "Who else?")], by_heart)
    assert [one.id for one in found.kept] == ["2"]
    assert found.dropped[0].reason == "answered without the context in try 3: It is Ada."
    assert [call.sampling.seed for call in model.calls] == [0, 1, 2, 0, 1, 2, 3]
    assert {call.sampling.temperature for call in model.calls} == {1.0}
    assert by_heart.failed == 0


def test_a_failed_call_keeps_the_item_and_is_counted():
    down = TransientError("overloaded")
    model = ScriptedModel([down, down, "\\boxed{Bo}", "\\boxed{Ada}"])
    by_heart = KnownByHeart(model, substring_match, tries=2)
    found = run([item("1"), item("2", "Who else?")], by_heart)
    assert [one.id for one in found.kept] == ["1"]
    assert by_heart.failed == 2


def test_a_filter_that_was_stopped_asks_only_what_is_not_recorded(tmp_path):
    items = [item(str(number), f"Who keeps lamp {number}?") for number in range(6)]
    first = knows("lamp 2", at_seed=1)
    recorded = RecordedModel(first, tmp_path / "calls.sqlite")
    run(items[:4], KnownByHeart(recorded, substring_match, tries=3))
    again = knows("lamp 2", at_seed=1)
    recorded = RecordedModel(again, tmp_path / "calls.sqlite")
    found = run(items, KnownByHeart(recorded, substring_match, tries=3))
    assert [one.id for one in found.kept] == ["0", "1", "3", "4", "5"]
    assert len(first.calls) == 11
    assert len(again.calls) == 6


def test_verdicts_keep_their_order_and_calls_are_bounded():
    running = most = 0

    class Slow:
        async def reason(self, item):
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.02 / (1 + int(item.id)))
            running -= 1
            return "odd" if int(item.id) % 2 else ""

    items = [item(str(number)) for number in range(9)]

    async def verdicts():
        return [one async for one in sift(items, [Slow()], concurrency=3)]

    found = asyncio.run(verdicts())
    assert [one.item.id for one in found] == [str(number) for number in range(9)]
    assert [one.reason for one in found] == ["", "odd"] * 4 + [""]
    assert most == 3


def test_the_first_filter_that_drops_an_item_says_why():
    model = ScriptedModel([])
    by_heart = KnownByHeart(model, substring_match)
    found = run([item("1", answers=())], Duplicates(), Unanswerable(), by_heart)
    assert found.dropped[0].reason == "it has no answer"
    assert model.calls == []


def test_a_sieve_that_is_left_leaves_nothing_running():
    class Endless:
        async def reason(self, item):
            if item.id == "0":
                return ""
            await asyncio.sleep(60)
            raise AssertionError("this should have been cancelled")

    async def first():
        stream = sift([item(str(number)) for number in range(5)], [Endless()], concurrency=2)
        verdict = await anext(stream)
        await stream.aclose()
        return verdict.item.id, len(asyncio.all_tasks())

    assert asyncio.run(first()) == ("0", 1)
