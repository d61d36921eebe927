"""The documents name everything there is to set."""

from pathlib import Path

import pytest

from palimpsest.cli.app import EXIT_CODES
from palimpsest.prompts import PLACEHOLDERS
from palimpsest.settings import ModelSettings

DOCS = Path(__file__).parent.parent / "docs"


def text(name):
    return (DOCS / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("field", ModelSettings.model_fields)
def test_every_model_setting_is_documented(field):
    variable = "PALIMPSEST_MODEL" if field == "name" else f"PALIMPSEST_{field.upper()}"
    assert f"`{field}`" in text("models.md")
    assert f"`{variable}`" in text("models.md")


@pytest.mark.parametrize("role", PLACEHOLDERS)
def test_every_prompt_role_is_documented_with_its_placeholders(role):
    row = next(line for line in text("prompts.md").splitlines() if line.startswith(f"| `{role}`"))
    assert all(f"`{{{name}}}`" in row for name in PLACEHOLDERS[role])


def test_every_exit_code_is_documented():
    documented = text("reading.md")
    assert all(f"| {code} |" in documented for code in {0, 130} | {code for _, code in EXIT_CODES})
