"""Offsets of real tokenizers and of the estimate."""

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as Encoder

from palimpsest.errors import ConfigurationError
from palimpsest.sources import EstimateTokenizer, FileTokenizer, clip, count

PROSE = (
    "The keeper of the lighthouse had not slept since Tuesday. Waves broke over the lower "
    "gallery, and the lamp, which his grandfather had carried up in 1871, was down to its last "
    'pint of oil.\n"Will it hold?" she asked. He did not answer; he wasn\'t sure it would.\n\n'
    "Für die Größe gilt: x = 3.14.\n  indented code()\n/path/to\n\nand 記憶 😀 more.\n"
)
ENGLISH = (
    "The keeper of the lighthouse had not slept since Tuesday. Waves broke over the lower gallery, "
    "and the lamp, which his grandfather had carried up in 1871, was down to its last pint of oil. "
    '"Will it hold?" she asked. He did not answer; he wasn\'t sure that it would.'
)
CODE = '''def locate(self, start: int, end: int) -> list[Location]:
    """Parts of documents that a span covers."""
    starts = [document.start for document in self.documents]
    for document in self.documents[max(0, bisect_right(starts, start) - 1):]:
        if document.start >= end:
            break
        yield document.name, start - document.start
'''
NUMBERS = "1871 2718281828 3.14159 2024-11-05 12:30:45 192.168.0.1 +49 30 1234567"
HASH = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
BASE64 = "aGVsbG8gd29ybGQsIHRoaXMgaXMgYSBsb25nIHRleHQgdGhhdCBnZXRzIGVuY29kZWQ"
GERMAN = (
    "Die Geschwindigkeitsbegrenzung gilt auf allen Straßen der Umgebung, "
    "außer während der Überprüfung der Brücken."
)
# Words with the character before them, lone digits, marks, line ends: the split of Qwen.
QWEN_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def qwen_like():
    split = pre_tokenizers.Split(Regex(QWEN_SPLIT), behavior="isolated")
    encoder = Encoder(models.BPE())
    encoder.normalizer = normalizers.NFC()
    encoder.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    return encoder


def gpt2_like():
    encoder = Encoder(models.BPE())
    encoder.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    encoder.decoder = decoders.ByteLevel()
    return encoder


def llama2_like():
    encoder = Encoder(models.BPE())
    encoder.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    return encoder


@pytest.fixture(scope="module", params=[qwen_like, gpt2_like, llama2_like])
def trained(request, tmp_path_factory):
    """The path of a trained tokenizer.json, and its encoder."""
    encoder = request.param()
    alphabet = pre_tokenizers.ByteLevel.alphabet() if request.param is not llama2_like else []
    trainer = trainers.BpeTrainer(
        vocab_size=600, initial_alphabet=alphabet, show_progress=False, special_tokens=["<s>"]
    )
    encoder.train_from_iterator([PROSE] * 4, trainer)
    encoder.enable_truncation(max_length=16)
    encoder.enable_padding(length=16)
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    encoder.save(str(path))
    encoder.no_truncation()
    encoder.no_padding()
    return path, encoder


def offsets_of(tokenizer, text):
    return asyncio.run(tokenizer.offsets(text))


def starts_of_whole(encoder, text):
    return [start for start, _ in encoder.encode(text, add_special_tokens=False).offsets]


def test_a_file_gives_the_offsets_of_its_tokenizer(trained):
    path, encoder = trained
    tokenizer = FileTokenizer(path)
    assert offsets_of(tokenizer, PROSE) == starts_of_whole(encoder, PROSE)
    assert tokenizer.exact
    assert tokenizer.name == str(path)


@pytest.mark.parametrize("unit", [PROSE, "line of words\n", "\n\n x\n\ny", "no line end at all "])
def test_long_texts_are_encoded_as_if_whole(trained, unit):
    path, encoder = trained
    text = unit * (250_000 // len(unit))
    assert offsets_of(FileTokenizer(path), text) == starts_of_whole(encoder, text)


@given(text=st.text(max_size=60))
def test_offsets_of_any_text_ascend(trained, text):
    path, _ = trained
    offsets = offsets_of(FileTokenizer(path), text)
    assert all(left <= right for left, right in pairwise(offsets))
    assert all(0 <= offset < len(text) for offset in offsets)


def test_tokens_of_one_character_share_its_offset(trained):
    path, encoder = trained
    if encoder.token_to_id("ð") is None:
        pytest.skip("not a byte-level tokenizer")
    assert offsets_of(FileTokenizer(path), "🦉") == [0, 0, 0]


def test_lone_surrogates_count_as_replacement_characters(trained):
    path, encoder = trained
    assert offsets_of(FileTokenizer(path), "a\ud83d") == starts_of_whole(encoder, "a\ufffd")


def test_a_missing_tokenizer_file_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match="no such tokenizer file") as caught:
        FileTokenizer(tmp_path / "tokenizer.json")
    assert caught.value.hint


def test_a_damaged_tokenizer_file_is_named(tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text("{}")
    with pytest.raises(ConfigurationError, match=r"not a tokenizer\.json"):
        FileTokenizer(path)


@given(text=st.text() | st.text("aA1 .\n記ж😀é\ud800"))
def test_estimated_offsets_ascend_within_the_text(text):
    offsets = offsets_of(EstimateTokenizer(), text)
    assert offsets == sorted(offsets)
    assert all(0 <= offset < len(text) for offset in offsets)


# True counts are those of the tokenizer of Qwen2.5.
@pytest.mark.parametrize(
    ("text", "true_count", "most"),
    [
        pytest.param(ENGLISH, 66, 1.3, id="english"),
        pytest.param(CODE, 82, 1.5, id="code"),
        pytest.param(NUMBERS, 69, 1.1, id="numbers"),
        pytest.param("| year | tons |\n| --- | --- |\n| 1987 | 12.75 |\n", 24, 1.3, id="table"),
        pytest.param(HASH, 59, 1.1, id="hash"),
        pytest.param(BASE64, 46, 1.5, id="base64"),
        pytest.param("https://example.org/wiki/Search?query=long+context", 12, 1.7, id="url"),
        pytest.param(GERMAN, 28, 1.3, id="german"),
        pytest.param("王先生喜欢读书，每天晚上都会花一个小时看历史小说。", 13, 2.1, id="chinese"),
        pytest.param(
            "記憶とは、過去の経験を保持し、後に再現する機能である。", 22, 1.6, id="japanese"
        ),
        pytest.param("기억은 과거의 경험을 보존하고 떠올리는 능력이다.", 22, 1.3, id="korean"),
        pytest.param("Память позволяет сохранять и воспроизводить опыт.", 12, 2.4, id="russian"),
        pytest.param("great 😀🎉👍🏽 thanks 🙏", 9, 2.1, id="emoji"),
    ],
)
def test_the_estimate_is_above_qwen_but_not_by_much(text, true_count, most):
    estimated = asyncio.run(count(EstimateTokenizer(), text))
    assert true_count <= estimated <= most * true_count


def test_the_estimate_says_that_it_is_one():
    assert EstimateTokenizer().name == "estimate"
    assert not EstimateTokenizer().exact


def test_count_is_the_number_of_offsets(trained):
    path, encoder = trained
    assert asyncio.run(count(FileTokenizer(path), PROSE)) == len(starts_of_whole(encoder, PROSE))


@given(text=st.text(), limit=st.integers(-1, 20))
def test_clipped_text_is_the_longest_start_within_the_limit(text, limit):
    tokenizer = EstimateTokenizer()
    clipped = asyncio.run(clip(tokenizer, text, limit))
    offsets = offsets_of(tokenizer, text)
    assert text.startswith(clipped)
    assert sum(offset < len(clipped) for offset in offsets) <= max(limit, 0)
    if clipped != text and limit > 0:
        assert sum(offset <= len(clipped) for offset in offsets) > limit
