"""Recipe files: read, with values of the command line over them, checked, and written again.

Paths in a file are relative to its folder, those of `--set` to the working directory.
"""

from __future__ import annotations

import difflib
import json
import tomllib
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from palimpsest.errors import ConfigurationError, InputError
from palimpsest.training.recipe import Recipe

Table = dict[str, Any]

RECIPE_FILE = "recipe.toml"
"""The recipe of a run, in its folder."""

_PATHS = (
    "model.folder",
    "data.path",
    "evaluation.data.path",
    "reader.prompts",
    "warm_start.readings",
    "warm_start.runs",
)


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe of a file, with `a.b=value` of each override in its place.

    Raises `InputError` for a file that cannot be read and `ConfigurationError` for a key that is
    none, naming the nearest that is, and for a value that does not fit.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"{path}: {error.strerror}", hint="give the path of a recipe, a TOML file"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not valid TOML: {error}", hint="see recipes/ for some") from (
            error
        )
    _locate(table, path.resolve().parent)
    for override in overrides:
        _override(table, override)
    return checked_recipe(table, str(path))


def checked_recipe(table: Mapping[str, Any], origin: str) -> Recipe:
    """The recipe that a table says. `origin` is named in errors."""
    try:
        return Recipe.model_validate(table)
    except ValidationError as error:
        raise _told(error, origin) from error


def recipe_text(recipe: Recipe) -> str:
    """A recipe as a file that reads back as an equal one."""
    table = recipe.model_dump(mode="json", exclude_none=True)
    return "\n".join(_table("", table)).lstrip("\n") + "\n"


def known_keys(kind: type[BaseModel] = Recipe, before: str = "") -> Iterator[str]:
    """All keys of a recipe, by the names that lead to them with dots between."""
    for name, field in kind.model_fields.items():
        yield before + name
        part = _part_of(field.annotation)
        if part is not None:
            yield from known_keys(part, f"{before}{name}.")


def _part_of(annotation: object) -> type[BaseModel] | None:
    """The class of a table, also where it may be left out."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        parts = map(_part_of, typing.get_args(annotation))
        return next((part for part in parts if part is not None), None)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return None


def _locate(table: Table, folder: Path) -> None:
    """Makes the paths in a table absolute."""
    for key in _PATHS:
        *tables, name = key.split(".")
        inner: Any = table
        for one in tables:
            inner = inner.get(one) if isinstance(inner, dict) else None
        if not isinstance(inner, dict):
            continue
        match inner.get(name):
            case str(path):
                inner[name] = str(folder / Path(path).expanduser())
            case list(paths):
                inner[name] = [str(folder / Path(path).expanduser()) for path in paths]


def _override(table: Table, text: str) -> None:
    key, equals, value = text.partition("=")
    names = key.strip().split(".")
    if not equals or not all(names):
        raise InputError(f"--set {text} sets nothing", hint="write --set batch.prompts=8")
    own: Table = {}
    inner = own
    for name in names[:-1]:
        inner = inner.setdefault(name, {})
    inner[names[-1]] = _value(value.strip())
    _locate(own, Path.cwd())
    _merge(table, own)


def _value(text: str) -> Any:  # noqa: ANN401
    """As TOML has it; what is no TOML is a text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _merge(table: Table, over: Table) -> None:
    for name, value in over.items():
        if isinstance(value, dict) and isinstance(table.get(name), dict):
            _merge(table[name], value)
        else:
            table[name] = value


def _told(error: ValidationError, origin: str) -> ConfigurationError:
    """The first thing that is wrong, in the recipe's own words."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, list(known_keys()), n=1, cutoff=0.0)
        return ConfigurationError(
            f"{origin}: there is no key {key}",
            hint=f"the nearest that there is: {near[0]}; docs/training.md lists them",
        )
    if first["type"] == "missing":
        return ConfigurationError(f"{origin}: {key} is missing", hint="it has no default")
    where = f"{key}: " if key else ""
    return ConfigurationError(
        f"{origin}: {where}{first['msg'].removeprefix('Value error, ')}",
        hint="docs/training.md lists the keys with their units",
    )


def _table(name: str, table: Table) -> Iterator[str]:
    plain = {key: value for key, value in table.items() if not _is_table(value)}
    if name and (plain or not table):
        yield f"\n[{name}]"
    for key, value in plain.items():
        yield f"{_key(key)} = {_literal(value)}"
    for key, value in table.items():
        if _is_table(value):
            yield from _table(f"{name}.{_key(key)}" if name else _key(key), value)


def _is_table(value: object) -> bool:
    return isinstance(value, dict)


def _key(name: str) -> str:
    bare = name.replace("_", "").replace("-", "")
    return name if bare.isascii() and bare.isalnum() else _literal(name)


def _literal(value: object) -> str:
    match value:
        case list():
            return f"[{', '.join(map(_literal, value))}]"
        case dict():
            inside = (f"{_key(key)} = {_literal(part)}" for key, part in value.items())
            return f"{{{', '.join(inside)}}}"
        case str():
            return json.dumps(value).replace("\x7f", "\\u007f")
        case float():
            return repr(value)
    return json.dumps(value)
