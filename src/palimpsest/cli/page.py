"""`palimpsest page`: a memory as pictures, each within a budget of visual tokens."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter
from rich.console import Console
from rich.table import Table

from palimpsest.cli.app import notes
from palimpsest.errors import ConfigurationError, InputError, SourceError

if TYPE_CHECKING:
    from palimpsest.cli.proof import HtmlProof, Proof
    from palimpsest.pages import Style
    from palimpsest.pages.factsheet import Factsheet

_PAGE = Group("Page", sort_key=1)
_HTML = Group("HTML", sort_key=2)
_STANDARD_INPUT = "-"
_BUDGETS = "64,256,1024"
_SHEET = "-sheet.png"
_MOST_SHOWN = 12
"""Pages of one budget on the contact sheet."""
_MOST_SIGNS = 20
_SMALLEST_FOR_32 = 64
"""Cells of 32 px under which the processor of Qwen3-VL enlarges a picture, unless told not to."""


@Parameter(name="*", group=_PAGE)
@dataclass(frozen=True)
class PageOptions:
    """How the pages look."""

    budget: Annotated[list[str] | None, Parameter(negative=())] = None
    """Visual tokens of a page, several with commas between them (64,256,1024)."""
    cell: Literal[28, 32] = 28
    """Pixels a side of a visual token: 28 for Qwen2-VL and Qwen2.5-VL, 32 for Qwen3-VL."""
    style: str = "default"
    """Name of a style; a wrong one lists them."""
    policy: Literal["shrink", "drop"] | None = None
    """When type would be too small to read: shrink it all the same, or drop what matters least.
    The style's own by default."""
    continued: Annotated[bool, Parameter(name="--continue", negative=())] = False
    """When type would be too small to read: go on on further pages of the same budget."""

    def budgets(self) -> list[int]:
        """The budgets, each once, in the order given."""
        given = ",".join(self.budget or [_BUDGETS]).split(",")
        return list(dict.fromkeys(_budget(text.strip()) for text in given))

    def look(self) -> Style:
        """The style these options describe."""
        from palimpsest.pages.style import PRESETS

        if self.style not in PRESETS:
            raise InputError(
                f"there is no style {self.style!r}", hint=f"give one of {', '.join(PRESETS)}"
            )
        style = PRESETS[self.style]
        return replace(style, policy=self.policy) if self.policy else style

    def proof(self, memory: str, budget: int, base: Path) -> Proof:
        """The pages of a memory, for files whose names begin with `base`."""
        from palimpsest.cli.proof import Proof
        from palimpsest.pages import render
        from palimpsest.pages.markdown import read_markdown
        from palimpsest.pages.page import render_pages

        style = self.look()
        if self.continued:
            pages = render_pages(memory, budget, cell=self.cell, style=style)
        else:
            pages = (render(memory, budget, cell=self.cell, style=style),)
        return Proof(read_markdown(memory), budget, style, pages, base)


@Parameter(name="*", group=_HTML)
@dataclass(frozen=True)
class HtmlOptions:
    """How HTML is drawn."""

    html: Annotated[bool, Parameter(negative=())] = False
    """The memory is HTML: headings, emphasis and colour by its own markup and style sheets. Needs
    the `html` extra."""
    engine: Literal["blitz", "chromium"] | None = None
    """`blitz`, the default, needs no browser; `chromium` needs the `browser` extra."""
    chromium: Path | None = None
    """Path of the Chromium to draw with (PALIMPSEST_CHROMIUM)."""

    def proofs(self, draft: str, options: PageOptions, base: Path) -> list[HtmlProof]:
        """The page of a draft at each budget."""
        from palimpsest.cli.proof import HtmlProof
        from palimpsest.pages.html import BlitzEngine, ChromiumEngine, render_html
        from palimpsest.pages.style import Style

        is_chromium = self.engine == "chromium" or (self.chromium and not self.engine)
        with ChromiumEngine(self.chromium) if is_chromium else BlitzEngine() as engine:
            pages = [
                render_html(draft, budget, cell=options.cell, engine=engine)
                for budget in options.budgets()
            ]
        return [HtmlProof(drawn, Style().floor_px, base) for drawn in pages]

    def check(self, options: PageOptions, *, factsheet: bool) -> None:
        """Raises `ConfigurationError` for an option that would do nothing."""
        for_markdown = {
            "--style": options.style != "default",
            "--policy": options.policy is not None,
            "--continue": options.continued,
            "--factsheet": factsheet,
        }
        for_html = {"--engine": self.engine, "--chromium": self.chromium}
        for name in (name for name, given in for_markdown.items() if self.html and given):
            raise ConfigurationError(f"{name} is for Markdown, not for HTML", hint="leave it out")
        for name in (name for name, given in for_html.items() if given and not self.html):
            raise ConfigurationError(f"{name} is for HTML", hint="give --html, or leave it out")


def _budget(text: str) -> int:
    from palimpsest.pages.page import MAX_BUDGET

    if not re.fullmatch(r"[0-9]{1,9}", text) or not 1 <= int(text) <= MAX_BUDGET:
        raise InputError(
            f"{text!r} is no budget of visual tokens",
            hint=f"give numbers from 1 to {MAX_BUDGET:,} with commas between, as in {_BUDGETS}",
        )
    return int(text)


def page(
    *file: Annotated[str, Parameter(allow_leading_hyphen=True)],
    options: PageOptions = PageOptions(),
    drawing: HtmlOptions = HtmlOptions(),
    factsheet: Annotated[bool, Parameter(negative=())] = False,
    factsheet_tokens: int = 128,
    out: Annotated[Path, Parameter(name=["--out", "-o"])] = Path("pages"),
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> None:
    """Draw a memory as pictures, each within a budget of visual tokens.

    Writes a PNG for every budget (memory-64.png; further pages memory-64-2.png), all of them side
    by side (memory-sheet.png) and where every line stands (memory.json), and prints a table.

    Parameters
    ----------
    file
        The memory: a file of Markdown (or HTML, see --html), or - for standard input.
    factsheet
        Also write the memory's numbers, dates, codes and names as a short text
        (memory-facts.txt), to stand beside a page that is too small for them.
    factsheet_tokens
        Most tokens of that text.
    out
        Folder for the files; made when it is not there.
    as_json
        Print what memory.json holds instead of the table.
    """
    path = _one(file)
    drawing.check(options, factsheet=factsheet)
    budgets = options.budgets()
    memory = _read(path)
    base = out / ("memory" if path == _STANDARD_INPUT else Path(path).stem)
    if drawing.html:
        proofs: Sequence[Proof | HtmlProof] = drawing.proofs(memory, options, base)
    else:
        proofs = [options.proof(memory, budget, base) for budget in budgets]
    facts = _factsheet(memory, factsheet_tokens) if factsheet else None
    told = _told(path, proofs, facts, options, base)
    written = _write(_files(proofs, facts, told, base))
    for warning in _warnings(proofs, options.cell):
        notes.print(warning, markup=False)
    notes.print(f"written: {', '.join(map(str, written))}", markup=False)
    if as_json:
        print(json.dumps(told, ensure_ascii=False, indent=2))
        return
    Console(highlight=False).print(_table(proofs))
    if facts:
        print(f"\n{facts.text}")


def _one(files: tuple[str, ...]) -> str:
    """The only file. The parser passes on whatever begins with a hyphen, as `-` is a file."""
    for file in files:
        if re.match(r"--?[A-Za-z]", file):
            raise InputError(
                f"unknown option {file}", hint="`palimpsest page --help` lists the options"
            )
    if len(files) != 1:
        raise InputError(
            f"one memory is drawn at a time, and {len(files)} are named",
            hint="palimpsest page FILE, with - for standard input",
        )
    return files[0]


def _read(file: str) -> str:
    """The memory. Raises `InputError` for what is no text."""
    from palimpsest.sources.decoding import decode

    name = "standard input" if file == _STANDARD_INPUT else file
    try:
        data = sys.stdin.buffer.read() if file == _STANDARD_INPUT else Path(file).read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SourceError(name, f"it cannot be read: {reason}", hint="check the path") from error
    try:
        memory = decode(data, name)
    except SourceError as error:
        hint = "give text in UTF-8, converted by iconv -f ENCODING -t UTF-8 if need be"
        raise InputError(str(error), hint=hint) from error
    if not memory.strip():
        raise SourceError(name, "it is empty", hint="give a memory in Markdown")
    return memory


def _factsheet(memory: str, tokens: int) -> Factsheet:
    from palimpsest.pages.factsheet import factsheet

    return factsheet(memory, tokens=tokens)


def _told(
    file: str,
    proofs: Sequence[Proof | HtmlProof],
    facts: Factsheet | None,
    options: PageOptions,
    base: Path,
) -> dict[str, Any]:
    """What there is to tell for `--json`."""
    from palimpsest.cli.proof import named

    return {
        "memory": file,
        "cell": options.cell,
        **proofs[0].memory_facts(),
        "sheet": str(named(base, _SHEET)),
        "factsheet": {"text": facts.text, "left_out": facts.left_out} if facts else None,
        "budgets": [proof.facts() for proof in proofs],
    }


def _files(
    proofs: Sequence[Proof | HtmlProof], facts: Factsheet | None, told: dict[str, Any], base: Path
) -> Iterator[tuple[Path, bytes]]:
    from palimpsest.cli.proof import named
    from palimpsest.pages.sheet import Exhibit, contact_sheet

    for proof in proofs:
        for number, file in enumerate(proof.files):
            yield file, proof.pages[number].png()
    exhibits = (
        [
            Exhibit(proof.pages[number].image, proof.caption(number))
            for number in range(min(len(proof.pages), _MOST_SHOWN))
        ]
        for proof in proofs
    )
    sheet = io.BytesIO()
    contact_sheet(exhibits).save(sheet, "PNG")
    yield named(base, _SHEET), sheet.getvalue()
    yield named(base, ".json"), json.dumps(told, ensure_ascii=False, indent=2).encode()
    if facts:
        yield named(base, "-facts.txt"), f"{facts.text}\n".encode()


def _write(files: Iterable[tuple[Path, bytes]]) -> list[Path]:
    written: list[Path] = []
    for path, data in files:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        except OSError as error:
            raise InputError(
                f"{path} cannot be written: {error.strerror or error}",
                hint="name a folder that can be written to with --out",
            ) from error
        written.append(path)
    return written


def _warnings(proofs: Sequence[Proof | HtmlProof], cell: int) -> Iterator[str]:
    from palimpsest.pages.families import missing_hint

    small = [warning for proof in proofs if (warning := proof.warning())]
    yield from (f"warning: {warning}" for warning in small)
    if small:
        yield "  give a larger budget, --continue, --policy drop or --factsheet"
    missing = "".join(sorted(set().union(*(proof.missing for proof in proofs))))
    if missing:
        shown = " ".join(missing[:_MOST_SIGNS])
        yield f"warning: no installed font has {len(missing)} of the characters: {shown}"
        yield f"  {missing_hint(missing)}"
    enlarged = [proof.budget for proof in proofs if proof.fewest_tokens < _SMALLEST_FOR_32]
    if cell == 32 and enlarged:
        yield (
            f"note: Qwen3-VL's processor enlarges a picture of fewer than {_SMALLEST_FOR_32} "
            f"tokens to that many (budget {', '.join(map(str, enlarged))}) unless its smallest "
            f"size (shortest_edge, min_pixels) is set to 1024"
        )


def _table(proofs: Sequence[Proof | HtmlProof]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("budget", "grid", "tokens", "body px", "other sizes", "words", "dropped"):
        table.add_column(heading, justify="left" if heading == "other sizes" else "right")
    for proof in proofs:
        for row in proof.rows():
            table.add_row(*row)
    return table
