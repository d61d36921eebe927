from __future__ import annotations

import ast
import asyncio
import operator

import pytest

from palimpsest.datasets.item import Item, Passage
from palimpsest.errors import EndpointError, WindowError
from palimpsest.models.model import Completion, Sampling, user
from palimpsest.models.scripted import texts
from palimpsest.readers.memagent import MemAgent
from palimpsest.readers.memreread import MemReread
from palimpsest.readers.parallel import Parallel
from palimpsest.training.agents import Outcome, ReaderAgent, roll_out
from palimpsest.training.credit import by_state
from palimpsest.training.recorder import Recorder
from palimpsest.training.reward_pool import RewardPool
from palimpsest.training.rewards import REWARDS, memory_recall
from palimpsest.training.scripted import END, ScriptedPolicy, text_of

_SAMPLING = Sampling(max_tokens=50)


def _item(*, sections=3, answers=("Bergen",), question="Where was Ada Brandt born?"):
    documents = tuple(
        Passage(title=f"Part {number}", text=f"Section {number} says something. " * 12)
        for number in range(sections)
    )
    return Item(task="toy", id="toy-1", question=question, answers=answers, documents=documents)


def _run(agent, policy, item=None, **options):
    return asyncio.run(roll_out(agent, item or _item(), policy, **options))


def _reader_policy(**answers):
    """Answers by the kind of prompt; a function gets the prompt, a list goes one by one."""
    scripts = {"draft": "Ada Brandt: of Bergen", "final": r"\boxed{Bergen}", **answers}

    def respond(messages, sampling):
        prompt = "".join(texts(messages))
        kinds = {
            "Next section:": "draft",
            "too long": "shorten",
            "notes were taken of each part": "merge",
            "<query>": "decompose",
            "What was found:": "integrate",
        }
        kind = next((kind for mark, kind in kinds.items() if mark in prompt), "final")
        answer = scripts[kind]
        answer = answer.pop(0) if isinstance(answer, list) else answer
        answer = answer(prompt) if callable(answer) else answer
        if isinstance(answer, Exception):
            raise answer
        return answer

    return ScriptedPolicy(respond)


_AGENT = ReaderAgent(MemAgent(chunk_tokens=120), REWARDS["strict"])


# readers


def test_a_reader_makes_one_conversation_for_each_turn():
    rollout = _run(_AGENT, _reader_policy())
    *drafts, final = rollout.conversations
    assert len(drafts) > 1
    assert [(one.role, one.step, one.task) for one in drafts] == [
        ("draft", chunk, "") for chunk in range(len(drafts))
    ]
    assert (final.role, final.task, final.step) == ("final", "standard", 0)
    assert text_of(final.response_ids) == "\\boxed{Bergen}\n"
    assert text_of(drafts[0].prompt_ids).startswith("user: You keep notes")
    assert all(one.mask == (True,) * len(one.response_ids) for one in rollout.conversations)
    assert all(len(one.logprobs) == len(one.response_ids) for one in rollout.conversations)


def test_a_rollout_has_its_score_answer_and_facts():
    rollout = _run(_AGENT, _reader_policy(), number=3)
    assert (rollout.group, rollout.number, rollout.answer) == ("toy-1", 3, "Bergen")
    assert rollout.scores == {"standard": 1}
    assert rollout.nodes == 1
    assert rollout.failure == ""
    assert rollout.details["memory"] == "Ada Brandt: of Bergen"
    assert rollout.details["chunks"] == len(rollout.conversations) - 1


def test_an_answer_that_does_not_end_is_kept_as_it_was_cut():
    cut = Completion(text="It was in", finish_reason="length")
    final = _run(_AGENT, _reader_policy(final=cut)).conversations[-1]
    assert final.finish == "length"
    assert END not in final.response_ids


def test_an_empty_answer_is_a_conversation_of_its_end_alone():
    rollout = _run(_AGENT, _reader_policy(final=""))
    assert rollout.conversations[-1].response_ids == (END,)
    assert rollout.scores == {"standard": 0}


def test_a_reward_may_be_computed_elsewhere():
    async def score():
        async with RewardPool(REWARDS["strict"], workers=1) as pool:
            return await roll_out(ReaderAgent(_AGENT.reader, pool), _item(), _reader_policy())

    assert asyncio.run(score()).scores == {"standard": 1}


def test_side_by_side_turns_are_matched_with_their_calls():
    item = _item(sections=1)
    item = item.model_copy(update={"documents": item.documents * 8})
    answers = iter(f"Ada Brandt, note {number}" for number in range(99))
    agent = ReaderAgent(Parallel(base=MemAgent(chunk_tokens=120), lanes=4), REWARDS["strict"])
    policy = _reader_policy(draft=lambda prompt: next(answers), merge="Ada Brandt of Bergen")
    rollout = _run(agent, policy, item)
    roles = [one.role for one in rollout.conversations]
    assert roles.count("draft") == rollout.details["chunks"] > 4
    assert sorted(one.step for one in rollout.conversations if one.role == "draft") == list(
        range(rollout.details["chunks"])
    )
    assert roles[-2:] == ["merge", "final"]
    assert all(one.trained for one in rollout.conversations)
    said = [text_of(one.response_ids) for one in rollout.conversations if one.role == "draft"]
    assert sorted(said) == sorted(f"Ada Brandt, note {number}\n" for number in range(len(said)))


def test_rereads_count_and_their_drafts_go_on_counting():
    query = "<query>Who wrote The Blue Heron?</query>"
    agent = ReaderAgent(MemReread(base=MemAgent(chunk_tokens=120)), REWARDS["strict"])
    policy = _reader_policy(decompose=[query, "ENOUGH"], integrate="Ada Brandt: born in Bergen")
    rollout = _run(agent, policy)
    chunks = rollout.details["chunks"]
    assert rollout.nodes == 2
    drafts = [one.step for one in rollout.conversations if one.role == "draft"]
    assert drafts == list(range(2 * chunks))
    roles = [one.role for one in rollout.conversations if one.role != "draft"]
    assert roles == ["decompose", "sub-answer", "integrate", "decompose", "final"]
    assert [one.step for one in rollout.conversations if one.role == "decompose"] == [0, 1]


# the worth of a step


def _state_rewards(policy, reader=None, **item):
    agent = ReaderAgent(
        reader or MemAgent(chunk_tokens=120), REWARDS["strict"], recall=memory_recall
    )
    rollout = _run(agent, policy, _item(**item))
    return [(one.role, one.state_reward) for one in rollout.conversations]


def test_a_draft_is_worth_what_it_adds_of_the_answer_whatever_the_case():
    drafts = ["nothing yet", "ADA was a judge", "ada brandt was a judge", "she was a judge"]
    policy = _reader_policy(draft=lambda prompt: drafts.pop(0) if drafts else "she was a judge")
    rewards = _state_rewards(policy, sections=4, answers=("Ada Brandt",))
    assert rewards[:4] == [("draft", 0), ("draft", 0.5), ("draft", 0.5), ("draft", -1)]
    assert rewards[-1] == ("final", None)


def test_a_draft_that_a_guard_kept_out_is_worth_nothing():
    drafts = ["Ada Brandt was a judge", "", "Ada Brandt was a judge"]
    policy = _reader_policy(draft=lambda prompt: drafts.pop(0) if drafts else "Ada Brandt")
    assert _state_rewards(policy, answers=("Ada Brandt",))[:3] == [
        ("draft", 1),
        ("draft", 0),
        ("draft", 0),
    ]


def test_the_shortening_of_a_draft_has_no_reward_of_its_own():
    long = "Ada was " + "a very good judge " * 30
    policy = _reader_policy(draft=long, shorten="Ada was a judge")
    reader = MemAgent(chunk_tokens=4000, memory_tokens=40)
    assert _state_rewards(policy, reader, answers=("Ada Brandt",)) == [
        ("draft", 0.5),
        ("draft", None),
        ("final", None),
    ]


def test_a_sub_question_that_is_asked_again_costs_and_one_that_is_new_does_not():
    query = "<query>Who wrote The Blue Heron?</query>"
    policy = _reader_policy(
        draft="someone of Bergen", decompose=[query, query], integrate="It was Ada Brandt"
    )
    reader = MemReread(base=MemAgent(chunk_tokens=4000))
    rewards = _state_rewards(policy, reader, answers=("Ada Brandt",))
    assert rewards == [
        ("draft", 0),
        ("decompose", 0),
        ("draft", 0),
        ("sub-answer", None),
        ("integrate", 1),
        ("decompose", -1),
        ("final", None),
    ]


def test_a_merge_is_compared_with_all_that_it_was_given():
    drafts = ["Ada was a judge", "Brandt was a judge"]
    policy = _reader_policy(draft=lambda prompt: drafts.pop(0), merge="Ada was a judge")
    reader = Parallel(base=MemAgent(chunk_tokens=120), lanes=2)
    rewards = _state_rewards(policy, reader, sections=2, answers=("Ada Brandt",))
    assert rewards == [("draft", 0.5), ("draft", 0.5), ("merge", -0.5), ("final", None)]


def test_steps_are_compared_with_the_same_step_of_other_rollouts():
    agent = ReaderAgent(MemAgent(chunk_tokens=120), REWARDS["strict"], recall=memory_recall)
    rollouts = [_run(agent, _reader_policy(draft=memory)) for memory in ("Bergen", "Oslo")]
    first, second = by_state(rollouts)
    assert first.tolist() == [0.5] + [0] * (len(first) - 1)
    assert second.tolist() == [-0.5] + [0] * (len(second) - 1)


# failures


def test_a_failure_of_the_machinery_is_not_held_against_the_policy():
    rollout = _run(_AGENT, _reader_policy(final=EndpointError("nothing answers there")))
    assert rollout.failure == "EndpointError: nothing answers there"
    assert rollout.scores == {"standard": 0}
    assert len(rollout.conversations) == rollout.details["chunks"]
    assert not any(one.trained for one in rollout.conversations)


def test_a_failure_that_the_policy_led_to_is():
    rollout = _run(_AGENT, _reader_policy(final=WindowError("the memory is too long")))
    assert rollout.failure == "WindowError: the memory is too long"
    assert all(one.trained for one in rollout.conversations)
    assert {one.role for one in rollout.conversations} == {"draft"}


def test_an_error_in_a_reward_is_a_failure_that_blames_nobody():
    def reward(completion, answers):
        raise ValueError("no such answer")

    rollout = _run(ReaderAgent(_AGENT.reader, reward), _reader_policy())
    assert rollout.failure == "ConfigurationError: the reward failed: ValueError: no such answer"
    assert not any(one.trained for one in rollout.conversations)


def test_a_bug_on_the_way_is_a_failure_with_its_trace():
    rollout = _run(_AGENT, _reader_policy(final=KeyError("x")))
    assert rollout.failure == "KeyError: 'x'"
    assert "respond" in rollout.details["trace"]
    assert {one.role for one in rollout.conversations} == {"draft"}


def test_an_item_without_a_source_is_a_failure():
    rollout = _run(_AGENT, _reader_policy(), Item(task="toy", id="open", question="Who?"))
    assert rollout.conversations == ()
    assert "no context to read" in rollout.failure
    assert rollout.scores == {"standard": 0}


# chance


def test_chance_belongs_to_the_occasion_the_item_and_the_number():
    def seeds(**options):
        policy = _reader_policy()
        _run(_AGENT, policy, **options)
        return [call.sampling.seed for call in policy.calls]

    assert seeds(number=1) == seeds(number=1)
    assert len({*seeds(number=1), *seeds(number=2), *seeds(occasion="step 2")}) == 3 * len(seeds())


def test_the_same_request_twice_is_two_draws():
    async def ask_twice(item, recorder):
        for _ in range(2):
            await recorder.complete(user("Say a number."), _SAMPLING)
        return Outcome(recorder.conversations(), {"standard": 0.0})

    policy = ScriptedPolicy(["1", "2"])
    rollout = _run(ask_twice, policy)
    assert len({call.sampling.seed for call in policy.calls}) == 2
    assert [text_of(one.response_ids) for one in rollout.conversations] == ["1\n", "2\n"]


def test_a_reader_without_chance_explores_in_training():
    policy = _reader_policy()
    _run(_AGENT, policy, temperature=1.0, top_p=0.9)
    assert {(call.sampling.temperature, call.sampling.top_p) for call in policy.calls} == {
        (1.0, 0.9)
    }


# agents as functions


_OPERATIONS = {ast.Add: operator.add, ast.Mult: operator.mul, ast.Sub: operator.sub}


def _calculate(expression):
    tree = ast.parse(expression, mode="eval").body
    return _OPERATIONS[type(tree.op)](tree.left.value, tree.right.value)


async def _calculator(item, recorder):
    """Works a sum out by calls to a calculator, five at most."""
    messages = user(f"{item.question} Write CALC: to calculate, or the answer in a box.")
    model = recorder.named("tools", task="standard")
    reply = await model.complete(messages, _SAMPLING)
    for _ in range(5):
        if not reply.text.startswith("CALC:"):
            break
        result = _calculate(reply.text.removeprefix("CALC:").strip())
        messages = [
            *messages,
            {"role": "assistant", "content": reply.text},
            {"role": "user", "content": f"= {result}"},
        ]
        reply = await model.complete(messages, _SAMPLING)
    score = REWARDS["strict"](reply.text, item.answers)
    return Outcome(recorder.conversations(), {"standard": score}, answer=reply.text)


def _tool_run(answers):
    item = Item(task="sums", id="s", question="What is 3 * 4 + 5?", answers=("17",))
    return _run(_calculator, ScriptedPolicy(answers), item)


def test_a_loop_with_tools_is_one_conversation():
    rollout = _tool_run(["CALC: 3 * 4", "CALC: 12 + 5", r"\boxed{17}"])
    (one,) = rollout.conversations
    assert rollout.scores == {"standard": 1}
    assert text_of(one.response_ids) == (
        "CALC: 3 * 4\nuser: = 12\nassistant: CALC: 12 + 5\nuser: = 17\nassistant: \\boxed{17}\n"
    )


def test_what_a_tool_said_is_masked_out():
    (one,) = _tool_run(["CALC: 3 * 4", "CALC: 12 + 5", r"\boxed{17}"]).conversations
    trained = [token for token, own in zip(one.response_ids, one.mask, strict=True) if own]
    assert text_of(trained) == "CALC: 3 * 4\nCALC: 12 + 5\n\\boxed{17}\n"
    assert {value for value, own in zip(one.logprobs, one.mask, strict=True) if not own} == {0.0}
    assert len(one.logprobs) == len(one.mask) == len(one.response_ids)


def test_what_an_agent_stumbles_over_counts_against_the_policy():
    rollout = _tool_run(["CALC: 3 *"])
    assert rollout.failure.startswith("SyntaxError")
    (one,) = rollout.conversations
    assert one.trained
    assert rollout.scores == {"standard": 0}


def test_tokens_are_passed_on_and_never_made_again():
    policy = ScriptedPolicy(["CALC: 3 * 4", r"\boxed{12}"])
    item = Item(task="sums", id="s", question="What is 3 * 4?", answers=("12",))
    _run(_calculator, policy, item)
    assert [len(call.messages) for call in policy.calls] == [1, 1]
    assert policy.calls[1].messages[0]["content"] == "= 12"


def _ask(recorder, messages, text):
    more = [*messages, {"role": "assistant", "content": text}, {"role": "user", "content": "on"}]
    return recorder.complete(more, _SAMPLING)


def test_another_answer_than_was_returned_begins_a_new_conversation():
    async def run():
        recorder = Recorder(ScriptedPolicy(["first", "second"]))
        await recorder.complete(user("go"), _SAMPLING)
        await _ask(recorder, user("go"), "edited")
        return recorder.conversations()

    first, second = asyncio.run(run())
    assert text_of(first.response_ids) == "first\n"
    assert text_of(second.prompt_ids) == "user: go\nassistant: edited\nuser: on\nassistant: "


def test_two_ways_on_from_one_answer_are_two_conversations():
    async def run():
        recorder = Recorder(ScriptedPolicy(["first", "left", "right"]))
        await recorder.complete(user("go"), _SAMPLING)
        await asyncio.gather(*(_ask(recorder, user("go"), "first") for _ in range(2)))
        return recorder.conversations()

    left, right = asyncio.run(run())
    assert text_of(left.response_ids) == "first\nuser: on\nassistant: left\n"
    assert text_of(right.response_ids) == "right\n"
    assert sum(left.mask) == len("first\nleft\n")


def test_conversations_stand_in_the_order_in_which_they_began():
    class Slow(ScriptedPolicy):
        async def sample(self, messages, sampling):
            await asyncio.sleep(0.05 if "slow" in str(messages) else 0)
            return await super().sample(messages, sampling)

    async def run():
        recorder = Recorder(Slow(lambda messages, sampling: messages[0]["content"]))
        texts = ("slow", "quick", "slow too")
        await asyncio.gather(*(recorder.complete(user(text), _SAMPLING) for text in texts))
        return recorder.conversations()

    said = [text_of(one.response_ids) for one in asyncio.run(run())]
    assert said == ["slow\n", "quick\n", "slow too\n"]


def test_a_call_that_failed_leaves_no_conversation_and_may_be_made_again():
    async def run():
        recorder = Recorder(ScriptedPolicy([EndpointError("gone"), "first", WindowError("x"), "2"]))
        with pytest.raises(EndpointError):
            await recorder.complete(user("go"), _SAMPLING)
        await recorder.complete(user("go"), _SAMPLING)
        with pytest.raises(WindowError):
            await _ask(recorder, user("go"), "first")
        await _ask(recorder, user("go"), "first")
        return recorder.conversations()

    (one,) = asyncio.run(run())
    assert text_of(one.response_ids) == "first\nuser: on\nassistant: 2\n"


def test_a_model_without_tokens_cannot_be_trained():
    class Blind(ScriptedPolicy):
        async def sample(self, messages, sampling):
            sample = await super().sample(messages, sampling)
            without = sample.completion.model_copy(update={"logprobs": None})
            return type(sample)(without, sample.prompt_ids)

    rollout = _run(_AGENT, Blind(["anything"]))
    assert rollout.failure.startswith("ConfigurationError: scripted gives no token")
    assert rollout.conversations == ()
