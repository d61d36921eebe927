"""Losses against hand-computed values, and the batches they are computed on."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the `train` extra")
pytest.importorskip("transformers", reason="needs the `train` extra")

from palimpsest.errors import ConfigurationError, InputError, ModelError  # noqa: E402
from palimpsest.training.batching import (  # noqa: E402
    collate,
    micro_batches,
    padding_share,
    trained_tokens,
)
from palimpsest.training.logprobs import logprobs_of, scored, token_entropy  # noqa: E402
from palimpsest.training.loss import (  # noqa: E402
    Clip,
    check_advantages,
    k3,
    overlong_penalty,
    policy_terms,
    supervised,
    token_mean,
)
from palimpsest.training.policy import Policy  # noqa: E402
from palimpsest.training.rollout import Conversation  # noqa: E402
from palimpsest.training.tiny import tiny_text, tiny_tokenizer  # noqa: E402

torch.set_num_threads(1)


def conversation(prompt: int, answer: int, seed: int = 0, **changes: Any) -> Conversation:
    """Random tokens that the tiny tokenizer has."""
    generator = np.random.default_rng(seed)
    ids = generator.integers(0, 250, prompt + answer).tolist()
    made = Conversation(
        "draft",
        tuple(ids[:prompt]),
        tuple(ids[prompt:]),
        tuple(generator.uniform(-7, -4, answer).tolist()),
        (True,) * answer,
    )
    return replace(made, **changes)


@pytest.fixture(scope="module")
def policy() -> Policy:
    tokenizer = tiny_tokenizer()
    return Policy(tiny_text(tokenizer), tokenizer)


def tensor(*values: float) -> Any:
    return torch.tensor(values, dtype=torch.float64)


def test_the_policy_loss_is_clipped_as_by_hand():
    """Ratios 0.5, 1, 1.5 and 4 with advantages of 2 and of -2; low 0.2, high 0.3, dual 3."""
    ratios = tensor(0.5, 1, 1.5, 4, 0.5, 1, 1.5, 4)
    advantages = tensor(2, 2, 2, 2, -2, -2, -2, -2)
    terms = policy_terms(ratios.log(), tensor(*[0] * 8), advantages, Clip(0.2, 0.3, 3.0))
    expected = tensor(-1, -2, -2.6, -2.6, 1.6, 2, 3, 6)
    torch.testing.assert_close(terms.loss, expected)
    torch.testing.assert_close(terms.ratio, ratios)
    assert terms.clipped_high.tolist() == [False, False, True, True] + [False] * 4
    assert terms.clipped_low.tolist() == [False] * 4 + [True, False, False, False]
    assert terms.clipped_dual.tolist() == [False] * 7 + [True]


def test_without_dual_clip_the_loss_of_a_bad_token_has_no_bound():
    terms = policy_terms(tensor(math.log(4)), tensor(0), tensor(-2), Clip(0.2, 0.3, None))
    torch.testing.assert_close(terms.loss, tensor(8))


def test_the_gradient_stops_where_the_loss_is_clipped():
    new = tensor(math.log(0.5), 0, math.log(2)).requires_grad_()
    policy_terms(new, tensor(0, 0, 0), tensor(1, 1, 1), Clip()).loss.sum().backward()
    torch.testing.assert_close(new.grad, tensor(-0.5, -1, 0))


def test_a_token_far_off_cannot_overflow():
    new = tensor(500.0, -500.0).requires_grad_()
    terms = policy_terms(new, tensor(0, 0), tensor(-1, 1), Clip(dual=None))
    (terms.loss + k3(new, tensor(0, 0))).sum().backward()
    assert torch.isfinite(terms.loss).all()
    assert torch.isfinite(new.grad).all()


def test_k3_is_as_by_hand_and_never_negative():
    """d = log 2: 2 - log 2 - 1; d = -log 2: 1/2 + log 2 - 1."""
    values = k3(tensor(0, 0, 0), tensor(math.log(2), -math.log(2), 0))
    expected = tensor(1 - math.log(2), math.log(2) - 0.5, 0)
    torch.testing.assert_close(values, expected)


def test_k3_estimates_the_divergence():
    new, reference = tensor(0.5, 0.3, 0.2).log(), tensor(0.2, 0.3, 0.5).log()
    exact = (new.exp() * (new - reference)).sum()
    torch.testing.assert_close((new.exp() * k3(new, reference)).sum(), exact)


def test_entropy_is_as_by_hand():
    logits = torch.stack([tensor(0.5, 0.25, 0.25).log() + 3, tensor(-1e9, 0, -1e9)])
    torch.testing.assert_close(token_entropy(logits), tensor(1.5 * math.log(2), 0))


def test_a_mean_over_tokens_divides_by_the_count_of_the_whole_update():
    torch.testing.assert_close(token_mean(tensor(1, 2, 3), 12), tensor(0.5).squeeze())
    assert token_mean(tensor(), 0) == 0
    with pytest.raises(ConfigurationError, match="0 tokens"):
        token_mean(tensor(1), 0)


@pytest.mark.parametrize(
    ("tokens", "penalty"),
    [(0, 0), (80, 0), (85, -0.25), (90, -0.5), (100, -1), (101, -1), (1000, -1)],
)
def test_overlong_answers_are_punished_softly(tokens, penalty):
    assert overlong_penalty(tokens, limit=100, margin=20) == pytest.approx(penalty)


def test_without_a_margin_only_what_is_over_the_limit_is_punished():
    assert overlong_penalty(100, limit=100, margin=0) == 0
    assert overlong_penalty(101, limit=100, margin=0) == -1
    with pytest.raises(ConfigurationError, match="margin"):
        overlong_penalty(1, limit=10, margin=11)


def gradients(policy: Policy, conversations: list[Conversation], tokens: int) -> list[Any]:
    """Of the whole loss, summed over micro-batches of at most `tokens` tokens."""
    advantages = [(-1.0) ** at * (at + 1) for at in range(len(conversations))]
    total = trained_tokens(conversations)
    for micro in micro_batches(conversations, tokens=tokens):
        batch = collate(conversations, micro.members, None, device=policy.device)
        scores = scored(policy, batch)
        terms = policy_terms(scores.logprobs, batch.old, batch.spread(advantages), Clip())
        loss = token_mean(terms.loss - 0.01 * scores.entropy, total)
        (loss + 0.1 * token_mean(k3(scores.logprobs, batch.old), total)).backward()
    taken = [parameter.grad.clone() for parameter in policy.trained().values()]
    for parameter in policy.trained().values():
        parameter.grad = None
    return taken


def test_the_gradient_does_not_depend_on_how_the_batch_is_cut(policy):
    """Among the rows are one without an answer, one masked out, one of a single token."""
    conversations = [
        conversation(5, 20, 1),
        conversation(30, 1, 2),
        conversation(4, 0, 3),
        conversation(6, 5, 4, mask=(False,) * 5),
        conversation(9, 6, 5, mask=(True, True, False, False, True, True)),
        conversation(3, 12, 6),
    ]
    whole = gradients(policy, conversations, 10_000)
    for tokens in (1, 40, 70):
        assert len(micro_batches(conversations, tokens=tokens)) > 1
        for one, other in zip(whole, gradients(policy, conversations, tokens), strict=True):
            torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


def test_scores_in_pieces_are_those_of_the_whole(policy):
    conversations = [conversation(5, 20, 1), conversation(8, 9, 2)]
    batch = collate(conversations, (0, 1), None, device=policy.device)
    whole, parts = (scored(policy, batch, piece_scores=size) for size in (1 << 30, 1))
    torch.testing.assert_close(whole.logprobs, parts.logprobs)
    torch.testing.assert_close(whole.entropy, parts.entropy)


def test_masked_tokens_are_seen_and_not_learnt(policy):
    """A tool's response moves what follows it, and has no log-probability itself."""
    one = conversation(4, 6, mask=(True, True, False, False, True, True))
    other = replace(one, response_ids=(*one.response_ids[:2], 9, 9, *one.response_ids[4:]))
    first, second = logprobs_of(policy, [one, other])
    assert len(first) == 4
    np.testing.assert_array_equal(first[:2], second[:2])
    assert (first[2:] != second[2:]).all()


def test_a_batch_with_nothing_to_learn_gives_a_finite_zero(policy):
    empty = [conversation(4, 0), conversation(5, 3, mask=(False,) * 3)]
    batch = collate(empty, (0, 1), None, device=policy.device)
    scores = scored(policy, batch)
    terms = policy_terms(scores.logprobs, batch.old, batch.spread([1.0, -1.0]), Clip())
    loss = token_mean(terms.loss, trained_tokens(empty)) + token_mean(scores.entropy, 0)
    loss.backward()
    assert loss.item() == 0
    assert all(
        parameter.grad is None or not parameter.grad.any()
        for parameter in policy.trained().values()
    )
    assert micro_batches(empty, tokens=100) == []
    assert logprobs_of(policy, empty)[0].shape == (0,)


def test_imitation_is_the_negative_log_probability():
    torch.testing.assert_close(supervised(tensor(-2, -1)), tensor(2, 1))


def test_micro_batches_keep_to_the_limit_and_leave_out_what_is_not_learnt_from():
    rows = [conversation(10 * (at % 5 + 1), 5, at) for at in range(20)]
    rows[3] = replace(rows[3], trained=False)
    rows[7] = conversation(200, 5)
    micros = micro_batches(rows, tokens=120)
    members = [member for micro in micros for member in micro.members]
    assert sorted(members) == [at for at in range(20) if at != 3]
    assert all(micro.padded <= 120 or len(micro.members) == 1 for micro in micros)
    assert 0 <= padding_share(micros) < 0.1
    assert padding_share([]) == 0


def test_micro_batches_can_be_taken_among_some_rows():
    rows = [conversation(5, 5, at) for at in range(6)]
    assert [micro.members for micro in micro_batches(rows, tokens=100, among=[4, 1])] == [(1, 4)]


def test_images_and_text_go_in_batches_of_their_own():
    rows = [conversation(5, 5), replace(conversation(5, 5), images=(b"png",)), conversation(5, 5)]
    assert [micro.members for micro in micro_batches(rows, tokens=100)] == [(0, 2), (1,)]


def test_values_of_conversations_reach_their_tokens(policy):
    rows = [conversation(5, 2), conversation(5, 0), conversation(5, 3)]
    batch = collate(rows, (2, 0), None, device=policy.device)
    assert batch.spread([1.0, 2.0, 3.0]).tolist() == [3, 3, 3, 1, 1]
    values = [np.float32([1, 2]), np.float32([]), np.float32([3, 4, 5])]
    assert batch.line(values).tolist() == [3, 4, 5, 1, 2]


def test_a_row_whose_parts_do_not_match_is_named(policy):
    rows = [conversation(5, 2), replace(conversation(5, 2), mask=(True,))]
    with pytest.raises(InputError, match="conversation 1"):
        collate(rows, (0, 1), None, device=policy.device)
    with pytest.raises(InputError, match=r"conversation 0 .* no prompt"):
        collate([conversation(0, 2)], (0,), None, device=policy.device)
    with pytest.raises(InputError, match="placeholders"):
        collate([conversation(1, 2, images=(b"png",))], (0,), None, device=policy.device)


def test_a_token_that_is_never_sampled_cannot_be_learnt(policy):
    banned = int(policy.banned[0])
    rows = [conversation(5, 2), replace(conversation(5, 2), response_ids=(4, banned))]
    with pytest.raises(InputError, match=f"conversation 1 .* token {banned}"):
        scored(policy, collate(rows, (0, 1), None, device=policy.device))


def test_numbers_that_are_none_name_their_row(policy):
    tokenizer = policy.encoder.tokenizer
    module = tiny_text(tokenizer)
    broken = Policy(module, tokenizer)
    rows = [conversation(5, 2), replace(conversation(5, 2, 1), prompt_ids=(251, 251))]
    with torch.no_grad():  # token 251 is in the second row alone
        module.get_input_embeddings().weight[251] = float("nan")
        module.lm_head.weight = torch.nn.Parameter(torch.ones_like(module.lm_head.weight))
    with pytest.raises(ModelError, match="conversation 1 is nan"):
        scored(broken, collate(rows, (0, 1), None, device=broken.device))


def test_an_advantage_that_is_no_number_is_named():
    check_advantages([0.5, -1.0])
    with pytest.raises(InputError, match="conversation 1 is nan"):
        check_advantages([0.5, float("nan")])
