"""Items spread over a Ray cluster of this machine: the same results, whoever dies."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest

from palimpsest.errors import ConfigurationError
from palimpsest.evals.engines import RayEngine
from palimpsest.evals.engines.ray_cluster import _kept, _Order, _read, _work
from palimpsest.evals.job import make_job
from palimpsest.evals.recording import Recording
from palimpsest.evals.run import CONFIG_FILE, RESULTS_FILE
from palimpsest.evals.runner import evaluate
from palimpsest.memory.store import ReadingStore
from palimpsest.models import RecordedModel
from palimpsest.models.caps import Caps
from palimpsest.readers import MemAgent
from palimpsest.settings import ModelSettings, open_model
from test_evals_runner import CALLS, READER, Keeper, config_of, item, stream

if find_spec("ray") is None:
    pytest.skip("needs ray, of the extra eval", allow_module_level=True)
NUMBERS = range(6)
CONFIG = config_of(model="recorded")


class FatalOnce(MemAgent):
    """Kills the process that it reads in, the first time."""

    mark: str

    async def draft(self, session, scan) -> None:
        _die_unless(self.mark)
        await super().draft(session, scan)


def _die_unless(mark):
    if not os.path.exists(mark):
        Path(mark).touch()
        os.kill(os.getpid(), signal.SIGKILL)


class Fatal(MemAgent):
    """Kills the process that it reads in."""

    async def draft(self, session, scan) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    """The answers of a run in this process, and that run."""
    folder = tmp_path_factory.mktemp("recorded")
    model = RecordedModel(Keeper(name="recorded"), folder / "answers.sqlite", "on")
    done = asyncio.run(evaluate(stream(NUMBERS), READER, model, folder / "run", CONFIG))
    # What caps must know of the tokens is recorded too.
    capped = evaluate(
        stream(NUMBERS), READER, model, folder / "capped", CONFIG, caps=Caps(calls=1000)
    )
    asyncio.run(capped)
    return folder / "answers.sqlite", done.run


@pytest.fixture(scope="module")
def settings(record):
    path, _ = record
    return ModelSettings(
        name="recorded", base_url="http://127.0.0.1:9/v1", record=str(path), record_mode="replay"
    )


@pytest.fixture(scope="module")
def engine(settings):
    with pytest.MonkeyPatch.context() as patch:
        # Workers must know the readers of this file.
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        with RayEngine(settings, workers=2) as engine:
            yield engine


def spread(engine, settings, folder, numbers=NUMBERS, reader=READER, **options):
    config = options.pop("config", CONFIG)
    model = open_model(settings)
    return asyncio.run(
        evaluate(stream(numbers), reader, model, folder, config, engine=engine, **options)
    )


def untimed(results):
    """What does not depend on when and where a result came."""
    passing = {"finished": "", "reading": "", "seconds": 0.0}
    return {one.key: one.model_copy(update=passing) for one in results}


def test_two_workers_give_the_same_items_and_scores_as_one_process(
    engine, settings, record, tmp_path
):
    _, local = record
    heard = []
    done = spread(engine, settings, tmp_path, on_result=heard.append)
    assert untimed(done.run.results) == untimed(local.results)
    assert len(heard) == len(NUMBERS)
    assert {one.answers[0].scores["f1"] for one in done.run.results} == {1.0}
    kept = dict(ReadingStore(tmp_path / "readings"))
    assert set(kept) == {one.reading for one in done.run.results}
    assert all(len(reading.turns) == CALLS for reading in kept.values())
    again = spread(engine, settings, tmp_path)
    assert again.run == done.run


def test_a_dead_worker_costs_one_more_try(engine, settings, tmp_path):
    mark = tmp_path / "died"
    reader = FatalOnce(**dict(READER), mark=str(mark))
    other = partial(config_of, reader, model="recorded", name="fatal")
    done = spread(engine, settings, tmp_path / "run", [1], reader, config=other())
    assert mark.exists()
    [result] = done.run.results
    assert (result.status, result.answers[0].prediction) == ("answered", "Rock 1")


def test_an_item_that_kills_its_workers_is_a_failed_row(engine, settings, tmp_path):
    reader = Fatal(**dict(READER))
    config = config_of(reader, model="recorded", name="fatal")
    done = spread(engine, settings, tmp_path, [1], reader, config=config)
    [result] = done.run.results
    assert (result.status, result.answers[0].scores["f1"]) == ("failed", 0.0)
    assert "failed on 2 workers" in result.reason


def test_caps_are_dealt_out_to_workers(engine, settings, tmp_path):
    done = spread(engine, settings, tmp_path, caps=Caps(calls=2 * CALLS))
    assert done.capped
    assert [one.status for one in done.run.results] == ["answered"] * 2


def test_a_local_cluster_listens_on_the_loopback_address_alone(engine):
    import ray

    assert ray.util.get_node_ip_address() == "127.0.0.1"
    assert ray.nodes()[0]["NodeManagerAddress"] == "127.0.0.1"
    assert engine.at_once == 2


def order_in(folder, settings):
    config = (folder / CONFIG_FILE).read_text()
    job = make_job(item(2), None, 0, READER, CONFIG)
    return _Order(job, settings, None, folder, config)


def test_a_reading_comes_back_from_a_worker_that_does_not_see_the_folder(settings, tmp_path):
    Recording(tmp_path, CONFIG).close()
    order = replace(order_in(tmp_path, settings), folder=tmp_path / "elsewhere")
    done = asyncio.run(_read(order, open_model(settings)))
    assert done.lines
    store = ReadingStore(tmp_path / "readings")
    result = _kept(done, store)
    [(name, reading)] = store
    assert name == result.reading
    assert reading.to_lines() == done.lines
    seen = asyncio.run(_read(order_in(tmp_path, settings), open_model(settings)))
    assert not seen.lines
    assert untimed([seen.result]) == untimed([result])


def test_a_model_that_a_worker_cannot_open_is_a_failed_row(settings, tmp_path):
    Recording(tmp_path, CONFIG).close()
    gone = settings.model_copy(update={"record": str(tmp_path / "none.sqlite")})
    done = _work(order_in(tmp_path, gone))
    assert (done.result.status, done.result.error) == ("failed", "ConfigurationError")
    assert "none.sqlite" in done.result.reason
    assert not (tmp_path / RESULTS_FILE).read_text()


def test_a_cluster_that_is_not_there_is_a_clear_error(settings):
    engine = RayEngine(settings, address="127.0.0.1:9")
    with pytest.raises(ConfigurationError, match="no Ray cluster"), engine:
        pass
