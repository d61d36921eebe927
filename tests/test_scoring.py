"""Scores equal the official definitions and cannot be gamed by an empty or tiny prediction."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palimpsest.errors import ConfigurationError, InputError
from palimpsest.evals import exact_match, f1, substring_match
from palimpsest.evals.matching import common_subsequence
from palimpsest.evals.scoring import METRICS, VERIFIERS, only_label, score

ALL = [*METRICS, *VERIFIERS]
FIRST_ONLY = {"memagent_lenient", "memagent_lenient_boxed", "memreread_global", "choice"}
OVER_ALL = {"fraction_found", "ruler_all"}
BEST_OF = [name for name in ALL if name not in FIRST_ONLY | OVER_ALL | {"abstain"}]
GUARDED = ["exact_match", "f1", "substring", "fraction_found", "choice", "boxed_exact", "boxed_f1"]

PIECES = st.sampled_from(
    ["Paris", "paris,", "the", "a", "1", "1971", "yes", "no", ".", "", "B", "(B)", "or", "not",
     "mentioned", "I don't know", r"\boxed{", "}", r"\boxed ", "$", r"\text{", "</think>",
     "the answer is", "\n", "Eiffel Tower", "é"]
)  # fmt: skip
TEXTS = st.lists(PIECES, max_size=7).map(" ".join) | st.text(max_size=20)
ANSWERS = st.lists(TEXTS, max_size=4)


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


@pytest.mark.parametrize("name", GUARDED)
@pytest.mark.parametrize("box", ["{}", r"\boxed{{{}}}"])
@pytest.mark.parametrize("prediction", ["", "the", ".", "1", "A", " \n"])
def test_a_guarded_score_pays_nothing_for_a_prediction_that_knows_nothing(name, box, prediction):
    assert score(name, box.format(prediction), ["1971", "The Beatles"]) == 0


@pytest.mark.parametrize("name", ["memagent_strict", "memreread_strict", "memreread_lcs"])
def test_training_verifiers_see_the_last_300_characters_only(name):
    box = r"\boxed{Paris}"
    assert score(name, box + "x" * (300 - len(box)), ["Paris"]) == 1
    assert score(name, box + "x" * (301 - len(box)), ["Paris"]) == 0
    assert score("boxed_exact", box + "x" * 1000, ["Paris"]) == 1


def test_an_unknown_metric_is_an_error_that_names_the_known_ones():
    with pytest.raises(ConfigurationError, match="no metric `f2`") as caught:
        score("f2", "x", ["x"])
    assert all(name in caught.value.hint for name in ALL)


def test_answers_that_are_one_text_are_an_error():
    with pytest.raises(InputError, match="one text"):
        score("f1", "x", "x")


def test_metrics_and_verifiers_share_no_name():
    assert not set(METRICS) & set(VERIFIERS)


@pytest.mark.parametrize(
    ("prediction", "question", "expected"),
    [
        pytest.param("The milk is in the kitchen.", "", 1, id="in-a-sentence"),
        pytest.param("Kitchen", "", 1, id="case-apart"),
        pytest.param("kitchen, garden or office", "", 0, id="several-labels"),
        pytest.param("kitchen. Before that the garden.", "", 1, id="first-sentence-only"),
        pytest.param("from the garden to the kitchen", "Where after the garden?", 1, id="asked"),
        pytest.param("kitchen", "Who is in the kitchen?", 0, id="the-question-names-it"),
        pytest.param("", "", 0, id="empty"),
        pytest.param("bedroom", "", 0, id="another"),
    ],
)
def test_only_the_right_label_of_a_task_counts(prediction, question, expected):
    labels = ["kitchen", "garden", "office", "Bedroom"]
    assert only_label(prediction, "kitchen", labels, question=question) == expected


@pytest.mark.parametrize("name", ALL)
@given(prediction=TEXTS, answers=ANSWERS)
@settings(max_examples=60, deadline=None)
def test_a_score_is_a_number_from_0_to_1(name, prediction, answers):
    assert isinstance(score(name, prediction, answers), float)
    assert 0 <= score(name, prediction, answers) <= 1


@pytest.mark.parametrize("name", BEST_OF)
@given(prediction=TEXTS, answers=ANSWERS)
@settings(max_examples=60, deadline=None)
def test_the_best_answer_counts(name, prediction, answers):
    alone = [score(name, prediction, [answer]) for answer in answers]
    assert score(name, prediction, answers) == max(alone, default=0)


@pytest.mark.parametrize("name", [name for name in ALL if name not in FIRST_ONLY])
@given(prediction=TEXTS, answers=ANSWERS)
@settings(max_examples=30, deadline=None)
def test_the_order_of_the_answers_does_not_matter(name, prediction, answers):
    backwards = score(name, prediction, answers[::-1])
    assert score(name, prediction, answers) == pytest.approx(backwards)


@pytest.mark.parametrize(
    ("strict", "lenient"),
    [
        ("exact_match", "f1"),
        ("exact_match", "substring"),
        ("substring", "two_way_substring"),
        ("fraction_found", "substring"),
        ("ruler_all", "ruler_any"),
        ("memagent_strict", "memreread_strict"),
        ("memagent_lenient_boxed", "memocr_lenient"),
        ("boxed_exact", "boxed_f1"),
    ],
)  # fmt: skip
@given(prediction=TEXTS, answers=ANSWERS)
@settings(max_examples=100, deadline=None)
def test_a_strict_score_is_at_most_the_lenient_one(strict, lenient, prediction, answers):
    if strict == "fraction_found":
        assert (score(strict, prediction, answers) > 0) == (score(lenient, prediction, answers) > 0)
    assert score(strict, prediction, answers) <= score(lenient, prediction, answers)


@given(one=TEXTS, other=TEXTS)
@settings(max_examples=100, deadline=None)
@pytest.mark.parametrize("name", ["exact_match", "f1", "rouge_l", "two_way_substring"])
def test_scores_of_overlap_are_symmetric(name, one, other):
    assert score(name, one, [other]) == pytest.approx(score(name, other, [one]))


@given(
    words=st.lists(st.sampled_from(["no", "not", "only", "or", "it", ",", ".", "London", "but"]))
)
@settings(max_examples=100, deadline=None)
def test_an_abstention_that_goes_on_to_answer_is_none(words):
    assert score("abstain", f"I do not know, Paris {' '.join(words)}", []) == 0
    assert score("abstain", f"{' '.join(words)} Paris. I do not know.", []) == 0


@given(one=st.lists(st.sampled_from("abc"), max_size=9), other=st.lists(st.sampled_from("abc")))
@settings(max_examples=200, deadline=None)
def test_the_longest_common_subsequence_is_that_of_the_textbook(one, other):
    row = [0] * (len(other) + 1)
    for word in one:
        above = row
        row = [0]
        for place, against in enumerate(other):
            row.append(above[place] + 1 if word == against else max(above[place + 1], row[-1]))
    assert common_subsequence(one, other) == row[-1]
