"""The tool calls and tool outputs in a conversation: which output answers which call.

Ids may be missing, or be given twice by a service that numbers the calls of each answer from the start; servers and
chat templates require each call to have a different one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from spcs_llm.domain import ImagePart, Part, TextPart, ToolCall, ToolResult
from spcs_llm.errors import QueryError
from spcs_llm.mesh.content import list_in, parts_of_blocks, parts_of_output
from spcs_llm.tool_arguments import arguments_text

# A message's calls, its results, and what is to be said in the user's name after it.
Turn = tuple[tuple[ToolCall, ...], tuple[ToolResult, ...], tuple[Part, ...]]
_NO_TOOLS: Turn = (), (), ()


def tool_history(messages: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Turn]:
    """The calls and results of each message, in order.

    Args:
        messages: Pairs of a role of ours (system, user, assistant, tool) and LLM Mesh's message.

    Returns:
        A turn for each message.

    Raises:
        QueryError: If a call has no name, or an output belongs to no call.
    """
    if not any(role == "tool" or message.get("toolCalls") is not None for role, message in messages):
        return [_NO_TOOLS] * len(messages)
    reader = _Reader(messages)
    turns = [reader.turn(role, message) for role, message in messages]
    following = [role for role, _ in messages[1:]] + [""]
    return _images_after_results(turns, following)


class _Reader:
    def __init__(self, messages: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        self._given = {
            str(call["id"])
            for _, message in messages
            for call in list_in(message, "toolCalls")
            if isinstance(call, Mapping) and call.get("id")
        }
        self._made = 0
        self._unanswered: list[ToolCall] = []

    def turn(self, role: str, message: Mapping[str, Any]) -> Turn:
        if role == "tool":
            return (), *self._results(message)
        calls = tuple(self._call(call) for call in list_in(message, "toolCalls"))
        if role == "assistant":
            self._unanswered += calls
        return calls, (), ()

    def _call(self, call: Any) -> ToolCall:
        function = call.get("function") if isinstance(call, Mapping) else None
        if (
            not isinstance(function, Mapping)
            or not isinstance(function.get("name"), str)
            or not function["name"]
        ):
            raise QueryError("A tool call in the query does not name a function.")
        call_id = str(call.get("id") or "") or self._new_id()
        return ToolCall(call_id, function["name"], arguments_text(function.get("arguments")))

    def _new_id(self) -> str:
        while True:
            # Nine letters and digits: the one form that Mistral's chat templates take.
            made = f"call{self._made:05d}"
            self._made += 1
            if made not in self._given:
                return made

    def _results(self, message: Mapping[str, Any]) -> tuple[tuple[ToolResult, ...], tuple[Part, ...]]:
        """DSS bundles the outputs of several calls in one message; others have a message for each."""
        outputs = list_in(message, "toolOutputs")
        if not outputs and message.get("content") is not None:
            call_id = message.get("tool_call_id") or message.get("toolCallId") or message.get("callId")
            outputs = [{"callId": call_id, "output": message["content"], "name": message.get("name")}]
        if not outputs:
            raise QueryError("A tool message of the query has no tool outputs.")
        results: list[ToolResult] = []
        images: list[Part] = []
        for output in outputs:
            result, shown = self._result(output)
            results.append(result)
            images += shown
        return tuple(results), tuple(images)

    def _result(self, output: Any) -> tuple[ToolResult, list[Part]]:
        call_id = self._answered(output) if isinstance(output, Mapping) else None
        if call_id is None:
            raise QueryError("A tool output in the query does not name its call.")
        parts = [*parts_of_output(output.get("output")), *parts_of_blocks(list_in(output, "parts"))]
        texts = [part.text for part in parts if isinstance(part, TextPart)]
        images: list[Part] = [part for part in parts if isinstance(part, ImagePart)]
        if images:
            images.insert(0, TextPart(f"From the output of the tool call {call_id}:"))
            texts = [*texts, "" if any(texts) else "An image, in the next message of the user."]
        return ToolResult(call_id, "\n".join(text for text in texts if text)), images

    def _answered(self, output: Mapping[str, Any]) -> str | None:
        """The id of the call that is answered: the one named, or else the first that has no output yet."""
        call_id, name = output.get("callId"), output.get("name")
        fitting = [
            call
            for call in self._unanswered
            if (call.id == str(call_id) if call_id else not name or call.name == name)
        ]
        if fitting:
            self._unanswered.remove(fitting[0])
            return fitting[0].id
        return str(call_id) if call_id else None


def _images_after_results(turns: Sequence[Turn], following: Sequence[str]) -> list[Turn]:
    """Puts images of outputs, which the API's tool messages cannot hold, behind the last output of a row of them.

    Args:
        turns: The turns of the conversation.
        following: The role of the message after each.

    Returns:
        The turns.
    """
    placed: list[Turn] = []
    held: tuple[Part, ...] = ()
    for (calls, results, images), next_role in zip(turns, following):
        held += images
        is_last = next_role != "tool"
        placed.append((calls, results, held if is_last else ()))
        held = () if is_last else held
    return placed
