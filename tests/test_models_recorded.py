from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import subprocess
import sys

import pytest

from palimpsest.errors import ConfigurationError, ModelError, TransientError
from palimpsest.models import Completion, RecordedModel, Sampling, ScriptedModel, user

QUESTION = user("What is the capital of France?")
SAMPLING = Sampling(max_tokens=50)


def ask(model: RecordedModel, sampling: Sampling = SAMPLING) -> Completion:
    return asyncio.run(model.complete(QUESTION, sampling))


def test_a_recorded_request_is_answered_without_the_model(tmp_path):
    inner = ScriptedModel(["Paris"])
    model = RecordedModel(inner, tmp_path / "answers.sqlite")
    assert ask(model) == ask(model)
    assert len(inner.calls) == 1
    assert model.hits == 1


def test_another_seed_is_another_request(tmp_path):
    model = RecordedModel(ScriptedModel(["one", "two"]), tmp_path / "answers.sqlite")
    texts = [ask(model, Sampling(max_tokens=5, seed=seed)).text for seed in (1, 2, 1)]
    assert texts == ["one", "two", "one"]


def test_off_passes_everything_through_and_stores_nothing(tmp_path):
    path = tmp_path / "answers.sqlite"
    model = RecordedModel(ScriptedModel(["one", "two"]), path, "off")
    assert [ask(model).text, ask(model).text] == ["one", "two"]
    assert not path.exists()


def test_there_is_nothing_to_replay_without_a_file(tmp_path):
    with pytest.raises(ConfigurationError, match="no recording"):
        RecordedModel(None, tmp_path / "answers.sqlite", "replay", name="scripted")


def test_a_replay_needs_no_model(tmp_path):
    path = tmp_path / "answers.sqlite"
    recorded = ask(RecordedModel(ScriptedModel(["Paris"]), path))
    assert ask(RecordedModel(None, path, "replay", name="scripted")) == recorded


def test_a_replay_of_what_was_never_asked_says_what_to_do(tmp_path):
    RecordedModel(ScriptedModel([]), tmp_path / "answers.sqlite")
    model = RecordedModel(None, tmp_path / "answers.sqlite", "replay", name="scripted")
    with pytest.raises(ModelError, match="not in the recording") as caught:
        ask(model)
    assert "recording on" in caught.value.hint


def test_without_a_model_only_a_replay_is_possible(tmp_path):
    with pytest.raises(ConfigurationError):
        RecordedModel(None, tmp_path / "answers.sqlite", "on", name="m")
    with pytest.raises(ConfigurationError):
        RecordedModel(None, tmp_path / "answers.sqlite", "replay")


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(TransientError("overloaded"), id="error"),
        pytest.param(Completion(text="no", finish_reason="refused"), id="refusal"),
    ],
)
def test_errors_and_refusals_are_tried_again(tmp_path, first):
    model = RecordedModel(ScriptedModel([first, "Paris"]), tmp_path / "answers.sqlite")
    with contextlib.suppress(TransientError):
        ask(model)
    assert ask(model).text == "Paris"


def test_an_answer_cut_at_the_limit_is_kept(tmp_path):
    cut = Completion(text="Par", finish_reason="length")
    model = RecordedModel(ScriptedModel([cut]), tmp_path / "answers.sqlite")
    assert ask(model) == ask(model) == cut


def test_equal_requests_at_once_end_with_one_answer(tmp_path):
    model = RecordedModel(
        ScriptedModel([f"answer {index}" for index in range(8)], latency_s=0.01),
        tmp_path / "answers.sqlite",
    )

    async def all_at_once() -> set[str]:
        calls = (model.complete(QUESTION, SAMPLING) for _ in range(8))
        return {answer.text for answer in await asyncio.gather(*calls)}

    assert len(asyncio.run(all_at_once())) == 1


def test_a_replay_cuts_the_same_tokens(tmp_path):
    path = tmp_path / "answers.sqlite"
    text = "Ada Lovelace met Charles Babbage in 1833.\n東京\n" * 50

    async def offsets(model: RecordedModel) -> tuple[str, bool, list[int]]:
        tokenizer = await model.tokenizer()
        return tokenizer.name, tokenizer.exact, await tokenizer.offsets(text)

    recorded = asyncio.run(offsets(RecordedModel(ScriptedModel([]), path)))
    replay = RecordedModel(None, path, "replay", name="scripted")
    assert asyncio.run(offsets(replay)) == recorded


def test_a_replay_knows_no_other_tokens(tmp_path):
    path = tmp_path / "answers.sqlite"
    RecordedModel(ScriptedModel([]), path)
    replay = RecordedModel(None, path, "replay", name="scripted")
    with pytest.raises(ModelError, match="tokenizer"):
        asyncio.run(replay.tokenizer())
    asyncio.run(RecordedModel(ScriptedModel([]), path).tokenizer())
    tokenizer = asyncio.run(replay.tokenizer())
    with pytest.raises(ModelError, match="tokens of a text"):
        asyncio.run(tokenizer.offsets("never counted"))


WRITER = """
import asyncio, sys
from palimpsest.models import RecordedModel, Sampling, ScriptedModel, user

async def main():
    model = RecordedModel(ScriptedModel(lambda *_: sys.argv[2]), sys.argv[1])
    calls = (model.complete(user(str(n)), Sampling(max_tokens=1)) for n in range(40))
    print(*[answer.text for answer in await asyncio.gather(*calls)])

asyncio.run(main())
"""


def test_two_processes_share_a_recording_and_agree(tmp_path):
    path = tmp_path / "answers.sqlite"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), name], stdout=subprocess.PIPE, text=True
        )
        for name in ("first", "second")
    ]
    first, second = [process.communicate(timeout=60)[0].split() for process in processes]
    assert all(process.returncode == 0 for process in processes)
    assert len(first) == 40
    assert first == second


def test_a_file_that_is_no_recording_is_a_configuration_error(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("not a database " * 100)
    with pytest.raises(ConfigurationError, match=r"notes\.txt"):
        RecordedModel(ScriptedModel([]), path)


def test_a_folder_that_cannot_be_made_is_a_configuration_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigurationError, match="cannot be used"):
        RecordedModel(ScriptedModel([]), tmp_path / "file" / "answers.sqlite")


def test_a_recording_of_another_version_is_refused(tmp_path):
    path = tmp_path / "answers.sqlite"
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version=99")
    database.close()
    with pytest.raises(ConfigurationError, match="another version"):
        RecordedModel(ScriptedModel([]), path)
