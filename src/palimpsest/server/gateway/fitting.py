"""Whether a request fits the upstream's window as it is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from palimpsest.server.gateway.conversation import Conversation
from palimpsest.server.gateway.splitting import image_tokens
from palimpsest.sources.tokens import Tokenizer, count

MESSAGE_TOKENS = 8
"""What a chat template may add to a message."""
UNSAID_LIMIT_TOKENS = 1024
"""Room for the answer where the request does not say how long it may be."""
_COUNTED_FIELDS = ("tools", "functions", "response_format", "text", "instructions")
"""Of a request, beside its messages: all that the upstream puts into the prompt."""


def surely_fits(body: bytes, window: int, limit: int | None) -> bool:
    """Whether the request fits whatever its tokens are, each having a byte at least.

    An image is more tokens than its link has bytes, so a request with one is never sure.
    """
    room = window - (limit or UNSAID_LIMIT_TOKENS)
    return len(body) <= room and b"image" not in body and b"file" not in body


async def prompt_tokens(
    body: Mapping[str, Any], conversation: Conversation, tokenizer: Tokenizer
) -> int:
    """Tokens of the prompt that a request makes, files counted by their text.

    Raises `InputError` for a file that cannot be read.
    """
    text, images = await asyncio.to_thread(_counted, body, conversation)
    tokens = await count(tokenizer, text)
    return tokens + images + MESSAGE_TOKENS * len(conversation.entries)


def _counted(body: Mapping[str, Any], conversation: Conversation) -> tuple[str, int]:
    """All text of the prompt, and the tokens of its images."""
    extra = {name: body[name] for name in _COUNTED_FIELDS if body.get(name)}
    texts = [json.dumps(extra, ensure_ascii=False)] if extra else []
    images = 0
    if conversation.strange:
        texts.append(json.dumps(body, ensure_ascii=False))
    for entry in conversation.entries:
        texts += [entry.text, entry.called]
        for number, part in enumerate(entry.parts):
            if part.kind == "image":
                images += image_tokens(part)
            elif part.kind == "file":
                name = part.name or f"file {number + 1}"
                texts += [text for _, text in part.documents(name)]
    return "\n".join(texts), images
