"""Chat answers: the JSON and the event streams of `/v1/chat/completions` as our deltas, end and answer."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Callable

from spcs_llm.domain import ChatAnswer, ChatDelta, ChatEnd, ChatRequest, ToolCall, Usage
from spcs_llm.errors import ModelError, NetworkError, QueryTimeout, ServiceError, SpcsError
from spcs_llm.http.event_stream import LastEvent, events
from spcs_llm.http.json_body import is_dense, parse_json
from spcs_llm.protocols.openai.choices import Choices, failure_in, is_foreign, the_choice
from spcs_llm.protocols.openai.content import BESIDE_TEXT
from spcs_llm.protocols.openai.finish_reasons import ERROR, finish_reason_of, tells_the_end, word_in
from spcs_llm.protocols.openai.frames import DONE, BrokenFrame, decoded_again, frames, is_heartbeat
from spcs_llm.protocols.openai.message import GrowingMessage
from spcs_llm.protocols.openai.obedience import disobeyed, is_json, json_behind_thoughts
from spcs_llm.protocols.openai.opening import THOUGHT_ENDS, behind_end_of_thoughts
from spcs_llm.protocols.openai.usage import usage_of, with_later
from spcs_llm.protocols.reply_errors import error_from_message, error_within, unexpected_reply
from spcs_llm.server_text.refusal_hints import says_output_is_unreadable

_BLANK = b"\xef\xbb\xbf \t\r\n"
_PLAIN = {"role", "content"}
_EVENTS_BETWEEN_LOOKS_AT_THE_CLOCK = 64
_decoded = json.JSONDecoder(strict=False).decode
_LONGEST_MODEL_NAME = 256
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_TOKENS_OF_NOTHING = 16  # that an answer without anything may have: ends of turns, an empty block of thoughts


class EmptyStream(ServiceError):
    """A success without a word: what llama-cpp-python 0.3.36 sends where it refuses a streamed request."""


class UselessStream(ModelError):
    """A stream without an answer, though the whole answer may be sound: an event is broken, or all are empty."""


@dataclass(frozen=True)
class Watch:
    """What is done while an answer is read.

    Attributes:
        finished: Called once, when the finish reason is there: what follows is only counts.
        goes_on: Called once, if text follows all the same: some servers give a finish reason in each event.
        check_time: Called once in 64 events, and with each chunk of blanks before the answer. It raises QueryTimeout
            when the query's time is up: bytes that are here already are read without waiting, so that nothing else
            would notice.
    """

    finished: Callable[[], None] = lambda: None
    goes_on: Callable[[], None] = lambda: None
    check_time: Callable[[], None] = lambda: None


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
        watch: Watch = Watch(),
        holds_to_request: bool = False,
        as_stream: bool = False,
    ) -> None:
        self._request = request
        self._payload = payload
        self._ignored = ignored
        self._watch = watch
        self._holds_to_request = holds_to_request
        self._as_stream = as_stream
        self._message = GrowingMessage(request, as_stream=as_stream)
        self._finished_calls: tuple[ToolCall, ...] = ()
        self._choices: Choices | None = None
        self._finish_reason: str | None = None
        self._unknown_reason = ""
        self._failure: dict[str, Any] | None = None
        self._usage: Any = None
        self._model: str | None = None
        self._saw_choice = self._saw_foreign = self._comes_as_messages = False
        self._handed_on = self._is_finished = self._done = self._ended_with_usage = False
        self._goes_on = self._lost_calls = False

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
            raise _empty_stream()
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
            for item in body:
                yield from self._deltas_of_object("", item)
            yield from self._last_deltas()
            return
        error = error_within(body, self._private())
        if error is not None:
            raise error
        if isinstance(body, dict) and "choices" in body and not body["choices"]:
            raise _no_choice()
        if not isinstance(body, dict) or not isinstance(body.get("choices"), list):
            raise unexpected_reply("The service's answer is JSON, but not a chat completion.")
        self._as_stream = False
        yield from self._handing_on(self._deltas_of_choices(body, whole=True))
        yield from self._last_deltas()

    def end(self) -> ChatEnd:
        usage = self._counts()
        return ChatEnd(self._finish_reason, usage, self._all_ignored(usage), self._model)

    def answer(self) -> ChatAnswer:
        usage = self._counts()
        text, thoughts = self._message.text, ""
        if self._request.json_format is not None:
            text, thoughts = json_behind_thoughts(text)
        elif not self._message.reasoning and not self._message.is_asked_for(THOUGHT_ENDS):
            text, thoughts = behind_end_of_thoughts(text, may_be_all=bool(self._finished_calls))
        return ChatAnswer(
            text=text,
            finish_reason=self._finish_reason,
            usage=usage,
            tool_calls=self._finished_calls,
            reasoning=self._message.reasoning + thoughts or None,
            log_probs=tuple(self._message.log_probs),
            ignored_settings=self._all_ignored(usage),
            model=self._model,
        )

    def lacks(self) -> str | None:
        """Finds what the answer lacks of the things that streams are known to lose: the whole answer may have it.

        Returns:
            "calls", "calls in the text", "arguments", "readable arguments", "characters", "JSON" or "logprobs"; None if
            nothing is known to be lost.
        """
        if self._request.tools and (self._lost_calls or self._says_nothing()):
            return "calls"
        demanding = {
            tool.name
            for tool in self._request.tools
            if tool.parameters is not None and tool.parameters.get("required")
        }
        if self._message.has_call_in_text and self._finish_reason != "length":
            return "calls in the text"
        for call in self._finished_calls:
            if call.arguments == "{}" and call.name in demanding:
                return "arguments"
        if self._message.calls.lost_a_part:
            return "readable arguments"
        if self._lost_characters():
            return "characters"
        if self._lacks_json():
            return "JSON"
        if "logprobs" in self._payload and self._message.text and not self._message.log_probs:
            return "logprobs"
        return None

    def _lost_characters(self) -> bool:
        """Whether characters were replaced, as in streams whose server decodes each token by itself."""
        if self._message.has_halves:
            return False  # a gateway cut it in two, and has it no otherwise
        text = self._message.text
        if self._finish_reason == "length":
            text = text.rstrip(_REPLACEMENT)  # the limit has cut a character
        return _REPLACEMENT in text and _REPLACEMENT not in json.dumps(self._payload, ensure_ascii=False)

    def _lacks_json(self) -> bool:
        """Whether an answer that is not cut short is not JSON, though the server was asked for it."""
        text = self._message.text
        if "response_format" not in self._payload or self._finish_reason not in (None, "stop"):
            return False
        return bool(text) and not self._finished_calls and not is_json(json_behind_thoughts(text)[0])

    def _says_nothing(self) -> bool:
        """Whether the answer ends without a call and without a text: its reasoning and blanks are not an answer."""
        if self._finished_calls or self._finish_reason not in (None, "stop"):
            return False
        return not self._message.text.strip()

    # -- events and bodies --------------------------------------------------------------------------------

    def _whole(self, chunks: Iterable[bytes]) -> Any:
        """The JSON of a body that is not an event stream; a list for several objects, one after the other."""
        body = b"".join(chunks)
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
                text = self._plain_text(name, body)
                if text is None:
                    yield from self._deltas_of_object(name, body)
                    if self._done:
                        break
                elif text:
                    yield ChatDelta(text)
        except (NetworkError, QueryTimeout) as error:
            failure = error
        yield from self._waiting_deltas()
        if not self._is_finished:
            self._read_reason(_reason_in_camel_case(last))
        if failure is not None and not self._is_finished:  # otherwise only the usage may be missing
            raise failure
        if not count:
            if begins_with_comment:  # which kept the connection alive until the server failed
                raise _empty_stream()
            raise unexpected_reply("The service's answer is neither JSON nor an event stream.")
        if not (
            self._is_finished or self._ended_with_usage or (self._done and not self._stops_at_thoughts())
        ):
            raise NetworkError(
                "The service stopped in the middle of its answer.",
                "If this happens again, check whether the container restarted: SYSTEM$GET_SERVICE_STATUS.",
            )
        yield from self._last_deltas()

    def _stops_at_thoughts(self) -> bool:
        """Whether there is reasoning and nothing else: some gateways put [DONE] behind whatever they got."""
        message = self._message
        return bool(message.reasoning) and not message.text and not message.calls

    def _plain_text(self, name: str, body: Any) -> str | None:
        """What is new in an event that holds text and nothing else, as nearly all do; None for any other."""
        if name or self._choices is not None or not self._message.is_plain:
            return None
        try:
            (choice,) = body["choices"]
            delta = choice["delta"]
            text = delta["content"]
            if (
                text.__class__ is not str
                or "<" in text
                or "[" in text
                or self._is_finished
                or (len(delta) > 1 and not delta.keys() <= _PLAIN and any(map(delta.get, BESIDE_TEXT)))
            ):
                return None
            if (
                choice.get("finish_reason")
                or choice.get("index")
                or choice.get("logprobs")
                or choice.get("error")
                or body.get("usage")
            ):
                return None
            if "error" in body:
                return None
        except (KeyError, TypeError, ValueError):
            return None
        self._handed_on = True
        self._ended_with_usage = False
        return self._message.add_text(text)

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
            if isinstance(event, LastEvent) or self._is_finished:
                return  # cut short: the answer is at its end already, or breaks off here
            raise self._useless(
                f"The answer's stream has an event that is not JSON ({len(data)} bytes)."
            ) from None

    def _deltas_of_object(self, name: str, body: Any) -> Iterator[ChatDelta]:
        body = decoded_again(body)
        if not isinstance(body, dict):
            if name == "error":
                self._raise_error_in(name, {"message": body})
            if body is None or (isinstance(body, str) and is_heartbeat(body)):
                return
            if name in ("", "message") and not self._is_finished:
                raise self._useless("The answer's stream has an event that is not a JSON object.")
            return
        if name == "error" or "error" in body or not body.get("choices"):
            self._raise_error_in(name, body)
            if self._done:
                return
        if self._choices is None:
            choices = body.get("choices")
            if isinstance(choices, list) and len(choices) == 1:
                choice = choices[0]
                if isinstance(choice, dict) and not choice.get("index"):
                    delta = self._read(body, choice)
                    if delta is not None:
                        self._handed_on = True
                        yield delta
                    return
        yield from self._handing_on(self._deltas_of_choices(body))

    def _deltas_of_choices(self, body: dict[str, Any], *, whole: bool = False) -> list[ChatDelta]:
        choices = body.get("choices") or []
        if not choices:
            self._read(body, None)
            return []
        if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
            raise unexpected_reply("A choice in the service's answer has an unknown structure.")
        if whole:
            picked = [the_choice(choices)]
        else:
            if self._choices is None:
                self._choices = Choices(0 if self._saw_choice else None, is_finished=self._is_finished)
            self._saw_choice = True
            picked = self._choices.pick(choices)
        deltas = [self._read(body, choice, whole=whole) for choice in picked]
        return [delta for delta in deltas if delta is not None]

    def _handing_on(self, deltas: list[ChatDelta]) -> Iterator[ChatDelta]:
        for delta in deltas:
            self._handed_on = True
            yield delta

    # -- what a choice holds --------------------------------------------------------------------------------

    def _read(
        self, body: dict[str, Any], choice: dict[str, Any] | None, *, whole: bool = False
    ) -> ChatDelta | None:
        usage = body.get("usage")
        if usage:
            self._usage = with_later(self._usage, usage)
        self._ended_with_usage = bool(usage) and choice is None
        if choice is None:
            return None
        if self._model is None and isinstance(body.get("model"), str):
            self._model = body["model"][:_LONGEST_MODEL_NAME]
        self._saw_choice = True
        try:
            return self._read_choice(choice, whole)
        except (AttributeError, TypeError, KeyError, IndexError, ValueError):
            raise unexpected_reply("A choice in the service's answer has an unknown structure.") from None

    def _read_choice(self, choice: dict[str, Any], whole: bool) -> ChatDelta | None:
        was_finished = self._is_finished
        delta = self._read_fields(choice, whole)
        if was_finished and delta is not None and not self._goes_on:
            self._goes_on = True
            self._watch.goes_on()
        return delta

    def _read_fields(self, choice: dict[str, Any], whole: bool) -> ChatDelta | None:
        reason = choice.get("finish_reason") or choice.get("finishReason")  # Gemini's own layer had it so
        failure = failure_in(choice, reason)
        if failure is not None:
            self._failure = failure
            reason = reason if tells_the_end(reason) else ERROR
        if reason:
            self._read_reason(reason)
        if choice.get("usage"):  # Moonshot's place for it
            self._usage = with_later(self._usage, choice["usage"])
        delta = choice.get("delta")
        if delta and not whole:
            piece = delta
        else:
            message = choice.get("message")
            if message and not whole:
                if self._message.began and not self._comes_as_messages:
                    return self._message.add_again(message)
                self._comes_as_messages = True
            piece = message or delta
            if not piece:
                text = choice.get("text")
                if not text:
                    self._saw_foreign = self._saw_foreign or ((not reason or whole) and is_foreign(choice))
                    return None
                piece = {"content": text}  # the older API of completions
        return self._message.add(piece, choice.get("logprobs"), is_last=bool(reason), whole=whole)

    def _read_reason(self, reason: Any) -> None:
        if not tells_the_end(reason):
            return
        known = finish_reason_of(reason)
        if known is not None or not self._is_finished:
            self._finish_reason = known
            self._unknown_reason = word_in(reason) if known is None else ""
        if not self._is_finished:
            self._is_finished = True
            if known != ERROR:
                self._watch.finished()

    # -- the end --------------------------------------------------------------------------------------------

    def _waiting_deltas(self) -> Iterator[ChatDelta]:
        """What choices hold that waited for the next event to tell whose they are."""
        rest = [self._read({}, choice) for choice in self._choices.rest()] if self._choices else []
        yield from self._handing_on([delta for delta in rest if delta is not None])

    def _last_deltas(self) -> Iterator[ChatDelta]:
        yield from self._waiting_deltas()
        if not self._saw_choice:
            raise self._useless("The service's answer has no choice.", place="service")
        if self._finish_reason == ERROR:
            if self._failure is not None:
                self._raise_error_in("error", self._failure)
            raise ModelError(
                "The service stopped in the middle of its answer: its finish reason is an error."
            )
        yield from self._handing_on(self._message.flushed())
        self._finished_calls = self._message.calls.finished(
            cut_short=self._finish_reason == "length" or self._used_up_its_tokens(),
            forced=self._only_tool() if self._handed_on or not self._as_stream else None,
        )
        self._drop_forbidden_calls()
        self._refuse_nothing()
        yield from self._json_among_thoughts()
        if self._finished_calls:
            if self._finish_reason in (None, "stop"):
                self._finish_reason = "tool_calls"  # of a call that they had to make, some servers say "stop"
            yield ChatDelta(tool_calls=self._message.calls.rest(self._finished_calls))
        elif self._finish_reason == "tool_calls":
            self._finish_reason = "stop"
            self._lost_calls = True
        self._refuse_call_among_thoughts()

    def _used_up_its_tokens(self) -> bool:
        """Whether the answer has all the tokens that it may have; vLLM's streams end with `tool_calls` all the same."""
        limit = self._request.sampling.max_output_tokens
        tokens = usage_of(self._usage).completion_tokens
        return limit is not None and tokens is not None and tokens >= limit

    def _only_tool(self) -> str | None:
        """The tool that the model had to call, or the only one that it could."""
        choice, tools = self._request.tool_choice, self._request.tools
        if choice is not None and choice.mode == "tool":
            return choice.name
        return tools[0].name if len(tools) == 1 else None

    def _refuse_call_among_thoughts(self) -> None:
        """An agent must not take an answer for its end that is nothing but a call which the server did not find."""
        if not self._says_nothing() or not self._message.has_call_in_thoughts:
            return
        lost = ModelError(
            "The model calls a tool within its reasoning, where the service does not find it, and says nothing else.",
            "Try again. If this happens again, ask whoever runs the service to update the server, or to turn off the"
            " model's thinking.",
        )
        raise UselessStream(lost.message, lost.hint) if self._as_stream else lost

    def _json_among_thoughts(self) -> Iterator[ChatDelta]:
        """The JSON that was asked for, where a server's parser took it for thoughts. They never follow the schema."""
        wanted = self._request.json_format
        if wanted is None or wanted.schema is None or self._finished_calls:
            return
        if self._finish_reason in (None, "stop"):
            yield from self._handing_on(self._message.json_among_thoughts(self._request))

    def _drop_forbidden_calls(self) -> None:
        """A caller who says that no tool is to be called will not run a call, and may not expect one."""
        choice = self._request.tool_choice
        if choice is None or choice.mode != "none" or not self._finished_calls:
            return
        self._finished_calls = ()
        self._ignored = (*self._ignored, "toolChoice")
        if not self._message.text:
            raise ModelError(
                "The model called a tool and wrote no text, although the query's 'toolChoice' is none.",
                "Remove the tools from the query.",
            )

    def _refuse_nothing(self) -> None:
        """An answer of nothing is one if that is what the model said, and not if it was lost."""
        if self._finished_calls or self._message.began:
            return
        if self._saw_foreign or self._message.saw_foreign:
            raise self._useless("A choice in the service's answer has none of the fields of the API.")
        completion = usage_of(self._usage).completion_tokens or 0
        request = self._request
        should_hold_more = (
            request.tools or request.json_format or self._finish_reason == "tool_calls" or completion > 1
        )
        if self._finish_reason not in (None, "stop", "tool_calls"):
            return
        if self._unknown_reason:
            raise ModelError(
                f"The answer is empty. Its finish reason is {self._unknown_reason!r}.",
                "Try again, or ask whoever runs the service what that means.",
            )
        if self._as_stream and should_hold_more:
            raise UselessStream("The service streams an empty answer.")
        if completion > _TOKENS_OF_NOTHING:
            raise ModelError(
                f"The service counts {completion} tokens of an answer, but its answer is empty.",
                "Try again. If this happens again, ask whoever runs the service to check the server's parsers for"
                " reasoning and tool calls: they must be the ones for its model.",
            )

    def _counts(self) -> Usage:
        has_answer = bool(self._message.text or self._message.reasoning or self._finished_calls)
        return usage_of(self._usage, has_answer=has_answer)

    def _all_ignored(self, usage: Usage) -> tuple[str, ...]:
        """The settings that the service was not given, and those that it took and did not obey."""
        if not self._holds_to_request:
            return self._ignored
        found = disobeyed(
            self._request,
            self._payload,
            text=self._message.text,
            calls=self._finished_calls,
            log_probs=self._message.log_probs,
            usage=usage,
            finish_reason=self._finish_reason,
        )
        return (*self._ignored, *(name for name in found if name not in self._ignored))

    # -- errors ---------------------------------------------------------------------------------------------

    def _raise_error_in(self, name: str, body: dict[str, Any]) -> None:
        private: Any = self._payload  # the answer's own texts are joined for nothing but an error
        error = error_within(body, private)
        if error is None and name != "error":
            return
        if self._is_finished and self._finish_reason != ERROR:
            self._done = True  # the answer is there: it does not matter what failed after it
            return
        private = self._private()
        error = error_within(body, private) or error_from_message(
            body.get("message"), private, kind=body.get("type"), code=body.get("code")
        )
        raise self._broken_off(error) if self._handed_on or self._message.began else error

    def _useless(self, what: str, *, place: str | None = None) -> ModelError:
        error = unexpected_reply(what)
        kind = ModelError if self._handed_on or not self._as_stream else UselessStream
        return kind(error.message, error.hint, place=place)

    def _broken_off(self, error: ServiceError) -> ModelError | ServiceError:
        """No refusal any more, whatever it says: the model was at work."""
        told = ModelError(
            f"The answer stopped before its end. {error.message}", error.hint, status=error.status
        )
        if self._as_stream and says_output_is_unreadable(error.server_text):
            return UselessStream(told.message, told.hint, status=told.status)
        return told

    def _private(self) -> dict[str, Any]:
        return {**self._payload, "answer": self._message.so_far}


def _no_choice() -> ModelError:
    error = unexpected_reply("The service's answer has no choice.")
    return ModelError(error.message, error.hint, place="service")


def _empty_stream() -> EmptyStream:
    return EmptyStream(
        "The service's answer is empty.", "Read its logs: SYSTEM$GET_SERVICE_LOGS shows why it failed."
    )


def _reason_in_camel_case(event: Any) -> Any:
    """The finish reason of an event whose text was read without looking for one by that name; None if it has none."""
    try:
        (choice,) = event["choices"]
        return choice.get("finishReason")
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
