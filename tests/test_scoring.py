"""Scores equal the official definitions and cannot be gamed by an empty or tiny prediction."""

import pytest

from palimpsest.evals import exact_match, f1, mean_interval, paired_difference, substring_match


@pytest.mark.parametrize(
    ("prediction", "answers", "em", "overlap", "substring"),
    [
        pytest.param("The Eiffel Tower!", ["eiffel tower"], 1, 1, 1, id="normalised"),
        pytest.param("Tower", ["eiffel tower"], 0, 2 / 3, 0, id="part-of-the-answer"),
        pytest.param("it is the Eiffel Tower", ["eiffel tower"], 0, 2 / 3, 1, id="hedged"),
        pytest.param("", ["x"], 0, 0, 0, id="empty"),
        pytest.param("the", ["the a x"], 0, 0, 0, id="only-articles"),
        pytest.param("1", ["1971"], 0, 0, 0, id="one-digit"),
        pytest.param("1971", ["1"], 0, 0, 0, id="digit-inside"),
        pytest.param("yes it is", ["yes"], 0, 0, 1, id="verdict-with-more"),
        pytest.param("b", ["a", "b"], 1, 1, 1, id="any-alias"),
    ],
)
def test_scores(prediction, answers, em, overlap, substring):
    assert exact_match(prediction, answers) == em
    assert f1(prediction, answers) == pytest.approx(overlap)
    assert substring_match(prediction, answers) == substring


def test_the_interval_holds_the_mean_and_repeats():
    scores = [1.0, 0.0, 1.0, 1.0, 0.0, 1.0]
    interval = mean_interval(scores)
    assert interval.low <= interval.mean <= interval.high
    assert interval.mean == pytest.approx(4 / 6)
    assert interval == mean_interval(scores)


def test_a_paired_difference_is_taken_item_by_item():
    same = paired_difference([1, 0, 1], [1, 0, 1])
    assert (same.mean, same.low, same.high) == (0, 0, 0)
