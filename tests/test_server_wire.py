"""The connections to the upstream: what is sent, what is kept, and what is no answer."""

import asyncio
import contextlib

import pytest

from palimpsest.models.endpoint import endpoint
from palimpsest.server.errors import ApiError
from palimpsest.server.wire import Wire, failures_told

WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Odd: caf\xe9\r\n\r\nwhole"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nwhole\r\n0\r\n\r\n"
HERE = "127.0.0.1"
ELSEWHERE = "127.1"
"""This machine too, under a name that is not taken for it."""


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """One that names no proxy."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


class Scripted:
    """Answers each request with the next of the answers; after one in a tuple it closes."""

    def __init__(self, *answers, host=HERE):
        self.answers = list(answers)
        self.host = host
        self.received = []
        self.connections = 0
        self.sent = 0
        self.ended = asyncio.Event()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self.wire = Wire(endpoint(f"http://{self.host}:{self.port}/v1"))
        return self

    async def __aexit__(self, *_):
        await self.wire.aclose()
        self._server.close()

    async def _serve(self, reader, writer):
        self.connections += 1
        with contextlib.suppress(EOFError, OSError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                _, _, length = head.partition(b"content-length: ")
                body = await reader.readexactly(int(length.split(b"\r\n")[0] or 0))
                self.received.append(head + body)
                answer = self.answers.pop(0)
                await self._send(writer, answer[0] if isinstance(answer, tuple) else answer)
                if isinstance(answer, tuple):
                    break
        writer.close()
        self.ended.set()

    async def _send(self, writer, answer):
        for start in range(0, len(answer), 1 << 16):
            writer.write(answer[start : start + (1 << 16)])
            await writer.drain()
            self.sent += 1 << 16

    async def ask(self, method="POST", target=b"/v1/x?a=%2F", headers=(), body=b"b", timeout_s=60):
        return await self.wire.ask(method, target, headers, body, timeout_s=timeout_s)

    async def asked(self, **options):
        """The answer's body."""
        answer = await self.ask(**options)
        try:
            with failures_told():
                return await answer.aread()
        finally:
            await answer.aclose()


def run(scenario):
    asyncio.run(asyncio.wait_for(scenario, 60))


def test_a_request_is_written_as_it_is_given():
    async def scenario():
        async with Scripted(WHOLE) as upstream:
            answer = await upstream.ask(headers=[(b"X-Odd", b"caf\xe9")], body=b"\xff\r\n")
            await answer.aclose()
            (received,) = upstream.received
        first, *rest = received.split(b"\r\n", 4)
        assert first == b"POST /v1/x?a=%2F HTTP/1.1"
        host = b"host: 127.0.0.1:%d" % upstream.port
        assert rest == [host, b"X-Odd: caf\xe9", b"content-length: 3", b"\r\n\xff\r\n"]
        assert answer.status == 200
        assert (b"X-Odd", b"caf\xe9") in answer.headers

    run(scenario())


@pytest.mark.parametrize(("host", "connections"), [(HERE, 4), (ELSEWHERE, 1)])
def test_a_connection_to_another_machine_is_used_again(host, connections):
    async def scenario():
        async with Scripted(WHOLE, CHUNKED, WHOLE, WHOLE, host=host) as upstream:
            for _ in range(4):
                assert await upstream.asked() == b"whole"
            assert upstream.connections == connections

    run(scenario())


def test_a_kept_connection_that_the_upstream_closed_is_not_used_again():
    async def scenario():
        async with Scripted((WHOLE,), WHOLE, host=ELSEWHERE) as upstream:
            assert await upstream.asked() == b"whole"
            await upstream.ended.wait()
            assert await upstream.asked() == b"whole"
            assert upstream.connections == 2

    run(scenario())


def test_a_request_that_was_received_is_not_sent_again():
    async def scenario():
        async with Scripted(WHOLE, (b"",), WHOLE, host=ELSEWHERE) as upstream:
            assert await upstream.asked() == b"whole"
            with pytest.raises(ApiError) as refused:
                await upstream.ask()
            assert (refused.value.status, refused.value.code) == (502, "upstream_error")
            assert len(upstream.received) == 2

    run(scenario())


@pytest.mark.parametrize(
    "answer",
    [(b"",), b"SSH-2.0-OpenSSH\r\n\r\n", (WHOLE[:20],), (WHOLE[:-2],), (CHUNKED[:-5],)],
    ids=["nothing", "no HTTP", "half a head", "half a body", "a part of the chunks"],
)
def test_what_is_not_a_whole_answer_is_broken(answer):
    async def scenario():
        async with Scripted(answer) as upstream:
            with pytest.raises(ApiError) as refused:
                await upstream.asked()
            assert (refused.value.status, refused.value.code) == (502, "upstream_error")
            assert str(upstream.port) not in refused.value.message

    run(scenario())


def test_silence_is_too_slow_and_ends_the_connection():
    async def scenario():
        async with Scripted(b"") as upstream:
            with pytest.raises(ApiError) as refused:
                await upstream.ask(timeout_s=0.1)
            assert (refused.value.status, refused.value.code) == (504, "upstream_timeout")
            await upstream.ended.wait()

    run(scenario())


def test_giving_up_ends_the_connection():
    async def scenario():
        async with Scripted(b"") as upstream:
            asking = asyncio.create_task(upstream.ask())
            while not upstream.received:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
            asking.cancel()
            await upstream.ended.wait()

    run(scenario())


def test_an_answer_that_is_closed_early_ends_the_connection():
    async def scenario():
        async with Scripted(WHOLE[:-2], host=ELSEWHERE) as upstream:
            answer = await upstream.ask()
            await answer.aclose()
            await upstream.ended.wait()

    run(scenario())


def test_more_than_can_be_taken_waits_in_the_upstream():
    size = 64 << 20

    async def scenario():
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size
        async with Scripted(head + bytes(size)) as upstream:
            answer = await upstream.ask()
            await asyncio.sleep(0.3)
            assert upstream.sent < size // 2
            assert sum([len(piece) async for piece in answer.aiter_stream()]) == size
            await answer.aclose()

    run(scenario())


def test_nobody_there_is_unreachable():
    async def scenario():
        async with Scripted() as upstream:
            upstream._server.close()
            await upstream._server.wait_closed()
            with pytest.raises(ApiError) as refused:
                await upstream.ask()
            assert (refused.value.status, refused.value.code) == (502, "upstream_unreachable")

    run(scenario())


@pytest.mark.parametrize(
    "options",
    [{"target": b"/v1/a b"}, {"target": b"/\r\nX: 1"}, {"headers": [(b"x", b"1\r\nY: 2")]}],
    ids=["a blank", "lines in the path", "lines in a header"],
)
def test_nothing_is_sent_that_would_be_another_request(options):
    async def scenario():
        async with Scripted() as upstream:
            with pytest.raises(ApiError) as refused:
                await upstream.ask(**options)
            assert (refused.value.status, refused.value.code) == (400, "unsendable")
            assert upstream.received == []

    run(scenario())


def test_a_proxy_of_the_environment_is_used_but_for_this_machine(environment):
    async def scenario():
        async with Scripted(WHOLE) as proxy, Scripted(WHOLE) as here:
            environment.setenv("http_proxy", f"http://me:se%40cret@127.0.0.1:{proxy.port}")
            away = Wire(endpoint("http://api.example.com/v1"))
            answer = await away.ask("GET", b"/v1/models", [], b"", timeout_s=60)
            assert await answer.aread() == b"whole"
            await answer.aclose()
            await away.aclose()
            (received,) = proxy.received
            assert received.startswith(b"GET http://api.example.com/v1/models HTTP/1.1\r\n")
            assert b"\r\nhost: api.example.com\r\n" in received
            assert b"\r\nProxy-Authorization: Basic bWU6c2VAY3JldA==\r\n" in received
            here.wire = Wire(endpoint(f"http://127.0.0.1:{here.port}/v1"))
            assert await here.asked() == b"whole"
            assert len(proxy.received) == 1

    run(scenario())


def test_an_upstream_that_needs_no_proxy_has_none(environment):
    async def scenario():
        async with Scripted(WHOLE, host=ELSEWHERE) as upstream:
            environment.setenv("http_proxy", "http://127.0.0.1:1")
            environment.setenv("no_proxy", ELSEWHERE)
            upstream.wire = Wire(endpoint(f"http://{ELSEWHERE}:{upstream.port}/v1"))
            assert await upstream.asked() == b"whole"

    run(scenario())
