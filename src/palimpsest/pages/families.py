"""The font families a page may use: where each comes from and which scripts it is for.

Fonts come from this package and others that are installed, never from the machine, so that a page
looks the same everywhere. Families of the extra `fonts` are left out while it is not installed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import fontpkg

from palimpsest.errors import ConfigurationError

EMOJI = "Zsye"
"""The script of emoji. Scripts are named by the four letters of ISO 15924."""


class FontFile(NamedTuple):
    """A font of an installed package: a file, or a name in a module of embedded fonts."""

    package: str
    path: Path | None
    code: str = ""
    scale: float = 1.0
    """How large to draw it: less than 1 for a font whose stacked signs would leave the line."""

    def program(self) -> Path | bytes:
        """What a font library reads."""
        if self.path:
            return self.path
        data: bytes = import_module(_EMBEDDED).myfont(self.code)
        return data


class _Family(NamedTuple):
    scripts: tuple[str, ...] = ()
    """The scripts it is made for; none for a family of general use."""
    package: str | None = None
    """Distribution, if not one of fontpkg's; empty for a font that is part of this package."""
    file: str = ""
    """Path of the font below the package, or its name (regular, bold) in the embedded fonts."""
    extra: bool = False
    """Whether it is part of the extra `fonts`."""
    scale: float = 1.0


_EMBEDDED = "pymupdf_fonts"
_BUNDLED = ""
"""No package holds this font alone; it is part of this one, with its licence."""
_EAST_ASIA, _SOUTH_EAST = "justmytype-intl-cjk", "justmytype-intl-sea"

_FAMILIES = {
    "Noto Sans": _Family(),
    "Source Sans 3": _Family(),
    "Noto Sans Symbols 2": _Family((), "pymupdf-fonts", "symbol2"),
    "Noto Sans Math": _Family((), "pymupdf-fonts", "math"),
    "Noto Sans Symbols": _Family((), "pymupdf-fonts", "symbol1"),
    "Fira Mono": _Family((), "pymupdf-fonts", "fimo fimbo", scale=0.86),
    "Noto Sans Arabic": _Family(("Arab",)),
    "Heebo": _Family(("Hebr",)),
    "Noto Sans Devanagari": _Family(("Deva",)),
    "Hind Siliguri": _Family(("Beng",)),
    "Noto Sans Tamil": _Family(("Taml",)),
    "Noto Sans Telugu": _Family(("Telu",), scale=0.88),
    "Noto Sans Thai": _Family(("Thai",)),
    "Noto Sans Khmer": _Family(("Khmr",)),
    "FiraGO": _Family(("Geor",), "pymupdf-fonts", "figo figbo"),
    "Noto Sans SC": _Family(
        ("Hani", "Bopo"), _EAST_ASIA, "fonts/ofl/notosanssc/NotoSansSC[wght].ttf", True
    ),
    "Noto Sans JP": _Family(
        ("Hani", "Hira", "Kana"), _EAST_ASIA, "fonts/ofl/notosansjp/NotoSansJP[wght].ttf", True
    ),
    "Noto Sans TC": _Family(
        ("Hani", "Bopo"), _EAST_ASIA, "fonts/ofl/notosanstc/NotoSansTC[wght].ttf", True
    ),
    "Noto Sans KR": _Family(
        ("Hang", "Hani"), _EAST_ASIA, "fonts/ofl/notosanskr/NotoSansKR[wght].ttf", True
    ),
    "Noto Sans Lao": _Family(
        ("Laoo",), _SOUTH_EAST, "fonts/ofl/notosanslao/NotoSansLao[wdth,wght].ttf", True
    ),
    "Noto Sans Myanmar": _Family(
        ("Mymr",),
        _SOUTH_EAST,
        "fonts/ofl/notosansmyanmar/NotoSansMyanmar[wdth,wght].ttf",
        True,
        0.78,
    ),
    "Noto Sans Ethiopic": _Family(
        ("Ethi",),
        "justmytype-intl-africa",
        "fonts/ofl/notosansethiopic/NotoSansEthiopic[wdth,wght].ttf",
        True,
    ),
    "Noto Emoji": _Family((EMOJI,), _BUNDLED, "NotoEmoji-Regular.ttf"),
}

FAMILIES = tuple(_FAMILIES)
"""The default families of a style, by preference. For text in one script, those that are made for
that script go before those of general use."""

_LANGUAGES = {"ja": "Noto Sans JP", "ko": "Noto Sans KR"}
_UNKNOWN = _Family()


@cache
def checked(families: tuple[str, ...]) -> tuple[str, ...]:
    """The families that are installed.

    Raises `ConfigurationError` for a missing one, unless it is there only as part of the default
    and belongs to the extra.
    """
    count = len(FAMILIES)
    named = families[:-count] if families[-count:] == FAMILIES else families
    present: list[str] = []
    for index, family in enumerate(families):
        if font_file(family, bold=False, italic=False):
            present.append(family)
        elif index < len(named) or not _FAMILIES[family].extra:
            raise ConfigurationError(
                f"the font family {family!r} is not installed", hint=_install(family)
            )
    return tuple(present)


def _install(family: str) -> str:
    known = _FAMILIES.get(family, _UNKNOWN)
    if known.extra:
        return "pip install 'palimpsest-memory[fonts]'"
    return "pip install " + (known.package or "fontpkg-" + family.lower().replace(" ", "-"))


def missing_hint(characters: str) -> str:
    """What to do about characters that no installed font has; empty if there are none."""
    if not characters:
        return ""
    if all(font_file(family, bold=False, italic=False) for family in FAMILIES):
        return "name a font family that has them in the style's `families`"
    return "pip install 'palimpsest-memory[fonts]'"


@cache
def font_file(family: str, *, bold: bool, italic: bool) -> FontFile | None:
    """The font of a family that comes nearest to a weight and slant; None if not installed."""
    known = _FAMILIES.get(family, _UNKNOWN)
    if known.package is None:
        found = _fontpkg_file(family, bold=bold, italic=italic)
        return found._replace(scale=known.scale) if found else None
    if known.package == _BUNDLED:
        return FontFile(_BUNDLED, Path(__file__).parent / "fonts" / known.file)
    spec = find_spec(known.package.replace("-", "_"))
    if not spec or not spec.submodule_search_locations:
        return None
    if known.package == "pymupdf-fonts":
        return FontFile(known.package, None, known.file.split()[-bold:][0], known.scale)
    path = Path(spec.submodule_search_locations[0], known.file)
    return FontFile(known.package, path, "", known.scale) if path.exists() else None


def _fontpkg_file(family: str, *, bold: bool, italic: bool) -> FontFile | None:
    try:
        styles = fontpkg.family(family).styles
    except fontpkg.FamilyNotInstalled:
        return None
    style = "italic" if italic and "italic" in styles else "normal"
    path = fontpkg.path(family, weight=700 if bold else 400, style=style, nearest=True)
    return FontFile("fontpkg-" + fontpkg.slugify(family), path)


@cache
def by_preference(families: tuple[str, ...], script: str, language: str = "") -> tuple[str, ...]:
    """The families in the order in which to look for a character of a script.

    `language` ("ja" or "ko") decides which shapes Han characters take. A family that we do not
    know may be made for any script.
    """
    owned = any(script in _FAMILIES.get(family, _UNKNOWN).scripts for family in families)

    def rank(family: str) -> int:
        scripts = _FAMILIES.get(family, _UNKNOWN).scripts
        if script in scripts:
            return 0 if _LANGUAGES.get(language) == family else 1
        if scripts:
            return 3
        return 1 if owned and family not in _FAMILIES else 2

    return tuple(sorted(families, key=rank))


@cache
def fonts_sha256(families: Sequence[str] = FAMILIES) -> str:
    """A hash of all fonts that pages in these families may use, for the identity of a page.

    It is made of the hashes that the packages' installers recorded, so that no font is read.
    """
    digest = hashlib.sha256()
    for family in checked(tuple(families)):
        digest.update(family.encode())
        for bold in (False, True):
            for italic in (False, True):
                if file := font_file(family, bold=bold, italic=italic):
                    digest.update(file_hash(file).encode())
    return digest.hexdigest()


@cache
def file_hash(file: FontFile) -> str:
    """What the installer recorded of a font's contents, or else their hash."""
    if file.package == _BUNDLED:
        return _sha256(file)
    name = file.path.name if file.path else ".py"
    record = metadata.distribution(file.package).read_text("RECORD") or ""
    hashes = sorted(line for line in record.splitlines() if name in line.rpartition(",sha256=")[0])
    if hashes:
        return "\n".join(hashes)
    return _sha256(file)


def _sha256(file: FontFile) -> str:
    program = file.program()
    data = program if isinstance(program, bytes) else program.read_bytes()
    return hashlib.sha256(data).hexdigest()
