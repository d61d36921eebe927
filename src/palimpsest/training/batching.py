"""From prompts and conversations to the tensors of one forward pass.

Updates pad on the right, sampling on the left, so that every row's last token stands in the last
column. Places are given to the model for every token: it keeps nothing of one batch that could
leak into the next, and needs no `mm_token_type_ids` to tell images from text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from palimpsest.errors import InputError
from palimpsest.training.encoding import Prompt
from palimpsest.training.families import Eyes
from palimpsest.training.patches import Cells, Patches, cells_of, patches_of, positions_of
from palimpsest.training.rollout import Conversation

Side = Literal["left", "right"]


@dataclass(frozen=True)
class Batch:
    """Conversations side by side, and where in them the trained tokens are.

    The trained tokens of all rows stand in one line, row after row.
    """

    inputs: Mapping[str, Tensor]
    """What the model is called with."""
    members: tuple[int, ...]
    """The rows' places in the list they were taken from."""
    rows: Tensor
    """Of each trained token, the row it is in."""
    columns: Tensor
    """Of each trained token, the column whose output predicts it."""
    targets: Tensor
    """The trained tokens."""
    old: Tensor
    """Their log-probabilities as the sampler had them."""

    def spread(self, values: Sequence[float]) -> Tensor:
        """One value for each conversation of the list, given to each of its trained tokens."""
        chosen = [values[member] for member in self.members]
        return torch.tensor(chosen, dtype=torch.float32, device=self.rows.device)[self.rows]

    def line(self, values: Sequence[npt.NDArray[np.float32]]) -> Tensor:
        """Each conversation's values, one for each of its trained tokens, in the batch's order."""
        return _line([values[member] for member in self.members], np.float32, self.rows.device)


@dataclass(frozen=True)
class Micro:
    """Which conversations go through the model together."""

    members: tuple[int, ...]
    tokens: int
    """Without padding."""
    padded: int
    """With it: rows times the longest."""


def trained_tokens(conversations: Iterable[Conversation]) -> int:
    """The tokens that are learnt from: the one count that a mean over tokens divides by."""
    return sum(sum(conversation.mask) for conversation in conversations if conversation.trained)


def micro_batches(
    conversations: Sequence[Conversation], *, tokens: int, among: Iterable[int] | None = None
) -> list[Micro]:
    """Conversations in groups of at most `tokens` tokens, padding included.

    They are sorted by whether they have images and by length, so that little is padded. A
    conversation over the limit goes alone, one without a token to learn from not at all.

    Args:
        among: Places in the list to take; default all.
    """
    places = range(len(conversations)) if among is None else among
    kept = [place for place in places if trained_tokens([conversations[place]])]
    lengths = {place: _length(conversations[place]) for place in kept}
    kept.sort(key=lambda place: (bool(conversations[place].images), lengths[place], place))
    groups: list[list[int]] = []
    for place in kept:
        mixed = groups and bool(conversations[groups[-1][0]].images) != bool(
            conversations[place].images
        )
        if not groups or mixed or (len(groups[-1]) + 1) * lengths[place] > tokens:
            groups.append([])
        groups[-1].append(place)
    return [
        Micro(
            tuple(group),
            sum(lengths[place] for place in group),
            len(group) * max(lengths[place] for place in group),
        )
        for group in groups
    ]


def padding_share(micros: Iterable[Micro]) -> float:
    """The share of what goes through the model that is padding."""
    parts = list(micros)
    padded = sum(micro.padded for micro in parts)
    return 1 - sum(micro.tokens for micro in parts) / padded if padded else 0.0


def collate(
    conversations: Sequence[Conversation],
    members: Sequence[int],
    eyes: Eyes | None,
    *,
    device: torch.device,
) -> Batch:
    """The batch of some conversations of a list. Raises `InputError` naming a damaged one."""
    chosen = [conversations[member] for member in members]
    for member, conversation in zip(members, chosen, strict=True):
        _check(member, conversation, eyes)
    prompts = [Prompt(_ids(conversation), conversation.images) for conversation in chosen]
    trained = [np.flatnonzero(conversation.mask) for conversation in chosen]
    rows = np.repeat(np.arange(len(chosen)), [len(at) for at in trained])
    columns = [
        len(conversation.prompt_ids) - 1 + at
        for conversation, at in zip(chosen, trained, strict=True)
    ]
    targets = [
        np.asarray(conversation.response_ids, dtype=np.int64)[at]
        for conversation, at in zip(chosen, trained, strict=True)
    ]
    old = [
        np.asarray(conversation.logprobs, dtype=np.float32)[at]
        for conversation, at in zip(chosen, trained, strict=True)
    ]
    return Batch(
        inputs=model_inputs(prompts, eyes, side="right", device=device),
        members=tuple(members),
        rows=torch.as_tensor(rows, device=device),
        columns=_line(columns, np.int64, device),
        targets=_line(targets, np.int64, device),
        old=_line(old, np.float32, device),
    )


def model_inputs(
    prompts: Sequence[Prompt], eyes: Eyes | None, *, side: Side, device: torch.device
) -> dict[str, Tensor]:
    """What a model of the family is called with: ids, mask, places and patches."""
    width = max(len(prompt.ids) for prompt in prompts)
    ids = np.zeros((len(prompts), width), dtype=np.int64)
    mask = np.zeros_like(ids)
    places = np.zeros((3, *ids.shape), dtype=np.int64)
    for row, prompt in enumerate(prompts):
        length = len(prompt.ids)
        at = slice(width - length, width) if side == "left" else slice(0, length)
        ids[row, at] = prompt.ids
        mask[row, at] = 1
        places[:, row, at] = positions_of(prompt.ids, _cells(prompt, eyes), eyes)
    inputs = {
        "input_ids": torch.as_tensor(ids, device=device),
        "attention_mask": torch.as_tensor(mask, device=device),
        "position_ids": torch.as_tensor(places if eyes else places[0], device=device),
    }
    images = [image for prompt in prompts for image in prompt.images]
    if images and eyes:
        inputs |= _pixels([patches_of(image, eyes) for image in images], device)
    return inputs


def _pixels(patches: Sequence[Patches], device: torch.device) -> dict[str, Tensor]:
    values = np.concatenate([patch.values for patch in patches])
    return {
        "pixel_values": torch.as_tensor(values, device=device),
        "image_grid_thw": torch.tensor([patch.grid for patch in patches], device=device),
    }


def _cells(prompt: Prompt, eyes: Eyes | None) -> list[Cells]:
    return [cells_of(image, eyes) for image in prompt.images] if eyes else []


def _ids(conversation: Conversation) -> tuple[int, ...]:
    return conversation.prompt_ids + conversation.response_ids


def _length(conversation: Conversation) -> int:
    return len(conversation.prompt_ids) + len(conversation.response_ids)


def _line(
    parts: Sequence[npt.NDArray[Any]], dtype: type[np.generic], device: torch.device
) -> Tensor:
    joined = np.concatenate(parts) if parts else np.empty(0)
    return torch.as_tensor(joined.astype(dtype), device=device)


def _check(member: int, conversation: Conversation, eyes: Eyes | None) -> None:
    tokens = len(conversation.response_ids)
    if not conversation.prompt_ids:
        raise InputError(
            f"conversation {member} ({conversation.role}) has no prompt",
            hint="Record the prompt's ids; the first answer token is predicted from them.",
        )
    if not tokens == len(conversation.logprobs) == len(conversation.mask):
        raise InputError(
            f"conversation {member} ({conversation.role}) has {tokens} response tokens, "
            f"{len(conversation.logprobs)} log-probabilities and a mask of "
            f"{len(conversation.mask)}",
            hint="Record one of each for every response token.",
        )
    shown = _ids(conversation).count(eyes.placeholder) if eyes else 0
    cells = [cells_of(image, eyes).tokens if eyes else 1 for image in conversation.images]
    if shown != sum(cells):
        raise InputError(
            f"conversation {member} ({conversation.role}) has {shown} image placeholders for "
            f"images of {cells} cells",
            hint="Train with the family that sampled it, and keep its images and ids together.",
        )
