"""The server of a report: it answers each request over a real socket with the first reply that fits it."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote_plus

from tests.integration.raw_server import CLOSE, RawServer, Request, chunk, head

MODEL = "field-model"
_ACCOUNT_PATHS = ("/session", "/oauth/")
_LOGIN = {
    "success": True,
    "code": None,
    "message": None,
    "data": {
        "token": "session-token-canary",
        "validityInSeconds": 3600,
        "masterToken": "master-token-canary",
        "masterValidityInSeconds": 14400,
        "sessionId": 1,
    },
}
_REASONS = {200: "OK", 102: "Processing", 103: "Early Hints", 404: "Not Found", 422: "Unprocessable Entity"}
_MISSING = object()


@dataclass(frozen=True)
class Asked:
    """A request that the server got. body: its JSON, None if it has none; text: its body, a form's decoded."""

    method: str
    path: str
    headers: Mapping[str, str] = field(repr=False)
    text: str
    body: Any = field(repr=False)
    raw: str = field(repr=False)

    @classmethod
    def of(cls, request: Request) -> Asked:
        method, path, _ = request.line.split(" ")
        raw = text = request.body.decode("utf-8", "replace")
        try:
            body = json.loads(raw)
        except ValueError:
            text, body = unquote_plus(raw), None
        return cls(method, path, request.headers, text, body, raw)

    @property
    def is_for_account(self) -> bool:
        return self.path.startswith(_ACCOUNT_PATHS)

    @property
    def is_for_models(self) -> bool:
        return self.path.partition("?")[0].endswith("/models")


def unmet(condition: Mapping[str, Any], asked: Asked) -> str | None:
    """What of `condition` the request does not meet; None if it meets all of it."""
    if "path" in condition and not asked.path.startswith(condition["path"]):
        return f"the path is {asked.path}, not {condition['path']}"
    for wanted in condition.get("has") or ():
        if not _holds(asked.body, wanted):
            return f"the request has no {wanted}"
    for unwanted in condition.get("lacks") or ():
        if _holds(asked.body, unwanted):
            return f"the request has {unwanted}"
    for wanted in condition.get("says") or ():
        if not re.search(wanted, asked.text):
            return f"the request does not say {wanted!r}"
    for unwanted in condition.get("silent") or ():
        if re.search(unwanted, asked.text):
            return f"the request says {unwanted!r}"
    return None


def _holds(body: Any, expression: str) -> bool:
    """`tools`, `stream=true`, `messages.0.role="system"`: a place in the JSON, and the JSON that is there."""
    place, equals, wanted = expression.partition("=")
    found = body
    for step in place.split("."):
        found = _step_into(found, step)
    if found is _MISSING:
        return False
    return not equals or found == json.loads(wanted)


def _step_into(found: Any, step: str) -> Any:
    if isinstance(found, Mapping):
        return found.get(step, _MISSING)
    if isinstance(found, list) and re.fullmatch(r"-?\d+", step) and -len(found) <= int(step) < len(found):
        return found[int(step)]
    return _MISSING


class ReplayServer(RawServer):
    """Plays the service of a report, and the Snowflake account if the report signs in.

    A reply with `times` is used up. Where none fits, the answer is a 400 that says so, and `unforeseen` holds it.

    Attributes:
        script: Everything that it may answer, as one text.
    """

    def __init__(
        self, service: Sequence[Mapping[str, Any]], account: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        self._left = {
            "service": [dict(reply) for reply in service],
            "account": [dict(reply) for reply in account],
        }
        self._replies = threading.Lock()
        self.script = json.dumps([*service, *account], ensure_ascii=False)
        self.asked: list[Asked] = []
        self.unforeseen: list[str] = []
        super().__init__(b"")

    def service_requests(self) -> list[Asked]:
        """What was asked of the model: not sign-ins, nor the list of models."""
        return [asked for asked in self.asked if not asked.is_for_account and not asked.is_for_models]

    def account_requests(self) -> list[Asked]:
        return [asked for asked in self.asked if asked.is_for_account]

    def _step(self, connection: Any, request: Request) -> Any:
        asked = Asked.of(request)
        with self._replies:
            self.asked.append(asked)
            reply = self._reply_to(asked)
        for piece in wire(reply, asked):
            connection.sendall(piece)
        return CLOSE if reply.get("cut") or "raw" in reply else None

    def _reply_to(self, asked: Asked) -> Mapping[str, Any]:
        left = self._left["account" if asked.is_for_account else "service"]
        for reply in left:
            condition = reply.get("when") or {}
            if asked.is_for_models and "path" not in condition:
                continue
            if unmet(condition, asked) is None:
                if "times" in reply:
                    reply["times"] -= 1
                    if not reply["times"]:
                        left.remove(reply)
                return reply
        return self._usual_reply(asked)

    def _usual_reply(self, asked: Asked) -> Mapping[str, Any]:
        if asked.is_for_models:
            return {"json": {"object": "list", "data": [{"id": MODEL, "object": "model"}]}}
        if asked.path.startswith("/oauth/token"):
            return {"text": "endpoint-token-canary"}
        if asked.is_for_account:
            return {"json": _LOGIN}
        self.unforeseen.append(f"{asked.method} {asked.path} {asked.text[:500]}")
        return {"status": 404 if asked.method == "GET" else 400, "json": {"error": {"message": "unforeseen"}}}


# -- replies as bytes -------------------------------------------------------------------------------------


def wire(reply: Mapping[str, Any], asked: Asked) -> Iterator[bytes]:
    """The bytes of a reply, in the pieces in which they are sent."""
    if "raw" in reply:
        yield _bytes(reply["raw"])
        return
    streams = isinstance(asked.body, dict) and asked.body.get("stream") is True
    if "events" in reply or "sse" in reply or ("answer" in reply and streams):
        yield from _event_stream(reply)
        return
    body, content_type = _body(reply, asked)
    body = _filled_in(body, asked)
    fields = {"Content-Type": content_type, "Content-Length": str(len(body)), **(reply.get("headers") or {})}
    whole = _head(reply.get("status", 200), fields) + body
    yield whole[: len(whole) - len(body) // 2 - 1] if reply.get("cut") else whole


def _event_stream(reply: Mapping[str, Any]) -> Iterator[bytes]:
    fields = {
        "Content-Type": "text/event-stream; charset=utf-8",
        "Transfer-Encoding": "chunked",
        **(reply.get("headers") or {}),
    }
    yield _head(reply.get("status", 200), fields)
    if "sse" in reply:
        pieces = reply["sse"] if isinstance(reply["sse"], list) else [reply["sse"]]
    else:
        events = reply["events"] if "events" in reply else _events_of(reply["answer"])
        done = ["[DONE]"] if reply.get("done", not reply.get("cut")) else []
        pieces = [f"data: {_data(event)}\n\n" for event in [*events, *done]]
    for piece in pieces:
        yield chunk(_bytes(piece))
    if not reply.get("cut"):
        yield b"0\r\n\r\n"


def _body(reply: Mapping[str, Any], asked: Asked) -> tuple[bytes, str]:
    if "text" in reply:
        return _bytes(reply["text"]), "text/plain"
    if "answer" in reply:
        return _bytes(_written(_completion(reply["answer"]))), "application/json"
    if "message" in reply:
        made = _whole(reply["message"], reply.get("finish", "stop"), reply.get("usage"))
        return _bytes(_written(made)), "application/json"
    if "vectors" in reply:
        return _bytes(_written(_vectors(asked, reply["vectors"]))), "application/json"
    if "json" not in reply:
        return b"", "application/json"
    return _bytes(_written(reply["json"])), "application/json"


def _filled_in(body: bytes, asked: Asked) -> bytes:
    """A reply that quotes the request: `{{header authorization}}`, `{{field assertion}}`."""

    def quoted(found: re.Match[bytes]) -> bytes:
        kind, name = found[1].decode(), found[2].decode()
        if kind == "header":
            return _written(asked.headers.get(name, ""))[1:-1].encode()
        return parse_qs(asked.raw)[name][0].encode()

    return re.sub(rb"\{\{(header|field) ([\w-]+)\}\}", quoted, body)


def _data(event: Any) -> str:
    """An event's data: a text as it is; `delta` or `usage` as the chunk that OpenAI's API has for it."""
    if isinstance(event, str):
        return event
    if "delta" in event:
        choice = {"index": 0, "delta": event["delta"], "finish_reason": event.get("finish")}
        if "logprobs" in event:
            choice["logprobs"] = event["logprobs"]
        more = {"usage": event["usage"]} if "usage" in event else {}
        return _written({**_chunk(), "choices": [choice], **more})
    if set(event) == {"usage"}:
        return _written({**_chunk(), "choices": [], **event})
    return _written(event)


def _chunk() -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1760000000, "model": MODEL}


def _completion(answer: Any) -> dict[str, Any]:
    """A faultless whole answer: of a text, or of `text`, `calls`, `finish` and `usage`."""
    answer = answer if isinstance(answer, Mapping) else {"text": answer}
    message: dict[str, Any] = {"role": "assistant", "content": answer.get("text")}
    if answer.get("calls"):
        message["tool_calls"] = [_call(at, made) for at, made in enumerate(answer["calls"])]
    return _whole(message, answer.get("finish") or _finish(answer), answer.get("usage") or _USAGE)


_USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


def _whole(message: Any, finish: Any, usage: Any) -> dict[str, Any]:
    made = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1760000000,
        "model": MODEL,
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
    }
    return made if usage is None else {**made, "usage": usage}


def _events_of(answer: Any) -> list[Any]:
    """The same as events."""
    answer = answer if isinstance(answer, Mapping) else {"text": answer}
    events: list[Any] = [{"delta": {"role": "assistant", "content": ""}}]
    text = answer.get("text") or ""
    events += [{"delta": {"content": text[at : at + 8]}} for at in range(0, len(text), 8)]
    for at, made in enumerate(answer.get("calls") or ()):
        events.append({"delta": {"tool_calls": [{"index": at, **_call(at, made)}]}})
    events.append({"delta": {}, "finish": answer.get("finish") or _finish(answer)})
    return [*events, {"usage": answer.get("usage") or _USAGE}]


def _finish(answer: Mapping[str, Any]) -> str:
    return "tool_calls" if answer.get("calls") else "stop"


def _call(at: int, made: Mapping[str, Any]) -> dict[str, Any]:
    arguments = made.get("arguments", {})
    written = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return {
        "id": made.get("id", f"callfield{at}"),
        "type": "function",
        "function": {"name": made["name"], "arguments": written},
    }


def vector_of(text: str) -> list[float]:
    """A short vector that tells texts apart."""
    return [float(len(text)), float(sum(map(ord, text)) % 997), 1.0]


def _vectors(asked: Asked, how: Any) -> dict[str, Any]:
    """An answer to an embedding request of OpenAI's API, or of the rows of a model in the registry."""
    missing = how["none_for"] if isinstance(how, Mapping) else ()
    if "data" in asked.body:
        texts = [text for _, row in asked.body["data"] for text in row.values()]
        outputs = ["[nan, nan, nan]" if text in missing else str(vector_of(text)) for text in texts]
        return {"data": [[at, {"outputs": output}] for at, output in enumerate(outputs)]}
    texts = asked.body["input"] if isinstance(asked.body["input"], list) else [asked.body["input"]]
    data = [
        {
            "object": "embedding",
            "index": at,
            "embedding": [None] * 3 if text in missing else vector_of(text),
        }
        for at, text in enumerate(texts)
    ]
    usage = {"prompt_tokens": 5, "total_tokens": 5}
    return {"object": "list", "data": data, "model": MODEL, "usage": usage}


def _head(status: int, fields: Mapping[str, str]) -> bytes:
    return head(status, _REASONS.get(status, "Reason"), **fields)


def _written(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
