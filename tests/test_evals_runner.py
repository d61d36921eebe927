"""A run: a line for each item whatever becomes of it, and nothing asked twice."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from loopback import Loopback, Reply, chat
from palimpsest.datasets.item import Item, Passage
from palimpsest.errors import ConfigurationError, InputError, TransientError
from palimpsest.evals.engines import LocalEngine
from palimpsest.evals.job import configure, make_job, with_seed
from palimpsest.evals.recording import Recording
from palimpsest.evals.run import RESULTS_FILE, load_run
from palimpsest.evals.runner import evaluate
from palimpsest.evals.spending import Ledger
from palimpsest.memory.store import ReadingStore
from palimpsest.models import Completion, OpenAIModel, ScriptedModel
from palimpsest.models.caps import Amount, Caps
from palimpsest.models.model import Usage
from palimpsest.models.prices import GivenPrice
from palimpsest.models.scripted import texts
from palimpsest.readers import ClosedBook, MemAgent, MemOCR, MemReread

BUDGETS = (64, 16, 4)
READER = MemAgent(chunk_tokens=120, memory_tokens=60, answer_tokens=40, budgets=BUDGETS)
CHUNKS = 4
CALLS = CHUNKS + len(BUDGETS)
"""Of one item."""


def item(number: int, **fields: object) -> Item:
    """A lamp that is on a rock of the item's number, and a keeper who says so late."""
    text = f"Nothing happens on day {number}. " * 45 + f"The lamp is on Rock {number}."
    return Item(
        task="toy",
        id=f"lamp-{number}",
        question=f"Where is lamp {number}?",
        answers=(f"Rock {number}",),
        documents=(Passage(title="log", text=text),),
        **fields,
    )


def prompt_of(messages) -> str:
    return "\n".join(texts(messages))


def is_draft(prompt: str) -> bool:
    return "happens" in prompt


def answer_to(prompt: str) -> str:
    """What a model would say that notes the rock and finds it in its notes."""
    number = prompt.split("Where is lamp ")[1].split("?")[0]
    rock = f"Rock {number}"
    if is_draft(prompt):
        return f"The lamp: {rock if rock in prompt else 'not yet found, so nothing'}."
    return rf"So it is \boxed{{{rock if rock in prompt else 'unknown'}}}."


class Keeper(ScriptedModel):
    """Answers every prompt, but for what `trouble` raises."""

    def __init__(self, trouble=lambda prompt: None, **options) -> None:
        super().__init__(self._answer, **options)
        self._trouble = trouble

    def _answer(self, messages, sampling) -> str | Completion:
        prompt = prompt_of(messages)
        return self._trouble(prompt) or answer_to(prompt)

    @property
    def prompts(self) -> list[str]:
        return [prompt_of(call.messages) for call in self.calls]

    @property
    def drafts(self) -> list[str]:
        return list(filter(is_draft, self.prompts))


async def stream(numbers, length=None):
    for number in numbers:
        yield length, item(number)


def config_of(reader=READER, **fields):
    given = {"task": "toy", "data": "", "name": reader.name, "model": "scripted"}
    return configure(reader=reader, **{**given, "metrics": ("f1",), **fields})


def run(folder, model, numbers=range(4), reader=READER, config=None, **options):
    return asyncio.run(
        evaluate(
            stream(numbers), reader, model, folder, config or config_of(reader), **options
        )
    )  # fmt: skip


def lines(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / RESULTS_FILE).read_text().splitlines()]


def test_an_item_is_a_line_with_its_answers_scored_at_every_budget(tmp_path):
    model = Keeper()
    price = GivenPrice(input=1, output=1)
    done = run(tmp_path / "run", model, [7], price=price)
    assert not done.capped
    assert done.run == load_run(tmp_path / "run")
    [result] = done.run.results
    assert (result.id, result.status, result.accepted) == ("lamp-7", "answered", ("Rock 7",))
    assert [one.budget for one in result.answers] == list(BUDGETS)
    whole, _, least = result.answers
    assert whole.prediction == "Rock 7"
    always = {"f1", "exact_match", "substring", "two_way_substring"}
    assert whole.scores == dict.fromkeys(always, 1.0)
    assert (least.prediction, least.scores["f1"]) == ("unknown", 0.0)
    assert result.chunks == CHUNKS
    assert result.calls == CALLS == len(model.calls)
    assert result.source_tokens > 2 * 120
    assert result.memory_tokens > 0
    assert result.cost == pytest.approx((result.prompt + result.completion) / 1e6)
    [(name, reading)] = ReadingStore(tmp_path / "run" / "readings")
    assert name == result.reading
    assert reading.usage.prompt == result.prompt


@pytest.mark.parametrize("kind", [MemAgent, MemOCR])
@pytest.mark.parametrize("budgets", [(64,), (64, 48, 32, 16)])
def test_a_memory_is_drafted_once_however_many_budgets_it_is_read_at(tmp_path, kind, budgets):
    model = Keeper()
    reader = kind(chunk_tokens=120, memory_tokens=60, budgets=budgets)
    [result] = run(tmp_path, model, [1], reader).run.results
    assert len(model.drafts) == CHUNKS
    assert len(model.prompts) == CHUNKS + len(budgets)
    assert len(result.answers) == len(budgets)


def test_a_text_memory_is_shown_from_its_beginning_up_to_the_budget():
    model = Keeper()
    reading = asyncio.run(READER.read(item(7).source(), "Where is lamp 7?", model))
    assert [answer.budget for answer in reading.answers] == list(BUDGETS)
    memory = reading.memory
    shown = [prompt for prompt in model.prompts if not is_draft(prompt)]
    assert memory in shown[0]
    assert memory not in shown[2]
    assert memory[:8] in shown[2]
    assert len(shown[0]) > len(shown[2])


def test_a_resumed_reading_answers_only_at_the_budgets_that_are_open():
    gone = TransientError("gone")
    model = Keeper()
    reading = asyncio.run(READER.read(item(7).source(), "Where is lamp 7?", model))
    answered = [n for n, record in enumerate(reading.records) if record.kind == "answer"]
    cut = type(reading)(reading.opening, reading.records[: answered[0] + 1])
    again = Keeper()
    resumed = asyncio.run(
        READER.read(item(7).source(), "Where is lamp 7?", again, reading=cut)
    )  # fmt: skip
    assert len(again.calls) == 2
    assert [one.text for one in resumed.answers] == [one.text for one in reading.answers]
    assert str(gone) == "gone"


def test_a_reread_is_answered_at_the_largest_budget(tmp_path):
    def asks(prompt):
        if "<query>" in prompt:
            return "<query>On which rock, as in: Where is lamp 7?</query>"
        return None

    model = Keeper(asks)
    reader = MemReread(base=READER, rereads=1)
    [result] = run(tmp_path, model, [7], reader).run.results
    assert [one.budget for one in result.answers] == list(BUDGETS)
    assert result.answers[0].prediction == "Rock 7"


def test_a_failed_item_stays_in_the_denominator_and_the_others_go_on(tmp_path):
    def trouble(prompt):
        if "lamp 1?" in prompt:
            raise TransientError("the endpoint is overloaded")
        if "lamp 2?" in prompt:
            raise ValueError("a fault")

    results = {one.id: one for one in run(tmp_path, Keeper(trouble)).run.results}
    assert len(results) == 4
    for number, error, reason in (
        (1, "TransientError", "overloaded"),
        (2, "ValueError", "a fault of the program"),
    ):
        failed = results[f"lamp-{number}"]
        assert (failed.status, failed.error) == ("failed", error)
        assert reason in failed.reason
        assert [one.budget for one in failed.answers] == list(BUDGETS)
        assert all(set(one.scores.values()) == {0.0} for one in failed.answers)
    assert results["lamp-3"].answers[0].scores["f1"] == 1.0


def test_what_failed_after_an_answer_has_no_score_left_of_it(tmp_path):
    answers = []

    def trouble(prompt):
        if not is_draft(prompt):
            answers.append(prompt)
            if len(answers) == 2:
                raise TransientError("gone")

    [result] = run(tmp_path, Keeper(trouble), [1]).run.results
    assert result.status == "failed"
    assert {one.scores["f1"] for one in result.answers} == {0.0}
    assert result.calls == CHUNKS + 2


def test_nothing_is_asked_again_of_a_run_that_is_done(tmp_path):
    run(tmp_path, Keeper())
    before = (tmp_path / RESULTS_FILE).read_bytes()
    heard = []
    again = Keeper()
    run(tmp_path, again, on_result=heard.append)
    assert not again.calls
    assert not heard
    assert (tmp_path / RESULTS_FILE).read_bytes() == before


def test_failed_items_are_read_again_only_when_asked(tmp_path):
    def trouble(prompt):
        if "lamp 1?" in prompt and not is_draft(prompt):
            raise TransientError("gone")

    run(tmp_path, Keeper(trouble))
    calm = Keeper()
    assert run(tmp_path, calm).run.results[1].status == "failed"
    assert not calm.calls
    done = run(tmp_path, calm, retry_failed=True)
    assert [one.status for one in done.run.results] == ["answered"] * 4
    assert len(lines(tmp_path)) == 5
    assert len(calm.calls) == len(BUDGETS)


def test_a_reading_whose_result_was_lost_is_not_asked_again(tmp_path):
    run(tmp_path, Keeper(), range(2))
    file = tmp_path / RESULTS_FILE
    whole = file.read_text()
    file.write_text(whole[:-40])
    again = Keeper()
    assert len(run(tmp_path, again, range(2)).run.results) == 2
    assert not again.calls
    untimed = [{**line, "finished": ""} for line in lines(tmp_path)]
    assert untimed == [{**json.loads(line), "finished": ""} for line in whole.splitlines()]


def test_the_same_item_twice_is_one_item(tmp_path):
    model = Keeper()
    assert len(run(tmp_path, model, [1, 1, 1], concurrency=3).run.results) == 1
    assert len(model.calls) == CALLS


def test_another_configuration_is_refused_with_what_differs(tmp_path):
    run(tmp_path, Keeper(), range(1))
    other = READER.model_copy(update={"memory_tokens": 99})
    with pytest.raises(ConfigurationError, match=r"settings\.memory_tokens was 60, now 99"):
        run(tmp_path, Keeper(), range(1), other)
    with pytest.raises(ConfigurationError, match="limit was not set, now 3"):
        run(tmp_path, Keeper(), range(1), config=config_of(limit=3))


def test_two_processes_do_not_write_one_run(tmp_path):
    with (
        Recording(tmp_path, config_of()),
        pytest.raises(ConfigurationError, match="another process"),
    ):
        Recording(tmp_path, config_of())
    Recording(tmp_path, config_of()).close()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="file/run"):
        Recording(tmp_path / "file" / "run", config_of())


def test_each_seed_is_a_reading_of_its_own(tmp_path):
    reader = MemReread(base=READER.model_copy(update={"temperature": 0.7}), rereads=1)
    config = config_of(reader, seeds=(5, 6))
    model = Keeper()
    done = run(tmp_path, model, range(2), reader, config)
    assert [(one.id, one.seed) for one in done.run.results] == [
        ("lamp-0", 5), ("lamp-0", 6), ("lamp-1", 5), ("lamp-1", 6)
    ]  # fmt: skip
    assert {call.sampling.seed for call in model.calls} == {5, 6}
    assert config.settings["base"]["seed"] is None


def test_several_seeds_of_a_greedy_reader_are_refused():
    with pytest.raises(ConfigurationError, match="all the same") as caught:
        config_of(seeds=(0, 1, 2))
    assert "--temperature" in caught.value.hint


def test_keys_tell_item_length_reader_model_and_seed_apart():
    other = READER.model_copy(update={"memory_tokens": 99})
    jobs = [
        make_job(item(1), None, 0, READER, config_of()),
        make_job(item(2), None, 0, READER, config_of()),
        make_job(item(1), 8192, 0, READER, config_of()),
        make_job(item(1), None, 1, READER, config_of()),
        make_job(item(1), None, 0, other, config_of(other)),
        make_job(item(1), None, 0, READER, config_of(model="another")),
    ]
    assert len({job.key for job in jobs}) == len(jobs)
    assert make_job(item(1), None, 0, with_seed(READER, 3), config_of()).key == jobs[0].key


def test_verifiers_are_given_the_whole_completion(tmp_path):
    [result] = run(
        tmp_path, Keeper(), [7], config=config_of(metrics=("memagent_strict", "f1"))
    ).run.results
    assert result.answers[0].scores["memagent_strict"] == 1.0
    assert result.answers[2].scores["memagent_strict"] == 0.0


def test_an_items_own_metric_is_scored_too(tmp_path):
    async def unanswerable():
        yield None, item(3, metric="abstain").model_copy(update={"answers": ()})

    model = ScriptedModel(lambda messages, sampling: r"\boxed{It is not mentioned.}")
    reader = MemAgent()
    done = asyncio.run(evaluate(unanswerable(), reader, model, tmp_path, config_of(reader)))
    [result] = done.run.results
    assert (result.metric, result.answers[0].scores["abstain"]) == ("abstain", 1.0)
    assert result.answers[0].budget is None


@pytest.mark.parametrize(
    ("reader", "status"), [(ClosedBook(), "answered"), (MemAgent(), "failed")]
)  # fmt: skip
def test_an_open_question_without_a_context_is_for_the_closed_book(tmp_path, reader, status):
    async def open_questions():
        yield None, Item(task="toy", id="open", question="Who?", answers=("Ada",))

    model = ScriptedModel([r"\boxed{Ada}"])
    done = asyncio.run(evaluate(open_questions(), reader, model, tmp_path, config_of(reader)))
    [result] = done.run.results
    assert result.status == status
    assert result.answers[0].scores["f1"] == float(status == "answered")
    assert ("no context" in result.reason) == (status == "failed")


def test_what_no_file_can_hold_is_replaced_in_a_result(tmp_path):
    async def broken():
        yield None, item(1).model_copy(update={"question": "Where is lamp 1?\ud800"})

    done = asyncio.run(evaluate(broken(), READER, Keeper(), tmp_path, config_of()))
    [result] = done.run.results
    assert (result.question, result.status) == ("Where is lamp 1?\ufffd", "answered")


def test_items_are_taken_only_as_fast_as_they_are_read(tmp_path):
    ahead, read = [], []

    async def counted():
        for number in range(9):
            ahead.append(number - len(read))
            yield None, item(number)

    asyncio.run(
        evaluate(
            counted(), READER, Keeper(latency_s=0.001), tmp_path, config_of(), concurrency=2,
            on_result=read.append,
        )
    )  # fmt: skip
    assert len(read) == 9
    assert max(ahead) <= 3


def test_an_error_in_the_items_is_raised_and_what_was_read_stays(tmp_path):
    async def torn():
        yield None, item(0)
        await asyncio.sleep(0.2)
        raise InputError("row 2 is damaged")

    with pytest.raises(InputError, match="row 2"):
        asyncio.run(evaluate(torn(), READER, Keeper(), tmp_path, config_of()))
    assert [one.id for one in load_run(tmp_path).results] == ["lamp-0"]


@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_cap_is_of_the_whole_run_and_what_is_not_read_is_not_wrong(tmp_path, concurrency):
    model = Keeper(latency_s=0.001)
    cap = 3 * CALLS + 2
    done = run(tmp_path, model, range(8), caps=Caps(calls=cap), concurrency=concurrency)
    assert done.capped
    assert len(model.calls) <= cap
    assert 1 <= len(done.run.results) < 8
    assert all(one.status in ("answered", "partial") for one in done.run.results)
    for partial in (one for one in done.run.results if one.status == "partial"):
        assert "cap of 23 calls" in partial.reason
        assert "the cap is the run's" in partial.reason
    asked = len(model.calls)
    again = run(tmp_path, model, range(8), caps=Caps(calls=asked))
    assert again.capped
    assert len(model.calls) == asked
    whole = run(tmp_path, model, range(8))
    assert not whole.capped
    assert [one.status for one in whole.run.results] == ["answered"] * 8
    partial = sum(one.status == "partial" for one in done.run.results)
    # A memory that went on is asked again.
    assert len(model.calls) == 8 * CALLS + partial * len(BUDGETS)


def test_a_cap_that_leaves_nothing_for_an_item_makes_no_result(tmp_path):
    done = run(tmp_path, Keeper(), caps=Caps(calls=2))
    assert done.capped
    assert done.run.results == []


@pytest.mark.parametrize("cap", ["tokens", "cost"])
def test_caps_on_tokens_and_money_are_never_passed(tmp_path, cap):
    price = GivenPrice(input=1, output=1)
    alone = run(tmp_path / "alone", Keeper(), [0], price=price).run.results[0]
    taken = alone.prompt + alone.completion
    limit = 3 * taken if cap == "tokens" else 3 * alone.cost
    caps = Caps(**{cap: limit}, price=price)
    done = run(tmp_path / "run", Keeper(), range(8), price=price, caps=caps, concurrency=3)
    assert done.capped
    assert 0 < sum(one.prompt + one.completion for one in done.run.results) <= 3 * taken


def test_a_ledger_deals_out_what_is_left():
    now = [100.0]
    ledger = Ledger(
        Caps(calls=10, seconds=60), {"before": Amount(calls=2)}, clock=lambda: now[0]
    )  # fmt: skip
    first = ledger.share_of("a", 2)
    assert (first.calls, first.seconds) == (4, 60)
    now[0] += 20
    assert ledger.share_of("b", 2).calls == 4
    ledger.settle("a", Amount(calls=1))
    assert ledger.others("b").calls == 3
    assert ledger.share_of("c", 2).calls == 3
    assert ledger.share_of("d", 3) is None
    assert ledger.used_up
    ledger.settle("b", Amount(calls=1))
    assert not ledger.used_up


def test_time_of_an_earlier_go_is_not_counted_in_this_one(tmp_path):
    def slow(prompt):
        if not is_draft(prompt):
            raise TransientError("gone")
        usage = Usage(prompt=1_000_000, completion=9)
        return Completion(text=answer_to(prompt), usage=usage, seconds=500.0)

    run(tmp_path, Keeper(slow), [1])
    done = run(tmp_path, Keeper(), [1], caps=Caps(seconds=400), retry_failed=True)
    [result] = done.run.results
    assert result.status == "answered"
    assert result.seconds == 500 * CHUNKS


IN_A_PROCESS = """
import asyncio, sys
sys.path.insert(0, {tests!r})
from test_evals_runner import over_http
asyncio.run(over_http({url!r}, {folder!r}))
"""


async def over_http(url, folder):
    """A run of six items, two at a time, with a server."""
    model = OpenAIModel("served", base_url=url, api_key="key", retries=0)
    config = config_of(model="served")
    done = await evaluate(
        stream(range(6)), READER, model, Path(folder), config, engine=LocalEngine(model, at_once=2)
    )
    await model.aclose()
    return done


def test_after_a_kill_only_what_is_unfinished_is_asked(tmp_path):
    answered = []

    def serve(request):
        if not request.path.endswith("/chat/completions"):
            return Reply(404, {"error": {"message": "no such thing"}})
        prompt = request.json["messages"][-1]["content"]
        if len(answered) == 2 * CALLS + 3:
            return chat("too late", delay_s=60)
        answered.append(prompt)
        return chat(answer_to(prompt))

    with Loopback(serve) as server:
        script = IN_A_PROCESS.format(
            tests=str(Path(__file__).parent), url=server.url, folder=str(tmp_path)
        )
        process = subprocess.Popen([sys.executable, "-c", script])
        chats = lambda: len(server.asked("/v1/chat/completions"))  # noqa: E731
        assert server.wait_for(lambda: chats() == 2 * CALLS + 5, timeout_s=60)
        process.send_signal(signal.SIGKILL)
        process.wait()
        before = len(lines(tmp_path))
        assert 0 < before < 6
        answered.append("the one that was late")
        done = asyncio.run(over_http(server.url, tmp_path))
        assert [one.status for one in done.run.results] == ["answered"] * 6
        assert len(answered) == 6 * CALLS + 1
    assert len({one.key for one in done.run.results}) == 6
    assert all(one.calls == CALLS for one in done.run.results)
