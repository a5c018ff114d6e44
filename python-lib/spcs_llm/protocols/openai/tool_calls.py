"""Tool calls of an answer, put together from the pieces in which servers send them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from spcs_llm.domain import ToolCall, ToolCallDelta
from spcs_llm.errors import ModelError


@dataclass
class _Call:
    index: int
    id: str
    name: str
    arguments: list[str] = field(default_factory=list, repr=False)
    id_changes: bool = False

    def goes_on(self, call_id: str | None, name: str) -> bool:
        """Whether a piece with this call's index and a name, this one or another, is still of this call."""
        if call_id in (None, self.id) or self.id_changes:
            return True
        self.id_changes = name == self.name and not _is_json_object("".join(self.arguments))
        return self.id_changes


class ToolCalls:
    """The calls of one answer. `offered`: names of the tools that the model may call.

    Pieces belong together by their `index`. Where a server leaves it out, a piece with a name begins a call,
    and one without goes on with the last. Some number all 0 (Ollama did): a new id with a name begins one. For a
    named tool choice vLLM (0.6 to 0.8) gives every piece the name and a new id: one that comes within the
    arguments goes on with them.
    """

    def __init__(self, offered: Collection[str]) -> None:
        self._offered = offered
        self._calls: list[_Call] = []
        self._by_index: dict[int, _Call] = {}

    def __bool__(self) -> bool:
        return bool(self._calls)

    def add(self, pieces: list[dict[str, Any]], *, whole: bool = False) -> tuple[ToolCallDelta, ...]:
        """Takes in what came; returns it for passing on, under indexes of ours. Raises ModelError.

        whole: each piece is a call, as in answers that are not streamed.
        """
        return tuple(self._add(piece, whole) for piece in pieces)

    def complete(self) -> tuple[ToolCallDelta, ...]:
        """What is left to pass on when no more comes: `{}` for calls that got no arguments."""
        bare = [call for call in self._calls if not "".join(call.arguments).strip()]
        for call in bare:
            call.arguments = ["{}"]
        return tuple(ToolCallDelta(call.index, arguments="{}") for call in bare)

    def calls(self, *, cut_short: bool) -> tuple[ToolCall, ...]:
        """The calls, whole. Raises ModelError for arguments that are no JSON object.

        cut_short: whether the answer ended at its token limit.
        """
        whole = tuple(ToolCall(call.id, call.name, "".join(call.arguments)) for call in self._calls)
        for call in whole:
            if not _is_json_object(call.arguments):
                raise _bad_arguments(call.name, cut_short)
        return whole

    def _add(self, piece: dict[str, Any], whole: bool) -> ToolCallDelta:
        function = piece.get("function") or {}
        name = function.get("name") or None
        arguments = function.get("arguments")
        if arguments is None:
            arguments = ""
        elif isinstance(arguments, dict):  # TGI, and Ollama's own API
            arguments = json.dumps(arguments)
        elif not isinstance(arguments, str):
            raise TypeError
        call_id = piece.get("id") or None
        known = None if whole else self._known(piece.get("index"), call_id, name)
        if known is not None:
            known.arguments.append(arguments)
            return ToolCallDelta(known.index, arguments=arguments)
        if name is None or name not in self._offered:
            raise ModelError(
                "The model calls a tool that it was not offered.",
                "A larger model, or clearer descriptions of the tools, may help.",
            )
        # Nine letters and digits: the one form of id that Mistral's templates accept when it is handed back.
        call = _Call(len(self._calls), call_id or uuid.uuid4().hex[:9], name, [arguments])
        self._calls.append(call)
        index = piece.get("index")
        if isinstance(index, int):
            self._by_index[index] = call
        return ToolCallDelta(call.index, call.id, call.name, arguments)

    def _known(self, index: Any, call_id: str | None, name: str | None) -> _Call | None:
        if isinstance(index, int):
            call = self._by_index.get(index)
            return call if call is None or name is None or call.goes_on(call_id, name) else None
        if name is not None and not any(call.id == call_id for call in self._calls):
            return None
        if call_id is not None:
            return next((call for call in self._calls if call.id == call_id), None)
        return self._calls[-1] if self._calls else None


def _is_json_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _bad_arguments(name: str, cut_short: bool) -> ModelError:
    if cut_short:
        return ModelError(
            f"The answer reached its token limit in the middle of a call of the tool {name!r}.",
            "Raise the query's maximum of output tokens.",
        )
    return ModelError(
        f"The model calls the tool {name!r} with arguments that are no JSON object.",
        "A larger model, or a simpler schema of the tool's parameters, may help.",
    )
