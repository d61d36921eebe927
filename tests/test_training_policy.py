"""The policy: what is trained, what is kept, and what its folder holds."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the `train` extra")
pytest.importorskip("transformers", reason="needs the `train` extra")

from palimpsest.errors import ConfigurationError  # noqa: E402
from palimpsest.models.model import Sampling, user  # noqa: E402
from palimpsest.training.batching import collate  # noqa: E402
from palimpsest.training.logprobs import logprobs_of, scored  # noqa: E402
from palimpsest.training.lora import LoRA  # noqa: E402
from palimpsest.training.policy import Policy  # noqa: E402
from palimpsest.training.rollout import Conversation  # noqa: E402
from palimpsest.training.sampler import PolicyModel  # noqa: E402
from palimpsest.training.tiny import tiny_text, tiny_tokenizer, tiny_vision  # noqa: E402

torch.set_num_threads(1)

CONVERSATIONS = [
    Conversation("draft", (5, 6, 7), (8, 9), (-1.0, -1.0), (True, True)),
    Conversation("final", (5, 6), (8, 9, 10, 11), (-1.0,) * 4, (True, False, True, True)),
]


def policy_of(family: Any = "qwen2", **settings: Any) -> Policy:
    tokenizer = tiny_tokenizer()
    make = tiny_vision if "vl" in family else tiny_text
    return Policy(make(tokenizer, family=family), tokenizer, **settings)


def flat(policy: Policy) -> Any:
    return np.concatenate(logprobs_of(policy, CONVERSATIONS))


def descend(policy: Policy, rate: float = 0.5) -> None:
    """One step of plain gradient descent towards what the conversations say."""
    batch = collate(CONVERSATIONS, (0, 1), policy.encoder.family.eyes, device=policy.device)
    (-scored(policy, batch).logprobs.mean()).backward()
    with torch.no_grad():
        for parameter in policy.trained().values():
            if parameter.grad is not None:
                parameter -= rate * parameter.grad
                parameter.grad = None


@pytest.mark.parametrize("family", ["qwen2", "qwen3", "qwen2_5_vl", "qwen3_vl"])
def test_a_saved_policy_loads_as_it_was(family, tmp_path):
    policy = policy_of(family)
    descend(policy)
    policy.save(tmp_path / "model")
    again = Policy.load(tmp_path / "model")
    assert again.name == "model"
    assert again.encoder.family == policy.encoder.family
    assert again.encoder.ends == policy.encoder.ends
    assert again.encoder.prompt(user("a red é")) == policy.encoder.prompt(user("a red é"))
    np.testing.assert_array_equal(flat(again), flat(policy))


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match="no model folder"):
        Policy.load(tmp_path / "missing")


def test_a_folder_of_another_family_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    with pytest.raises(ConfigurationError, match="gpt2"):
        Policy.load(tmp_path)


def test_the_processors_settings_go_along(tmp_path):
    policy_of("qwen2_5_vl").save(tmp_path / "first")
    (tmp_path / "first" / "preprocessor_config.json").write_text("{}")
    Policy.load(tmp_path / "first").save(tmp_path / "second")
    assert (tmp_path / "second" / "preprocessor_config.json").read_text() == "{}"


@pytest.mark.parametrize("family", ["qwen2", "qwen2_5_vl"])
def test_fresh_adapters_change_nothing_and_are_all_that_is_trained(family):
    pytest.importorskip("peft")
    plain, adapted = policy_of(family), policy_of(family, lora=LoRA(rank=4))
    np.testing.assert_array_equal(flat(plain), flat(adapted))
    names = adapted.trained()
    assert names
    assert all("lora" in name and "visual" not in name for name in names)
    layers, matrices, sides = 2, 7, 2
    assert len(names) == layers * matrices * sides


def test_only_adapters_move_and_merging_keeps_what_they_learnt(tmp_path):
    pytest.importorskip("peft")
    policy = policy_of(lora=LoRA(rank=4))
    frozen = {
        name: value.detach().clone()
        for name, value in policy.module.named_parameters()
        if not value.requires_grad
    }
    before = flat(policy)
    descend(policy, rate=5.0)
    descend(policy, rate=5.0)
    after = flat(policy)
    assert np.abs(after - before).max() > 1e-3
    assert all(
        torch.equal(value, frozen[name])
        for name, value in policy.module.named_parameters()
        if name in frozen
    )
    policy.save_merged(tmp_path / "merged")
    merged = Policy.load(tmp_path / "merged")
    np.testing.assert_allclose(flat(merged), after, atol=1e-5)
    np.testing.assert_array_equal(flat(policy), after)


def test_saved_adapters_find_their_model_again(tmp_path):
    pytest.importorskip("peft")
    policy_of().save(tmp_path / "base")
    policy = Policy.load(tmp_path / "base", lora=LoRA(rank=4))
    descend(policy)
    descend(policy)
    policy.save(tmp_path / "adapters")
    assert not (tmp_path / "adapters" / "model.safetensors").exists()
    again = Policy.load(tmp_path / "adapters")
    np.testing.assert_array_equal(flat(again), flat(policy))
    assert again.trained().keys() == policy.trained().keys()


def test_adapters_of_a_model_without_a_folder_can_only_be_merged(tmp_path):
    pytest.importorskip("peft")
    with pytest.raises(ConfigurationError, match="no folder"):
        policy_of(lora=LoRA()).save(tmp_path)


@pytest.mark.parametrize("lora", [None, LoRA(rank=4)])
def test_the_reference_stays_while_the_policy_learns(lora):
    if lora:
        pytest.importorskip("peft")
    policy = policy_of(lora=lora)
    policy.keep_reference()
    start = flat(policy)
    descend(policy)
    descend(policy)
    learnt = flat(policy)
    with policy.as_reference():
        assert not torch.is_grad_enabled()
        np.testing.assert_array_equal(flat(policy), start)
    np.testing.assert_array_equal(flat(policy), learnt)
    assert np.abs(learnt - start).max() > 0


def test_a_reference_that_was_not_kept_cannot_be_used():
    with pytest.raises(ConfigurationError, match="no reference"), policy_of().as_reference():
        pass


def test_a_state_is_taken_over_exactly():
    policy = policy_of()
    state, start = policy.state(), flat(policy)
    descend(policy)
    assert np.abs(flat(policy) - start).max() > 0
    policy.restore(state)
    np.testing.assert_array_equal(flat(policy), start)


def test_a_state_of_other_parameters_is_refused():
    with pytest.raises(ConfigurationError, match="not those"):
        policy_of().restore({"other": torch.zeros(1)})


def test_checkpointed_layers_have_the_same_gradients():
    gradients = []
    for checkpointing in (False, True):
        policy = policy_of(gradient_checkpointing=checkpointing)
        batch = collate(CONVERSATIONS, (0, 1), None, device=policy.device)
        scored(policy, batch).logprobs.sum().backward()
        gradients.append([parameter.grad for parameter in policy.trained().values()])
    for plain, again in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, again)


def test_bfloat16_computes_narrow_and_keeps_trained_weights_wide():
    wide, narrow = policy_of(), policy_of(dtype="bfloat16")
    assert {parameter.dtype for parameter in narrow.trained().values()} == {torch.float32}
    difference = np.abs(flat(wide) - flat(narrow)).max()
    assert 0 < difference < 0.05
    sampling = Sampling(max_tokens=4, temperature=1.0)
    sample = asyncio.run(PolicyModel(narrow).sample(user("x"), sampling))
    assert len(sample.completion.logprobs) == 4


def test_bfloat16_keeps_frozen_weights_narrow():
    pytest.importorskip("peft")
    policy = policy_of(lora=LoRA(rank=4), dtype="bfloat16")
    frozen = {value.dtype for value in policy.module.parameters() if not value.requires_grad}
    assert frozen == {torch.bfloat16}
    assert {value.dtype for value in policy.trained().values()} == {torch.float32}
    descend(policy)


def test_the_chat_template_is_told_what_the_policy_says():
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{{ messages[0]['content'] }}{{ ' (brief)' if brief else '' }}"
    policy = Policy(tiny_text(tokenizer), tokenizer, template={"brief": True})
    assert tokenizer.decode(list(policy.encoder.prompt(user("hello")).ids)) == "hello (brief)"


def test_a_folder_is_all_that_another_program_needs(tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    policy = policy_of()
    policy.save(tmp_path)
    module = AutoModelForCausalLM.from_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    ids = tokenizer("hello", return_tensors="pt")["input_ids"]
    assert ids.tolist() == [policy.encoder.tokenizer("hello")["input_ids"]]
    with torch.no_grad():
        torch.testing.assert_close(module(ids).logits, policy.module(ids).logits)
    assert Path(tmp_path, "chat_template.jinja").is_file()
