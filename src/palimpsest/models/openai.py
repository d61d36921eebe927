"""Any endpoint that speaks OpenAI's chat completions: a cloud's, a gateway's, one on this machine.

    model = OpenAIModel("qwen3-8b", base_url="http://127.0.0.1:8000/v1")
    completion = await model.complete(user("What is a palimpsest?"), Sampling(max_tokens=200))

Settings are arguments; environment and configuration files are looked at elsewhere. Retries and
their waits are the client's own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

from palimpsest.errors import ModelError, UnknownModelError
from palimpsest.models.answer import completion, cut_by_thinking
from palimpsest.models.endpoint import Endpoint, connect, endpoint
from palimpsest.models.model import Completion, Message, Sampling
from palimpsest.models.tokenize import probe
from palimpsest.sources.tokens import EstimateTokenizer, FileTokenizer, Tokenizer

if TYPE_CHECKING:
    import httpx2
    from openai import AsyncOpenAI
    from openai._types import RequestOptions

PROBE_TIMEOUT_S = 30.0
OFFERED_MODELS_SHOWN = 20


@dataclass(frozen=True)
class _Session:
    """What belongs to one event loop: its connections, and the bound on calls at once."""

    client: AsyncOpenAI
    gate: asyncio.Semaphore


class Answered(NamedTuple):
    completion: Completion
    body: object
    """The JSON of the answer, as the server gave it."""


class OpenAIModel:
    """A model behind an OpenAI-compatible endpoint.

    A model that is seen to think is given `thinking_tokens` on top of every limit from then on;
    a first answer that its thinking cut off is asked for once more with that allowance, and its
    usage is the sum of both. The allowance is shared, so the text of a model that thought little
    may run over `max_tokens` by what is left of it.

    Parameters that a server says it does not take are renamed (`max_tokens`) or left out
    (`temperature`, `top_p`, `seed`) from then on.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        api_version: str | None = None,
        timeout_s: float = 300.0,
        retries: int = 3,
        concurrency: int = 8,
        thinking_tokens: int = 4096,
        extra_body: Mapping[str, Any] | None = None,
        tokenizer_file: str | None = None,
        stream: bool = False,
    ) -> None:
        """Args:
        model: What the endpoint calls it; on Azure, the deployment.
        base_url: Usually ends in `/v1`; None is OpenAI's own. A full `.../chat/completions`,
            or an Azure URL with or without deployment and version, will do.
        api_key: None for a server that asks for none.
        api_version: Azure's; giving one makes any URL an Azure one.
        timeout_s: The longest silence of one attempt.
        retries: Attempts after the first, on time-outs, lost connections, 429 and 5xx.
        concurrency: The most calls at once.
        thinking_tokens: The allowance of a model that thinks.
        extra_body: Further fields of every request, for example `{"top_k": 20}`.
        tokenizer_file: The model's `tokenizer.json`, where its server has no tokenizer.
        stream: Ask for the answer piece by piece. It is still returned whole, but a server that
            notices only while it writes that nobody listens stops when the call is cancelled.
        """
        self._model = model
        self._endpoint = endpoint(base_url, api_version)
        self._api_key = api_key
        self._timeout_s = timeout_s
        self._retries = retries
        self._concurrency = concurrency
        self._thinking_tokens = thinking_tokens
        self._extra_body = dict(extra_body or {})
        if stream:
            self._extra_body |= {"stream": True, "stream_options": {"include_usage": True}}
        self._tokenizer: Tokenizer | None = (
            FileTokenizer(tokenizer_file) if tokenizer_file else None
        )
        self._sessions: WeakKeyDictionary[asyncio.AbstractEventLoop, _Session] = WeakKeyDictionary()
        self._thinks = False
        self._answered = False
        self._limit_name = "max_tokens"
        self._left_out: set[str] = set()

    @property
    def name(self) -> str:
        return self._model

    @property
    def endpoint(self) -> Endpoint:
        """Where the model is asked."""
        return self._endpoint

    async def complete(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        async with self._session().gate:
            allowed = self._thinks
            answer = (await self._ask(messages, sampling, allowed)).completion
            if allowed or not cut_by_thinking(answer):
                return answer
            again = (await self._ask(messages, sampling, True)).completion
        usage, seconds = answer.usage + again.usage, answer.seconds + again.seconds
        return again.model_copy(update={"usage": usage, "seconds": seconds})

    async def tokenizer(self) -> Tokenizer:
        """The file's, else the server's own, else an estimate."""
        if self._tokenizer is None and self._endpoint.api_version is None:
            self._tokenizer = await probe(self._model, self._endpoint.roots, self._post_json)
        return self._tokenizer or EstimateTokenizer()

    async def offered(self) -> list[str]:
        """The names of the models that the endpoint lists; empty where it lists none."""
        import openai

        try:
            page = await self._session().client.models.list(timeout=PROBE_TIMEOUT_S)
            return [model.id for model in page.data]
        except (openai.OpenAIError, AttributeError, TypeError):
            return []

    async def fetch(self, url: str) -> object:
        """The JSON that the server has at `url`, a path being one of the API's; None where what
        is there is no JSON. Raises `ModelError`."""
        import httpx2
        import openai

        from palimpsest.models.body import parse
        from palimpsest.models.failure import explain

        try:
            response = await self._session().client.get(
                url,
                cast_to=httpx2.Response,
                options={"max_retries": 1, "timeout": PROBE_TIMEOUT_S},
            )
        except openai.APIError as error:
            raise explain(error, self._endpoint, self._model, self._answered) from None
        return parse(response.text)

    async def once(self, messages: Sequence[Message], sampling: Sampling) -> Answered:
        """One answer without an allowance for thinking, and the JSON it was made from."""
        return await self._ask(messages, sampling, False)

    async def aclose(self) -> None:
        """Closes the connections of the running event loop; a later call opens new ones."""
        session = self._sessions.pop(asyncio.get_running_loop(), None)
        if session is not None:
            await session.client.close()

    def _session(self) -> _Session:
        loop = asyncio.get_running_loop()
        if loop not in self._sessions:
            client = connect(self._endpoint, self._api_key, self._timeout_s, self._retries)
            self._sessions[loop] = _Session(client, asyncio.Semaphore(self._concurrency))
        return self._sessions[loop]

    async def _ask(
        self, messages: Sequence[Message], sampling: Sampling, allowance: bool
    ) -> Answered:
        from palimpsest.models.body import body_of
        from palimpsest.models.failure import explain_answer

        started = time.monotonic()
        response = await self._send(messages, sampling, allowance)
        body = body_of(response)
        try:
            answer = completion(body, time.monotonic() - started)
        except (LookupError, TypeError, ValueError, AttributeError):
            raise await self._informed(
                explain_answer(response, self._endpoint, self._model)
            ) from None
        self._answered = True
        self._thinks |= bool(answer.reasoning or answer.usage.reasoning) or cut_by_thinking(answer)
        return Answered(answer, body)

    async def _send(
        self, messages: Sequence[Message], sampling: Sampling, allowance: bool
    ) -> httpx2.Response:
        """The server's answer, once the request holds only what the server takes."""
        import openai

        from palimpsest.models.failure import explain, unsupported_parameter

        while True:
            request = self._request(messages, sampling, allowance)
            try:
                return await self._post("/chat/completions", request)
            except openai.BadRequestError as error:
                refused = unsupported_parameter(error)
                if refused in request and refused not in self._extra_body:
                    self._leave_out(refused)
                    continue
                failure = explain(error, self._endpoint, self._model, self._answered)
            except openai.APIError as error:
                failure = explain(error, self._endpoint, self._model, self._answered)
            raise await self._informed(failure) from None

    def _request(
        self, messages: Sequence[Message], sampling: Sampling, allowance: bool
    ) -> dict[str, Any]:
        limit = sampling.max_tokens + (self._thinking_tokens if allowance else 0)
        request: dict[str, Any] = {
            "model": self._model,
            "messages": list(messages),
            self._limit_name: limit,
            "temperature": sampling.temperature,
        }
        if sampling.temperature > 0:
            request["top_p"] = sampling.top_p
        if sampling.seed is not None:
            request["seed"] = sampling.seed
        kept = {key: value for key, value in request.items() if key not in self._left_out}
        return kept | self._extra_body

    def _leave_out(self, parameter: str) -> None:
        if parameter == "max_tokens":
            self._limit_name = "max_completion_tokens"
        else:
            self._left_out.add(parameter)

    async def _post(
        self, url: str, body: Mapping[str, Any], options: RequestOptions | None = None
    ) -> httpx2.Response:
        import httpx2

        client = self._session().client
        return await client.post(
            url, cast_to=httpx2.Response, body=dict(body), options=options or {}
        )

    async def _post_json(self, url: str, body: Mapping[str, Any]) -> object:
        """The parsed answer of an endpoint beside the API; raises `ModelError`."""
        import openai

        from palimpsest.models.body import parse
        from palimpsest.models.failure import explain

        try:
            response = await self._post(url, body, {"max_retries": 1, "timeout": PROBE_TIMEOUT_S})
        except openai.APIError as error:
            raise explain(error, self._endpoint, self._model, self._answered) from None
        return parse(response.text)

    async def _informed(self, failure: ModelError) -> ModelError:
        """The failure, told which models there are where the name was wrong."""
        if isinstance(failure, UnknownModelError):
            names = await self.offered()
            shown = ", ".join(names[:OFFERED_MODELS_SHOWN]) or "it lists none"
            more = (
                ""
                if len(names) <= OFFERED_MODELS_SHOWN
                else f" and {len(names) - OFFERED_MODELS_SHOWN} more"
            )
            failure.hint = f"Models it offers: {shown}{more}."
        return failure
