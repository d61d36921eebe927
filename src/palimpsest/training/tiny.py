"""Models of each family that are as small as can be, from random weights.

They learn toy worlds on a processor in minutes, and stand in for real models in tests:

    tokenizer = tiny_tokenizer(["red", " red", "blue", " blue"])
    policy = Policy(tiny_vision(tokenizer), tokenizer)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

import torch

from palimpsest.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

TextFamily = Literal["qwen2", "qwen3"]
VisionFamily = Literal["qwen2_5_vl", "qwen3_vl"]

PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
IMAGE, VIDEO = "<|image_pad|>", "<|video_pad|>"
VISION_START, VISION_END = "<|vision_start|>", "<|vision_end|>"
_SPECIAL = (PAD, START, END, VISION_START, VISION_END, IMAGE, VIDEO)

DEVIATION = 0.02
"""Of the random weights of all these families."""

_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{%- if message['content'] is string -%}{{ message['content'] }}"
    "{%- else -%}{%- for part in message['content'] -%}"
    "{%- if part['type'] == 'text' -%}{{ part['text'] }}"
    "{%- else -%}{{ '<|vision_start|><|image_pad|><|vision_end|>' }}{%- endif -%}"
    "{%- endfor -%}{%- endif -%}{{ '<|im_end|>\\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}"
)


def tiny_tokenizer(pieces: Iterable[str] = ()) -> PreTrainedTokenizerFast:
    """A tokenizer of single bytes and whole `pieces`, with a chat template of turns.

    Any text goes there and back unchanged. Where several pieces could begin, the longest is taken;
    a piece is found inside a longer word, too, and one that follows a space within a line is best
    given with the space. Roles are pieces of their own.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    whole = list(dict.fromkeys(("system", "user", "assistant", *pieces)))
    if foreign := [piece for piece in whole if not piece or not piece.isascii()]:
        raise InputError(
            f"{foreign[0]!r} cannot be a piece", hint="Pieces are ASCII; other text goes by bytes."
        )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={at: i for i, at in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(token, special=True) for token in _SPECIAL])
    backend.add_tokens([AddedToken(piece, normalized=False) for piece in whole])
    tokenizer = _wrapped(backend)
    tokenizer.chat_template = _TEMPLATE
    return tokenizer


def _wrapped(backend: Any) -> PreTrainedTokenizerFast:  # noqa: ANN401
    import transformers

    fast: Any = transformers.PreTrainedTokenizerFast
    wrapped: PreTrainedTokenizerFast = fast(tokenizer_object=backend, eos_token=END, pad_token=PAD)
    return wrapped


def tiny_text(
    tokenizer: PreTrainedTokenizerFast,
    *,
    family: TextFamily = "qwen2",
    width: int = 64,
    layers: int = 2,
    heads: int = 4,
    window: int = 4096,
    deviation: float = DEVIATION,
    seed: int = 0,
) -> PreTrainedModel:
    """A small language model, the same for the same seed.

    Args:
        width: Of the hidden states; the layers between are three times as wide.
        heads: Of attention; half as many for keys and values.
        deviation: Of the random weights. That of large models is too little for a narrow one to
            learn fast: about 1 / sqrt(width) is better.
    """
    from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

    settings = _text_settings(tokenizer, width, layers, heads, window)
    settings |= {"tie_word_embeddings": True}
    if family == "qwen2":
        return _made(Qwen2ForCausalLM, Qwen2Config(**settings), deviation, seed)
    config = Qwen3Config(**settings, head_dim=width // heads)
    return _made(Qwen3ForCausalLM, config, deviation, seed)


def tiny_vision(
    tokenizer: PreTrainedTokenizerFast,
    *,
    family: VisionFamily = "qwen2_5_vl",
    width: int = 64,
    layers: int = 2,
    heads: int = 4,
    vision_width: int = 32,
    vision_layers: int = 2,
    vision_heads: int = 2,
    patch_px: int | None = None,
    window: int = 4096,
    deviation: float = DEVIATION,
    seed: int = 0,
) -> PreTrainedModel:
    """A small model that sees, the same for the same seed.

    Args:
        patch_px: Side of a patch; a cell has two. Default the family's: 14 or 16.
        deviation: As for `tiny_text`; eyes need it more.
    """
    text = _text_settings(tokenizer, width, layers, heads, window)
    eyes: dict[str, Any] = {
        "depth": vision_layers,
        "hidden_size": vision_width,
        "intermediate_size": 2 * vision_width,
        "num_heads": vision_heads,
        "out_hidden_size": width,
        "spatial_merge_size": 2,
    }
    from transformers import Qwen2_5_VLForConditionalGeneration, Qwen3VLForConditionalGeneration

    config: Any
    if family == "qwen2_5_vl":
        config = _qwen2_5_vl(tokenizer, text, eyes, patch_px or 14)
        return _made(Qwen2_5_VLForConditionalGeneration, config, deviation, seed)
    config = _qwen3_vl(tokenizer, text, eyes, patch_px or 16)
    return _made(Qwen3VLForConditionalGeneration, config, deviation, seed)


def _qwen2_5_vl(
    tokenizer: PreTrainedTokenizerFast, text: dict[str, Any], eyes: dict[str, Any], patch_px: int
) -> Any:  # noqa: ANN401
    from transformers import Qwen2_5_VLConfig

    rotated = text["hidden_size"] // text["num_attention_heads"] // 2
    return Qwen2_5_VLConfig(
        text_config=text | {"rope_scaling": {"type": "mrope", "mrope_section": _thirds(rotated)}},
        vision_config=eyes
        | {
            "patch_size": patch_px,
            # Windows of 4 by 4 cells in all layers but the last.
            "window_size": 8 * patch_px,
            "fullatt_block_indexes": [eyes["depth"] - 1],
        },
        **_vision_tokens(tokenizer),
    )


def _qwen3_vl(
    tokenizer: PreTrainedTokenizerFast, text: dict[str, Any], eyes: dict[str, Any], patch_px: int
) -> Any:  # noqa: ANN401
    from transformers import Qwen3VLConfig

    head = text["hidden_size"] // text["num_attention_heads"]
    rope = {"rope_type": "default", "mrope_section": _thirds(head // 2), "mrope_interleaved": True}
    return Qwen3VLConfig(
        text_config=text | {"head_dim": head, "rope_scaling": rope},
        vision_config=eyes
        | {
            "patch_size": patch_px,
            "num_position_embeddings": 256,
            "deepstack_visual_indexes": [0],
        },
        **_vision_tokens(tokenizer),
    )


def _text_settings(
    tokenizer: PreTrainedTokenizerFast, width: int, layers: int, heads: int, window: int
) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": width,
        "intermediate_size": 3 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": max(1, heads // 2),
        "max_position_embeddings": window,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def _vision_tokens(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    def number(token: str) -> int:
        found = tokenizer.convert_tokens_to_ids(token)
        assert isinstance(found, int)
        return found

    return {
        "image_token_id": number(IMAGE),
        "video_token_id": number(VIDEO),
        "vision_start_token_id": number(VISION_START),
        "vision_end_token_id": number(VISION_END),
        "tie_word_embeddings": True,
        "eos_token_id": tokenizer.eos_token_id,
    }


def _thirds(size: int) -> list[int]:
    """Rotary frequencies for time, height and width: a quarter for time, the rest shared."""
    height = (size - size // 4) // 2
    return [size - 2 * height, height, height]


def _made(model: Any, config: Any, deviation: float, seed: int) -> PreTrainedModel:  # noqa: ANN401
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made: PreTrainedModel = model(config)
    if deviation != DEVIATION:
        with torch.no_grad():
            for weight in made.parameters():
                # Not the scales of norms, nor what is added.
                if weight.ndim > 1:
                    weight.mul_(deviation / DEVIATION)
    return made
