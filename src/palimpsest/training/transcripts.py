"""What the policy wrote, kept step by step: a line for each rollout.

RUN/rollouts/step-12.jsonl         rollouts that were learnt from, and those that were left out
RUN/rollouts/held-out-12.jsonl     the evaluation after step 12

Of a run of the verl engine, which writes its own, the same is read out of what it wrote.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from palimpsest.errors import InputError
from palimpsest.training.credit import Values
from palimpsest.training.crediting import reward_of
from palimpsest.training.rollout import Conversation, Rollout
from palimpsest.training.verl.written import rollouts_of, written_folder

Kept = Literal["text", "tokens", "none"]
Occasion = Literal["step", "held-out"]
Decode = Callable[[Sequence[int]], str]
FOLDER = "rollouts"


@dataclass(frozen=True)
class Transcripts:
    """The rollouts folder of a run."""

    folder: Path
    kept: Kept
    decode: Decode
    weights: Mapping[str, float]

    def write(
        self,
        occasion: Occasion,
        step: int,
        rollouts: Sequence[Rollout],
        advantages: Sequence[Values] | None = None,
        dropped: Sequence[Rollout] = (),
    ) -> None:
        """Writes a step's file, whole or not at all."""
        if self.kept == "none":
            return
        known: Sequence[Values | None] = advantages or [None] * len(rollouts)
        lines = [self._line(one, own) for one, own in zip(rollouts, known, strict=True)]
        lines += [self._line(one, None) | {"dropped": True} for one in dropped]
        file = transcript_file(self.folder, occasion, step)
        file.parent.mkdir(exist_ok=True)
        passing = file.with_suffix(".new")
        text = "".join(json.dumps(line, ensure_ascii=False, default=str) + "\n" for line in lines)
        passing.write_text(text, encoding="utf-8", errors="surrogatepass")
        passing.replace(file)

    def _line(self, rollout: Rollout, advantages: Values | None) -> dict[str, Any]:
        values = [None] * len(rollout.conversations) if advantages is None else advantages
        return {
            "group": rollout.group,
            "number": rollout.number,
            "reward": _number(reward_of(rollout, self.weights)),
            "scores": {task: _number(score) for task, score in rollout.scores.items()},
            "nodes": rollout.nodes,
            "answer": rollout.answer,
            "failure": rollout.failure,
            "details": _plain(rollout.details),
            "conversations": [
                self._said(one, None if value is None else float(value))
                for one, value in zip(rollout.conversations, values, strict=True)
            ],
        }

    def _said(self, one: Conversation, advantage: float | None) -> dict[str, Any]:
        line: dict[str, Any] = {
            "role": one.role,
            "step": one.step,
            "task": one.task,
            "text": self.decode(one.response_ids),
            "finish": one.finish,
            "prompt_tokens": len(one.prompt_ids),
            "tokens": sum(one.mask),
            "advantage": advantage,
            "state_reward": one.state_reward,
            "trained": one.trained,
        }
        if self.kept == "tokens":
            line["prompt_ids"], line["response_ids"] = one.prompt_ids, one.response_ids
            line["logprobs"], line["mask"] = one.logprobs, one.mask
            line["images"] = [base64.b64encode(image).decode() for image in one.images]
        return line


def transcript_file(run: Path, occasion: Occasion, step: int) -> Path:
    folder = written_folder(run, occasion)
    if folder.is_dir():
        return folder / f"{step}.jsonl"
    return run / FOLDER / f"{occasion}-{step}.jsonl"


def transcript_steps(run: Path, occasion: Occasion = "step") -> list[int]:
    """The steps of which there are transcripts, ascending."""
    names = [path.stem.removeprefix(f"{occasion}-") for path in (run / FOLDER).glob("*.jsonl")]
    names += [path.stem for path in written_folder(run, occasion).glob("*.jsonl")]
    return sorted(int(name) for name in names if name.isdecimal())


def read_transcript(file: Path) -> list[dict[str, Any]]:
    """The lines of a step's file, a rollout each. Raises `InputError`."""
    try:
        text = file.read_text(encoding="utf-8", errors="surrogatepass")
        lines = [json.loads(line) for line in text.split("\n") if line]
    except FileNotFoundError:
        raise InputError(
            f"there are no rollouts at {file}",
            hint="name another step, or train with log.rollouts on",
        ) from None
    except ValueError as error:
        raise InputError(f"{file} is damaged: {error}", hint="name another step") from error
    return rollouts_of(lines) if lines and "uid" in lines[0] else lines


def conversations_of(line: Mapping[str, Any], file: Path) -> Iterator[Conversation]:
    """What a line's rollout was learnt from. Raises `InputError` where its tokens were not kept."""
    for one in line["conversations"]:
        if "response_ids" not in one:
            raise InputError(
                f"{file} holds texts without their tokens",
                hint="make the run that is learnt from with log.rollouts = 'tokens'",
            )
        if one["trained"]:
            yield Conversation(
                role=one["role"],
                prompt_ids=tuple(one["prompt_ids"]),
                response_ids=tuple(one["response_ids"]),
                logprobs=tuple(one["logprobs"]),
                mask=tuple(one["mask"]),
                images=tuple(base64.b64decode(image) for image in one["images"]),
                finish=one["finish"],
                step=one["step"],
                task=one["task"],
            )


def _plain(value: Any) -> Any:  # noqa: ANN401
    """As JSON holds it: what is no finite number is null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return _number(value) if isinstance(value, float) else value


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
