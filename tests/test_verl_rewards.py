"""A reward in Ray actors: whatever happens in one call costs that call."""

from __future__ import annotations

import asyncio
import os
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from palimpsest.errors import ConfigurationError
from verl_rewards import moody

pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="needs ray, of the extra eval")


@pytest.fixture(scope="module")
def cluster():
    # Ray reads this once, when it is imported: so it listens on this machine alone.
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    import ray

    here = str(Path(__file__).parent)
    sys.path.insert(0, here)
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=100_000_000,
        runtime_env={"env_vars": {"PYTHONPATH": here}},
    )
    yield
    ray.shutdown()


def scores(*completions, workers=1, timeout_s=30.0):
    from palimpsest.training.verl.reward_actors import RewardActors

    async def ask():
        reward = RewardActors(moody, workers=workers, timeout_s=timeout_s)
        found = await asyncio.gather(*(reward(one, ["a"]) for one in completions))
        await reward.aclose()
        return found, reward.failures

    return asyncio.run(ask())


@pytest.mark.filterwarnings("ignore")
def test_what_happens_in_a_call_costs_that_call(cluster):
    found, failures = scores("ab", "raise", "AB", "die", "aB", "nan", "abC", workers=2)
    assert found == [1.0, 0.0, 0.0, 0.0, 0.5, 0.0, pytest.approx(2 / 3)]
    assert failures == {"raised": 1, "died": 1, "no number": 1}


@pytest.mark.filterwarnings("ignore")
def test_a_call_that_takes_too_long_is_given_up(cluster):
    found, failures = scores("sleep", "ab", timeout_s=3.0)
    assert found == [0.0, 1.0]
    assert failures == {"timed out": 1}


def test_actors_that_do_nothing_are_refused(cluster):
    from palimpsest.training.verl.reward_actors import RewardActors

    with pytest.raises(ConfigurationError, match="do nothing"):
        RewardActors(moody, workers=0)
