"""Prompt wording as data: templates with placeholders, an id and a content hash.

A prompt file is TOML. `id` names it; `empty_memory` is what stands for the memory before the
first draft; each role is a table with one or both prompt orders:

    id = "my-checkpoint"
    empty_memory = "No previous memory"

    [draft]
    memory_first = "... {question} ... {memory} ... {section} ..."

    [final]
    text = "... {question} ... {memory} ..."

Roles and the placeholders they need are in `PLACEHOLDERS`. A role that the file leaves out keeps
our own wording; a role that it has is the file's alone, so the two are never mixed in one role.
Only these placeholders are replaced, each wherever it stands; any other brace is ordinary text,
so `\\boxed{}` needs no escape.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from palimpsest.errors import PromptError

PromptOrder = Literal["memory_first", "section_first"]
PromptRole = Literal[
    "draft",
    "draft_rich",
    "draft_recall",
    "digest",
    "digest_rich",
    "gate",
    "gate_stop",
    "shorten",
    "merge",
    "decompose",
    "integrate",
    "read",
    "final",
]

PLACEHOLDERS: Mapping[str, frozenset[str]] = {
    "draft": frozenset({"question", "memory", "section"}),
    "draft_rich": frozenset({"question", "memory", "section"}),
    "draft_recall": frozenset({"question", "memory", "section", "recalled"}),
    "digest": frozenset({"memory", "section"}),
    "digest_rich": frozenset({"memory", "section"}),
    "gate": frozenset({"question", "memory", "section"}),
    "gate_stop": frozenset({"question", "memory", "section"}),
    "shorten": frozenset({"question", "memory", "limit"}),
    "merge": frozenset({"question", "memories"}),
    "decompose": frozenset({"question", "memory", "history"}),
    "integrate": frozenset({"question", "memory", "sub_question", "sub_answer"}),
    "read": frozenset({"question"}),
    "final": frozenset({"question", "memory"}),
}
"""What each role's wording must hold. One that writes a memory may also hold `{limit}`, in
words."""

_ORDERED = frozenset(
    {"draft", "draft_rich", "draft_recall", "digest", "digest_rich", "gate", "gate_stop"}
)
_OPTIONAL = frozenset({"limit"})
_BRACED = re.compile(r"(?<![\\\w])\{([a-z_]+)\}")
_KNOWN = re.compile(
    r"\{(question|memory|section|limit|recalled|memories|history|sub_question|sub_answer)\}"
)


@dataclass(frozen=True)
class Template:
    """One wording. `id` names the file, role and order it came from."""

    id: str
    text: str

    @property
    def fingerprint(self) -> str:
        """Id and the start of the wording's SHA-256."""
        return f"{self.id}@{hashlib.sha256(self.text.encode()).hexdigest()[:12]}"

    def fill(self, **values: str) -> str:
        """The prompt. Placeholders inside the values are left as they are."""
        return _KNOWN.sub(lambda match: values[match[1]], self.text)


@dataclass(frozen=True)
class PromptSet:
    """The wording of every role."""

    empty_memory: str
    templates: Mapping[str, Template]

    def get(self, role: PromptRole, order: PromptOrder = "memory_first") -> Template:
        """The template of a role; the order matters for drafts only."""
        name = f"{role}.{order}" if role in _ORDERED else role
        try:
            return self.templates[name]
        except KeyError:
            raise PromptError(
                f"the prompts have no {order} wording for {role}",
                hint=f"add `{order}` under [{role}] in the prompt file, or use the other order",
            ) from None


def default_prompts() -> PromptSet:
    """Our own wording."""
    text = (files("palimpsest.prompts") / "default.toml").read_text(encoding="utf-8")
    return _parse(tomllib.loads(text), "default.toml", base=None)


def load_prompts(path: Path) -> PromptSet:
    """A user's wording over ours. Raises `PromptError` naming what is wrong in the file."""
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PromptError(
            f"{path}: {error.strerror}", hint="give the path of a TOML prompt file"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PromptError(f"{path}: not TOML: {error}", hint="see docs/prompts.md") from error
    return _parse(data, str(path), base=default_prompts())


def _parse(data: Mapping[str, Any], where: str, *, base: PromptSet | None) -> PromptSet:
    id_ = data.get("id")
    if not isinstance(id_, str) or not id_:
        raise PromptError(f"{where}: no `id`", hint='begin the file with `id = "a-name"`')
    templates = dict(base.templates) if base else {}
    for role, table in data.items():
        if role in ("id", "empty_memory"):
            continue
        templates = {name: old for name, old in templates.items() if name.split(".")[0] != role}
        templates |= _role_templates(id_, role, table, where)
    empty = data.get("empty_memory", base.empty_memory if base else "")
    if not isinstance(empty, str):
        raise PromptError(f"{where}: `empty_memory` must be text", hint="quote it")
    return PromptSet(empty, templates)


def _role_templates(id_: str, role: str, table: object, where: str) -> dict[str, Template]:
    if role not in PLACEHOLDERS or not isinstance(table, dict):
        roles = ", ".join(PLACEHOLDERS)
        raise PromptError(f"{where}: unknown entry `{role}`", hint=f"roles are: {roles}")
    wordings = ("memory_first", "section_first") if role in _ORDERED else ("text",)
    unknown = set(table) - set(wordings)
    if unknown or not table:
        raise PromptError(
            f"{where}: [{role}] has {sorted(unknown) or 'nothing'}",
            hint=f"[{role}] takes {' and '.join(wordings)}",
        )
    found = {}
    for wording, text in table.items():
        name = f"{role}.{wording}" if role in _ORDERED else role
        _check(text, role, f"{where}: [{role}] {wording}")
        found[name] = Template(f"{id_}/{name}", text)
    return found


def _check(text: object, role: str, where: str) -> None:
    if not isinstance(text, str):
        raise PromptError(f"{where}: not text", hint="quote it")
    used = set(_BRACED.findall(text))
    missing = PLACEHOLDERS[role] - used
    if missing:
        names = ", ".join(f"{{{name}}}" for name in sorted(missing))
        raise PromptError(f"{where}: lacks {names}", hint="every role needs its placeholders")
    unknown = used - PLACEHOLDERS[role] - _OPTIONAL
    if unknown:
        names = ", ".join(f"{{{name}}}" for name in sorted(unknown))
        known = ", ".join(f"{{{name}}}" for name in sorted(PLACEHOLDERS[role] | _OPTIONAL))
        raise PromptError(f"{where}: unknown placeholder {names}", hint=f"known here: {known}")
