from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palimpsest.errors import InputError
from palimpsest.training.credit import (
    EFFICIENCY_CAP,
    blend,
    by_state,
    multi_task,
    rea,
    shared,
    spread,
    state,
)
from palimpsest.training.rollout import Conversation, Rollout

_NAN = math.nan


def _conversation(role="draft", step=0, task="", state_reward=None, trained=True):
    return Conversation(
        role=role,
        prompt_ids=(1,),
        response_ids=(2,),
        logprobs=(-0.5,),
        mask=(True,),
        step=step,
        task=task,
        state_reward=state_reward,
        trained=trained,
    )


def _rollout(conversations, *, group="a", number=0):
    return Rollout(group, number, tuple(conversations), {"standard": 1.0})


# shared


def test_shared_is_the_reward_less_the_mean_of_its_group():
    advantages = shared([1, 0, 0, 1, 0.5, 0.0], ["a", "a", "a", "a", "b", "b"])
    assert advantages.tolist() == [0.5, -0.5, -0.5, 0.5, 0.25, -0.25]


def test_shared_divides_by_the_unbiased_deviation_when_asked():
    advantages = shared([1, 0, 0, 0], ["a"] * 4, by_std=True)
    assert advantages == pytest.approx([1.5, -0.5, -0.5, -0.5], abs=1e-5)


def test_a_group_of_equal_rewards_has_no_credit_at_all():
    assert shared([0.1, 0.1, 0.1], "aaa").tolist() == [0, 0, 0]
    assert shared([0.1, 0.1, 0.1], "aaa", by_std=True).tolist() == [0, 0, 0]


def test_a_rollout_that_is_alone_has_nothing_to_be_compared_with():
    assert shared([1.0, 1.0, 0.0], "abb").tolist() == [0, 0.5, -0.5]


@pytest.mark.parametrize("unknown", [_NAN, math.inf])
def test_an_unknown_reward_takes_no_part_and_gets_nothing(unknown):
    assert shared([1.0, unknown, 0.0], "aaa").tolist() == [0.5, 0, -0.5]
    assert shared([unknown, 1.0], "aa").tolist() == [0, 0]


def test_a_reward_for_each_rollout_is_asked_for():
    with pytest.raises(InputError, match="for 2 groups"):
        shared([1.0], "aa")


_TABLES = st.lists(
    st.tuples(st.sampled_from("abc"), st.floats(0, 1), st.integers(1, 6)), min_size=1, max_size=24
)


@settings(deadline=None)
@given(_TABLES)
def test_the_credit_of_a_group_sums_to_nothing(rows):
    groups = [group for group, _, _ in rows]
    advantages = shared([reward for _, reward, _ in rows], groups)
    for group in set(groups):
        assert sum(advantages[[one == group for one in groups]]) == pytest.approx(0, abs=1e-9)


@settings(deadline=None)
@given(_TABLES, st.randoms(use_true_random=False))
def test_credit_does_not_depend_on_the_order_of_rollouts(rows, random):
    order = list(range(len(rows)))
    random.shuffle(order)
    mixed = [rows[place] for place in order]
    for function in (
        lambda rows: shared([r for _, r, _ in rows], [g for g, _, _ in rows]),
        lambda rows: rea([r for _, r, _ in rows], [n for *_, n in rows], [g for g, *_ in rows]),
    ):
        assert function(mixed) == pytest.approx(function(rows)[order], abs=1e-9)


# several tasks

_WEIGHTS = {"standard": 1.0, "low_budget": 0.7, "cloze": 0.3}


def test_each_task_has_its_own_advantage_and_drafts_the_weighted_mean():
    scores = {"standard": [1, 0], "low_budget": [0, 1], "cloze": [1, 0]}
    credits = multi_task(scores, "aa", _WEIGHTS)
    assert credits.by_task["standard"] == pytest.approx([0.5, -0.5])
    assert credits.by_task["low_budget"] == pytest.approx([-0.35, 0.35])
    assert credits.by_task["cloze"] == pytest.approx([0.15, -0.15])
    assert credits.drafts == pytest.approx([0.3 / 2.0, -0.3 / 2.0])


def test_a_missing_score_leaves_the_drafts_to_the_other_tasks():
    scores = {"standard": [1, 0, 0], "cloze": [1, 0, _NAN]}
    credits = multi_task(scores, "aaa", {"standard": 1.0, "cloze": 1.0})
    assert credits.by_task["cloze"].tolist() == [0.5, -0.5, 0]
    assert credits.drafts == pytest.approx([(2 / 3 + 0.5) / 2, (-1 / 3 - 0.5) / 2, -1 / 3])


def test_a_rollout_without_any_score_has_no_credit():
    credits = multi_task({"standard": [1.0, 0.0, _NAN]}, "aaa", {"standard": 1.0})
    assert credits.drafts.tolist() == [0.5, -0.5, 0]


def test_with_one_task_drafts_and_answers_share_one_advantage():
    rewards = [1.0, 0.0, 0.0, 0.5]
    credits = multi_task({"standard": rewards}, "aaaa", {"standard": 1.0})
    assert credits.drafts.tolist() == shared(rewards, "aaaa").tolist()
    assert credits.by_task["standard"].tolist() == shared(rewards, "aaaa").tolist()


def test_a_task_without_a_weight_is_an_error():
    with pytest.raises(InputError, match="'cloze'"):
        multi_task({"cloze": [1.0]}, "a", {"standard": 1.0})


# rereads


def test_the_reference_for_rereads_is_had_without_a_cap():
    nodes = [1, 1, 2, 3]
    all_correct = rea([1, 1, 1, 1], nodes, "aaaa", efficiency_cap=None)
    assert all_correct == pytest.approx([0.783, 0.783, -0.261, -1.306], abs=5e-4)
    all_wrong = rea([0, 0, 0, 0], nodes, "aaaa", efficiency_cap=None)
    assert all_wrong == pytest.approx([-0.783, -0.783, 0.261, 1.306], abs=5e-4)
    mixed = rea([1, 0, 1, 0], nodes, "aaaa", efficiency_cap=None)
    assert mixed == pytest.approx([0.731, -0.881, 0.269, -0.119], abs=5e-4)


def test_the_cap_keeps_efficiency_to_a_share_of_correctness():
    nodes = [1, 1, 2, 3]
    all_correct = rea([1, 1, 1, 1], nodes, "aaaa", efficiency_cap=0.5)
    factor = 0.125 / 1.3056
    assert all_correct == pytest.approx(
        [0.7833 * factor, 0.7833 * factor, -0.2611 * factor, -0.125], abs=1e-4
    )
    mixed = rea([1, 0, 1, 0], nodes, "aaaa", efficiency_cap=0.2)
    assert mixed == pytest.approx([0.6, -0.6, 0.4, -0.4])


def test_a_cap_of_nothing_leaves_correctness_alone():
    assert rea([1, 0, 1, 1], [1, 1, 2, 5], "aaaa", efficiency_cap=0.0) == pytest.approx(
        [1 / 3, -1, 1 / 3, 1 / 3]
    )
    assert rea([1, 1], [1, 5], "aa", efficiency_cap=0.0) == pytest.approx([0, 0])


def test_one_outcome_and_equal_readings_tell_nothing():
    assert rea([1, 1, 1], [2, 2, 2], "aaa") == pytest.approx([0, 0, 0])
    assert rea([0, 0], [1, 1], "aa") == pytest.approx([0, 0])


def test_a_lone_rollout_has_no_credit_for_rereads():
    assert rea([1.0], [3], "a") == pytest.approx([0])


def test_a_lone_correct_rollout_gets_all_of_it_however_many_were_wrong():
    assert rea([1, 0, 0, 0], [3, 1, 1, 1], "aaaa") == pytest.approx([1, -1 / 3, -1 / 3, -1 / 3])


def test_correct_is_a_reward_over_the_threshold():
    assert rea([0.9, 0.95], [1, 1], "aa", threshold=0.9) == pytest.approx([-1, 1])
    assert rea([0.9, 0.95], [1, 1], "aa", threshold=0.5) == pytest.approx([0, 0])


def test_an_unknown_reward_takes_no_part_in_credit_for_rereads():
    assert rea([1, _NAN, 0], [1, 1, 1], "aaa") == pytest.approx([1, 0, -1])


def test_many_readings_do_not_make_the_shares_vanish():
    assert rea([1, 1, 0], [900, 901, 1], "aaa", efficiency_cap=None) == pytest.approx(
        [0.7311, 0.2689, -1], abs=1e-4
    )


@settings(deadline=None)
@given(_TABLES)
def test_outcomes_always_differ_by_more_than_readings(rows):
    rewards = [float(reward > 0.5) for _, reward, _ in rows]
    nodes = [readings for *_, readings in rows]
    advantages = rea(rewards, nodes, "a" * len(rows), efficiency_cap=EFFICIENCY_CAP)
    right = advantages[np.array(rewards) == 1]
    wrong = advantages[np.array(rewards) == 0]
    if len(right) and len(wrong):
        assert sum(advantages) == pytest.approx(0, abs=1e-9)
        assert max(np.ptp(right), np.ptp(wrong)) < right.min() - wrong.max()
    else:
        assert np.abs(advantages).max() <= EFFICIENCY_CAP / len(rows) + 1e-12


# steps


def test_the_credit_of_a_step_is_compared_with_the_same_step_of_the_group():
    rollouts = [
        _rollout([_conversation(step=0, state_reward=0.5), _conversation(step=1, state_reward=0)]),
        _rollout([_conversation(step=0, state_reward=0.0), _conversation(step=1, state_reward=1)]),
        _rollout([_conversation(step=0, state_reward=1.0)], group="b"),
    ]
    credits = by_state(rollouts)
    assert [one.tolist() for one in credits] == [[0.25, -0.5], [-0.25, 0.5], [0]]


def test_roles_are_not_compared_with_each_other():
    rollouts = [
        _rollout([_conversation("draft", state_reward=1), _conversation("decompose")]),
        _rollout([_conversation("draft", state_reward=0), _conversation("decompose")]),
    ]
    assert [one.tolist() for one in by_state(rollouts)] == [[0.5, 0], [-0.5, 0]]


def test_a_step_that_is_not_learnt_from_has_no_part_in_the_credit_of_steps():
    rollouts = [
        _rollout([_conversation(state_reward=1.0)]),
        _rollout([_conversation(state_reward=0.0)]),
        _rollout([_conversation(state_reward=8.0, trained=False)]),
    ]
    assert [one.tolist() for one in by_state(rollouts)] == [[0.5], [-0.5], [0]]


def test_conversations_without_a_reward_of_their_own_get_no_state_credit():
    assert state([1, _NAN, 0], ["x", "x", "x"]).tolist() == [0.5, 0, -0.5]
    assert by_state([]) == []
    assert [len(one) for one in by_state([_rollout([]), _rollout([_conversation()])])] == [0, 1]


def test_outcome_and_state_are_blended():
    (blended,) = blend([np.array([1.0, 0.0])], [np.array([0.0, 2.0])], alpha=0.05)
    assert blended == pytest.approx([0.95, 0.1])


# spreading


def test_all_conversations_of_a_rollout_get_its_advantage():
    rollouts = [_rollout([_conversation()] * 3), _rollout([_conversation(task="standard")])]
    credits = spread(rollouts, np.array([0.5, -0.5]))
    assert [one.tolist() for one in credits] == [[0.5, 0.5, 0.5], [-0.5]]


def test_answers_get_the_credit_of_their_task():
    tasks = ("", "", "standard", "low_budget", "cloze")
    rollouts = [_rollout([_conversation(task=task) for task in tasks])] * 2
    credits = multi_task(
        {"standard": [1, 0], "low_budget": [1, 0], "cloze": [1, 0]}, "aa", _WEIGHTS
    )
    assert spread(rollouts, credits)[0] == pytest.approx([0.5, 0.5, 0.5, 0.35, 0.15])


def test_what_is_not_learnt_from_gets_nothing():
    rollout = _rollout([_conversation(trained=False), _conversation()])
    assert spread([rollout], np.array([1.0]))[0].tolist() == [0, 1]


def test_how_many_conversations_a_rollout_has_does_not_move_its_group():
    rewards = [1.0, 0.0, 0.0]
    short = [_rollout([_conversation()]) for _ in rewards]
    long = [_rollout([_conversation()] * (1 + 30 * number)) for number in range(3)]
    for rollouts in (short, long):
        credits = spread(rollouts, shared(rewards, [one.group for one in rollouts]))
        assert [one[0] for one in credits] == pytest.approx([2 / 3, -1 / 3, -1 / 3])


def test_a_conversation_of_an_unknown_task_is_an_error():
    credits = multi_task({"standard": [1, 0]}, "aa", {"standard": 1.0})
    with pytest.raises(InputError, match="'cloze'"):
        spread([_rollout([_conversation(task="cloze")])] * 2, credits)
    with pytest.raises(InputError, match="2 advantages for 1 rollouts"):
        spread([_rollout([])], credits)
