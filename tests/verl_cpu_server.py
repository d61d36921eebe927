"""An inference server for verl over our own sampler, on a processor."""

from __future__ import annotations

import asyncio
import io
import os

import verl  # noqa: F401  before its parts, so that what it imports from outside comes first
from verl.utils.model import convert_weight_keys
from verl.workers.rollout.replica import TokenOutput

_WAIT_S = 0.02
"""For calls that come at the same time to be answered together."""


class CpuServer:
    """Answers from our own sampler, in batches of what comes at the same time."""

    def __init__(self, folder):
        from palimpsest.training.policy import Policy

        self._policy = Policy.load(folder, device="cpu")
        self._waiting = []
        self._version = 0
        self._answers = 0

    def ready(self):
        return True

    async def generate(self, prompt_ids, sampling_params, request_id, image_data=None, **_):
        from palimpsest.training.encoding import Prompt
        from palimpsest.training.generating import Request

        banned = set(sampling_params["logit_bias"])
        assert banned == set(self._policy.banned.tolist()), "what must not be sampled is not told"
        assert set(sampling_params["stop_token_ids"]) == self._policy.encoder.ends
        request = Request(
            Prompt(tuple(prompt_ids), tuple(map(_png, image_data or []))),
            sampling_params["max_tokens"],
            sampling_params["temperature"],
            sampling_params["top_p"],
            os.urandom(32),
        )
        answer = asyncio.get_running_loop().create_future()
        self._waiting.append((request, answer))
        await asyncio.sleep(_WAIT_S)
        if not answer.done():
            self._answer()
        written = await answer
        return TokenOutput(
            token_ids=written.ids,
            log_probs=written.logprobs,
            stop_reason="completed",
            extra_fields={"global_steps": self._version},
        )

    def _answer(self):
        from palimpsest.training.generating import written

        waiting, self._waiting = self._waiting, []
        for seeing in (False, True):
            batch = [pair for pair in waiting if bool(pair[0].prompt.images) is seeing]
            if not batch:
                continue
            try:
                answers = written(self._policy, [request for request, _ in batch])
            except Exception as error:
                for _, future in batch:
                    future.set_exception(error)
                continue
            for (_, future), one in zip(batch, answers, strict=True):
                future.set_result(one)

    def load(self, weights, version):
        """Takes over the trainer's weights, by verl's names for them."""
        own = self._policy.module.state_dict()
        named = convert_weight_keys({name: name for name in own}, self._policy.module)
        taken = {own: weights[told] for told, own in named.items() if told in weights}
        missing = set(own) - set(taken) - {"lm_head.weight"}
        assert not missing, f"no weights for {sorted(missing)[:3]}"
        self._policy.module.load_state_dict(taken, strict=False)
        self._version = version or 0

    async def sleep(self):
        pass

    async def wake_up(self, tags=None):
        pass

    async def abort_all_requests(self, reject_request=False):
        pass

    async def resume_generation(self):
        pass

    async def clear_kv_cache(self):
        pass


def _png(image):
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()
