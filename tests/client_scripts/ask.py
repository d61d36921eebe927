"""Asks an OpenAI-compatible endpoint with a client as it is installed, whole and streamed.

    python ask.py CLIENT BASE_URL MODEL FILE

CLIENT is `openai`, `openai-responses`, `langchain` or `llama-index`; FILE holds the message. Prints
`{"whole": TEXT, "streamed": TEXT, "pieces": NUMBER}`. Imports nothing of Palimpsest. The exit code
is 3 where the client is not installed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

TIMEOUT_S = 3600.0
NOT_INSTALLED = 3
_KEY = "any"


def ask_openai(url: str, model: str, text: str) -> tuple[str, list[str]]:
    import openai

    client = openai.OpenAI(base_url=url, api_key=_KEY, timeout=TIMEOUT_S, max_retries=0)
    messages = [{"role": "user", "content": text}]
    whole = client.chat.completions.create(model=model, messages=messages)
    chunks = client.chat.completions.create(model=model, messages=messages, stream=True)
    streamed = [one.choices[0].delta.content or "" for one in chunks if one.choices]
    return whole.choices[0].message.content, streamed


def ask_openai_responses(url: str, model: str, text: str) -> tuple[str, list[str]]:
    import openai

    client = openai.OpenAI(base_url=url, api_key=_KEY, timeout=TIMEOUT_S, max_retries=0)
    whole = client.responses.create(model=model, input=text)
    with client.responses.stream(model=model, input=text) as stream:
        events = [event for event in stream if event.type == "response.output_text.delta"]
        assert stream.get_final_response().output_text == "".join(one.delta for one in events)
    return whole.output_text, [event.delta for event in events]


def ask_langchain(url: str, model: str, text: str) -> tuple[str, list[str]]:
    from langchain_openai import ChatOpenAI

    client = ChatOpenAI(
        model=model, base_url=url, api_key=_KEY, timeout=TIMEOUT_S, max_retries=0
    )  # fmt: skip
    return client.invoke(text).text, [chunk.text for chunk in client.stream(text)]


def ask_llama_index(url: str, model: str, text: str) -> tuple[str, list[str]]:
    from llama_index.core.llms import ChatMessage
    from llama_index.llms.openai import OpenAI

    client = OpenAI(model=model, api_base=url, api_key=_KEY, timeout=TIMEOUT_S, max_retries=0)
    messages = [ChatMessage(role="user", content=text)]
    whole = client.chat(messages).message.content
    return whole, [chunk.delta or "" for chunk in client.stream_chat(messages)]


CLIENTS: dict[str, Callable[[str, str, str], tuple[str, list[str]]]] = {
    "openai": ask_openai,
    "openai-responses": ask_openai_responses,
    "langchain": ask_langchain,
    "llama-index": ask_llama_index,
}


def main() -> None:
    client, url, model, file = sys.argv[1:]
    try:
        whole, pieces = CLIENTS[client](url, model, Path(file).read_text(encoding="utf-8"))
    except ModuleNotFoundError as error:
        print(error, file=sys.stderr)
        sys.exit(NOT_INSTALLED)
    said = [piece for piece in pieces if piece]
    print(json.dumps({"whole": whole, "streamed": "".join(said), "pieces": len(said)}))


if __name__ == "__main__":
    main()
