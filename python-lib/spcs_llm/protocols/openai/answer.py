"""Chat answers: the JSON and the event streams of `/v1/chat/completions` as our deltas, end and answer."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from spcs_llm.domain import ChatAnswer, ChatDelta, ChatEnd, ChatRequest, Usage
from spcs_llm.errors import ModelError, NetworkError, QueryTimeout, ServiceError, SpcsError
from spcs_llm.http.event_stream import LastEvent, events
from spcs_llm.http.exchange import MAX_BODY, bounded
from spcs_llm.http.json_body import is_dense, parse_json
from spcs_llm.protocols.openai.answer_end import AnswerEnd
from spcs_llm.protocols.openai.envelopes import unwrapped
from spcs_llm.protocols.openai.finish_reasons import ERROR
from spcs_llm.protocols.openai.frames import DONE, BrokenFrame, decoded_again, frames, is_heartbeat
from spcs_llm.protocols.openai.growing_answer import UNWATCHED, GrowingAnswer, Watch
from spcs_llm.protocols.openai.losses import lost_part
from spcs_llm.protocols.openai.obedience import disobeyed, json_behind_thoughts
from spcs_llm.protocols.openai.opening import THOUGHT_ENDS, behind_end_of_thoughts
from spcs_llm.protocols.openai.usage import usage_of
from spcs_llm.protocols.openai.useless_streams import EmptyStream, UselessStream
from spcs_llm.protocols.reply_errors import error_from_message, error_within, unexpected_reply
from spcs_llm.server_text.refusal_hints import says_output_is_unreadable

_BLANK = b"\xef\xbb\xbf \t\r\n"
_EVENTS_BETWEEN_LOOKS_AT_THE_CLOCK = 64
_decoded = json.JSONDecoder(strict=False).decode
_BROKEN_ERROR = re.compile(
    r'\s{0,8}\{\s{0,8}"error"\s{0,8}:\s{0,8}(?:\{\s{0,8}"message"\s{0,8}:\s{0,8})?"(?=[^"{])'
)


class AnswerReader:
    """Reads one answer, whichever way it comes: first its deltas, to their end, then `end` or `answer`.

    Args:
        request: What was asked.
        payload: The request's JSON, whose texts no error may quote.
        ignored: Settings that the service was not given, in LLM Mesh's words.
        watch: What is done while the answer is read.
        holds_to_request: Whether to name settings that the answer shows to have been ignored.
        as_stream: Whether a stream was asked for. Then what is empty or broken raises EmptyStream, UselessStream or
            NamelessCall as long as no delta was handed on: the whole answer may be asked for instead.
    """

    def __init__(
        self,
        request: ChatRequest,
        payload: Mapping[str, Any],
        ignored: tuple[str, ...] = (),
        *,
        watch: Watch = UNWATCHED,
        holds_to_request: bool = False,
        as_stream: bool = False,
    ) -> None:
        self._request = request
        self._payload = payload
        self._ignored = ignored
        self._watch = watch
        self._holds_to_request = holds_to_request
        self._answer = GrowingAnswer(request, watch, as_stream=as_stream)
        self._message = self._answer.message
        self._end = AnswerEnd(request, self._answer)
        self._done = False

    def deltas(self, chunks: Iterator[bytes]) -> Iterator[ChatDelta]:
        """Reads a response that should be an event stream, and may be plain JSON.

        Args:
            chunks: The response's body, cut anywhere.

        Yields:
            The pieces of the answer, each as soon as it is certain.

        Raises:
            NetworkError: If the answer stops before its finish reason. What was read of it is not an answer.
            QueryTimeout: If the query's time is up.
            SpcsError: If the response is not an answer, or reports an error.
        """
        for chunk in chunks:
            head = chunk.lstrip(_BLANK)
            if head:
                break
            self._watch.check_time()
        else:
            raise EmptyStream
        rest = itertools.chain((head,), chunks)
        if head.startswith((b"{", b"[", b"null")):
            yield from self.deltas_of_body(self._whole(rest))
        else:
            yield from self._deltas_of_events(rest, begins_with_comment=head[:1] == b":")

    def deltas_of_body(self, body: Any) -> Iterator[ChatDelta]:
        """Reads an answer that came whole.

        Args:
            body: The answer's JSON. A list holds a stream's objects, which came without an event stream.

        Yields:
            The pieces of the answer.

        Raises:
            SpcsError: If the body is not an answer, or reports an error.
        """
        if isinstance(body, list) and body and all(isinstance(item, dict) for item in body):
            # An error keeps this frame, and must not keep the objects, while the whole answer is read.
            waiting, body = body[::-1], None
            while waiting:
                yield from self._deltas_of_object("", waiting.pop())
            yield from self._last_deltas()
            return
        error = error_within(body, self._private())
        if error is not None:
            raise error
        body = unwrapped(body)
        if isinstance(body, dict) and "choices" in body and not body["choices"]:
            raise _no_choice()
        if not isinstance(body, dict) or not isinstance(body.get("choices"), list):
            raise unexpected_reply("The service's answer is JSON, but not a chat completion.")
        yield from self._answer.add_whole(body)
        yield from self._last_deltas()

    def end(self) -> ChatEnd:
        usage = self._counts()
        ignored = self._all_ignored(self._message.text, usage)
        return ChatEnd(self._answer.finish_reason, usage, ignored, self._answer.model)

    def answer(self) -> ChatAnswer:
        usage = self._counts()
        calls = self._end.calls
        text, thoughts = self._message.text, ""
        if self._request.json_format is not None:
            text, thoughts = json_behind_thoughts(text)
        elif not self._message.reasoning and not self._message.is_asked_for(THOUGHT_ENDS):
            text, thoughts = behind_end_of_thoughts(text, may_be_all=bool(calls))
        return ChatAnswer(
            text=text,
            finish_reason=self._answer.finish_reason,
            usage=usage,
            tool_calls=calls,
            reasoning=self._message.reasoning + thoughts or None,
            log_probs=tuple(self._message.log_probs),
            ignored_settings=self._all_ignored(text, usage),
            model=self._answer.model,
        )

    def lacks(self) -> str | None:
        """Finds what the answer lacks of the things that streams are known to lose: see `lost_part`."""
        return lost_part(self._request, self._payload, self._answer, self._end)

    # -- events and bodies --------------------------------------------------------------------------------

    def _whole(self, chunks: Iterable[bytes]) -> Any:
        """The JSON of a body that is not an event stream; a list for several objects, one after the other."""
        # It is read at once, however many events a stream's may have, which it is declared to be.
        body = b"".join(bounded(chunks, MAX_BODY))
        if is_dense(body):
            return parse_json(body)  # within its bounds; as several objects, it would take more memory
        try:
            return json.loads(body, strict=False)
        except (ValueError, RecursionError):
            pass
        found: list[Any] = []
        try:
            found.extend(value for value in frames(body.decode("utf-8", "replace")) if value is not DONE)
        except BrokenFrame:
            return parse_json(body)  # which tells what is wrong with it
        return found

    def _deltas_of_events(self, chunks: Iterable[bytes], *, begins_with_comment: bool) -> Iterator[ChatDelta]:
        count = 0
        failure: SpcsError | None = None
        last: Any = None
        try:
            for event in events(chunks):
                count += 1
                if not count % _EVENTS_BETWEEN_LOOKS_AT_THE_CLOCK:
                    self._watch.check_time()
                name, data = event
                if data[:1] != b"{" and data.strip() == b"[DONE]":
                    self._done = True
                    break
                try:
                    body = _decoded(
                        data.decode("utf-8", "surrogatepass")
                    )  # as json.loads, which asks for more
                except (ValueError, RecursionError):
                    yield from self._deltas_of_frames(event)
                    if self._done:
                        break
                    continue
                last = body
                text = None if name else self._answer.add_plain(body)
                if text is None:
                    yield from self._deltas_of_object(name, body)
                    if self._done:
                        break
                elif text:
                    yield ChatDelta(text)
        except (NetworkError, QueryTimeout) as error:
            failure = error
        yield from self._answer.waiting()
        if not self._answer.is_finished:
            self._answer.read_reason(_reason_in_camel_case(last))
        if failure is not None and not self._answer.is_finished:  # otherwise only the usage may be missing
            raise failure
        if not count:
            if begins_with_comment:  # which kept the connection alive until the server failed
                raise EmptyStream
            raise unexpected_reply("The service's answer is neither JSON nor an event stream.")
        if not self._is_complete():
            raise NetworkError(
                "The service stopped in the middle of its answer.",
                "If this happens again, check whether the container restarted: SYSTEM$GET_SERVICE_STATUS.",
            )
        yield from self._last_deltas()

    def _is_complete(self) -> bool:
        """Whether the stream says in one way or another that it has come to its end."""
        answer, message = self._answer, self._message
        if answer.is_finished or answer.ended_with_usage:
            return True
        # Some gateways put [DONE] behind whatever they got, which may be reasoning and nothing else.
        stops_at_thoughts = message.reasoning and not message.text and not message.calls
        return self._done and not stops_at_thoughts

    def _deltas_of_frames(self, event: tuple[str, bytes]) -> Iterator[ChatDelta]:
        """Reads an event whose data is not one JSON value: several that were glued, or none."""
        name, data = event
        text = data.decode("utf-8", "replace")
        if name == "error":
            self._raise_error_in(name, {"message": text})
        if name not in ("", "message") or not text.strip() or is_heartbeat(text):
            return
        try:
            for value in frames(text):
                if value is DONE:
                    self._done = True
                    return
                yield from self._deltas_of_object(name, value)
        except BrokenFrame:
            self._raise_broken_error(text)
            if isinstance(event, LastEvent) or self._answer.is_finished:
                return  # cut short: the answer is at its end already, or breaks off here
            raise self._answer.useless(
                f"The answer's stream has an event that is not JSON ({len(data)} bytes)."
            ) from None

    def _deltas_of_object(self, name: str, body: Any) -> Iterator[ChatDelta]:
        body = decoded_again(body)
        if not isinstance(body, dict):
            if name == "error":
                self._raise_error_in(name, {"message": body})
            if body is None or (isinstance(body, str) and is_heartbeat(body)):
                return
            if name in ("", "message") and not self._answer.is_finished:
                raise self._answer.useless("The answer's stream has an event that is not a JSON object.")
            return
        if name == "error" or "error" in body or not body.get("choices"):
            self._raise_error_in(name, body)
            if self._done:
                return
            body = unwrapped(body)
        yield from self._answer.add(body)

    # -- the end --------------------------------------------------------------------------------------------

    def _last_deltas(self) -> Iterator[ChatDelta]:
        answer = self._answer
        yield from answer.waiting()
        if not answer.saw_choice:
            raise answer.useless("The service's answer has no choice.", place="service")
        if answer.finish_reason == ERROR:
            if answer.failure is not None:
                self._raise_error_in("error", answer.failure)
            raise ModelError(
                "The service stopped in the middle of its answer: its finish reason is an error."
            )
        yield from self._end.deltas()

    def _counts(self) -> Usage:
        has_answer = bool(self._message.text or self._message.reasoning or self._end.calls)
        return usage_of(self._answer.usage, has_answer=has_answer)

    def _all_ignored(self, text: str, usage: Usage) -> tuple[str, ...]:
        """The settings that the service was not given, and those that it took and did not obey."""
        ignored = (*self._ignored, "toolChoice") if self._end.dropped_calls else self._ignored
        if not self._holds_to_request:
            return ignored
        found = disobeyed(
            self._request,
            self._payload,
            text=text,
            calls=self._end.calls,
            log_probs=self._message.log_probs,
            usage=usage,
            finish_reason=self._answer.finish_reason,
        )
        return (*ignored, *(name for name in found if name not in ignored))

    # -- errors ---------------------------------------------------------------------------------------------

    def _raise_error_in(self, name: str, body: dict[str, Any]) -> None:
        private: Any = self._payload  # the answer's own texts are joined for nothing but an error
        error = error_within(body, private)
        if error is None and name != "error":
            return
        if self._answer.is_finished and self._answer.finish_reason != ERROR:
            self._done = True  # the answer is there: it does not matter what failed after it
            return
        private = self._private()
        error = error_within(body, private) or error_from_message(
            body.get("message"), private, kind=body.get("type"), code=body.get("code")
        )
        has_begun = self._answer.handed_on or self._message.began
        raise self._broken_off(error) if has_begun else error

    def _raise_broken_error(self, text: str) -> None:
        """Raises the error in an event whose text nobody escaped, so that it is not JSON: its first line is here."""
        found = _BROKEN_ERROR.match(text)
        if found is not None:
            self._raise_error_in("error", {"message": text[found.end() :].rstrip(' \t\r\n"}')})

    def _broken_off(self, error: ServiceError) -> ModelError | ServiceError:
        """No refusal any more, whatever it says: the model was at work."""
        told = ModelError(
            f"The answer stopped before its end. {error.message}", error.hint, status=error.status
        )
        if self._answer.as_stream and says_output_is_unreadable(error.server_text):
            return UselessStream(told.message, told.hint, status=told.status)
        return told

    def _private(self) -> dict[str, Any]:
        return {**self._payload, "answer": self._message.so_far}


def _no_choice() -> ModelError:
    error = unexpected_reply("The service's answer has no choice.")
    return ModelError(error.message, error.hint, place="service")


def _reason_in_camel_case(event: Any) -> Any:
    """The finish reason of an event whose text was read without looking for one by that name; None if it has none."""
    try:
        (choice,) = event["choices"]
        return choice.get("finishReason")
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
