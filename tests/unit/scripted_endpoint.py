"""An endpoint without a network: it answers from a script, and remembers what it was asked."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

from spcs_llm.errors import BadRequest, SpcsError
from spcs_llm.http.endpoint import Endpoint
from spcs_llm.http.request import HttpRequest
from spcs_llm.query_context import QueryContext

CHUNK = {"object": "chat.completion.chunk", "model": "m1"}


class ScriptedStream:
    def __init__(self, chunks: list[bytes | Exception]) -> None:
        self._chunks = chunks
        self.state = "open"
        self.graces: list[float] = []

    def __enter__(self) -> ScriptedStream:
        return self

    def __exit__(self, *exc: object) -> None:
        if self.state == "open":
            self.state = "closed early"

    def chunks(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk

    def expect_end(self, seconds: float = 2.0) -> None:
        self.graces.append(seconds)

    def done(self) -> None:
        self.state = "done"


class ScriptedEndpoint(Endpoint):
    """`script`: answers in order; the last one stays. `models` answers `/v1/models`.

    Bytes (or a list of them) are a body as it comes, an exception is raised, anything else is JSON.
    """

    def __init__(self, *script: Any, models: Any = ("m1",)) -> None:
        self._script = list(script)
        self._models = models
        self.asked: list[HttpRequest] = []
        self.streams: list[ScriptedStream] = []

    @property
    def payloads(self) -> list[Any]:
        return [http_request.payload for http_request in self.asked if http_request.path != "/v1/models"]

    @property
    def paths(self) -> list[str]:
        return [http_request.path for http_request in self.asked]

    def send(self, http_request: HttpRequest, context: QueryContext) -> Any:
        return self._answer(http_request)

    def open(self, http_request: HttpRequest, context: QueryContext, begin: Callable[[Any], Any]) -> Any:
        return begin(self._opened(http_request))

    def read(self, http_request: HttpRequest, context: QueryContext, consume: Callable[[Any], Any]) -> Any:
        with self._opened(http_request) as stream:
            return consume(stream)

    def _opened(self, http_request: HttpRequest) -> ScriptedStream:
        answer = self._answer(http_request)
        if not isinstance(answer, (bytes, list)):
            answer = json.dumps(answer).encode()
        self.streams.append(ScriptedStream(answer if isinstance(answer, list) else [answer]))
        return self.streams[-1]

    def _answer(self, http_request: HttpRequest) -> Any:
        self.asked.append(copy.deepcopy(http_request))
        if http_request.path == "/v1/models":
            answer = self._models
            if isinstance(answer, tuple):
                answer = {"object": "list", "data": [{"id": name} for name in answer]}
        else:
            answer = self._script.pop(0) if len(self._script) > 1 else self._script[0]
        if isinstance(answer, SpcsError):
            raise answer.again()
        return answer


def refusal(text: str) -> BadRequest:
    return BadRequest(f"The service refuses the request: {text}", status=400)


def event(data: Any, name: str = "") -> bytes:
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    return (f"event: {name}\n" if name else "").encode() + f"data: {text}\n\n".encode()


def delta(finish_reason: str | None = None, logprobs: Any = None, **fields: Any) -> bytes:
    choice = {"index": 0, "delta": fields, "finish_reason": finish_reason, "logprobs": logprobs}
    return event({**CHUNK, "choices": [choice]})


def usage(**counts: Any) -> bytes:
    return event({**CHUNK, "choices": [], "usage": counts})


DONE = event("[DONE]")


def said(*texts: str) -> bytes:
    """A plain streamed answer of these texts."""
    return b"".join(
        [delta(role="assistant", content=""), *(delta(content=t) for t in texts), delta("stop"), DONE]
    )


def completion(finish_reason: str | None = "stop", **message: Any) -> dict[str, Any]:
    """A plain answer that is not streamed."""
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish_reason}
    return {"object": "chat.completion", "model": "m1", "choices": [choice]}
