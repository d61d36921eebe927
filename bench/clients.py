"""Asks a running gateway for more than its upstream's window holds, with clients as they are.

    python bench/clients.py http://127.0.0.1:8700/v1 --python .venv-clients/bin/python \\
        --node node_modules/openai

The Python clients are asked by `--python`, whose environment has what is in
tests/client_scripts/requirements.txt; OpenAI's for Node is in the folder `--node`; then curl. Each
asks for a whole answer and for a streamed one, the message being the same for all, so that the
first has to wait for the reading and the others take it over.

LlamaIndex's class takes only names of models that it knows, so start the gateway with
`PALIMPSEST_SERVE_OWN_MODELS=palimpsest,gpt-4o-mini`.

Prints markdown, or data with `--json`; the exit code is 1 if a client got no answer.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ASK = Path(__file__).parents[1] / "tests" / "client_scripts"
MODEL = "gpt-4o-mini"
QUESTION = "Who lit the lamp of Gull Rock, and in which year?"
FACT = "The lamp of Gull Rock was lit for the first time by Ada Venn, in 1871."
_PLACES = ("the quay", "the mill", "the upper road", "the chapel", "the ropewalk", "the ferry")
_WORK = (
    "mended the nets that the storm had torn",
    "carried corks and tar down from the market",
    "counted the boats that came home with the tide",
    "wrote down wind and weather for the harbour master",
    "repaired the wall that the carts had broken",
)


def message(paragraphs: int) -> str:
    """Days of a harbour, with the fact in the middle, and the question."""
    days = [
        f"Day {number}. At {_PLACES[number % 6]} the people of Thornby {_WORK[number % 5]}. "
        f"By evening {number * 7 % 40 + 2} boats lay at {_PLACES[(number // 6) % 6]}, and the "
        f"wind stood in quarter {number * 3 % 16 + 1}; nothing else was noted."
        for number in range(paragraphs)
    ]
    days.insert(paragraphs // 2, FACT)
    return "\n\n".join([*days, QUESTION])


def commands(options: argparse.Namespace, file: Path) -> Iterator[tuple[str, list[str]]]:
    """Each client's name and how it is run."""
    rest = [options.url, MODEL, str(file)]
    for client in ("openai", "openai-responses", "langchain", "llama-index"):
        yield client, [options.python, str(ASK / "ask.py"), client, *rest]
    if options.node:
        yield "openai for Node", ["node", str(ASK / "ask.mjs"), str(options.node), *rest]


def asked(client: str, command: list[str]) -> dict[str, Any]:
    """What a client was answered."""
    started = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = round(time.monotonic() - started, 1)
    if done.returncode:
        return {"client": client, "seconds": seconds, "failed": done.stderr.strip()[-500:]}
    return {"client": client, "seconds": seconds, **json.loads(done.stdout)}


def asked_by_curl(options: argparse.Namespace, file: Path) -> dict[str, Any]:
    """What curl was answered, and what the answer tells of the reading."""
    said = {}
    started = time.monotonic()
    for streamed in (False, True):
        body = {
            "model": MODEL, "stream": streamed,
            "messages": [{"role": "user", "content": file.read_text(encoding="utf-8")}],
        }  # fmt: skip
        sent = file.with_suffix(".json")
        sent.write_text(json.dumps(body), encoding="utf-8")
        command = [
            "curl", "-sSN", f"{options.url}/chat/completions", "-H",
            "Content-Type: application/json", "--data-binary", f"@{sent}",
        ]  # fmt: skip
        said[streamed] = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    whole = json.loads(said[False])
    if "choices" not in whole:
        return {"client": "curl", "failed": said[False][:500]}
    lines = [one for one in said[True].splitlines() if one.startswith("data: {")]
    choices = [one for line in lines for one in json.loads(line[6:]).get("choices", [])]
    pieces = [one["delta"]["content"] for one in choices if one["delta"].get("content")]
    return {
        "client": "curl",
        "seconds": round(time.monotonic() - started, 1),
        "whole": whole["choices"][0]["message"]["content"],
        "streamed": "".join(pieces),
        "pieces": len(pieces),
        "reading": whole.get("palimpsest"),
    }


def printed(results: list[dict[str, Any]]) -> None:
    print("| client | seconds | whole | streamed | pieces |\n|---|---:|---|---|---:|")
    for one in results:
        if "failed" in one:
            print(f"| {one['client']} | {one.get('seconds', '')} | failed: {one['failed']} | | |")
            continue
        for part in (one, {"client": f"{one['client']}, responses", **one.get("responses", {})}):
            if "whole" in part:
                texts = [" ".join(part[name].split()) for name in ("whole", "streamed")]
                seconds = part.get("seconds", "")
                cells = [part["client"], f"{seconds}", *texts, f"{part['pieces']}"]
                print(f"| {' | '.join(cells)} |")
    for one in results:
        if one.get("reading"):
            print(
                f"\n{json.dumps(one['reading']['source'])} {json.dumps(one['reading']['chunks'])}"
            )


def answered(result: dict[str, Any]) -> bool:
    return bool(result.get("whole") and result.get("streamed"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url", help="the gateway's base URL, with /v1")
    parser.add_argument("--python", default=sys.executable, help="interpreter with the clients")
    parser.add_argument("--node", type=Path, help="folder of Node's package openai")
    parser.add_argument("--paragraphs", type=int, default=1200, help="of some 52 tokens each")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "message.txt"
        file.write_text(message(options.paragraphs), encoding="utf-8")
        results = []
        for client, command in commands(options, file):
            results.append(asked(client, command))
            print(client, results[-1].get("seconds"), file=sys.stderr)
        results.append(asked_by_curl(options, file))
    print(json.dumps(results, indent=1)) if options.json else printed(results)
    sys.exit(0 if all(map(answered, results)) else 1)


if __name__ == "__main__":
    main()
