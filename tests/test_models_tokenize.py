from __future__ import annotations

import asyncio
import re
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopback import Loopback, Reply, Request, chat
from palimpsest.models import OpenAIModel
from palimpsest.models.tokenize import starts, windows
from palimpsest.sources.tokens import Tokenizer

TEXT = "Ada Lovelace wrote notes.\nNaïve “quotes” and 東京 🙂\n\n  indented\n"


def piece_bytes(text: str) -> list[bytes]:
    """Words with the space before them; a character beyond the first plane in single bytes."""
    found: list[bytes] = []
    for piece in re.findall(r"\n+| ?[^\s\U00010000-\U0010ffff]+|\s|.", text):
        data = piece.encode()
        found.extend([bytes([byte]) for byte in data] if ord(piece[-1]) > 0xFFFF else [data])
    return found


def llama_cpp(request: Request) -> Reply:
    """As llama.cpp answers: a piece is text, or bytes where it is no whole text."""
    pieces: list[Any] = []
    for data in piece_bytes(request.json["content"]):
        try:
            pieces.append(data.decode())
        except UnicodeDecodeError:
            pieces.append(list(data))
    tokens = [{"id": index, "piece": piece} for index, piece in enumerate(pieces)]
    return Reply(body={"tokens": tokens})


def visible(data: bytes) -> str:
    """Bytes in the spelling of byte-level vocabularies."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return "".join(
        chr(byte) if byte in printable else chr(256 + others.index(byte)) for byte in data
    )


def vllm_byte_level(request: Request) -> Reply:
    entries = [visible(data) for data in piece_bytes(request.json["prompt"])]
    return Reply(body={"count": len(entries), "tokens": [], "token_strs": entries})


def vllm_sentence_piece(request: Request) -> Reply:
    pieces = piece_bytes(" " + request.json["prompt"])
    entries = [
        data.decode().replace(" ", "\u2581")
        if len(data) > 1 or data < b"\x80"
        else f"<0x{data.hex().upper()}>"
        for data in pieces
    ]
    return Reply(body={"count": len(entries), "tokens": [], "token_strs": entries})


def answering(path: str, respond: Any, key: str) -> Any:
    def at_path(request: Request) -> Reply:
        if request.path != path or key not in request.json:
            return Reply(404, {"detail": "Not Found"})
        return respond(request)

    return at_path


def tokenize(server: Loopback, text: str) -> tuple[Tokenizer, list[int]]:
    async def found() -> tuple[Tokenizer, list[int]]:
        model = OpenAIModel("m", base_url=server.url, retries=0)
        try:
            tokenizer = await model.tokenizer()
            assert await model.tokenizer() is tokenizer or not tokenizer.exact
            return tokenizer, await tokenizer.offsets(text)
        finally:
            await model.aclose()

    return asyncio.run(found())


@pytest.mark.parametrize("text", [TEXT, "plain ascii\n"])
@pytest.mark.parametrize(
    ("path", "respond", "key"),
    [
        pytest.param("/tokenize", llama_cpp, "content", id="llama.cpp"),
        pytest.param("/v1/tokenize", llama_cpp, "content", id="llama.cpp-under-v1"),
        pytest.param("/tokenize", vllm_byte_level, "prompt", id="vllm-byte-level"),
        pytest.param("/tokenize", vllm_sentence_piece, "prompt", id="vllm-sentence-piece"),
    ],
)
def test_the_servers_tokenizer_is_used_and_its_offsets_cut_the_text_into_tokens(
    path, respond, key, text
):
    with Loopback(answering(path, respond, key)) as server:
        tokenizer, offsets = tokenize(server, text)
    assert tokenizer.exact
    assert len(offsets) == len(piece_bytes(text))
    assert offsets == sorted(offsets)
    assert "".join(text[start:end] for start, end in pairwise([*offsets, len(text)])) == text


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(Reply(404, {"detail": "Not Found"}), id="none"),
        pytest.param(Reply(200, "<html></html>"), id="page"),
        pytest.param(chat("ok"), id="other-json"),
        pytest.param(Reply(200, {"tokens": [{"id": 1, "piece": "wrong"}]}), id="wrong-pieces"),
        pytest.param(Reply(401, {"error": {"message": "no"}}), id="refused"),
    ],
)
def test_a_server_without_a_tokenizer_leaves_an_estimate(reply):
    with Loopback(lambda _: reply) as server:
        tokenizer, offsets = tokenize(server, TEXT)
    assert not tokenizer.exact
    assert offsets


def test_a_text_of_no_characters_has_no_tokens():
    with Loopback(answering("/tokenize", llama_cpp, "content")) as server:
        assert tokenize(server, "")[1] == []


def test_a_window_that_the_server_normalises_is_estimated():
    def normalising(request: Request) -> Reply:
        if request.json.get("content") == "e\u0301 text":
            return Reply(body={"tokens": [{"id": 1, "piece": "é"}, {"id": 2, "piece": " text"}]})
        return llama_cpp(request)

    with Loopback(answering("/tokenize", normalising, "content")) as server:
        _, offsets = tokenize(server, "e\u0301 text")
    assert offsets[0] == 0


def test_a_long_text_goes_in_windows_and_comes_back_whole():
    text = TEXT * 5000
    with Loopback(answering("/tokenize", llama_cpp, "content")) as server:
        _, offsets = tokenize(server, text)
    assert len(offsets) == len(piece_bytes(text))
    assert max(len(request.body) for request in server.requests) < 800_000


@given(st.text(alphabet="ab \n東🙂", max_size=200), st.integers(1, 30))
def test_windows_cover_a_text_in_order_and_keep_to_their_size(text, size):
    spans = list(windows(text, size))
    assert "".join(text[start:end] for start, end in spans) == text
    assert all(0 < end - start <= size for start, end in spans)


@given(st.lists(st.text(min_size=1, max_size=4), max_size=20))
def test_starts_are_where_the_pieces_begin(pieces):
    text = "".join(pieces)
    expected = [len("".join(pieces[:index])) for index in range(len(pieces))]
    assert starts(text, [piece.encode() for piece in pieces]) == expected


@given(st.text(min_size=1, max_size=20))
def test_single_bytes_of_a_character_share_its_offset(text):
    pieces = [bytes([byte]) for byte in text.encode()]
    expected = [at for at, character in enumerate(text) for _ in character.encode()]
    assert starts(text, pieces) == expected
