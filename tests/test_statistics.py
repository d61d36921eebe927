"""Intervals cover what they say, are the same every time and do not take seeds for items."""

import numpy as np
import pytest

from palimpsest.errors import InputError
from palimpsest.evals.statistics import (
    clustered_interval,
    mean_interval,
    paired_comparison,
    paired_difference,
)

SCORES = [1.0, 0.0, 1.0, 1.0, 0.0, 1.0]


def covered(interval, truth):
    return interval.low <= truth <= interval.high


def test_the_interval_holds_the_mean_and_repeats():
    interval = mean_interval(SCORES)
    assert interval.low <= interval.mean <= interval.high
    assert interval.mean == pytest.approx(4 / 6)
    assert interval == mean_interval(SCORES)


def test_the_draws_are_those_of_one_plain_resampling():
    values = np.random.default_rng(5).random(501)
    drawn = values[np.random.default_rng(0).integers(0, 501, size=(10_000, 501))].mean(axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    assert mean_interval(values) == (values.mean(), low, high)


def test_scores_that_are_all_equal_have_an_interval_of_no_width():
    assert mean_interval([0.5] * 4) == (0.5, 0.5, 0.5)


def test_the_interval_covers_the_true_mean_about_95_times_of_100():
    generator = np.random.default_rng(1)
    hits = sum(covered(mean_interval(generator.random(40) < 0.6), 0.6) for _ in range(300))
    assert 0.90 <= hits / 300 <= 0.98


def test_seeds_of_an_item_are_not_taken_for_items():
    generator = np.random.default_rng(2)
    items = [str(number) for number in range(30) for _ in range(5)]
    clustered = pooled = 0
    for _ in range(100):
        chances = generator.beta(0.5, 0.5, size=30).repeat(5)
        scores = (generator.random(150) < chances).astype(float)
        clustered += covered(clustered_interval(scores, items), 0.5)
        pooled += covered(mean_interval(scores), 0.5)
    assert 0.88 <= clustered / 100 <= 0.99
    assert pooled / 100 < 0.80


def test_an_item_counts_once_however_many_scores_it_has():
    interval = clustered_interval([1, 1, 1, 0], ["a", "a", "a", "b"])
    assert interval == mean_interval([1, 0])
    assert interval.mean == 0.5


def test_items_with_one_score_each_are_a_plain_mean():
    assert clustered_interval(SCORES, list("abcdef")) == mean_interval(SCORES)


def test_a_paired_difference_is_taken_item_by_item():
    same = paired_difference([1, 0, 1], [1, 0, 1])
    assert (same.mean, same.low, same.high) == (0, 0, 0)


def test_a_comparison_holds_the_paired_difference():
    scores, baseline = [1, 1, 0, 1, 1, 1], [0, 1, 0, 0, 1, 0]
    comparison = paired_comparison(scores, baseline)
    assert comparison.difference == paired_difference(scores, baseline)
    assert comparison.items == 6
    assert comparison == paired_comparison(scores, baseline)


def test_readers_that_do_the_same_are_not_told_apart():
    assert paired_comparison(SCORES, SCORES).p_value == 1


def test_a_steady_difference_over_many_items_is_told_from_chance():
    generator = np.random.default_rng(3)
    baseline = generator.random(80)
    better = paired_comparison(baseline + generator.normal(0.2, 0.3, 80), baseline)
    assert better.p_value < 0.001
    assert better.difference.low > 0


def test_a_comparison_does_not_depend_on_which_reader_is_called_the_baseline():
    scores, baseline = [1, 1, 0, 1, 1, 0], [0, 1, 0, 0, 1, 1]
    one, other = paired_comparison(scores, baseline), paired_comparison(baseline, scores)
    assert one.p_value == other.p_value
    assert one.difference.mean == -other.difference.mean


@pytest.mark.parametrize(("differing", "least"), [(1, 1), (2, 0.5), (5, 1 / 16)])
def test_few_items_prove_nothing_however_alike_they_are(differing, least):
    scores = [1.0] * differing + [0.0] * 3
    assert paired_comparison(scores, [0.0] * len(scores)).p_value >= least


def test_chance_alone_is_found_significant_about_5_times_of_100():
    draws = np.random.default_rng(4).integers(0, 2, size=(200, 2, 40)).astype(float)
    small = sum(paired_comparison(*pair).p_value < 0.05 for pair in draws)
    assert 0.01 <= small / 200 <= 0.11


def test_a_comparison_draws_items_with_all_their_pairs():
    items = [item for item in "abcd" for _ in range(10)]
    clustered = paired_comparison([1.0] * 40, [0.0] * 40, items=items)
    assert clustered.items == 4
    assert clustered.p_value == 1 / 8
    assert paired_comparison([1.0] * 40, [0.0] * 40).p_value < 0.001


@pytest.mark.parametrize(
    ("call", "message"),
    [
        pytest.param(lambda: mean_interval([]), "no scores", id="no-scores"),
        pytest.param(lambda: clustered_interval([], []), "no scores", id="no-clusters"),
        pytest.param(lambda: paired_comparison([], []), "no scores", id="no-pairs"),
        pytest.param(lambda: mean_interval([1, float("nan")]), "score 1 is nan", id="no-number"),
        pytest.param(lambda: paired_difference([1, 0], [1]), "2 scores .* with 1", id="no-pair"),
        pytest.param(lambda: clustered_interval([1, 0], ["a"]), "2 scores .* 1", id="no-item"),
    ],
)
def test_what_cannot_be_averaged_is_an_error(call, message):
    with pytest.raises(InputError, match=message):
        call()
