"""From chat messages to token ids and back, by the model's own template and tokenizer.

A prompt is rendered as text, its images as one placeholder each, and tokenised once; what was
sampled is never tokenised again. Text that spells a special token is broken by a space, so that no
document can end a turn or claim an image.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from palimpsest.errors import ConfigurationError, RefusedError
from palimpsest.models.model import ImagePart, Message, TextPart
from palimpsest.models.sight import image_bytes
from palimpsest.sources.tokens import FileTokenizer
from palimpsest.training.families import Family
from palimpsest.training.patches import cells_of, expanded

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_ANSWERED = "The answer so far."
"""Stands for the answer while what follows it is rendered."""


@dataclass(frozen=True)
class Prompt:
    """What the model is given to go on from."""

    ids: tuple[int, ...]
    """Image placeholders expanded, one for each visual token."""
    images: tuple[bytes, ...] = ()
    """PNG, in the order of their placeholders."""


@dataclass(frozen=True)
class Encoder:
    """A tokenizer with the chat template and the family it belongs to."""

    tokenizer: PreTrainedTokenizerFast
    family: Family
    ends: frozenset[int]
    """Tokens that end an answer."""
    variables: Mapping[str, Any] = field(default_factory=dict)
    """What else the chat template is told, such as `enable_thinking` for Qwen3."""

    def prompt(self, messages: Sequence[Message]) -> Prompt:
        """A conversation up to where the assistant is to speak."""
        images = [image for message in messages for image in _images(message)]
        return self._prompt(self._rendered(messages), images)

    def continued(
        self, ids: Sequence[int], images: Sequence[bytes], messages: Sequence[Message]
    ) -> Prompt:
        """`ids`, which end with an answer, with further messages after them.

        The ids stay as they are; only what the messages add is tokenised. An answer that was cut
        off is ended first.
        """
        answered: list[Message] = [
            {"role": "user", "content": "The question."},
            {"role": "assistant", "content": _ANSWERED},
        ]
        whole = self._rendered([*answered, *messages])
        before, found, text = whole.partition(_ANSWERED)
        if not found or _ANSWERED in before:
            raise ConfigurationError(
                "this chat template does not keep an answer as it is, so that no conversation "
                "can go on after one",
                hint="Use a template that writes the assistant's content unchanged.",
            )
        added = self._prompt(text, [image for message in messages for image in _images(message)])
        rest = added.ids
        if ids and ids[-1] in self.ends and rest and rest[0] in self.ends:
            rest = rest[1:]
        return Prompt((*ids, *rest), (*images, *added.images))

    def text(self, ids: Sequence[int]) -> str:
        """What an answer says, without the token that ends it."""
        kept = ids[:-1] if ids and ids[-1] in self.ends else ids
        text = self.tokenizer.decode(
            list(kept), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        assert isinstance(text, str)
        return text

    def banned(self, size: int) -> list[int]:
        """Ids, of `size` that the model has scores for, that an answer can never hold.

        These are the special tokens other than the ends, those of images above all (a sampled
        placeholder has no image to stand for), and the ids that stand for no token at all.
        """
        special = {
            token for token, added in self.tokenizer.added_tokens_decoder.items() if added.special
        }
        if self.family.eyes:
            special.add(self.family.eyes.placeholder)
        return sorted((special | set(range(len(self.tokenizer), size))) - self.ends)

    def _rendered(self, messages: Sequence[Message]) -> str:
        text = self.tokenizer.apply_chat_template(
            [self._plain(message) for message in messages],
            tokenize=False,
            add_generation_prompt=True,
            **self.variables,
        )
        assert isinstance(text, str)
        return text

    def _plain(self, message: Message) -> dict[str, Any]:
        """A message as every chat template understands it."""
        content = message["content"]
        if isinstance(content, str):
            return {"role": message["role"], "content": self._harmless(content)}
        return {"role": message["role"], "content": [self._plain_part(part) for part in content]}

    def _plain_part(self, part: TextPart | ImagePart) -> dict[str, str]:
        if part["type"] == "text":
            return {"type": "text", "text": self._harmless(part["text"])}
        return {"type": "image"}

    def _harmless(self, text: str) -> str:
        for token in self._special_texts:
            text = text.replace(token, f"{token[0]} {token[1:]}")
        return text

    @cached_property
    def _special_texts(self) -> list[str]:
        added = self.tokenizer.added_tokens_decoder.values()
        return [token.content for token in added if token.special]

    def _prompt(self, text: str, images: Sequence[bytes]) -> Prompt:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        if not images:
            return Prompt(tuple(ids))
        if self.family.eyes is None:
            raise RefusedError(
                f"a model of the family {self.family.name} reads text only, and was sent an image",
                hint="Use a vision model, or give the reader a text memory.",
            )
        shown = ids.count(self.family.eyes.placeholder)
        if shown != len(images):
            raise ConfigurationError(
                f"the chat template wrote {shown} placeholders for {len(images)} images",
                hint="Use the template of a model that sees.",
            )
        cells = [cells_of(image, self.family.eyes) for image in images]
        return Prompt(tuple(expanded(ids, cells, self.family.eyes)), tuple(images))


def _images(message: Message) -> Iterable[bytes]:
    content = message["content"]
    if isinstance(content, str):
        return
    for part in content:
        if part["type"] == "image_url":
            yield image_bytes(part["image_url"]["url"])


class PolicyTokenizer:
    """Token offsets by the policy's own tokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, name: str) -> None:
        with TemporaryDirectory() as folder:
            path = f"{folder}/tokenizer.json"
            tokenizer.backend_tokenizer.save(path)
            self._tokenizer = FileTokenizer(path)
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    @property
    def exact(self) -> bool:
        return True

    async def offsets(self, text: str) -> list[int]:
        return await self._tokenizer.offsets(text)
