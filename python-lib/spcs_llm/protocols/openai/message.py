"""The message of an answer, put together from its pieces: text, reasoning, tool calls and log probabilities."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from spcs_llm.domain import ChatDelta, ChatRequest, ToolCallDelta
from spcs_llm.errors import ModelError
from spcs_llm.protocols.openai.argument_litter import TOKENS
from spcs_llm.protocols.openai.call_markup import CallMarkup, holds_call
from spcs_llm.protocols.openai.content import has_nothing_known, text_and_reasoning
from spcs_llm.protocols.openai.log_probs import MOST_ENTRIES, entries_of, tokens_of, too_many_entries
from spcs_llm.protocols.openai.obedience import is_as_formatted, json_behind_thoughts
from spcs_llm.protocols.openai.opening import STRAYS, WRAPPERS, JsonFence, LeadingThoughts, Strays, TurnEnd
from spcs_llm.protocols.openai.repeated_json import FirstObject
from spcs_llm.protocols.openai.text import GrowingText, same_words
from spcs_llm.protocols.openai.tool_calls import ToolCalls, is_nameless
from spcs_llm.protocols.openai.useless_streams import NamelessCall

_TAGS = (*WRAPPERS, "XML", " tag")  # in a prompt that may ask for the answer in tags
_WORDS_ABOUT_TURNS = ("<|", "token", "ChatML", "template")  # in a prompt that may ask for further turns
_MOST_BLANKS = 2000  # in a row, within JSON


class EndlessBlanks(ModelError):
    """Blanks and nothing else within JSON, which a grammar allows without end: they would go on up to the limit."""

    def __init__(self) -> None:
        super().__init__(
            "The model writes only blanks within the JSON that the query asks for ('responseFormat').",
            "Try again, lower the query's maximum of output tokens, or ask whoever runs the service to allow no blanks"
            " between the parts of JSON: 'disable_any_whitespace' in vLLM's structured outputs.",
        )


class GrowingMessage:
    """Takes in the deltas of a stream, or the one message of an answer that came whole.

    Args:
        request: What was asked.
        as_stream: Whether a stream was asked for. Then the whole answer may be better where NamelessCall or
            EndlessBlanks is raised.

    Attributes:
        calls: The tool calls.
        log_probs: The tokens with their log probabilities.
        began: Whether anything of the message was read.
        saw_foreign: Whether a piece had none of the API's fields before anything was read.
    """

    def __init__(self, request: ChatRequest, *, as_stream: bool) -> None:
        self.calls = ToolCalls(
            {tool.name: tool.parameters for tool in request.tools},
            {call.id for message in request.messages for call in message.tool_calls},
        )
        self.log_probs: list[dict[str, Any]] = []
        self._entries_of_log_probs = 0
        self.began = False
        self.saw_foreign = False
        self._as_stream = as_stream
        self._forbids_calls = request.tool_choice is not None and request.tool_choice.mode == "none"
        self._said = GrowingText()
        self._thought = GrowingText()
        self._prompts = [message.text for message in request.messages]
        self.calls.may_quote_marks = self.is_asked_for(TOKENS)
        unwraps = not self.is_asked_for(_TAGS)
        self._thoughts_before: LeadingThoughts | None = LeadingThoughts(unwraps=unwraps)
        names = self.calls.offered.all_names
        self._markup = CallMarkup(names) if names and not self._forbids_calls else None
        self._turn_end = TurnEnd(unwraps=unwraps, cuts=not self.is_asked_for(_WORDS_ABOUT_TURNS))
        self._strays = None if self.is_asked_for(STRAYS) else Strays()
        self._fence = JsonFence() if request.json_format is not None else None
        self._first_object = FirstObject()
        self._texts: list[str] = []
        self._reasoning: list[str] = []
        self._in_both_fields: list[str] = []
        self._thoughts_in_text: list[str] = []
        self._thinks_in_its_field = False
        self._blanks = 0

    @property
    def text(self) -> str:
        """What was said by now, without what still waits."""
        return "".join(self._texts)

    @property
    def reasoning(self) -> str:
        return "".join(self._reasoning)

    @property
    def so_far(self) -> list[str]:
        """All text and reasoning that came, as it came: what no error may quote."""
        return [self._said.so_far, self._thought.so_far]

    @property
    def has_halves(self) -> bool:
        """Whether the text had half a character without the other."""
        return self._said.has_halves

    @property
    def has_call_in_text(self) -> bool:
        """Whether the text, once it was flushed, has a call of one of the tools that did not come as a call."""
        return self._markup is not None and self._markup.has_call

    @property
    def has_call_in_thoughts(self) -> bool:
        """Whether the model calls one of the tools within its thoughts."""
        return self._markup is not None and holds_call(self.reasoning, self._markup.names)

    def is_asked_for(self, words: Collection[str]) -> bool:
        """Whether a message of the request has one of the words, which are then no litter in the answer."""
        return any(word in prompt for prompt in self._prompts for word in words)

    @property
    def is_plain(self) -> bool:
        """Whether text without a `<` or `[` is handed on as it comes, so that `add_text` will do."""
        if self._thoughts_before is not None or self._fence is not None or self._turn_end.is_waiting:
            return False
        if self._strays is not None and self._strays.is_waiting:
            return False
        return self._markup is None or not self._markup.is_waiting

    def add_text(self, text: str) -> str:
        """Takes in a piece that is text without a `<` or `[` and nothing else, while the message `is_plain`.

        Returns:
            What of it is new.
        """
        new = self._said.add(text)
        if new:
            self.began = True
            self._texts.append(new)
        return new

    def add(
        self, piece: Mapping[str, Any], log_probs: Any, *, is_last: bool, whole: bool
    ) -> ChatDelta | None:
        """Takes in a piece.

        Args:
            piece: OpenAI's `delta` or `message`.
            log_probs: OpenAI's `logprobs` beside it.
            is_last: Whether the finish reason came with it.
            whole: Whether it is the message of an answer that came whole.

        Returns:
            What is new and certain by now; None if nothing is.

        Raises:
            NamelessCall: If a stream begins with a tool call without a name.
            EndlessBlanks: If a stream of JSON goes on with blanks only.
            ModelError: If there are more calls or log probabilities than an answer can have.
        """
        content = piece.get("content")
        heads: tuple[ToolCallDelta, ...] = ()
        if content.__class__ is str and len(piece) == 1:  # as nearly all are
            text, reasoning = content, ""
        else:
            text, reasoning = text_and_reasoning(piece, wants_json=self._fence is not None)
            heads = self._add_calls(piece, whole=whole)
            if text and text == reasoning and not whole:
                self._in_both_fields.append(text)  # gateways write thoughts into the field of the text, too
                text = ""
            self._thinks_in_its_field = self._thinks_in_its_field or bool(reasoning)
        tokens = self._add_log_probs(log_probs) if log_probs else ()
        if not (text or reasoning):
            if not self.began and has_nothing_known(piece):
                self.saw_foreign = True
            if not (tokens or heads):
                return None
        return self._delta(
            self._said.add(text, is_last=is_last) if text else "",
            self._thought.add(reasoning, is_last=is_last) if reasoning else "",
            tokens,
            heads,
        )

    def add_again(self, message: Mapping[str, Any]) -> ChatDelta | None:
        """Takes in a whole message that comes after its pieces; returns what they lacked."""
        text, reasoning = text_and_reasoning(message, wants_json=self._fence is not None)
        if message.get("tool_calls"):
            self.calls.add_again(message["tool_calls"])
        return self._delta(self._said.rest_of(text), self._thought.rest_of(reasoning))

    def flushed(self) -> list[ChatDelta]:
        """Returns what waited for more to come, when nothing more comes."""
        deltas = [self._delta(self._said.flush(), self._thought.flush())]
        if self._thoughts_before is not None:
            text, thoughts = self._thoughts_before.flush()
            self._thoughts_before = None
            deltas.append(self._delta(text, self._not_told_twice(thoughts)))
        if not self._texts and not self.calls:
            deltas.append(self._delta("".join(self._in_both_fields), ""))
        rest = self._markup.flush(is_called=bool(self.calls)) if self._markup is not None else ""
        if self._strays is not None:
            rest = self._strays.part(rest) + self._strays.flush()
        if rest:
            rest = self._turn_end.part(rest)
        if self._turn_end.is_waiting:
            rest += self._turn_end.flush(self.text + rest)
        if self._fence is not None:
            rest = self._first_object.part(self._fence.part(rest) + self._fence.flush())
            rest += self._first_object.flush()
        if rest:
            self.began = True
            self._texts.append(rest)
            deltas.append(ChatDelta(rest))
        return [delta for delta in deltas if delta is not None]

    def json_among_thoughts(self, request: ChatRequest) -> list[ChatDelta]:
        """Uses the reasoning as the text if there is no other text and the reasoning is the JSON that was requested.

        Args:
            request: What was asked, with a schema.

        Returns:
            The text, or nothing.
        """
        if self.text.strip():
            return []
        text, thoughts = json_behind_thoughts(self.reasoning)
        if not (text and is_as_formatted(text, request)):
            return []
        self._reasoning = [thoughts]
        return [self.said_at_the_end(text)]

    def said_at_the_end(self, text: str) -> ChatDelta:
        """Takes a text for all that was said."""
        self.began = True
        self._texts = [text]
        return ChatDelta(text)

    def _add_calls(self, piece: Mapping[str, Any], *, whole: bool) -> tuple[ToolCallDelta, ...]:
        """Takes in the calls of a piece; returns what can be handed on of them by now."""
        calls = piece.get("tool_calls")
        if not calls and piece.get("function_call"):  # the older API's one call
            calls = {"index": 0, "function": piece["function_call"]}
        elif calls and self._as_stream and not whole and not self.began and is_nameless(calls):
            raise NamelessCall
        if not calls:
            return ()
        self.began = True
        self.calls.add(calls, are_calls=whole)
        return () if whole or self._forbids_calls else self.calls.heads()

    def _add_log_probs(self, log_probs: Any) -> tuple[dict[str, Any], ...]:
        """Takes in log probabilities; returns what is new of them."""
        self._entries_of_log_probs += entries_of(log_probs)
        if self._entries_of_log_probs > MOST_ENTRIES:
            raise too_many_entries()
        tokens = tokens_of(log_probs)
        self.log_probs.extend(tokens)
        return tokens

    def _delta(
        self,
        text: str,
        reasoning: str,
        tokens: tuple[dict[str, Any], ...] = (),
        heads: tuple[ToolCallDelta, ...] = (),
    ) -> ChatDelta | None:
        """What is new, parted into text and reasoning."""
        if self._thoughts_before is not None and text:
            self._thoughts_before.is_behind_thoughts |= bool(self._reasoning or reasoning)
            text, thoughts = self._thoughts_before.part(text)
            reasoning += self._not_told_twice(thoughts)
            if self._thoughts_before.is_over:
                self._thoughts_before = None
        if text and self._markup is not None and ("<" in text or "[" in text or self._markup.is_waiting):
            text = self._markup.part(text)
        if text and self._strays is not None and ("<" in text or self._strays.is_waiting):
            text = self._strays.part(text)
        if text and ("<" in text or "[" in text or self._turn_end.is_waiting):
            text = self._turn_end.part(text)
        if self._fence is not None and text:
            self._count_blanks(text)
            text = self._first_object.part(self._fence.part(text))
        if text:
            self._texts.append(text)
        if reasoning:
            self._reasoning.append(reasoning)
        if text or reasoning or tokens or heads:
            self.began = True
            return ChatDelta(text, reasoning, heads, tokens)
        return None

    def _not_told_twice(self, thoughts: str) -> str:
        """The thoughts within the text, at their end and unless they came in the field of the reasoning as well."""
        if not self._thinks_in_its_field:
            return thoughts
        self._thoughts_in_text.append(thoughts)
        if self._thoughts_before is not None and not self._thoughts_before.is_over:
            return ""
        # llama.cpp's --reasoning-format deepseek-legacy sends both.
        all_thoughts = "".join(self._thoughts_in_text)
        return "" if same_words(all_thoughts, self._thought.so_far) else all_thoughts

    def _count_blanks(self, text: str) -> None:
        at_end = len(text) - len(text.rstrip())
        self._blanks = self._blanks + at_end if at_end == len(text) else at_end
        if self._blanks > _MOST_BLANKS and self._as_stream:
            raise EndlessBlanks
