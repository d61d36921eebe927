from __future__ import annotations

import asyncio
import io
import math
import re

import pytest
from PIL import Image

from palimpsest.datasets.item import Item, Passage
from palimpsest.errors import ConfigurationError, TransientError
from palimpsest.models.scripted import texts
from palimpsest.pages import render
from palimpsest.readers.gated import Gated
from palimpsest.readers.memagent import MemAgent
from palimpsest.readers.memocr import MemOCR
from palimpsest.training.agents import ReaderAgent, roll_out
from palimpsest.training.credit import multi_task, spread
from palimpsest.training.objectives import NO_CLOZE, WEIGHTS, Objectives
from palimpsest.training.rewards import REWARDS
from palimpsest.training.scripted import IMAGE, ScriptedPolicy, text_of

_MEMORY = (
    "# ADA BRANDT\n- wrote **The Blue Heron** in 1938\n- born in **Bergen**, worked as a judge"
)
_ITEM = Item(
    task="toy",
    id="toy-1",
    question="Where was Ada Brandt born?",
    answers=("Bergen",),
    documents=(Passage(title="Ada Brandt", text="Ada Brandt, a judge, was born in Bergen."),),
)


def _policy(*, memory=_MEMORY, gaps=None, small="Bergen"):
    """Drafts a memory and answers by what it is asked, from the small page as `small` says."""

    def respond(messages, sampling):
        prompt = "".join(texts(messages))
        if "Next section:" in prompt:
            return memory
        if "[gap 1]" in prompt:
            words = _gap_words(prompt) if gaps is None else gaps
            if isinstance(words, Exception):
                raise words
            return rf"\boxed{{{words}}}"
        image = messages[0]["content"][0]["image_url"]["url"]
        return rf"\boxed{{{small if image in _SMALL else 'Bergen'}}}"

    return ScriptedPolicy(respond)


_SMALL = {render(_MEMORY, budget).data_url() for budget in (4, 6, 8)}


def _gap_words(prompt):
    """The words of the page that are missing from a prompt, by looking at the page's text."""
    shown = " ".join(render(_MEMORY, 64).text.split())
    part = prompt.split("\n\n")[1]
    pattern = re.sub(r"\\\[gap\\ \d\\\]", r"([^\\s;,.]+)", re.escape(part))
    return "; ".join(re.search(pattern, shown).groups())


def _agent(**options):
    reader = options.pop("reader", MemOCR(budgets=(64,)))
    objectives = Objectives(**{"low_budgets": (8,), **options})
    return ReaderAgent(reader, REWARDS["strict"], objectives)


def _rollout(policy, agent=None, **options):
    return asyncio.run(roll_out(agent or _agent(), _ITEM, policy, **options))


def test_a_memory_is_read_for_its_question_at_two_budgets_and_for_its_gaps():
    rollout = _rollout(_policy())
    assert rollout.failure == ""
    assert rollout.scores == {"standard": 1, "low_budget": 1, "cloze": 1}
    assert [(one.role, one.task) for one in rollout.conversations] == [
        ("draft", ""),
        ("read", "standard"),
        ("low-resolution", "low_budget"),
        ("cloze", "cloze"),
    ]


def test_the_small_page_is_a_page_of_that_budget():
    _, full, small, cloze = _rollout(_policy(), _agent(low_budgets=(8,))).conversations
    pages = [Image.open(io.BytesIO(one.images[0])) for one in (full, small, cloze)]
    cells = [page.width // 28 * (page.height // 28) for page in pages]
    assert cells[1] <= 8 < cells[0] <= 64
    assert all(page.width % 28 == page.height % 28 == 0 for page in pages)
    assert full.images == cloze.images
    assert [one.prompt_ids.count(IMAGE) for one in (full, small, cloze)] == [1, 1, 1]
    assert text_of(full.prompt_ids) == text_of(small.prompt_ids)


def test_each_task_is_scored_by_its_own_answer():
    rollout = _rollout(_policy(small="Oslo", gaps="wrong; wrong; wrong"))
    assert rollout.scores == {"standard": 1, "low_budget": 0, "cloze": 0}


def test_an_empty_memory_is_worth_nothing_in_its_gaps_and_says_so():
    rollout = _rollout(_policy(memory=""))
    assert rollout.scores["cloze"] == 0
    assert rollout.details["cloze"] == NO_CLOZE
    assert "cloze" not in {one.role for one in rollout.conversations}


def test_one_budget_is_drawn_for_all_rollouts_of_a_group():
    agent = _agent(low_budgets=(4, 6, 8))

    def budgets(occasion):
        rollouts = (_rollout(_policy(), agent, number=n, occasion=occasion) for n in range(4))
        return {one.details["low_budget"] for one in rollouts}

    drawn = [budgets(f"step {step}") for step in range(6)]
    assert all(len(one) == 1 for one in drawn)
    assert len(set.union(*drawn)) > 1


def test_rollouts_have_gaps_of_their_own_that_can_be_made_again():
    gaps = [_rollout(_policy(), number=number).details["cloze"] for number in range(6)]
    again = [_rollout(_policy(), number=number).details["cloze"] for number in range(6)]
    assert gaps == again
    assert len(set(gaps)) > 1


def test_a_task_whose_call_failed_has_no_score_and_the_others_keep_theirs():
    rollout = _rollout(_policy(gaps=TransientError("timed out")))
    assert rollout.failure == ""
    assert rollout.scores["standard"] == rollout.scores["low_budget"] == 1
    assert math.isnan(rollout.scores["cloze"])
    assert rollout.details["cloze"] == "failed: timed out"


def test_a_task_without_weight_is_not_asked():
    rollout = _rollout(_policy(), _agent(weights={"standard": 1.0, "low_budget": 0.7}))
    assert rollout.scores == {"standard": 1, "low_budget": 1}
    assert [one.role for one in rollout.conversations] == ["draft", "read", "low-resolution"]


def test_objectives_reach_the_reader_within_others():
    def respond(messages, sampling):
        prompt = "".join(texts(messages))
        return "NEW" if "one word, NEW" in prompt else _MEMORY if "Next section" in prompt else "?"

    agent = _agent(reader=Gated(base=MemOCR(budgets=(64,))))
    rollout = _rollout(ScriptedPolicy(respond), agent)
    assert [one.role for one in rollout.conversations][-3:] == ["read", "low-resolution", "cloze"]


def test_the_papers_weights_make_the_credit_of_a_group():
    rollouts = [
        _rollout(_policy(), number=0),
        _rollout(_policy(small="Oslo", gaps="x; y; z"), number=1),
    ]
    scores = {task: [one.scores[task] for one in rollouts] for task in WEIGHTS}
    credits = spread(rollouts, multi_task(scores, ["a", "a"], Objectives().weights))
    assert credits[0] == pytest.approx([0.25, 0, 0.35, 0.15])
    assert credits[1] == pytest.approx([-0.25, 0, -0.35, -0.15])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"low_budgets": ()}, "budgets"),
        ({"low_budgets": (0,)}, "budgets"),
        ({"weights": {"cloze": 1.0}}, "cannot be weighed"),
        ({"weights": {"standard": 1.0, "colour": 1.0}}, "cannot be weighed"),
        ({"cloze_prompt": "fill it"}, "lacks"),
        ({"reader": MemAgent()}, "draws no page"),
        ({"reader": MemOCR(budgets=(64, 32))}, "no one outcome"),
    ],
)
def test_objectives_that_cannot_be_are_errors(options, message):
    with pytest.raises(ConfigurationError, match=message):
        _agent(**options)
