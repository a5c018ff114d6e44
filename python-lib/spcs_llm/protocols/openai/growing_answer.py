"""An answer as it grows: its message, finish reason, counts and model, put together from a service's JSON objects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Callable, Final

from spcs_llm.domain import ChatDelta, ChatRequest
from spcs_llm.errors import ModelError
from spcs_llm.protocols.openai.choices import Choices, failure_in, is_foreign, the_choice
from spcs_llm.protocols.openai.content import BESIDE_TEXT
from spcs_llm.protocols.openai.finish_reasons import ERROR, finish_reason_of, tells_the_end, word_in
from spcs_llm.protocols.openai.message import GrowingMessage
from spcs_llm.protocols.openai.usage import usage_within, with_later
from spcs_llm.protocols.openai.useless_streams import UselessStream
from spcs_llm.protocols.reply_errors import unexpected_reply

_PLAIN = {"role", "content"}
_LONGEST_MODEL_NAME = 256


@dataclass(frozen=True)
class Watch:
    """What is done while an answer is read.

    Attributes:
        finished: Called once, when the finish reason is there: what follows is only counts.
        may_be_finished: Called instead if neither a text nor a call came before the reason: some servers give one in
            each event.
        goes_on: Called once, if text follows all the same: some servers give a finish reason in each event.
        check_time: Called once in 64 events, and with each chunk of blanks before the answer. It raises QueryTimeout
            when the query's time is up: bytes that are here already are read without waiting, so that nothing else
            would notice.
    """

    finished: Callable[[], None] = lambda: None
    may_be_finished: Callable[[], None] = lambda: None
    goes_on: Callable[[], None] = lambda: None
    check_time: Callable[[], None] = lambda: None


UNWATCHED: Final = Watch()


class GrowingAnswer:
    """Takes in the objects of a stream, or the one of an answer that came whole.

    Args:
        request: What was asked.
        watch: What is done while the answer is read.
        as_stream: Whether a stream was asked for.

    Attributes:
        message: What was said.
        finish_reason: The last known one, in our own words.
        unknown_reason: The service's word, if it is not known.
        failure: What a choice says of its failure, as an error's body.
        usage: The service's counts, as they came.
        model: The model's name, in the service's words.
        saw_choice: Whether there was a choice.
        saw_foreign: Whether a choice had none of the API's fields.
        is_finished: Whether a finish reason was read.
        ended_with_usage: Whether the last object held counts and no choice.
        as_stream: Whether a stream was asked for, and came.
        handed_on: Whether a piece of the answer was handed on.
    """

    def __init__(self, request: ChatRequest, watch: Watch, *, as_stream: bool) -> None:
        self.message = GrowingMessage(request, as_stream=as_stream)
        self.finish_reason: str | None = None
        self.unknown_reason = ""
        self.failure: dict[str, Any] | None = None
        self.usage: Any = None
        self.model: str | None = None
        self.saw_choice = self.saw_foreign = self.is_finished = self.ended_with_usage = False
        self.as_stream = as_stream
        self.handed_on = False
        self._watch = watch
        self._choices: Choices | None = None
        self._comes_as_messages = self._goes_on = False

    @property
    def may_come_whole(self) -> bool:
        """Whether the whole answer may be asked for instead, as nobody has a part of the streamed one yet."""
        return self.as_stream and not self.handed_on

    def useless(self, what: str, *, place: str | None = None) -> ModelError:
        """Makes the error of an answer that cannot be used: a UselessStream if it may come whole."""
        error = unexpected_reply(what)
        kind = UselessStream if self.may_come_whole else ModelError
        return kind(error.message, error.hint, place=place)

    def add_plain(self, event: Any) -> str | None:
        """Takes in an event that holds text and nothing else, as nearly all do.

        Returns:
            What is new in it; None for any other event, of which nothing was taken in.
        """
        if self._choices is not None or not self.message.is_plain:
            return None
        try:
            (choice,) = event["choices"]
            delta = choice["delta"]
            text = delta["content"]
            if (
                text.__class__ is not str
                or "<" in text
                or "[" in text
                or self.is_finished
                or (len(delta) > 1 and not delta.keys() <= _PLAIN and any(map(delta.get, BESIDE_TEXT)))
            ):
                return None
            if (
                choice.get("finish_reason")
                or choice.get("index")
                or choice.get("logprobs")
                or choice.get("error")
                or event.get("usage")
            ):
                return None
            if "error" in event:
                return None
        except (KeyError, TypeError, ValueError):
            return None
        self.handed_on = True
        self.ended_with_usage = False
        return self.message.add_text(text)

    def add(self, event: dict[str, Any]) -> Iterator[ChatDelta]:
        """Takes in an event.

        Args:
            event: An object of a stream.

        Yields:
            What is new and certain by now.

        Raises:
            SpcsError: If it is not a piece of an answer.
        """
        choices = event.get("choices")
        if self._choices is None and isinstance(choices, list) and len(choices) == 1:
            choice = choices[0]
            if isinstance(choice, dict) and not choice.get("index"):
                delta = self._read(event, choice)
                if delta is not None:
                    self.handed_on = True
                    yield delta
                return
        yield from self.handing_on(self._read_choices(event, choices or []))

    def add_whole(self, body: dict[str, Any]) -> Iterator[ChatDelta]:
        """Takes in an answer that came whole, with one choice at least; the rest as `add`."""
        self.as_stream = False
        choice = the_choice(_checked(body["choices"]))
        delta = self._read(body, choice, whole=True)
        yield from self.handing_on([delta])

    def waiting(self) -> Iterator[ChatDelta]:
        """What choices hold that waited for the next event to tell whose they are."""
        choices = self._choices.rest() if self._choices is not None else []
        yield from self.handing_on([self._read({}, choice) for choice in choices])

    def handing_on(self, deltas: Iterable[ChatDelta | None]) -> Iterator[ChatDelta]:
        """Yields deltas, without those that hold nothing."""
        for delta in deltas:
            if delta is not None:
                self.handed_on = True
                yield delta

    def read_reason(self, reason: Any) -> None:
        """Takes in a finish reason, in whatever form it comes."""
        if not tells_the_end(reason):
            return
        known = finish_reason_of(reason)
        if known is not None or not self.is_finished:
            self.finish_reason = known
            self.unknown_reason = word_in(reason) if known is None else ""
        if not self.is_finished:
            self.is_finished = True
            if known != ERROR:
                if self.message.text or self.message.calls:
                    self._watch.finished()
                else:
                    self._watch.may_be_finished()

    def _read_choices(self, event: dict[str, Any], choices: Any) -> list[ChatDelta | None]:
        if not choices:
            return [self._read(event, None)]
        _checked(choices)
        if self._choices is None:
            self._choices = Choices(0 if self.saw_choice else None, is_finished=self.is_finished)
        self.saw_choice = True
        return [self._read(event, choice) for choice in self._choices.pick(choices)]

    def _read(
        self, body: dict[str, Any], choice: dict[str, Any] | None, *, whole: bool = False
    ) -> ChatDelta | None:
        usage = body.get("usage") or usage_within(body)
        if usage:
            self.usage = with_later(self.usage, usage)
        self.ended_with_usage = bool(usage) and choice is None
        if choice is None:
            return None
        if self.model is None and isinstance(body.get("model"), str):
            self.model = body["model"][:_LONGEST_MODEL_NAME]
        self.saw_choice = True
        was_finished = self.is_finished
        try:
            delta = self._read_fields(choice, whole)
        except (AttributeError, TypeError, KeyError, IndexError, ValueError):
            raise _unknown_structure() from None
        if was_finished and delta is not None and not self._goes_on:
            self._goes_on = True
            self._watch.goes_on()
        return delta

    def _read_fields(self, choice: dict[str, Any], whole: bool) -> ChatDelta | None:
        reason = choice.get("finish_reason") or choice.get("finishReason")  # Gemini's own layer had it so
        failure = failure_in(choice, reason)
        if failure is not None:
            self.failure = failure
            reason = reason if tells_the_end(reason) else ERROR
        if reason:
            self.read_reason(reason)
        if choice.get("usage"):  # Moonshot's place for it
            self.usage = with_later(self.usage, choice["usage"])
        delta = choice.get("delta")
        if delta and not whole:
            piece = delta
        else:
            message = choice.get("message")
            if message and not whole:
                if self.message.began and not self._comes_as_messages:
                    return self.message.add_again(message)
                self._comes_as_messages = True
            piece = message or delta
            if not piece:
                text = choice.get("text")
                if not text:
                    self.saw_foreign = self.saw_foreign or ((not reason or whole) and is_foreign(choice))
                    return None
                piece = {"content": text}  # the older API of completions
        return self.message.add(piece, choice.get("logprobs"), is_last=bool(reason), whole=whole)


def _checked(choices: Any) -> list[dict[str, Any]]:
    if isinstance(choices, list) and all(isinstance(choice, dict) for choice in choices):
        return choices
    raise _unknown_structure()


def _unknown_structure() -> ModelError:
    return unexpected_reply("A choice in the service's answer has an unknown structure.")
