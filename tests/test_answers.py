r"""The answer is what stands in the last complete `\boxed{}`, or else the last line."""

import pytest

from palimpsest.readers import parse_answer


@pytest.mark.parametrize(
    ("text", "answer", "boxed"),
    [
        pytest.param(r"So \boxed{Paris}.", "Paris", True, id="plain"),
        pytest.param(r"\boxed{a} then \boxed{b}", "b", True, id="last"),
        pytest.param(r"\boxed{\frac{1}{2}}", r"\frac{1}{2}", True, id="nested"),
        pytest.param(r"\boxed{\text{the sea}}", "the sea", True, id="text"),
        pytest.param(r"\boxed{done} and \boxed{cut o", "done", True, id="unclosed-last"),
        pytest.param(r"\boxed{}", "", True, id="empty"),
        pytest.param("Long talk.\n\nAnswer: Paris\n", "Paris", False, id="last-line"),
        pytest.param("**Final answer:** Paris", "Paris", False, id="bold-label"),
        pytest.param("", "", False, id="nothing"),
        pytest.param("x" * 400 + r"\boxed{far}" + "y" * 400, "far", True, id="not-near-the-end"),
    ],
)
def test_parse_answer(text, answer, boxed):
    assert parse_answer(text) == (answer, boxed)


def test_thousands_of_boxes_that_never_close_take_no_time_to_speak_of():
    text = r"\boxed{" * 200_000
    assert parse_answer(text + "x") == (text + "x", False)
    assert parse_answer(text + "x}") == ("x", True)
