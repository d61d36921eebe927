"""Markdown in, blocks out: CommonMark with tables and strikethrough, and no HTML.

Two rules differ from CommonMark because a memory must not lose text: link reference definitions
stay visible, and cells beyond a table's header are kept. Input too large to lay out is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

from markdown_it.rules_block.table import escapedSplit
from markdown_it.token import Token

from palimpsest.errors import InputError
from palimpsest.pages.block import (
    HARD_BREAK,
    PLAIN,
    Block,
    Cell,
    Frame,
    Look,
    Role,
    Rule,
    Span,
    Table,
)
from palimpsest.pages.block import Text as TextBlock
from palimpsest.pages.inline import MAX_LEVEL, PARSER, read_inline

_BOLD = Look(bold=True)
MAX_CHARACTERS = 65_536
MAX_BLOCKS = 8_192
MAX_CELLS = 8_192
MAX_FRAMES = 8
"""Lists and quotes nested deeper are drawn at this depth."""

_HEADINGS: dict[str, Role] = {
    "h1": "h1",
    "h2": "h2",
    "h3": "h3",
    "h4": "h4",
    "h5": "h5",
    "h6": "h6",
}


def read_markdown(markdown: str) -> tuple[Block, ...]:
    """The blocks of a memory. Raises `InputError` when it is too large to lay out."""
    if len(markdown) > MAX_CHARACTERS:
        raise InputError(
            f"a memory of {len(markdown):,} characters cannot become a page",
            hint=f"shorten it to {MAX_CHARACTERS:,} characters or render it in parts",
        )
    source = _well_formed(markdown)
    tokens = PARSER.parse(source)
    if any(token.level >= MAX_LEVEL - 2 for token in tokens):
        raise InputError("lists or quotes are nested too deep", hint="flatten the memory")
    walker = _Walker(source.split("\n"))
    walker.walk(tokens)
    return tuple(walker.blocks)


def _well_formed(text: str) -> str:
    """Replaces lone surrogates, which no font and no file can hold; unifies line ends."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


class _Walker:
    """Turns the parser's tokens into blocks."""

    def __init__(self, source: Sequence[str]) -> None:
        self.source = source
        self.blocks: list[Block] = []
        self.frames: list[Frame] = []
        self.marker = ""
        self.line = 0

    def walk(self, tokens: Sequence[Token]) -> None:
        index = 0
        while index < len(tokens):
            token = tokens[index]
            self.line = token.map[0] if token.map else self.line
            end = index + 1
            if token.type == "table_open":
                end = _closing(tokens, index)
                self.table(tokens[index:end])
            elif token.type in ("heading_open", "paragraph_open"):
                self.text(_HEADINGS.get(token.tag, "body"), tokens[index + 1])
            elif token.type in ("fence", "code_block"):
                self.code(token)
            elif token.type == "hr":
                self.place(Rule(self.line, self.around()))
            else:
                self.frame(token, tokens, index)
            index = end

    def frame(self, token: Token, tokens: Sequence[Token], index: int) -> None:
        """Opens or closes a container."""
        if token.type in ("bullet_list_open", "ordered_list_open"):
            self.release()
            self.frames.append(Frame("list", _longest_marker(tokens, index)))
        elif token.type == "blockquote_open":
            self.release()
            self.frames.append(Frame("quote"))
        elif token.type == "list_item_open":
            self.marker = _marker(tokens, index)
        elif token.type == "list_item_close":
            self.release()
        elif token.type in ("bullet_list_close", "ordered_list_close", "blockquote_close"):
            self.release()
            self.frames.pop()

    def around(self) -> tuple[Frame, ...]:
        return tuple(self.frames[:MAX_FRAMES])

    def place(self, block: Block) -> None:
        if not isinstance(block, TextBlock):
            self.release()
        if len(self.blocks) == MAX_BLOCKS:
            raise InputError(
                f"a memory of more than {MAX_BLOCKS:,} blocks cannot become a page",
                hint="join short lines into paragraphs",
            )
        self.blocks.append(block)

    def release(self) -> None:
        """Places a marker that has no text of its own to stand before."""
        if self.marker:
            marker, self.marker = self.marker, ""
            self.place(TextBlock("body", (), self.line, self.around(), marker))

    def text(self, role: Role, token: Token) -> None:
        look = PLAIN if role == "body" else _BOLD
        spans = read_inline(token.content, self.line, look)
        if role == "body" and any(frame.kind == "quote" for frame in self.frames):
            role = "quote"
        if self.marker.startswith("["):
            spans = _without_box(spans)
        marker, self.marker = self.marker, ""
        self.place(TextBlock(role, spans, self.line, self.around(), marker))

    def code(self, token: Token) -> None:
        first = self.line + (token.type == "fence")
        spans: list[Span] = []
        for offset, line in enumerate(token.content.rstrip("\n").split("\n")):
            if offset:
                spans.append(Span(HARD_BREAK, PLAIN, first + offset - 1))
            spans.append(Span(line.expandtabs(4), PLAIN, first + offset))
        marker, self.marker = self.marker, ""
        self.place(TextBlock("code", tuple(spans), self.line, self.around(), marker))

    def table(self, tokens: Sequence[Token]) -> None:
        line = self.line
        rows: list[list[Cell]] = []
        for token in tokens:
            if token.type == "tr_open":
                self.line = token.map[0] if token.map else self.line
                rows.append([])
            elif token.type == "inline":
                rows[-1].append(
                    read_inline(token.content, self.line, _BOLD if len(rows) == 1 else PLAIN)
                )
            elif token.type == "tr_close" and len(rows) > 1:
                rows[-1].extend(self.beyond(len(rows[-1])))
        columns = max(len(row) for row in rows)
        if columns * len(rows) > MAX_CELLS:
            raise InputError(
                f"a table of {columns * len(rows):,} cells cannot become part of a page",
                hint=f"split it: {MAX_CELLS:,} cells are the most",
            )
        filled = tuple((*row, *((),) * (columns - len(row))) for row in rows)
        self.place(Table(filled, line, self.around()))

    def beyond(self, columns: int) -> list[Cell]:
        """Cells of the current row to the right of the header, which the parser leaves out."""
        row = escapedSplit(self.source[self.line].strip().lstrip("> "))
        cells = row[1:] if row and not row[0] else row
        cells = cells[:-1] if cells and not cells[-1] else cells
        return [read_inline(cell.strip(), self.line, PLAIN) for cell in cells[columns:]]


def _closing(tokens: Sequence[Token], index: int) -> int:
    """Index just behind the token that closes the one at `index`."""
    end = index + 1
    while tokens[end].level > tokens[index].level:
        end += 1
    return end + 1


def _marker(tokens: Sequence[Token], index: int) -> str:
    """What stands before a list item; a task's box replaces its bullet."""
    item = tokens[index]
    if item.info:
        return f"{item.info}{item.markup}"
    first = tokens[index + 2].content if index + 2 < len(tokens) else ""
    box = first[:4].lower()
    is_task = tokens[index + 1].type == "paragraph_open" and box in ("[ ] ", "[x] ")
    return box.strip() if is_task else "•"


def _longest_marker(tokens: Sequence[Token], index: int) -> str:
    level = tokens[index].level + 1
    longest = ""
    for position in range(index + 1, len(tokens)):
        token = tokens[position]
        if token.level < level:
            break
        if token.level == level and token.type == "list_item_open":
            marker = _marker(tokens, position)
            longest = max(longest, marker, key=lambda text: (len(text), text))
    return longest


def _without_box(spans: tuple[Span, ...]) -> tuple[Span, ...]:
    """Cuts the four characters of "[x] ", which may be spread over several spans."""
    left = 4
    kept: list[Span] = []
    for span in spans:
        cut = min(left, len(span.text))
        left -= cut
        if span.text[cut:]:
            kept.append(span._replace(text=span.text[cut:]))
    return tuple(kept)
