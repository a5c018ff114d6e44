"""Chat answers: the JSON and the event streams of `/v1/chat/completions` as our deltas, end and answer."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from spcs_llm.domain import ChatAnswer, ChatDelta, ChatEnd, ChatRequest, Usage
from spcs_llm.errors import ModelError, NetworkError, ServiceError
from spcs_llm.http.endpoint import parse_json
from spcs_llm.http.event_stream import events
from spcs_llm.protocols.openai.tool_calls import ToolCalls
from spcs_llm.protocols.reply_errors import error_from_message, error_within, unexpected_reply

# Words of servers' own engines, where they leak into the OpenAI API, in OpenAI's.
_FINISH_REASONS = {
    "eos_token": "stop",
    "stop_sequence": "stop",
    "end_turn": "stop",
    "max_tokens": "length",
    "function_call": "tool_calls",
    "tool_use": "tool_calls",
}
_GAVE_UP = ("error", "abort")
_BLANK = b"\xef\xbb\xbf \t\r\n"


class EmptyStream(ServiceError):
    """A success without a word: what llama-cpp-python 0.3.36 sends where it refuses a streamed request."""


class NamelessCall(ServiceError):
    """A streamed tool call as TGI before 3.1 has it, without the tool's name; its whole answers have that."""


class AnswerReader:
    """Reads one answer, whichever way it comes: first its deltas, to their end, then `end` or `answer`.

    payload: the request, whose texts no error may quote. ignored: settings that the service was not given.
    """

    def __init__(
        self, request: ChatRequest, payload: Mapping[str, Any], ignored: tuple[str, ...] = ()
    ) -> None:
        self._payload = payload
        self._ignored = ignored
        self._calls = ToolCalls({tool.name for tool in request.tools})
        self._texts: list[str] = []
        self._reasoning: list[str] = []
        self._log_probs: list[dict[str, Any]] = []
        self._finish_reason: str | None = None
        self._usage: Any = None
        self._model: str | None = None
        self._saw_event = self._saw_choice = self._began = self._done = False

    def deltas(self, chunks: Iterator[bytes]) -> Iterator[ChatDelta]:
        """Reads a response that should be an event stream, and may be plain JSON. Raises SpcsError.

        An answer that breaks off before its finish reason raises NetworkError; what was read of it is no answer.
        """
        head = b""
        for chunk in chunks:
            head += chunk
            if head.lstrip(_BLANK):
                break
        else:
            raise _empty_stream()
        rest = itertools.chain((head,), chunks)
        first = head.lstrip(_BLANK)[:1]
        if first in (b"{", b"["):
            yield from self.deltas_of_body(parse_json(b"".join(rest)))
        else:
            yield from self._deltas_of_events(rest, begins_with_comment=first == b":")

    def deltas_of_body(self, body: Any) -> Iterator[ChatDelta]:
        """Reads an answer that came whole."""
        error = error_within(body, self._private())
        if error is not None:
            raise error
        if not isinstance(body, dict) or not isinstance(body.get("choices"), list):
            raise unexpected_reply("The service answers with JSON that is no chat completion.")
        delta = self._delta(body, whole=True)
        if delta is not None:
            yield delta
        yield from self._last_deltas()

    def end(self) -> ChatEnd:
        return ChatEnd(self._finish_reason, usage_of(self._usage), self._ignored, self._model)

    def answer(self) -> ChatAnswer:
        return ChatAnswer(
            text="".join(self._texts),
            finish_reason=self._finish_reason,
            usage=usage_of(self._usage),
            tool_calls=self._calls.calls(cut_short=False),
            reasoning="".join(self._reasoning) or None,
            log_probs=tuple(self._log_probs),
            ignored_settings=self._ignored,
            model=self._model,
        )

    def _deltas_of_events(self, chunks: Iterable[bytes], *, begins_with_comment: bool) -> Iterator[ChatDelta]:
        try:
            for name, data in events(chunks):
                self._saw_event = True
                if data.strip() == b"[DONE]":
                    self._done = True
                    break
                body = self._body(name, data)
                if body is None:
                    continue
                if name == "error" or "error" in body or not body.get("choices"):
                    self._raise_error_in(name, body)
                delta = self._delta(body)
                if delta is not None:
                    yield delta
        except NetworkError:
            if self._finish_reason is None:
                raise
            # The model had ended: only the usage may be missing.
        if not self._saw_event:
            if begins_with_comment:  # which kept the connection alive until the server failed
                raise _empty_stream()
            raise unexpected_reply(
                "The service answers with something that is neither JSON nor an event stream."
            )
        if self._finish_reason is None and not self._done:
            raise NetworkError(
                "The service broke off in the middle of its answer.",
                "If this comes back, look for a restart of the container: SYSTEM$GET_SERVICE_STATUS.",
            )
        yield from self._last_deltas()

    @staticmethod
    def _body(name: str, data: bytes) -> dict[str, Any] | None:
        """The JSON object of an event; None for events that are not OpenAI's, pings for example."""
        try:
            body, problem = json.loads(data), "no JSON object"
        except (ValueError, RecursionError):
            body, problem = data.decode("utf-8", "replace"), "no JSON"
        if isinstance(body, dict):
            return body
        if name == "error":
            return {"message": body}
        if name not in ("", "message") or not data.strip():
            return None
        raise unexpected_reply(f"The answer's stream has an event that is {problem} ({len(data)} bytes).")

    def _last_deltas(self) -> Iterator[ChatDelta]:
        if not self._saw_choice:
            raise unexpected_reply("The service answers without a choice.")
        if self._finish_reason in _GAVE_UP:
            raise ModelError(f"The service gave up in mid-answer (finish reason {self._finish_reason!r}).")
        missing = self._calls.complete()
        if missing:
            yield ChatDelta(tool_calls=missing)
        self._calls.calls(cut_short=self._finish_reason == "length")
        if self._calls and self._finish_reason in (None, "stop"):
            self._finish_reason = "tool_calls"  # of a call that they had to make, some servers say "stop"

    def _raise_error_in(self, name: str, body: dict[str, Any]) -> None:
        error = error_within(body, self._private())
        if error is None and name == "error":
            error = error_from_message(
                body.get("message"), self._private(), kind=body.get("type"), code=body.get("code")
            )
        if error is not None:
            raise self._broken_off(error) if self._began else error

    @staticmethod
    def _broken_off(error: ServiceError) -> ModelError:
        """No refusal any more, whatever it says: the model was at work."""
        return ModelError(f"The answer breaks off. {error.message}", error.hint, status=error.status)

    def _delta(self, body: dict[str, Any], *, whole: bool = False) -> ChatDelta | None:
        try:
            return self._read(body, whole)
        except (AttributeError, TypeError, KeyError, IndexError, ValueError):
            raise unexpected_reply("The service answers with a choice of an unknown shape.") from None

    def _read(self, body: dict[str, Any], whole: bool) -> ChatDelta | None:
        if body.get("usage"):
            self._usage = body["usage"]
        choices = body.get("choices")
        if not choices:
            return None
        choice = choices[0]
        if choice.get("index"):  # one choice is asked for; a server that gives more numbers them
            return None
        if not self._saw_choice:
            self._saw_choice = True
            self._model = body.get("model") if isinstance(body.get("model"), str) else None
        reason = choice.get("finish_reason")
        if reason:
            self._finish_reason = _FINISH_REASONS.get(reason, str(reason))
        piece = choice.get("message" if whole else "delta")
        if piece is None:
            piece = choice.get("delta" if whole else "message")
        if not piece:
            return None
        get = piece.get
        text = _text(get("content")) or _text(get("refusal"))  # OpenAI's field for why there is no content
        reasoning = get("reasoning_content") or get("reasoning") or ""
        if isinstance(get("tool_calls"), dict) and not whole and not self._began:
            raise NamelessCall("The service streams tool calls without their names.", "Update it.")
        tool_calls = self._calls.add(get("tool_calls"), whole=whole) if get("tool_calls") else ()
        log_probs = choice.get("logprobs")
        tokens = tuple(log_probs.get("content") or ()) if log_probs else ()
        if text:
            self._texts.append(text)
        if reasoning:
            reasoning = _text(reasoning)
            self._reasoning.append(reasoning)
        if tokens:
            self._log_probs.extend(tokens)
        if text or reasoning or tool_calls or tokens:
            self._began = True
            return ChatDelta(text, reasoning, tool_calls, tokens)
        return None

    def _private(self) -> dict[str, Any]:
        return {**self._payload, "answer": ["".join(self._texts), "".join(self._reasoning)]}


def _empty_stream() -> EmptyStream:
    return EmptyStream(
        "The service's answer is empty.", "Read its logs: SYSTEM$GET_SERVICE_LOGS tells why it failed."
    )


def usage_of(usage: Any) -> Usage:
    """Token counts as OpenAI's `usage` has them; what is missing or no count is None."""
    if not isinstance(usage, dict):
        return Usage()
    prompt, completion, total = (
        _count(usage, f"{what}_tokens") for what in ("prompt", "completion", "total")
    )
    if total is None and prompt is not None and completion is not None:
        total = prompt + completion
    return Usage(
        prompt,
        completion,
        total,
        cached_tokens=_count(usage.get("prompt_tokens_details"), "cached_tokens"),
        reasoning_tokens=_count(usage.get("completion_tokens_details"), "reasoning_tokens"),
    )


def _count(counts: Any, name: str) -> int | None:
    value = counts.get(name) if isinstance(counts, dict) else None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return int(value) if 0 <= value < math.inf else None


def _text(content: Any) -> str:
    """The text of a content: null, a string, or parts of which some are text."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content if part.get("type") == "text")
