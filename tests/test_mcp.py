"""The MCP server, asked by the SDK's own client: over standard streams, and in this process."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest
from mcp import Client, StdioServerParameters

from loopback import Loopback, Reply, chat, failure
from palimpsest.errors import ConfigurationError, InputError
from palimpsest.models.caps import Caps
from palimpsest.readers import MemAgent
from palimpsest.server.mcp import Desk, mcp_server
from palimpsest.server.roots import Roots

QUESTION = "Where is the lamp?"
SENTENCES = ("Ada keeps the lamp.", "The lamp is on Gull Rock.", "Nothing happens.")
TEXT = " ".join(" ".join([sentence] * 30) for sentence in SENTENCES)
READER = MemAgent(chunk_tokens=200, memory_tokens=60)
COMMAND = ("-m", "palimpsest", "mcp")
TOOLS = {"ask_file", "append_memory", "ask_memory", "list_memories", "blame_line"}


def reads(request):
    """What a model would say that looks for the lamp. Only drafts show whole sentences."""
    if not request.path.endswith("/chat/completions"):
        return Reply(404, {"error": {"message": "no such thing"}})
    prompt = request.json["messages"][-1]["content"]
    if not any(sentence in prompt for sentence in SENTENCES):
        return chat(r"So the answer is \boxed{Gull Rock}.")
    found = "\n- The lamp: Gull Rock" if "Gull Rock" in prompt else ""
    return chat(f"# Notes\n\n- Ada keeps a lamp{found}")


@pytest.fixture
def server():
    with Loopback(reads) as made:
        yield made


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "papers"
    folder.mkdir()
    (folder / "story.txt").write_text(TEXT)
    (tmp_path / "secret.txt").write_text("The key is under the mat.")
    return folder


def environment(folder, server):
    (folder / "config.toml").touch()
    return {
        "PALIMPSEST_CONFIG": str(folder / "config.toml"),
        "PALIMPSEST_READINGS": str(folder / "readings"),
        "PALIMPSEST_MEMORIES": str(folder / "memories"),
        "PALIMPSEST_BASE_URL": server.url,
        "PALIMPSEST_MODEL": "served",
        "PALIMPSEST_API_KEY": "key",
        "PALIMPSEST_RETRIES": "0",
    }


def call(client, tool, progress=None, **arguments):
    return client.call_tool(tool, arguments, progress_callback=progress)


def told(result):
    assert not result.is_error, result.content[0].text
    return result.structured_content


def complaint(result):
    assert result.is_error
    return result.content[0].text


@pytest.fixture
def ask(tmp_path, root, server, monkeypatch):
    """Runs a scenario with a client of a server in this process."""
    for name in [*os.environ]:
        if name.startswith(("PALIMPSEST_", "OPENAI_")):
            monkeypatch.delenv(name)
    for name, value in environment(tmp_path, server).items():
        monkeypatch.setenv(name, value)

    def run(scenario, **settings):
        async def main():
            desk = Desk(roots=Roots([root]), reader=READER, **settings)
            try:
                async with Client(mcp_server(desk)) as client:
                    return await scenario(client)
            finally:
                await desk.aclose()

        return asyncio.run(main())

    return run


def test_over_stdio_a_file_is_asked_with_progress_and_a_memory_grows_and_is_blamed(
    tmp_path, root, server
):
    steps = []

    async def progress(done, total, message):
        steps.append((done, total, message))

    async def scenario():
        parameters = StdioServerParameters(
            command=sys.executable,
            args=[*COMMAND, "--root", str(root), "--chunk-tokens", "200", "--memory-tokens", "60"],
            env=environment(tmp_path, server),
            cwd=tmp_path,
        )
        async with Client(parameters) as client:
            assert {tool.name for tool in (await client.list_tools()).tools} == TOOLS
            asked = told(
                await call(client, "ask_file", progress, paths=["story.txt"], question=QUESTION)
            )
            blamed = told(
                await call(client, "blame_line", line="gull rock", reading=asked["reading"])
            )
            secret = str(tmp_path / "secret.txt")
            outside = complaint(
                await call(client, "ask_file", paths=[secret], question=QUESTION)
            )  # fmt: skip
            first = told(await call(client, "append_memory", name="isle", paths=["story.txt"]))
            again = told(await call(client, "append_memory", name="isle", paths=["story.txt"]))
            answer = told(await call(client, "ask_memory", name="isle", question=QUESTION))
            shelf = told(await call(client, "list_memories"))["result"]
            line = told(
                await call(client, "blame_line", line="- The lamp: Gull Rock", memory="isle")
            )
        return asked, blamed, outside, first, again, answer, shelf, line

    asked, blamed, outside, first, again, answer, shelf, line = asyncio.run(scenario())
    story = str(root / "story.txt")
    assert (asked["answer"], asked["status"], asked["supported"]) == ("Gull Rock", "answered", True)
    quote = asked["quotes"][0]
    assert quote["document"] == story
    assert TEXT[quote["start"] : quote["end"]] == quote["quote"]
    assert "Gull Rock" in quote["quote"]
    assert [done for done, _, _ in steps] == list(range(1, len(steps) + 1))
    assert steps[-1][:2] == (len(steps), len(steps))
    assert len(steps) > 1
    assert f"of {len(steps)}" in steps[0][2]
    assert blamed["text"] == "- The lamp: Gull Rock"
    assert blamed["supported"]
    assert blamed["quotes"][0]["document"] == story
    assert "not inside" in outside
    assert first["made"]
    assert first["added"] == [story]
    assert "Gull Rock" in first["memory"]
    assert (again["made"], again["added"], again["skipped"]) == (False, [], [story])
    assert answer["answer"] == "Gull Rock"
    assert answer["quotes"][0]["document"] == story
    assert [one["name"] for one in shelf] == ["isle"]
    assert shelf[0]["documents"] == [story]
    assert line["quotes"][0]["quote"] == "The lamp is on Gull Rock."


@pytest.mark.parametrize(
    "path",
    [
        "../secret.txt",
        "../missing.txt",
        "sub/../../secret.txt",
        "{folder}/secret.txt",
        "{folder}/papers/../secret.txt",
        "{folder}/papers-of-others/secret.txt",
        "link.txt",
        "linked/secret.txt",
        "linked/../secret.txt",
        "..",
        "/etc/passwd",
        "/proc/self/environ",
        "~/secret.txt",
        "*.txt",
        "-",
        "a\0b",
        "",
        "x" * 5_000,
    ],
)
def test_no_path_leads_out_of_the_roots(ask, root, server, path):
    (root / "link.txt").symlink_to(root.parent / "secret.txt")
    (root / "linked").symlink_to(root.parent)
    others = root.parent / "papers-of-others"
    others.mkdir()
    (others / "secret.txt").write_text("The key is under the mat.")
    given = path.format(folder=root.parent)

    async def scenario(client):
        return [
            complaint(await call(client, "ask_file", paths=[given], question=QUESTION)),
            complaint(await call(client, "append_memory", name="isle", paths=[given])),
        ]

    for said in ask(scenario):
        assert "under the mat" not in said
    assert server.asked("/v1/chat/completions") == []


def test_outside_it_is_not_told_what_is_there(root):
    roots = Roots([root])
    said = []
    for name in ("secret.txt", "secrex.txt"):
        with pytest.raises(InputError) as caught:
            roots.files([f"../{name}"])
        said.append(str(caught.value).replace(name, ""))
    assert said[0] == said[1]


def test_a_folder_is_read_without_what_is_hidden_or_linked_from_outside(root):
    (root / "sub").mkdir()
    (root / "sub" / "b.md").write_text("b")
    (root / "sub" / "picture.png").write_bytes(b"\x89PNG")
    (root / ".hidden.txt").write_text("hidden")
    (root / "out.txt").symlink_to(root.parent / "secret.txt")
    (root / "in.txt").symlink_to(root / "story.txt")
    (root / "up").symlink_to(root.parent)
    os.mkfifo(root / "pipe.txt")
    assert Roots([root]).files(["."]) == [root / "story.txt", root / "sub" / "b.md"]
    assert Roots([root]).files(["story.txt", str(root), "in.txt"])[0] == root / "story.txt"


def test_a_path_is_looked_for_in_each_root(root, tmp_path):
    second = tmp_path / "letters"
    second.mkdir()
    (second / "a.txt").write_text("a")
    assert Roots([root, second]).files(["a.txt", "story.txt"]) == [
        second / "a.txt",
        root / "story.txt",
    ]


@pytest.mark.parametrize("folders", [[], [Path("/nowhere/at/all")]])
def test_roots_that_are_none_are_refused(folders):
    with pytest.raises(ConfigurationError):
        Roots(folders)


@pytest.mark.parametrize("name", ["", "..", "../readings", "*", "a/b", "[a-z]", "nothing"])
def test_a_reading_is_found_by_its_name_alone(ask, name):
    async def scenario(client):
        await call(client, "ask_file", paths=["story.txt"], question=QUESTION)
        return complaint(await call(client, "blame_line", line="lamp", reading=name))

    assert ask(scenario)


def test_a_reading_of_files_outside_the_roots_is_not_blamed(ask, root):
    async def scenario(client):
        asked = told(await call(client, "ask_file", paths=["story.txt"], question=QUESTION))
        (root / "story.txt").rename(root.parent / "story.txt")
        (root / "story.txt").symlink_to(root.parent / "story.txt")
        return complaint(await call(client, "blame_line", line="lamp", reading=asked["reading"]))

    assert "not inside" in ask(scenario)


def test_a_source_that_changed_is_not_quoted(ask, root):
    async def scenario(client):
        asked = told(await call(client, "ask_file", paths=["story.txt"], question=QUESTION))
        (root / "story.txt").write_text("Another story.")
        return complaint(await call(client, "blame_line", line="lamp", reading=asked["reading"]))

    assert "changed" in ask(scenario)


def test_a_line_that_is_none_or_several_is_answered_with_those_there_are(ask):
    async def scenario(client):
        asked = told(await call(client, "ask_file", paths=["story.txt"], question=QUESTION))
        reading = asked["reading"]
        return [
            complaint(await call(client, "blame_line", line=line, reading=reading))
            for line in ("harpsichord", "lamp", " ")
        ]

    none, several, empty = ask(scenario)
    assert "no line has" in none
    assert "- The lamp: Gull Rock" in none
    assert "2 lines have" in several
    assert "no line is named" in empty


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("ask_file", {"paths": ["story.txt"], "question": QUESTION, "reader": "psychic"}, "memocr"),
        ("ask_file", {"paths": ["story.txt"], "question": QUESTION, "budget": 0}, "budget"),
        (
            "ask_file",
            {"paths": ["story.txt"], "question": QUESTION, "reader": "closed", "budget": 9},
            "no budget",
        ),
        ("ask_file", {"paths": ["story.txt"], "question": " "}, "question"),
        ("ask_file", {"paths": [], "question": QUESTION}, "nothing to read"),
        ("ask_file", {"paths": ["missing.txt"], "question": QUESTION}, "missing.txt"),
        ("append_memory", {"name": "isle"}, "nothing to append"),
        ("append_memory", {"name": "../isle", "note": "x"}, "name"),
        ("ask_memory", {"name": "isle"}, "no saved memory"),
        ("ask_memory", {"name": "../memories"}, "no saved memory"),
        ("blame_line", {"line": "x"}, "one memory or one reading"),
        ("blame_line", {"line": "x", "memory": "a", "reading": "b"}, "one memory or one reading"),
        ("blame_line", {"line": "x", "memory": "isle"}, "no saved memory"),
    ],
)
def test_wrong_arguments_are_told_with_what_to_do(ask, server, tool, arguments, said):
    async def scenario(client):
        return complaint(await call(client, tool, **arguments))

    assert said in ask(scenario)
    assert server.asked("/v1/chat/completions") == []


def test_a_memory_takes_texts_and_notes_and_keeps_its_question(ask):
    async def scenario(client):
        await call(client, "append_memory", name="isle", text=TEXT, title="Log", question=QUESTION)
        noted = told(await call(client, "append_memory", name="isle", note="Oil comes on Mondays"))
        answer = told(await call(client, "ask_memory", name="isle"))
        line = told(await call(client, "blame_line", line="Oil comes", memory="isle"))
        other = complaint(
            await call(client, "append_memory", name="isle", note="x", question="Who is Ada?")
        )  # fmt: skip
        return noted, answer, line, other

    noted, answer, line, other = ask(scenario)
    assert "Oil comes on Mondays" in noted["memory"]
    assert noted["documents"] == 1
    assert answer["answer"] == "Gull Rock"
    assert answer["quotes"][0]["document"] == "Log"
    assert line["noted_by_hand"]
    assert QUESTION in other


def test_a_reading_that_a_cap_ended_is_told_to_be_partial(ask):
    async def scenario(client):
        return told(await call(client, "ask_file", paths=["story.txt"], question=QUESTION))

    asked = ask(scenario, caps=Caps(calls=2))
    assert asked["status"] == "partial"
    assert asked["reason"]


def test_a_refused_key_is_told_and_the_server_lives_on(ask, server):
    async def scenario(client):
        server.routes["/v1/chat/completions"] = failure(401, "wrong key")
        refused = complaint(await call(client, "ask_file", paths=["story.txt"], question=QUESTION))
        del server.routes["/v1/chat/completions"]
        return refused, told(await call(client, "ask_file", paths=["story.txt"], question=QUESTION))

    refused, asked = ask(scenario)
    assert "key" in refused
    assert "Traceback" not in refused
    assert asked["answer"] == "Gull Rock"
