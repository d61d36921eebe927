"""Model-written HTML to a document that is safe to draw and that no engine cuts off.

What could fetch, run, hide or cover is taken out: scripts, frames, images, links' addresses, all of
CSS but looks of text (see `styling`). What is left is text, structure and style.

This parses hostile text with native code: call it in a process with limits, as `sandbox` does.
"""

from __future__ import annotations

import html as entities
import re
import unicodedata

import nh3

from palimpsest.errors import InputError
from palimpsest.pages.html.styling import Styling, names

MAX_DEPTH = 100
_MAX_SPAN = 100
_LONGEST_WORD = 24

_TAGS = names(
    "a abbr address article aside b bdi bdo big blockquote br caption center cite code col colgroup"
    " dd del details dfn div dl dt em figcaption figure font footer h1 h2 h3 h4 h5 h6 header hgroup"
    " hr i img ins kbd li main mark nav ol p pre q rp rt ruby s samp section small span strike"
    " strong sub summary sup table tbody td tfoot th thead time tr tt u ul var wbr"
)
_REMOVED = names(
    "applet audio canvas embed frameset iframe math noembed noframes noscript object picture script"
    " select style svg template textarea title video"
)
_ATTRIBUTES = {
    "*": {"class", "dir", "id", "lang", "style"},
    "col": {"span"},
    "colgroup": {"span"},
    "font": {"color"},
    "img": {"alt"},
    "li": {"value"},
    "ol": {"reversed", "start", "type"},
    "table": {"align", "bgcolor"},
    "td": {"align", "bgcolor", "colspan", "rowspan", "valign"},
    "th": {"align", "bgcolor", "colspan", "rowspan", "valign"},
    "tr": {"align", "bgcolor", "valign"},
}
_SPANS = frozenset({"colspan", "rowspan", "span"})
_PLAIN = re.compile(r"[\w #-]{0,200}")
_SHEET = re.compile(r"<style[^<>]*>(.*?)(?:</style[^<>]*>|\Z)", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"<(/?)([a-z0-9]+)[^<>]*>")
_COLOUR = re.compile(r' (bg)?color="(#?[a-zA-Z0-9]{3,20})"')
# Would stand out over the left edge.
_LONG_MARKER = re.compile(r' (?:start|value)="-?[0-9]{3,}"')
_ALT = re.compile(r' alt="([^"]*)"')
_VOID = frozenset({"br", "col", "hr", "img", "wbr"})
_LETTER = r"(?:&[a-z]+;|[^\s<>&])"
_LONG_WORD = re.compile(f"{_LETTER}{{{_LONGEST_WORD + 1},}}")
_BREAK = "\u200b"

_BASE = """\
html { font: 16px sans-serif; line-height: 1.15; color: #000 }
body { margin: 0 !important; padding: 2px !important }
h1 { font-size: 1.5em } h2 { font-size: 1.3em } h3, h4, h5, h6 { font-size: 1.15em }
h1, h2, h3, h4, h5, h6 { margin: 0.2em 0 0.1em }
p, ul, ol, dl, blockquote, pre, table, figure, hr { margin: 0.15em 0 }
ul { padding-left: 1.3em !important; list-style-type: disc }
ol { padding-left: 2em !important }
summary { display: block } dd { margin-left: 1em } blockquote { margin-left: 1em }
pre { white-space: pre-wrap; font-size: 1em } code, kbd, samp, tt { font-size: 1em }
code, pre { background: #ececec }
table { border-collapse: collapse } td, th { border: 1px solid #aaa; padding: 0 3px }
a { color: inherit }
sub, sup { font-size: 0.75em }
"""


def clean(html: str) -> str:
    """A whole document, or nothing if the HTML has no text.

    Raises `InputError` when it is nested deeper than `MAX_DEPTH`.
    """
    styling = Styling("\n".join(_SHEET.findall(html)))
    body = _cleaner(styling).clean(html)
    _check_depth(body)
    body = _TAG.sub(_styled, body)
    if not entities.unescape(_TAG.sub("", body)).strip():
        return ""
    body = _breakable(body)
    head = f'<meta charset="utf-8"><style>{_BASE}</style><style>{styling.sheet()}</style>'
    return f"<!DOCTYPE html><html><head>{head}</head><body>{body}</body></html>"


def _cleaner(styling: Styling) -> nh3.Cleaner:
    def kept(_: str, name: str, value: str) -> str | None:
        if name == "style":
            return styling.attribute(value) or None
        return _attribute(name, value)

    return nh3.Cleaner(
        tags=set(_TAGS),
        clean_content_tags=set(_REMOVED),
        attributes=_ATTRIBUTES,
        attribute_filter=kept,
        set_tag_attribute_values={"details": {"open": ""}},
        url_schemes=set(),
        link_rel=None,
    )


def _attribute(name: str, value: str) -> str | None:
    if name == "alt":
        return re.sub("[<>]", " ", value)
    if name in _SPANS:
        return str(min(int(value), _MAX_SPAN)) if re.fullmatch(r"[0-9]{1,9}", value) else None
    return value if _PLAIN.fullmatch(value) else None


def _styled(tag: re.Match[str]) -> str:
    """The tag with its id as the style sheet asks for it and some attributes as style.

    Of a picture, the words that stand for it.
    """
    if tag[2] == "img":
        words = _ALT.search(tag[0])
        return words[1] if words else ""
    text = tag[0].replace(' id="', ' data-id="')
    colour = _COLOUR.search(text)
    if colour:
        look = f"{'background-color' if colour[1] else 'color'}: {colour[2]}"
        text = text.replace(colour[0], "")
    elif _LONG_MARKER.search(text):
        look = "list-style-position: inside"
    else:
        return text
    if ' style="' in text:
        return text.replace(' style="', f' style="{look}; ')
    return f'{text[:-1]} style="{look}">'


def _check_depth(body: str) -> None:
    depth = 0
    for tag in _TAG.finditer(body):
        if tag[2] not in _VOID:
            depth += -1 if tag[1] else 1
        if depth > MAX_DEPTH:
            raise InputError(
                f"an HTML draft nested deeper than {MAX_DEPTH} elements cannot be drawn",
                hint="flatten it",
            )


def _breakable(body: str) -> str:
    """Lets words of any length break, also in tables, whose columns no engine makes narrower than
    a word."""
    parts: list[str] = []
    end = 0
    for tag in _TAG.finditer(body):
        parts += [_LONG_WORD.sub(_broken, body[end : tag.start()]), tag[0]]
        end = tag.end()
    parts.append(_LONG_WORD.sub(_broken, body[end:]))
    return "".join(parts)


def _broken(word: re.Match[str]) -> str:
    """The word with a place to break wherever `_LONGEST_WORD` letters stand without one, but not
    before or after a combining sign."""
    letters = re.findall(_LETTER, word[0])
    broken: list[str] = []
    since = 0
    for letter in letters:
        if since >= _LONGEST_WORD and not _joins(letter) and not _joins(broken[-1]):
            broken.append(_BREAK)
            since = 0
        broken.append(letter)
        since += 1
    return "".join(broken)


def _joins(letter: str) -> bool:
    return letter[0] in "\u200c\u200d" or unicodedata.category(letter[0])[0] == "M"
