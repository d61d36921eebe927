"""Scripts on a page: fonts, shaping, directions, where lines end; a golden image for each script.

Run `python tests/test_pages_scripts.py --write` to draw the golden images anew, then look at them.
"""

from __future__ import annotations

import random
import sys
import time
import unicodedata
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from palimpsest.errors import ConfigurationError
from palimpsest.pages import Style, render
from palimpsest.pages.bidi import directions, has_right_to_left, visual_order
from palimpsest.pages.block import HARD_BREAK, Look, Span
from palimpsest.pages.families import (
    FAMILIES,
    by_preference,
    checked,
    font_file,
    fonts_sha256,
    missing_hint,
)
from palimpsest.pages.font import Shaped, typeface
from palimpsest.pages.script import clusters
from palimpsest.pages.words import Segment, segments

GOLDEN = Path(__file__).parent / "golden"
STYLE = Style(families=FAMILIES)
PLAIN, BOLD, MARKED = Look(), Look(bold=True), Look(mark=True)
EXTRA = font_file("Noto Sans SC", bold=False, italic=False) is not None
needs_extra = pytest.mark.skipif(not EXTRA, reason="needs the extra `fonts`")

SAMPLES = {
    "latin": """# Ærø lighthouse: journal of Zoë Łukasik
- Tiếng Việt: ngọn hải đăng được **xây xong** năm 1883.
- Türkçe: deniz feneri *ışığı* görüldü. Čeština: **příliš žluťoučký** kůň.
- Íslenska: þjóðvegur; français: « cœur » – l’été; ﬁn.""",
    "greek": """## Ο φάρος
Ο φάρος **ολοκληρώθηκε** το 1883· ὁ ἥλιος *ἔλαμψε* (σελίδα 7).""",
    "cyrillic": """## Маяк
Маяк **достроен** в 1883 году. Українська: *ґанок, їжак*. Српски: љубав.""",
    "georgian": """## შუქურა
შუქურა **დასრულდა** 1883 წელს.""",
    "arabic": """## المنارة القديمة
- اكتمل بناء **المنارة** عام 1883 (انظر Report 7، صفحة ١٢).
- السفينة «نورا» وصلت؛ هل كان القبطان هناك؟ نعم!
- كَتَبَ الحارسُ <mark>يومياتِه</mark> بالعربية.
- فارسی: چراغ دریایی کهنه است. اردو: ٹوپی""",
    "hebrew": """## המגדלור
- **המגדלור** הושלם בשנת 1883 (ראו Report 7, עמ' 12).
- שָׁלוֹם לַשּׁוֹמֵר; המחיר: 41,500 ש"ח (5%).
- The log says אור הצפון [sic] twice.""",
    "devanagari": """## प्रकाशस्तंभ
- प्रकाशस्तंभ **१८८३** में पूरा हुआ।
- कर्तव्य, श्री, ज्ञान, क्षेत्र, *हिन्दी* (Report 7)""",
    "bengali": """## বাতিঘর
বাতিঘরটি **১৮৮৩** সালে শেষ হয়। ক্ষেত্র, জ্ঞান, কর্ম, শ্রী""",
    "tamil": """## கலங்கரை விளக்கம்
விளக்கம் **கட்டப்பட்டது**. ஸ்ரீ, கொடி, சௌந்தர்யம்""",
    "telugu": """## దీపస్తంభం
దీపస్తంభం **పూర్తయింది**. క్షేత్రం, జ్ఞానం, శ్రీ""",
    "thai": """## ประภาคาร
ประภาคาร**สร้างเสร็จ**ในปี 1883 ที่เกาะทางเหนือของอ่าวน้ำลึก""",
    "khmer": """## ប៉មភ្លើងហ្វា
ប៉មភ្លើងហ្វា**ត្រូវបានសាងសង់**នៅលើកោះ""",
    "lao": """## ປະພາຄານ
ປະພາຄານ**ສ້າງສຳເລັດ**ຢູ່ເທິງເກາະ""",
    "myanmar": """## မီးပြတိုက်
မီးပြတိုက်**ပြီးစီးခဲ့သည်**။ ကျွန်တော် မြန်မာ""",
    "ethiopic": """## የመብራት ቤት
የመብራት ቤቱ **ተጠናቀቀ**። ኢትዮጵያ""",
    "chinese": """## 灯塔的记录
- 灯塔于**1883年**建成，船长说：“喜欢夜晚。”
- 《北方之光》（第七号报告）共三十二页。""",
    "japanese": """## 灯台の記録
- **灯台**は1883年に完成した。船長は「夜」を好む。
- ラーメンとコーヒー、ｶﾀｶﾅ、直す・角・骨""",
    "korean": """## 등대의 기록
- 등대는 **1883년**에 완공되었다.
- 선장은 “밤”을 좋아한다 (보고서 7).""",
    "emoji": """## Status 📅
- ✅ done ❌ failed ⚠️ risk 1️⃣ 2️⃣ #️⃣ 🔥 💡
- 👩‍👩‍👧 👩🏽‍💻 🏳️‍🌈 🇩🇪 🇳🇴 ❤️ 😀 🎬""",
    "symbols": """## Signs → ∑
- ← ↑ → ↓ ⇒ ↔ ✓ ✗ ☐ ☑ ☒ ★ ☆ ● ○ ■ ▲ ◆ ⚠ ♥ ♪
- ≠ ≤ ≥ ≈ ± × ÷ ∞ √ ∂ ∫ ∀ ∃ ∈ ⊂ ∪ ℝ π² x₁ ½ € ₹ ₿
- ① ⑳ Ⅷ § ¶ † ‰ ℃ № ™ ⌘ ⏎ ░ █ ─ │ └ **→ ∑**""",
}
OF_EXTRA = {"lao", "myanmar", "ethiopic", "chinese", "japanese", "korean"}
SCRIPTS = [pytest.param(name, marks=needs_extra if name in OF_EXTRA else ()) for name in SAMPLES]


def draw(name: str) -> Image.Image:
    return render(SAMPLES[name], 64, style=STYLE).image


def shape(text: str, *, bold: bool = False, rtl: bool = False) -> Shaped:
    return typeface(FAMILIES, bold=bold, italic=False).shape(text, rtl=rtl)


def numbers(shaped: Shaped) -> list[int]:
    return [glyph.number for glyph in shaped.glyphs]


def one(text: str, *more: Span) -> Segment:
    (segment,) = segments([Span(text, PLAIN, 0), *more], families=FAMILIES)
    return segment


def seen(segment: Segment) -> list[str]:
    """The fragments of the segment as one line, from left to right."""
    return [fragment.shaped.text for fragment, _, _ in segment.visual(0, len(segment.pieces))]


@pytest.mark.parametrize("name", SCRIPTS)
def test_page_is_drawn_as_in_the_golden_image(name: str) -> None:
    with Image.open(GOLDEN / f"{name}.png") as golden:
        assert draw(name).tobytes() == golden.convert("RGB").tobytes()


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_character_of_a_script_is_missing(name: str) -> None:
    for line in SAMPLES[name].splitlines():
        for look in (PLAIN, BOLD):
            (segment,) = segments([Span(line, look, 0)], families=FAMILIES)
            assert segment.missing == ""
            shapes = [fragment.shaped for fragment, _, _ in segment.visual(0, len(segment.pieces))]
            assert all(0 not in numbers(shaped) for shaped in shapes)


def test_missing_characters_are_named_with_a_hint() -> None:
    segment = one("ab \U00013000\U00013001")
    assert segment.missing == "\U00013000\U00013001"
    assert missing_hint(segment.missing)
    assert missing_hint("") == ""


def test_characters_of_the_extra_are_missing_without_it() -> None:
    families = ("Noto Sans", "Heebo")
    (segment,) = segments([Span("ab 灯塔 שלום", PLAIN, 0)], families=families)
    assert segment.missing == "灯塔"
    assert segment.pieces[1].width > 0


def test_broken_word_keeps_what_is_missing() -> None:
    wrapped = one("ab\U00013000" * 20).wrap(3.0)
    assert wrapped.broken == 1
    assert wrapped.segment.missing == "\U00013000" * 20


def test_optional_family_is_skipped_unless_named() -> None:
    assert set(checked(FAMILIES)) <= set(FAMILIES)
    assert set(checked(("Heebo", *FAMILIES))) <= set(FAMILIES)
    with pytest.raises(ConfigurationError, match="No Such") as caught:
        checked(("No Such", *FAMILIES))
    assert caught.value.hint == "pip install fontpkg-no-such"


def test_scripts_come_from_their_own_font_before_a_general_one() -> None:
    assert by_preference(FAMILIES, "Deva")[0] == "Noto Sans Devanagari"
    assert by_preference(FAMILIES, "Latn")[0] == "Noto Sans"
    assert by_preference(("Cairo", *FAMILIES), "Arab")[:2] == ("Cairo", "Noto Sans Arabic")
    assert by_preference(("Noto Sans", "Other"), "Latn") == ("Noto Sans", "Other")
    assert numbers(shape("हिन्दी")) != numbers(
        typeface(("Noto Sans",), bold=False, italic=False).shape("हिन्दी")
    )


def test_han_characters_take_the_shapes_of_the_language() -> None:
    assert by_preference(FAMILIES, "Hani", "ja")[0] == "Noto Sans JP"
    assert by_preference(FAMILIES, "Hani", "ko")[0] == "Noto Sans KR"
    assert by_preference(FAMILIES, "Hani")[0] == "Noto Sans SC"


def test_hash_of_the_fonts_depends_on_the_families() -> None:
    assert fonts_sha256(FAMILIES) == fonts_sha256(FAMILIES)
    assert fonts_sha256(("Noto Sans",)) != fonts_sha256(("Noto Sans", "Heebo"))
    assert len(fonts_sha256(("Noto Sans Symbols",))) == 64


@pytest.mark.parametrize("family", FAMILIES)
def test_bold_and_regular_have_a_file(family: str) -> None:
    regular = font_file(family, bold=False, italic=False)
    if regular is None:
        pytest.skip("needs the extra `fonts`")
    assert font_file(family, bold=True, italic=True)
    assert regular.program()


@needs_extra
@pytest.mark.parametrize("text", ["灯塔", "灯台は", "등대"])
def test_bold_of_east_asian_text_is_heavier(text: str) -> None:
    def ink(bold: bool) -> int:
        page = render(f"**{text}**" if bold else text, 16, style=STYLE)
        return sum(255 - value for value in page.image.convert("L").tobytes())

    assert ink(bold=True) > 1.2 * ink(bold=False)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("é", 1),
        ("e\u0301\u0323x", 2),
        ("क्षि", 2),
        ("1️⃣2", 2),
        ("👩‍👩‍👧", 1),
        ("👍🏽👍", 2),
        ("🇩🇪🇫🇷", 2),
        ("🇩🇪🇫", 2),
        ("❤️\u200d🔥!", 2),
        ("🏴\U000e0067\U000e0062\U000e007f", 1),
        ("葛\U000e0100", 1),
    ],
)
def test_clusters_hold_what_belongs_together(text: str, count: int) -> None:
    assert len(clusters(text)) == count


@pytest.mark.parametrize("text", ["1️⃣", "👩‍👩‍👧", "🇩🇪", "👍🏽", "🏳️‍🌈", "⚠️", "❤️‍🔥"])
def test_emoji_sequence_is_one_glyph(text: str) -> None:
    shaped = shape(text)
    assert len(shaped.glyphs) == 1
    assert len(shaped.cuts) == 1


def test_digits_and_letters_never_come_from_an_emoji_font() -> None:
    plain = shape("a1#").glyphs[0].face
    assert {glyph.face for glyph in shape("1#*a©").glyphs} == {plain}
    assert shape("1\ufe0f").glyphs[0].face is plain


def test_variation_selector_chooses_between_text_and_emoji() -> None:
    text, emoji = shape("⚠\ufe0e"), shape("⚠\ufe0f")
    assert text.glyphs[0].face is not emoji.glyphs[0].face
    assert numbers(text) == numbers(shape("⚠"))


def test_emoji_have_stand_ins_without_their_font() -> None:
    families = tuple(family for family in checked(FAMILIES) if family != "Noto Emoji")
    face = typeface(families, bold=False, italic=False)
    assert numbers(face.shape("✅")) == numbers(face.shape("✔"))
    assert numbers(face.shape("🇩🇪")) == numbers(face.shape("DE"))
    assert face.shape("✅🇩🇪").missing == ""


@pytest.mark.parametrize("sign", ["\x07", "\x7f", "\u200b", "\u00ad", "\u2060", "\ufe0f", "\u200f"])
def test_invisible_characters_draw_nothing(sign: str) -> None:
    shaped = shape(f"a{sign}b")
    assert numbers(shaped) == numbers(shape("ab"))
    assert shaped.missing == ""
    assert shaped.text == f"a{sign}b"


def test_arabic_letters_are_joined() -> None:
    alone = {number for letter in "سلم" for number in numbers(shape(letter, rtl=True))}
    assert not alone & set(numbers(shape("سلمس", rtl=True)))


def test_brackets_are_mirrored_from_right_to_left() -> None:
    assert numbers(shape("(", rtl=True)) == numbers(shape(")"))


@pytest.mark.parametrize(
    ("text", "base", "levels"),
    [
        ("abc", 0, "000"),
        ("אבג", 1, "111"),
        ("a אב", 0, "0011"),
        ("אב a", 1, "1112"),
        ("12 אב", 1, "22111"),
        ("a אב 12 b", 0, "001112200"),
        ("ש 12-34", 1, "1122222"),
        ("ع 12,34", 1, "1122222"),
        ("ع 12-34", 1, "1122122"),
        ("א 5%", 1, "1122"),
        ("a (אב) b", 0, "00011000"),
        ("א (b) ג", 1, "1112111"),
        ("a\u05d0\u05b8", 0, "011"),
        ("", 0, ""),
        ("...", 0, "000"),
    ],
)
def test_levels_follow_the_bidirectional_algorithm(text: str, base: int, levels: str) -> None:
    assert directions(text) == (base, [int(level) for level in levels])


TEXT = st.text('ab אבש ع123٤()[].,+-%$/"!\u0301\u05b0\u200f\u2066漢😀', max_size=40)


@settings(deadline=None)
@given(TEXT)
def test_visual_order_is_a_permutation(text: str) -> None:
    levels = directions(text).levels
    order = visual_order(levels)
    assert sorted(order) == list(range(len(text)))
    assert all(level in (0, 1, 2) for level in levels)
    if not has_right_to_left(text.replace("٤", "")):
        assert directions(text).base == 0


@settings(deadline=None, max_examples=150)
@given(TEXT, st.integers(1, 12))
def test_every_line_shows_all_its_words_side_by_side(text: str, width: int) -> None:
    wrapped = one(text).wrap(float(width))
    segment, first = wrapped.segment, 0
    for end in wrapped.ends:
        parts = list(segment.visual(first, end))
        drawn = sorted(letter for part, _, _ in parts for letter in part.shaped.text)
        assert drawn == sorted(
            letter for piece in segment.pieces[first:end] for letter in piece.text
        )
        length = segment.ends[end - 1] - segment.starts[first] if end > first else 0.0
        right = 0.0
        for fragment, x, advance in parts:
            assert x >= right - 1e-9
            right = x + fragment.shaped.width
            assert advance >= fragment.shaped.width - 1e-9
        assert right <= length + 1e-6
        first = end
    assert first == len(segment.pieces)


def test_right_to_left_words_stand_from_right_to_left() -> None:
    segment = one("אחד שתיים three four חמש")
    assert segment.rtl
    assert seen(segment) == ["חמש", "three", "four", "שתיים", "אחד"]
    assert not one("one שתיים").rtl
    assert seen(one("one שתיים שלוש four")) == ["one", "שלוש", "שתיים", "four"]


def test_lines_are_reordered_after_breaking() -> None:
    segment = one("אחד שתיים שלוש ארבע")
    rows = [
        [fragment.shaped.text for fragment, _, _ in segment.visual(first, first + 2)]
        for first in (0, 2)
    ]
    assert rows == [["שתיים", "אחד"], ["ארבע", "שלוש"]]


def test_word_of_two_directions_is_split() -> None:
    assert seen(one("אבcd12")) == ["cd12", "אב"]
    assert seen(one("cd12אב")) == ["cd12", "אב"]


def test_shade_runs_over_the_space_between_marked_words() -> None:
    for text in ("one two", "אחד שתיים"):
        (segment,) = segments([Span(text, MARKED, 0)], families=FAMILIES)
        (left, x, advance), (_, right, last) = segment.visual(0, 2)
        assert x + advance == pytest.approx(right)
        assert advance > left.shaped.width
        assert right + last == pytest.approx(segment.width)
    segment = one("one ", Span("two", MARKED, 0))
    (left, _, advance), _ = segment.visual(0, 2)
    assert advance == left.shaped.width


def test_plain_text_is_not_reordered() -> None:
    segment = one("one, two three")
    assert [x for _, x, _ in segment.visual(1, 3)] == [0.0, segment.starts[2] - segment.starts[1]]


def cut(text: str) -> list[str]:
    return [piece.text for piece in one(text).pieces]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("灯塔，夜", ["灯", "塔，", "夜"]),
        ("「夜」を", ["「夜」", "を"]),
        ("が\u3099か", ["が\u3099", "か"]),
        ("葛\U000e0100城", ["葛\U000e0100", "城"]),
        ("年\u00a0月", ["年\u00a0月"]),
        ("กำลัง", ["กำ", "ลัง"]),
        ("เกาะทางเหนือของ", ["เกาะ", "ทาง", "เหนือ", "ของ"]),
        ("ສ້າງສຳເລັດ", ["ສ້າງ", "ສຳ", "ເລັດ"]),
        ("မီးပြတိုက်", ["မီး", "ပြ", "တိုက်"]),
        ("ខ្មែរបាន", ["ខ្មែរ", "បាន"]),
        ("well-known", ["well-", "known"]),
        ("👩‍👩‍👧👍🏽", ["👩‍👩‍👧👍🏽"]),
        ("a\u2060b", ["a\u2060b"]),
    ],
)
def test_lines_may_end_where_the_script_allows(text: str, pieces: list[str]) -> None:
    assert cut(text) == pieces


@settings(deadline=None, max_examples=150)
@given(st.text("aก็าเแขมែ្។かが\u3099漢、「」e\u0301👍🏽🇩🇪\u200d1\ufe0f\u20e3क्षि ", max_size=30))
def test_no_line_begins_with_a_mark(text: str) -> None:
    segment = one(text).wrap(1.2).segment
    starts = [piece.text[0] for piece in segment.pieces[1:] if piece.text]
    spaced = segment.spaces[: len(segment.pieces) - 1]
    for letter, space in zip(starts, spaced, strict=False):
        assert space or unicodedata.category(letter) != "Mn"
    assert "".join(piece.text for piece in segment.pieces) == "".join(text.split())


def test_words_over_several_looks_and_hard_breaks() -> None:
    spans = [
        Span("Pre", BOLD, 3),
        Span("fix  and", PLAIN, 4),
        Span(HARD_BREAK, PLAIN, 4),
        Span("end", PLAIN, 5),
    ]
    first, last = segments(spans, families=FAMILIES)
    assert [piece.text for piece in first.pieces] == ["Prefix", "and"]
    assert first.lines == [3, 4]
    assert first.text(0, 2) == "Prefix and"
    assert [fragment.look for fragment in first.pieces[0].fragments] == [BOLD, PLAIN]
    assert last.lines == [5]


def test_code_keeps_its_spaces() -> None:
    space = typeface(FAMILIES, bold=False, italic=False).space
    spans = [Span("  a   b", PLAIN, 0)]
    (segment,) = segments(spans, keep_spaces=True, families=FAMILIES)
    assert [piece.text for piece in segment.pieces] == ["", "a", "b"]
    assert segment.spaces == pytest.approx([2 * space, 3 * space, 0])


def test_part_of_a_broken_right_to_left_word_is_its_visual_part() -> None:
    word = "מגדלור" * 12
    wrapped = one(word).wrap(4.0)
    assert "".join(piece.text for piece in wrapped.segment.pieces) == word
    for piece in wrapped.segment.pieces:
        (fragment,) = piece.fragments
        places = [glyph.x for glyph in fragment.shaped.glyphs]
        assert min(places) == pytest.approx(0, abs=0.1)
        assert max(places) < piece.width <= 4.0


def test_shuffled_scripts_never_fail() -> None:
    letters = "".join(SAMPLES.values())
    for seed in range(5):
        text = "".join(random.Random(seed).choices(letters, k=200))
        for segment in segments([Span(text, PLAIN, 0)], families=FAMILIES):
            wrapped = segment.wrap(8.0)
            assert wrapped.ends[-1] == len(wrapped.segment.pieces)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a" + "\u0301" * 60_000, id="marks"),
        pytest.param("א" + "(a)" * 20_000, id="brackets"),
        pytest.param("א" + "(" * 30_000 + ")" * 30_000, id="nested-brackets"),
        pytest.param("👩\u200d" * 20_000, id="joiners"),
        pytest.param("🇩" * 50_000, id="flags"),
        pytest.param("ก" * 60_000, id="thai"),
        pytest.param("漢" * 60_000, id="han"),
        pytest.param("אa1٤" * 15_000, id="levels"),
    ],
)
def test_hostile_runs_take_bounded_time(text: str) -> None:
    started = time.process_time()
    segment = one(text)
    wrapped = segment.wrap(20.0)
    assert "".join(piece.text for piece in wrapped.segment.pieces) == text
    for first, last in pairwise([0, *wrapped.ends][:50]):
        assert list(wrapped.segment.visual(first, last))
    assert time.process_time() - started < 6


if __name__ == "__main__" and sys.argv[1:] == ["--write"]:
    GOLDEN.mkdir(exist_ok=True)
    for sample in SAMPLES:
        draw(sample).save(GOLDEN / f"{sample}.png", optimize=True)
