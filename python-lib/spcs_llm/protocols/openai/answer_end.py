"""How an answer ends: which calls it makes, and whether it is an answer at all."""

from __future__ import annotations

from collections.abc import Iterator

from spcs_llm.domain import ChatDelta, ChatRequest, ToolCall
from spcs_llm.errors import ModelError
from spcs_llm.protocols.openai.growing_answer import GrowingAnswer
from spcs_llm.protocols.openai.obedience import is_as_formatted
from spcs_llm.protocols.openai.usage import usage_of
from spcs_llm.protocols.openai.useless_streams import UselessStream

_TOKENS_OF_NOTHING = 16  # that an answer without anything may have: ends of turns, an empty block of thoughts


class AnswerEnd:
    """Ends an answer once its last object was taken in, or its stream has ended.

    Args:
        request: What was asked.
        answer: What came. Its finish reason is corrected where its calls show that it is wrong.

    Attributes:
        calls: The tool calls, complete.
        lost_calls: Whether the finish reason reports a call that is missing.
        dropped_calls: Whether there were calls although the request forbids them.
    """

    def __init__(self, request: ChatRequest, answer: GrowingAnswer) -> None:
        self.calls: tuple[ToolCall, ...] = ()
        self.lost_calls = self.dropped_calls = False
        self._request = request
        self._answer = answer
        self._message = answer.message

    @property
    def says_nothing(self) -> bool:
        """Whether the answer ends without a call and without a text: its reasoning and blanks are not an answer."""
        return not self.calls and self._ended_by_itself and not self._message.text.strip()

    def deltas(self) -> Iterator[ChatDelta]:
        """Yields what waited for the end: text and reasoning, then the calls.

        Raises:
            UselessStream: If a stream was asked for and does not contain an answer.
            ModelError: If the service did not send an answer that can be used.
        """
        yield from self._answer.handing_on(self._message.flushed())
        if not self._has_a_stub_only():
            self.calls = self._message.calls.finished(
                cut_short=self._answer.finish_reason == "length" or self._used_up_its_tokens(),
                forced=None if self._answer.may_come_whole else self._only_tool(),
            )
        self._drop_forbidden_calls()
        yield from self._json_in_a_call()
        self._refuse_nothing()
        yield from self._json_among_thoughts()
        if self.calls:
            if self._ended_by_itself:
                # Of a call that the model had to make, some servers say "stop".
                self._answer.finish_reason = "tool_calls"
            yield ChatDelta(tool_calls=self._message.calls.rest(self.calls))
        elif self._answer.finish_reason == "tool_calls":
            self._answer.finish_reason = "stop"
            self.lost_calls = True
        self._refuse_call_among_thoughts()

    @property
    def _ended_by_itself(self) -> bool:
        return self._answer.finish_reason in (None, "stop")

    def _used_up_its_tokens(self) -> bool:
        """Whether the answer has all the tokens that it may have; vLLM's streams end with `tool_calls` all the same."""
        limit = self._request.sampling.max_output_tokens
        tokens = usage_of(self._answer.usage).completion_tokens
        return limit is not None and tokens is not None and tokens >= limit

    def _has_a_stub_only(self) -> bool:
        """Whether a call that says nothing stands beside a text, which is then the answer: LM Studio sends such."""
        return self._message.calls.say_nothing and bool(self._message.text.strip())

    def _only_tool(self) -> str | None:
        """The tool that the model had to call, or the only one that it could."""
        choice, tools = self._request.tool_choice, self._request.tools
        if choice is not None and choice.mode == "tool":
            return choice.name
        has_to_call = choice is not None and choice.mode == "required"
        if self._message.calls.say_nothing and self._ended_by_itself and not has_to_call:
            return None
        return tools[0].name if len(tools) == 1 else None

    def _drop_forbidden_calls(self) -> None:
        """A caller who says that no tool is to be called will not run a call, and may not expect one."""
        choice = self._request.tool_choice
        if choice is None or choice.mode != "none" or not self.calls:
            return
        self.calls = ()
        self.dropped_calls = True
        if not self._message.text:
            raise ModelError(
                "The model called a tool and wrote no text, although the query's 'toolChoice' is none.",
                "Remove the tools from the query.",
            )

    def _json_in_a_call(self) -> Iterator[ChatDelta]:
        """The JSON that was asked for, where a gateway made a tool of its schema and hands the model's call on."""
        request = self._request
        if request.tools or request.json_format is None or len(self.calls) != 1:
            return
        arguments = self.calls[0].arguments
        if self._message.text.strip() or not is_as_formatted(arguments, request):
            return
        self.calls = ()
        yield from self._answer.handing_on([self._message.said_at_the_end(arguments)])

    def _refuse_nothing(self) -> None:
        """An answer of nothing is one if that is what the model said, and not if it was lost."""
        if self.calls or self._message.began:
            return
        answer, request = self._answer, self._request
        if answer.saw_foreign or self._message.saw_foreign:
            raise answer.useless("A choice in the service's answer has none of the fields of the API.")
        completion = usage_of(answer.usage).completion_tokens or 0
        if answer.finish_reason not in (None, "stop", "tool_calls"):
            return
        if answer.finish_reason is None and not answer.unknown_reason and not completion:
            raise self._nothing()
        if answer.unknown_reason:
            raise ModelError(
                f"The answer is empty. Its finish reason is {answer.unknown_reason!r}.",
                "Try again, or ask whoever runs the service what that means.",
            )
        should_hold_more = (
            request.tools or request.json_format or answer.finish_reason == "tool_calls" or completion > 1
        )
        if answer.as_stream and should_hold_more:
            raise UselessStream("The service streams an empty answer.")
        if completion > _TOKENS_OF_NOTHING:
            raise ModelError(
                f"The service counts {completion} tokens of an answer, but its answer is empty.",
                "Try again. If this happens again, ask whoever runs the service to check the server's parsers for"
                " reasoning and tool calls: they must be the ones for its model.",
            )

    def _nothing(self) -> ModelError:
        """The error of an answer without a text, a reason and tokens: the model did not answer at all."""
        kind = UselessStream if self._answer.as_stream else ModelError
        return kind(
            "The service's answer is empty: it has neither text nor tokens nor a finish reason.",
            "Try again. If this happens again, read the service's logs: SYSTEM$GET_SERVICE_LOGS.",
        )

    def _json_among_thoughts(self) -> Iterator[ChatDelta]:
        """The JSON that was asked for, where a server's parser took it for thoughts. They never follow the schema."""
        wanted = self._request.json_format
        if wanted is None or wanted.schema is None or self.calls:
            return
        if self._ended_by_itself:
            yield from self._answer.handing_on(self._message.json_among_thoughts(self._request))

    def _refuse_call_among_thoughts(self) -> None:
        """An agent must not take an answer for its end that is nothing but a call which the server did not find."""
        if not self.says_nothing or not self._message.has_call_in_thoughts:
            return
        kind = UselessStream if self._answer.as_stream else ModelError
        raise kind(
            "The model calls a tool within its reasoning, where the service does not find it, and says nothing else.",
            "Try again. If this happens again, ask whoever runs the service to update the server, or to turn off the"
            " model's thinking.",
        )
