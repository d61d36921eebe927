"""The sampler: what it draws, what it says of its probability, and who shares a batch."""

from __future__ import annotations

import asyncio
import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="needs the `train` extra")
pytest.importorskip("transformers", reason="needs the `train` extra")

from palimpsest.errors import InputError, ModelError, WindowError  # noqa: E402
from palimpsest.models.model import Sampling, user  # noqa: E402
from palimpsest.training.drawing import chances, drawn, identity  # noqa: E402
from palimpsest.training.generating import Request, written  # noqa: E402
from palimpsest.training.logprobs import logprobs_of  # noqa: E402
from palimpsest.training.policy import Policy  # noqa: E402
from palimpsest.training.rollout import Conversation  # noqa: E402
from palimpsest.training.rounds import Rounds  # noqa: E402
from palimpsest.training.sample import Sample  # noqa: E402
from palimpsest.training.sampler import PolicyModel  # noqa: E402
from palimpsest.training.tiny import tiny_text, tiny_tokenizer, tiny_vision  # noqa: E402

torch.set_num_threads(1)

VISION = ("qwen2_5_vl", "qwen3_vl")
FAMILIES = ("qwen2", "qwen3", *VISION)
WARM = Sampling(max_tokens=12, temperature=1.0)


def policy_of(family: Any = "qwen2", *, window: int = 4096) -> Policy:
    tokenizer = tiny_tokenizer()
    make = tiny_vision if family in VISION else tiny_text
    module = make(tokenizer, family=family, window=window)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim > 1:
                parameter.mul_(3)
    return Policy(module, tokenizer, name=f"tiny-{family}")


@pytest.fixture(scope="module")
def policy() -> Policy:
    return policy_of()


def picture(policy: Policy, cells: tuple[int, int], seed: int = 0) -> str:
    side = policy.encoder.family.eyes.cell_px
    size = (cells[0] * side, cells[1] * side, 3)
    pixels = np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def conversation(sample: Sample) -> Conversation:
    ids = sample.completion.token_ids
    return Conversation(
        "draft",
        sample.prompt_ids,
        ids,
        sample.completion.logprobs,
        (True,) * len(ids),
        sample.images,
    )


def together(model: PolicyModel, calls: list[tuple[Any, Sampling]]) -> list[Sample]:
    async def run() -> list[Sample]:
        return await asyncio.gather(*(model.sample(*call) for call in calls))

    return asyncio.run(run())


def requests_for(policy: Policy, temperature: float, top_p: float) -> list[Request]:
    """Prompts of different lengths; with two images, one image and none where it sees."""
    texts = ["short", "a prompt that is quite a bit longer than the first one", "middle of both"]
    messages = [user(text) for text in texts]
    if policy.encoder.family.eyes:
        messages[0] = user(texts[0], picture(policy, (2, 3), 1))
        messages[2] = user("first", picture(policy, (1, 4), 2)) + user(
            texts[2], picture(policy, (5, 2), 3)
        )
    prompts = [policy.encoder.prompt(each) for each in messages]
    return [
        Request(prompt, 10 + 5 * row, temperature, top_p, identity(str(row), prompt.ids, ()))
        for row, prompt in enumerate(prompts)
    ]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 0.9), (1.3, 1.0)])
def test_sampler_and_update_agree_on_every_probability(family, temperature, top_p):
    """One left-padded batch of text and images against right-padded teacher forcing."""
    policy = policy_of(family)
    requests = requests_for(policy, temperature, top_p)
    answers = written(policy, requests)
    conversations = [
        Conversation(
            "draft",
            request.prompt.ids,
            tuple(answer.ids),
            tuple(answer.logprobs),
            (True,) * len(answer.ids),
            request.prompt.images,
        )
        for request, answer in zip(requests, answers, strict=True)
    ]
    assert sum(len(answer.ids) for answer in answers) > 20
    forced = logprobs_of(policy, conversations, temperature=temperature)
    for answer, values in zip(answers, forced, strict=True):
        np.testing.assert_allclose(answer.logprobs, values, atol=1e-5, rtol=0)


def test_rows_of_one_batch_have_temperatures_and_limits_of_their_own(policy):
    prompt = policy.encoder.prompt(user("hello"))
    settings = [(0.0, 1.0, 3), (1.0, 1.0, 9), (0.5, 0.8, 6)]
    requests = [
        Request(prompt, tokens, temperature, top_p, identity(f"7 {row}", prompt.ids, ()))
        for row, (temperature, top_p, tokens) in enumerate(settings)
    ]
    batched = written(policy, requests)
    alone = [written(policy, [request])[0] for request in requests]
    assert [answer.ids for answer in batched] == [answer.ids for answer in alone]
    assert all(len(a.ids) <= s[2] for a, s in zip(batched, settings, strict=True))


def test_a_draw_follows_the_probabilities():
    logits = torch.tensor([[0.1, 0.6, 0.3]]).log().repeat(2000, 1)
    chance = torch.as_tensor(chances(identity("0", (), ()), 2000))
    ones = torch.ones(2000, dtype=torch.float64)
    shares = torch.bincount(drawn(logits, ones, ones, chance), minlength=3) / 2000
    torch.testing.assert_close(shares, torch.tensor([0.1, 0.6, 0.3]), atol=0.04, rtol=0)


@pytest.mark.parametrize(
    ("top_p", "possible"), [(0.5, {1}), (0.6, {1}), (0.61, {1, 2}), (1.0, {0, 1, 2})]
)
def test_a_nucleus_is_the_fewest_tokens_that_reach_it(top_p, possible):
    logits = torch.tensor([[0.1, 0.6, 0.3]], dtype=torch.float64).log().repeat(500, 1)
    chance = torch.linspace(0, 1 - 1e-9, 500, dtype=torch.float64)
    ones = torch.ones(500, dtype=torch.float64)
    assert set(drawn(logits, ones, ones * top_p, chance).tolist()) == possible


def test_the_most_probable_token_is_taken_at_temperature_0():
    logits = torch.tensor([[0.1, 0.6, 0.3], [0.7, 0.1, 0.2]])
    zeros = torch.zeros(2, dtype=torch.float64)
    assert drawn(logits, zeros, zeros + 1, zeros).tolist() == [1, 0]


def test_answers_do_not_depend_on_who_else_asks_or_in_which_order(policy):
    calls = [(user(f"question {number}" * number), WARM) for number in range(1, 5)]
    forth = together(PolicyModel(policy, seed=3), calls)
    back = together(PolicyModel(policy, seed=3), calls[::-1])[::-1]
    alone = together(PolicyModel(policy, seed=3), calls[2:3])[0]
    ids = [sample.completion.token_ids for sample in forth]
    assert ids == [sample.completion.token_ids for sample in back]
    assert alone.completion.token_ids == ids[2]


def test_the_same_prompt_again_is_answered_anew_until_it_is_reseeded(policy):
    model = PolicyModel(policy, seed=3)
    calls = [(user("again"), WARM)] * 3
    first = [sample.completion.token_ids for sample in together(model, calls)]
    assert len(set(first)) == 3
    model.reseed(3)
    assert [sample.completion.token_ids for sample in together(model, calls)] == first
    model.reseed(4)
    assert [sample.completion.token_ids for sample in together(model, calls)] != first


def test_agents_of_different_names_have_chances_of_their_own(policy):
    """Whichever of two agents with the same prompt comes first."""

    async def agent(model: PolicyModel, name: str, delay_s: float) -> Any:
        async with model.seat(name):
            await asyncio.sleep(delay_s)
            return (await model.sample(user("again"), WARM)).completion.token_ids

    async def run(delays: tuple[float, float]) -> list[Any]:
        model = PolicyModel(policy, seed=3)
        parts = zip("ab", delays, strict=True)
        return await asyncio.gather(*(agent(model, name, delay_s) for name, delay_s in parts))

    first = asyncio.run(run((0, 0.02)))
    assert first == asyncio.run(run((0.02, 0)))
    assert first[0] != first[1]


def test_equal_requests_with_a_seed_of_their_own_have_equal_answers(policy):
    model = PolicyModel(policy, seed=3)
    seeded = [(user("again"), WARM.model_copy(update={"seed": seed})) for seed in (1, 1, 2)]
    one, same, other = (sample.completion.token_ids for sample in together(model, seeded))
    assert one == same
    assert one != other


def test_an_answer_without_an_end_is_cut_at_its_length(policy):
    end = policy.encoder.tokenizer.eos_token_id
    samples = together(PolicyModel(policy), [(user(str(n)), WARM) for n in range(40)])
    finishes = {sample.completion.finish_reason for sample in samples}
    for sample in samples:
        ended = sample.completion.token_ids[-1] == end
        assert (sample.completion.finish_reason == "stop") == ended
        assert "<|" not in sample.completion.text
        if not ended:
            assert len(sample.completion.token_ids) == WARM.max_tokens
    assert "length" in finishes


def test_an_answer_that_ends_keeps_its_end_token_and_its_probability(policy):
    end = policy.encoder.tokenizer.eos_token_id
    long = Sampling(max_tokens=400, temperature=2.0)
    samples = together(PolicyModel(policy), [(user(str(n)), long) for n in range(8)])
    ended = [sample for sample in samples if sample.completion.finish_reason == "stop"]
    assert ended
    for sample in ended:
        ids, logprobs = sample.completion.token_ids, sample.completion.logprobs
        assert ids[-1] == end
        assert end not in ids[:-1]
        assert len(logprobs) == len(ids) == sample.completion.usage.completion


@pytest.mark.parametrize("family", VISION)
def test_banned_tokens_are_never_sampled(family):
    policy = policy_of(family)
    with torch.no_grad():  # makes the placeholder by far the most probable token
        weight = policy.module.get_input_embeddings().weight
        weight[policy.encoder.family.eyes.placeholder] *= 50
    hot = Sampling(max_tokens=30, temperature=1.5)
    messages = user("what?", picture(policy, (2, 2)))
    samples = together(PolicyModel(policy), [(messages, hot)] * 4)
    banned = set(policy.banned.tolist())
    assert not any(banned & set(sample.completion.token_ids) for sample in samples)
    forced = logprobs_of(policy, [conversation(sample) for sample in samples], temperature=1.5)
    for sample, values in zip(samples, forced, strict=True):
        np.testing.assert_allclose(sample.completion.logprobs, values, atol=1e-5, rtol=0)


def test_a_prompt_over_the_window_fails_alone():
    model = PolicyModel(policy_of(window=100))

    async def run() -> list[Any]:
        calls = [model.sample(user("x" * length), WARM) for length in (5, 200)]
        return await asyncio.gather(*calls, return_exceptions=True)

    fits, over = asyncio.run(run())
    assert isinstance(fits, Sample)
    assert isinstance(over, WindowError)
    assert "100" in str(over)


def test_an_answer_of_no_tokens_cannot_be_asked_for(policy):
    with pytest.raises(InputError, match="at most 0"):
        asyncio.run(PolicyModel(policy).sample(user("x"), Sampling(max_tokens=0)))


def test_weights_that_are_no_numbers_fail_the_call():
    policy = policy_of()
    with torch.no_grad():
        next(iter(policy.trained().values())).fill_(float("nan"))
    with pytest.raises(ModelError, match="no numbers"):
        asyncio.run(PolicyModel(policy).sample(user("x"), WARM))


def test_going_on_keeps_the_tokens_and_adds_only_what_the_messages_say(policy):
    model = PolicyModel(policy)
    tokenizer = policy.encoder.tokenizer
    opening = policy.encoder.prompt(user("first")).ids
    answer = (*tokenizer("fine", add_special_tokens=False)["input_ids"], tokenizer.eos_token_id)
    sample = asyncio.run(model.extend((*opening, *answer), (), user("second"), WARM))
    whole = policy.encoder.prompt(
        [*user("first"), {"role": "assistant", "content": "fine"}, *user("second")]
    )
    assert sample.prompt_ids == whole.ids
    assert sample.prompt_ids[: len(opening) + len(answer)] == (*opening, *answer)


def test_going_on_after_an_answer_that_was_cut_ends_it_first(policy):
    opening = policy.encoder.prompt(user("first")).ids
    end = policy.encoder.tokenizer.eos_token_id
    uncommon = (10, 11, 12)  # ids that no tokenizing of their text would give back
    prompt = policy.encoder.continued((*opening, *uncommon), (), user("second"))
    assert prompt.ids[: len(opening) + 3] == (*opening, *uncommon)
    assert prompt.ids[len(opening) + 3] == end


@pytest.mark.parametrize("family", VISION)
def test_going_on_can_show_a_further_image(family):
    policy = policy_of(family)
    model = PolicyModel(policy)
    first = asyncio.run(model.sample(user("a", picture(policy, (1, 2), 1)), WARM))
    ids = (*first.prompt_ids, *first.completion.token_ids)
    more = user("b", picture(policy, (2, 2), 2))
    second = asyncio.run(model.extend(ids, first.images, more, WARM))
    assert len(second.images) == 2
    assert second.prompt_ids.count(policy.encoder.family.eyes.placeholder) == 6
    forced = logprobs_of(policy, [conversation(second)])[0]
    np.testing.assert_allclose(second.completion.logprobs, forced, atol=1e-5, rtol=0)


def test_readers_get_the_policys_own_tokens(policy):
    async def run() -> tuple[list[int], str, bool]:
        tokenizer = await PolicyModel(policy).tokenizer()
        return await tokenizer.offsets("ab é"), tokenizer.name, tokenizer.exact

    assert asyncio.run(run()) == ([0, 1, 2, 3, 3], "tiny-qwen2", True)


def test_calls_that_wait_together_go_through_the_policy_together(policy):
    model = PolicyModel(policy)
    together(model, [(user(f"question {number}"), WARM) for number in range(20)])
    assert (model.tally.batches, model.tally.answers) == (1, 20)


def test_a_round_over_the_token_limit_is_cut_into_batches(policy):
    model = PolicyModel(policy, batch_tokens=60)
    samples = together(model, [(user(f"question {number}"), WARM) for number in range(5)])
    assert model.tally.batches == 3
    assert [sample.prompt_ids for sample in samples] == [
        policy.encoder.prompt(user(f"question {number}")).ids for number in range(5)
    ]


def sizes_of_batches(agents: int, *, seated: bool) -> list[int]:
    """The batches that agents make who think for different times between two calls."""
    sizes: list[int] = []

    def serve(requests: Any) -> Any:
        sizes.append(len(requests))
        return requests

    async def agent(rounds: Rounds[int, int], number: int) -> None:
        await rounds.ask(number)
        await asyncio.sleep(0.02 * number)
        await rounds.ask(number)

    async def seat(rounds: Rounds[int, int], number: int) -> None:
        async with rounds.seat():
            await agent(rounds, number)

    async def run() -> None:
        rounds: Rounds[int, int] = Rounds(lambda asked: [list(range(len(asked)))], serve)
        play = seat if seated else agent
        await asyncio.gather(*(play(rounds, number) for number in range(agents)))

    asyncio.run(run())
    return sizes


def test_with_seats_slow_agents_are_waited_for():
    assert sizes_of_batches(4, seated=True) == [4, 4]


def test_without_seats_nobody_is_waited_for():
    sizes = sizes_of_batches(4, seated=False)
    assert sum(sizes) == 8
    assert len(sizes) > 2


def test_a_seat_that_never_asks_holds_up_nobody_for_long():
    async def run() -> int:
        rounds: Rounds[int, int] = Rounds(
            lambda asked: [[at] for at in range(len(asked))], list, patience_s=0.01
        )
        release = asyncio.Event()

        async def idle() -> None:
            async with rounds.seat():
                await release.wait()

        task = asyncio.create_task(idle())
        await asyncio.sleep(0)
        answer = await rounds.ask(5)
        release.set()
        await task
        return answer

    assert asyncio.run(run()) == 5


def test_a_batch_that_fails_fails_those_in_it_only():
    def serve(requests: Any) -> Any:
        if 1 in requests:
            raise ModelError("broken")
        return requests

    async def run() -> list[Any]:
        rounds: Rounds[int, int] = Rounds(lambda asked: [[at] for at in range(len(asked))], serve)
        return await asyncio.gather(*(rounds.ask(n) for n in range(3)), return_exceptions=True)

    zero, one, two = asyncio.run(run())
    assert (zero, two) == (0, 2)
    assert isinstance(one, ModelError)


def test_a_call_that_was_cancelled_is_not_answered():
    served: list[int] = []

    def serve(requests: Any) -> Any:
        served.extend(requests)
        return requests

    async def run() -> int:
        rounds: Rounds[int, int] = Rounds(lambda asked: [list(range(len(asked)))], serve)
        tasks = [asyncio.create_task(rounds.ask(number)) for number in range(2)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        return await tasks[1]

    assert asyncio.run(run()) == 1
    assert served == [1]
