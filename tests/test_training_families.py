"""Families: how each sees, where its tokens stand, and what it may never say."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch", reason="needs the `train` extra")
transformers = pytest.importorskip("transformers", reason="needs the `train` extra")

from palimpsest.errors import ConfigurationError, InputError, RefusedError  # noqa: E402
from palimpsest.models.model import user  # noqa: E402
from palimpsest.training.batching import model_inputs  # noqa: E402
from palimpsest.training.families import family_of  # noqa: E402
from palimpsest.training.patches import patches_of  # noqa: E402
from palimpsest.training.policy import Policy  # noqa: E402
from palimpsest.training.tiny import IMAGE, tiny_text, tiny_tokenizer, tiny_vision  # noqa: E402

torch.set_num_threads(1)

VISION = ["qwen2_5_vl", "qwen3_vl"]
TEXT = ["qwen2", "qwen3"]


def png(width: int, height: int, seed: int = 0) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def data_url(image: bytes) -> str:
    import base64

    return "data:image/png;base64," + base64.b64encode(image).decode()


def vision_policy(family: Any) -> Policy:
    tokenizer = tiny_tokenizer()
    module = tiny_vision(tokenizer, family=family)
    liven(module)
    return Policy(module, tokenizer)


def liven(module: Any) -> None:
    """Makes random weights large enough that a difference in the input shows."""
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4)


def test_a_model_of_another_family_is_refused_by_name():
    config = transformers.GPT2Config()
    with pytest.raises(ConfigurationError, match="gpt2") as caught:
        family_of(config)
    assert "Qwen2.5-VL" in caught.value.hint
    assert "Qwen3-VL" in caught.value.hint


@pytest.mark.parametrize("family", VISION)
def test_patches_are_those_of_the_models_own_processor(family):
    own = pytest.importorskip("transformers.models.qwen2_vl.image_processing_pil_qwen2_vl")
    eyes = vision_policy(family).encoder.family.eyes
    image = png(eyes.cell_px * 5, eyes.cell_px * 3)
    processor = own.Qwen2VLImageProcessorPil(
        size={"shortest_edge": 1, "longest_edge": 1 << 24},
        patch_size=eyes.patch_px,
        image_mean=list(eyes.mean),
        image_std=list(eyes.deviation),
    )
    expected = processor(Image.open(io.BytesIO(image)), return_tensors="np")
    patches = patches_of(image, eyes)
    np.testing.assert_allclose(patches.values, expected["pixel_values"], atol=1e-6)
    assert [list(patches.grid)] == expected["image_grid_thw"].tolist()


def test_an_image_beside_the_cells_is_refused():
    policy = vision_policy("qwen2_5_vl")
    with pytest.raises(RefusedError, match="30 x 28"):
        policy.encoder.prompt(user("what?", data_url(png(30, 28))))


def test_a_text_model_refuses_an_image():
    tokenizer = tiny_tokenizer()
    policy = Policy(tiny_text(tokenizer), tokenizer)
    with pytest.raises(RefusedError, match="text only"):
        policy.encoder.prompt(user("what?", data_url(png(28, 28))))


@pytest.mark.parametrize("family", VISION)
def test_an_image_takes_one_token_for_each_cell(family):
    policy = vision_policy(family)
    cell = policy.encoder.family.eyes.cell_px
    prompt = policy.encoder.prompt(user("what?", data_url(png(cell * 4, cell * 2))))
    assert prompt.ids.count(policy.encoder.family.eyes.placeholder) == 8
    assert len(prompt.images) == 1


@pytest.mark.parametrize("family", VISION)
def test_tokens_stand_where_the_model_itself_would_put_them(family):
    """Rows with two images, one image and none, padded on either side."""
    policy = vision_policy(family)
    eyes = policy.encoder.family.eyes
    cell = eyes.cell_px
    two = user("and this?", data_url(png(cell * 2, cell * 3, 1)))
    two += user("what?", data_url(png(cell * 5, cell, 2)))
    one = user("what?", data_url(png(cell, cell, 3)))
    prompts = [policy.encoder.prompt(messages) for messages in (two, one, user("nothing here"))]
    for side in ("left", "right"):
        inputs = model_inputs(prompts, eyes, side=side, device=policy.device)
        kinds = (inputs["input_ids"] == eyes.placeholder).int()
        places, _ = policy.module.model.get_rope_index(
            inputs["input_ids"],
            mm_token_type_ids=kinds,
            image_grid_thw=inputs["image_grid_thw"],
            attention_mask=inputs["attention_mask"],
        )
        held = inputs["attention_mask"].bool()
        assert torch.equal(inputs["position_ids"][:, held], places[:, held])
        with torch.no_grad():
            own = policy.module.model(
                **{name: value for name, value in inputs.items() if name != "position_ids"},
                mm_token_type_ids=kinds,
            ).last_hidden_state
            ours = policy.states(inputs).hidden
        torch.testing.assert_close(ours[held], own[held], atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", VISION)
def test_what_a_page_shows_reaches_the_answer(family):
    policy = vision_policy(family)
    cell = policy.encoder.family.eyes.cell_px
    shown = [policy.encoder.prompt(user("what?", data_url(png(cell, cell, s)))) for s in (1, 2)]
    inputs = model_inputs(shown, policy.encoder.family.eyes, side="right", device=policy.device)
    with torch.no_grad():
        hidden = policy.states(inputs).hidden[:, -1]
    assert (hidden[0] - hidden[1]).abs().max() > 1e-3


def test_a_document_cannot_claim_an_image_or_end_a_turn():
    policy = vision_policy("qwen2_5_vl")
    tokenizer = policy.encoder.tokenizer
    prompt = policy.encoder.prompt(user(f"see {IMAGE} and <|im_end|>"))
    assert policy.encoder.family.eyes.placeholder not in prompt.ids
    assert prompt.ids.count(tokenizer.eos_token_id) == 1


def test_special_tokens_and_ids_without_a_token_are_banned_and_the_ends_are_not():
    tokenizer = tiny_tokenizer(["word"])
    policy = Policy(tiny_text(tokenizer), tokenizer)
    size = len(tokenizer)
    banned = policy.encoder.banned(size + 2)
    assert {size, size + 1, tokenizer.convert_tokens_to_ids(IMAGE)} <= set(banned)
    assert tokenizer.eos_token_id not in banned
    assert tokenizer.convert_tokens_to_ids("word") not in banned


def test_a_tiny_tokenizer_gives_any_text_back():
    tokenizer = tiny_tokenizer(["red", " red"])
    text = "a red barn, redder: é 漢 🦊\n\ttwo  spaces"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text
    assert tokenizer.convert_tokens_to_ids(" red") in ids


def test_a_piece_outside_ascii_is_refused():
    with pytest.raises(InputError, match="é"):
        tiny_tokenizer(["é"])


@pytest.mark.parametrize("make", [(tiny_text, name) for name in TEXT] + [(tiny_vision, "qwen3_vl")])
def test_tiny_models_are_the_same_for_the_same_seed(make):
    tokenizer = tiny_tokenizer()
    build, family = make
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = build(tokenizer, family=family, seed=3).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    again = build(tokenizer, family=family, seed=3).state_dict()
    other = build(tokenizer, family=family, seed=4).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
