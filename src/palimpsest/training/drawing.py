"""The draw of a token: temperature, nucleus, and chance that belongs to a row and no other.

Chance is one number from 0 to 1 for each token of a row, decided before anything is generated, by
what identifies the row. Which rows happen to share a batch, and in which order, changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

_BELOW_ONE = 1 - 1e-12
"""So that rounding never lets a draw pass the last token of any probability."""


def identity(seed: str, ids: Sequence[int], images: Sequence[bytes]) -> bytes:
    """What decides a row's chance: a seed and the prompt."""
    digest = hashlib.sha256(seed.encode() + b"\0")
    digest.update(np.asarray(ids, dtype=np.int64).tobytes())
    for image in images:
        digest.update(hashlib.sha256(image).digest())
    return digest.digest()


def chances(key: bytes, tokens: int) -> npt.NDArray[np.float64]:
    """A row's chance for each token it may write."""
    generator = np.random.Generator(np.random.Philox(int.from_bytes(key[:16], "little")))
    return generator.random(tokens) * _BELOW_ONE


def drawn(logits: Tensor, temperatures: Tensor, top_ps: Tensor, chance: Tensor) -> Tensor:
    """One token for each row.

    The token at which the summed probability passes `chance`; the most probable one where the
    temperature is 0.

    Args:
        logits: Rows, vocabulary.
        top_ps: The nucleus (arXiv 1904.09751): the fewest most probable tokens that reach it.
    """
    greedy = logits.argmax(-1)
    if not bool((temperatures > 0).any()):
        return greedy
    scaled = logits.double() / torch.where(temperatures > 0, temperatures, 1)[:, None]
    probabilities = scaled.softmax(-1)
    cut = (top_ps < 1).nonzero().flatten()
    if len(cut):
        probabilities[cut] = _nucleus(probabilities[cut], top_ps[cut])
    sums = probabilities.cumsum(-1)
    tokens = torch.searchsorted(sums, (chance * sums[:, -1])[:, None], right=True).squeeze(-1)
    return torch.where(temperatures > 0, tokens, greedy)


def _nucleus(probabilities: Tensor, top_ps: Tensor) -> Tensor:
    """The probabilities with 0 for all outside the nucleus."""
    ordered, places = probabilities.sort(stable=True, dim=-1, descending=True)
    before = ordered.cumsum(-1) - ordered
    inside = before < top_ps[:, None]
    inside[:, 0] = True
    return torch.zeros_like(probabilities).scatter(-1, places, ordered * inside)
