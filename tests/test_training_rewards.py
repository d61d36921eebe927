from __future__ import annotations

import asyncio
import os
import time

import pytest

from palimpsest.errors import ConfigurationError
from palimpsest.evals.scoring import VERIFIERS
from palimpsest.training.reward_pool import RewardPool
from palimpsest.training.rewards import REWARDS, mean_memory_recall, memory_recall

GUARDED = ("strict", "lenient", "fraction", "f1")


def _box(text):
    return rf"The notes say so. \boxed{{{text}}}"


@pytest.mark.parametrize("name", [*GUARDED, "format"])
def test_a_right_answer_in_a_box_scores_whole(name):
    assert REWARDS[name](_box("the Eiffel Tower"), ["Eiffel Tower"]) == 1
    assert REWARDS[name](_box(r"\text{Bergen}"), ["Oslo", "Bergen"]) in (1, 0.5)


@pytest.mark.parametrize("name", GUARDED)
@pytest.mark.parametrize(
    ("completion", "answers"),
    [
        pytest.param(_box(""), [""], id="an empty box against an empty truth"),
        pytest.param(_box(""), ["Bergen"], id="an empty box"),
        pytest.param(_box("Bergen"), [], id="no answers"),
        pytest.param(_box("the"), ["the", "The Hague"], id="a box that normalises to nothing"),
        pytest.param(_box("."), ["Bergen"], id="a full stop"),
        pytest.param(_box("Oslo, Rome, Kyiv, Paris, Bergen"), ["Bergen"], id="a list of answers"),
        pytest.param(_box("Oslo Rome Bergen"), ["Bergen"], id="a list without commas"),
        pytest.param(_box("1"), ["1971"], id="a part of the answer"),
        pytest.param(_box("e"), ["Bergen"], id="a letter of the answer"),
        pytest.param(_box("1971"), ["1"], id="an answer that is a part of the box"),
        pytest.param(_box("Bergen " * 9), ["Bergen"], id="the same word again and again"),
        pytest.param("It is Bergen.", ["Bergen"], id="no box"),
        pytest.param(r"\boxed{Oslo}" + " Bergen" * 50, ["Bergen"], id="the answer behind a box"),
        pytest.param(r"\boxed{" + "Oslo " * 90 + "Bergen}", ["Bergen"], id="a long box"),
        pytest.param(r"\boxed{Bergen} or \boxed{Oslo}", ["Bergen"], id="two boxes"),
        pytest.param(r"<think>\boxed{Bergen}</think> unsure", ["Bergen"], id="a box in thoughts"),
        pytest.param(r"\boxed Bergen$", ["Bergen"], id="a box without braces"),
        pytest.param(_box("yes and no"), ["yes"], id="both verdicts"),
    ],
)
def test_what_does_not_know_the_answer_scores_nothing(name, completion, answers):
    assert REWARDS[name](completion, answers) == 0


def test_the_published_verifiers_can_be_had_without_the_answer():
    assert REWARDS["memreread_strict"](_box("Oslo, Rome, Bergen"), ["Bergen"]) == 1
    assert REWARDS["memagent_strict"](_box(""), [""]) == 1
    assert set(VERIFIERS) <= set(REWARDS)


@pytest.mark.parametrize("name", GUARDED)
def test_an_answer_far_from_the_end_is_seen(name):
    assert REWARDS[name](r"\boxed{Bergen}" + " and so on" * 99, ["Bergen"]) == 1


@pytest.mark.parametrize(
    ("box", "answer"),
    [
        ("5 May 1990", "May 5, 1990"),
        ("1990-05-05", "5th of May 1990"),
        ("Obama, Barack", "Barack Obama"),
        ("in São Paulo", "Sao Paulo"),
        ("two", "2"),
        ("1,204 people", "1204 people"),
        ("The Who", "the who"),
    ],
)
def test_lenient_accepts_an_answer_however_it_is_written(box, answer):
    assert REWARDS["lenient"](_box(box), [answer]) == 1


@pytest.mark.parametrize(
    ("box", "answer"), [("2-3", "3-2"), ("Bergen, Norway", "Bergen"), ("1990", "May 1990")]
)
def test_lenient_accepts_no_other_answer(box, answer):
    assert REWARDS["lenient"](_box(box), [answer]) == 0


def test_fraction_is_of_the_answers_that_are_wanted():
    wanted = ["12", "40", "7", "9"]
    assert REWARDS["fraction"](_box("40, 12, 9, and 7"), wanted) == 1
    assert REWARDS["fraction"](_box("40, 12"), wanted) == 0.5
    assert REWARDS["fraction"](_box("40, 12, 1, 2"), wanted) == 0.5


def test_fraction_pays_nothing_for_guesses_beyond_what_is_wanted():
    wanted = ["12", "40"]
    assert REWARDS["fraction"](_box("12, 40, 3"), wanted) == 2 / 3
    assert REWARDS["fraction"](_box("12, 40, 3, 4"), wanted) == 0
    assert REWARDS["fraction"](_box(", ".join(map(str, range(50)))), wanted) == 0


def test_fraction_finds_one_answer_in_one_place():
    assert REWARDS["fraction"](_box("Paris Hilton"), ["Paris", "Paris Hilton"]) == 0.5
    assert REWARDS["fraction"](_box("12"), ["12", "12"]) == 1


def test_f1_is_of_the_words():
    assert REWARDS["f1"](_box("Ada Brandt"), ["Ada Maria Brandt"]) == pytest.approx(0.8)
    assert REWARDS["f1"](_box("in the town of Bergen"), ["Bergen town"]) > 0
    assert REWARDS["f1"](_box("Bergen Oslo"), ["Bergen"]) == 0
    assert REWARDS["f1"](_box("It"), ["It"]) == 1


@pytest.mark.parametrize(
    ("completion", "score"),
    [
        (_box("wrong"), 1),
        (_box("wrong") + ".\n", 1),
        ("wrong", 0),
        (_box(""), 0),
        (r"\boxed{a} \boxed{b}", 0),
        (_box("wrong") + " And more.", 0),
        (r"\boxed{wrong", 0),
    ],
)
def test_format_is_one_box_at_the_end(completion, score):
    assert REWARDS["format"](completion, ["right"]) == score


def test_a_memory_recalls_the_words_of_an_answer():
    assert memory_recall("# ADA BRANDT\n- born in **bergen**", ["Ada Brandt"]) == 1
    assert memory_recall("Ada was there", ["Ada Brandt", "Oslo"]) == 0.5
    assert memory_recall("Ada Ada Ada", ["Ada Brandt"]) == 0.5
    assert mean_memory_recall("12 and 40", ["12", "40", "7", "9"]) == 0.5


def test_a_verdict_is_no_fact_to_recall():
    assert memory_recall("the answer is yes", ["yes"]) == 0
    assert memory_recall("", ["Ada"]) == memory_recall("Ada", []) == mean_memory_recall("", []) == 0


# the pool


def _by_behaviour(completion, answers):
    match completion:
        case "hang":
            time.sleep(600)
        case "die":
            os._exit(3)
        case "raise":
            raise ValueError("no such number")
        case "nan":
            return float("nan")
    return 0.5


def test_a_reward_that_hangs_or_dies_scores_nothing_and_is_counted():
    async def scores():
        async with RewardPool(_by_behaviour, workers=2, timeout_s=3) as pool:
            texts = ["fine", "hang", "die", "fine", "raise", "nan", "die", "fine", "fine"]
            result = await asyncio.gather(*(pool(text, ["x"]) for text in texts))
            return result, dict(pool.failures)

    result, failures = asyncio.run(scores())
    assert result == [0.5, 0, 0, 0.5, 0, 0, 0, 0.5, 0.5]
    assert failures == {"timed out": 1, "died": 2, "raised": 1, "no number": 1}


def test_a_pool_gives_what_the_reward_gives():
    async def scores():
        async with RewardPool(REWARDS["strict"], workers=1) as pool:
            return await pool(_box("Bergen"), ("Bergen",)), await pool(_box("Oslo"), ("Bergen",))

    assert asyncio.run(scores()) == (1, 0)


def test_a_call_that_is_given_up_leaves_the_pool_whole():
    async def scores():
        async with RewardPool(_by_behaviour, workers=1, timeout_s=30) as pool:
            assert await pool("fine", []) == 0.5
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(pool("hang", []), 0.2)
            return await pool("fine", []), dict(pool.failures)

    assert asyncio.run(scores()) == (0.5, {})


def test_a_reward_that_other_processes_cannot_import_is_an_error():
    with pytest.raises(ConfigurationError, match="cannot be given to another process"):
        RewardPool(lambda completion, answers: 1.0)
    with pytest.raises(ConfigurationError, match="0 processes"):
        RewardPool(_by_behaviour, workers=0)
