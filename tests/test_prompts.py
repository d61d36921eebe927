"""Prompts are data: checked when loaded, filled once, known by id and hash."""

import pytest

from palimpsest.errors import PromptError
from palimpsest.prompts import PLACEHOLDERS, default_prompts, load_prompts

MINIMAL = """
id = "theirs"
empty_memory = "No previous memory"
[draft]
memory_first = "Q {question} M {memory} S {section}"
[final]
text = 'Q {question} M {memory} \\boxed{answer}'
"""


def written(tmp_path, text):
    path = tmp_path / "prompts.toml"
    path.write_text(text)
    return path


def test_our_wording_has_every_role_in_both_orders():
    prompts = default_prompts()
    for role in PLACEHOLDERS:
        for order in ("memory_first", "section_first"):
            assert prompts.get(role, order).text
    memory_first = prompts.get("draft", "memory_first").text
    section_first = prompts.get("draft", "section_first").text
    assert memory_first.index("{memory}") < memory_first.index("{section}")
    assert section_first.index("{section}") < section_first.index("{memory}")


def test_a_users_wording_replaces_its_roles_and_leaves_the_others(tmp_path):
    prompts = load_prompts(written(tmp_path, MINIMAL))
    filled = prompts.get("draft").fill(question="q", memory="m", section="s", limit="9")
    assert filled == "Q q M m S s"
    assert prompts.empty_memory == "No previous memory"
    assert prompts.get("draft").id == "theirs/draft.memory_first"
    assert prompts.get("read") == default_prompts().get("read")


def test_the_order_a_file_leaves_out_is_not_filled_with_ours(tmp_path):
    prompts = load_prompts(written(tmp_path, MINIMAL))
    with pytest.raises(PromptError, match="no section_first wording for draft"):
        prompts.get("draft", "section_first")


def test_braces_that_are_no_placeholder_stay(tmp_path):
    prompts = load_prompts(written(tmp_path, MINIMAL))
    assert prompts.get("final").fill(question="q", memory="m").endswith(r"\boxed{answer}")


def test_a_placeholder_inside_a_value_is_left_alone():
    filled = default_prompts().get("final").fill(question="{memory}", memory="{section}")
    assert "{section}" in filled
    assert "{memory}" in filled


def test_the_hash_changes_with_the_wording(tmp_path):
    one = load_prompts(written(tmp_path, MINIMAL)).get("draft").fingerprint
    other = load_prompts(written(tmp_path, MINIMAL.replace("S {", "T {"))).get("draft").fingerprint
    assert one != other
    assert one.startswith("theirs/draft.memory_first@")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        pytest.param("[draft]\nmemory_first = 'x'", "no `id`", id="no-id"),
        pytest.param("id = 'a'\n[draft]\nmemory_first = '{question} {memory}'",
                     r"lacks \{section\}", id="missing"),
        pytest.param("id = 'a'\n[read]\ntext = '{question} {chunk}'",
                     r"unknown placeholder \{chunk\}", id="unknown-placeholder"),
        pytest.param("id = 'a'\n[drafts]\ntext = 'x'", "unknown entry `drafts`", id="role"),
        pytest.param("id = 'a'\n[final]\nmemory_first = 'x'", "memory_first", id="wording"),
        pytest.param("id = 'a'\n[final]\ntext = 3", "not text", id="type"),
        pytest.param("id = ", "not TOML", id="syntax"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_with_what_is_wrong(tmp_path, text, complaint):
    with pytest.raises(PromptError, match=complaint):
        load_prompts(written(tmp_path, text))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(PromptError, match=r"none\.toml"):
        load_prompts(tmp_path / "none.toml")
