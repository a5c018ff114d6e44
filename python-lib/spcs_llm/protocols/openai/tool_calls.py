"""Tool calls of an answer, put together from the pieces in which servers send them.

A call's id and name are handed on as soon as they are certain, and its arguments when they are whole: what they are is
known only at their end, and nobody can use half of them.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from spcs_llm.domain import ToolCall, ToolCallDelta
from spcs_llm.errors import ModelError
from spcs_llm.lenient_json import read_index
from spcs_llm.protocols.openai.argument_litter import (
    behind_mark,
    with_its_end,
    with_lost_brackets,
    without_marks,
    without_next_call,
)
from spcs_llm.protocols.openai.json_depth import JsonDepth
from spcs_llm.protocols.openai.repeated_json import last_beginning, written_again
from spcs_llm.protocols.openai.tool_names import OfferedTools, readable_name
from spcs_llm.protocols.openai.useless_streams import NamelessCall
from spcs_llm.tool_arguments import arguments_text, is_whole, with_declared_kinds
from spcs_llm.whole_characters import whole_characters

MAX_CALLS = 128
_MAX_PIECES_OF_A_NAME = 64
_LONGEST_ID = 128
_LONGEST_EMPTY = 64
_MAX_ARGUMENTS = 16 << 20  # characters of all calls
_NUMBERED_ID = re.compile(r"([\w.\-]{1,100}):([0-9]{1,6})")
_NO_ID = ("", "null", "none", "undefined")
_ARGUMENTS = ("arguments", "parameters", "input", "args")


def is_nameless(first: Any) -> bool:
    """Whether the first piece of an answer's calls is TGI's before 3.1, which never gives a name."""
    return isinstance(first, Mapping) and _Piece.read(first).name is None


@dataclass(frozen=True)
class _Piece:
    """What a server sent of a call. Its index, id and name are None where the piece has none."""

    index: int | None
    id: str | None
    name: str | None
    arguments: str = field(repr=False)

    @classmethod
    def read(cls, piece: Any) -> _Piece:
        """Reads a piece of a call.

        Args:
            piece: `{"index", "id", "function": {"name", "arguments"}}`, or one of the shapes that servers have for it.

        Returns:
            The piece.

        Raises:
            TypeError: If it is not a piece of a call.
        """
        if not isinstance(piece, Mapping):
            raise TypeError
        function = piece.get("function")
        holder: Mapping[str, Any] = function if isinstance(function, Mapping) else piece
        name = function if isinstance(function, str) else holder.get("name")
        given = next((holder[key] for key in _ARGUMENTS if holder.get(key) is not None), "")
        arguments = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
        return cls(
            read_index(piece.get("index"), most_digits=5),
            _id(piece.get("id")),
            whole_characters(name) if isinstance(name, str) and any(map(str.isalnum, name)) else None,
            arguments,
        )


@dataclass
class _Call:
    """A call so far."""

    id: str | None
    name: str | None
    pieces: list[str] = field(default_factory=list, repr=False)
    names: int = 1
    length: int = 0
    has_arguments: bool = False
    id_changes: bool = False
    is_told: bool = False
    _json: JsonDepth = field(default_factory=JsonDepth)

    @property
    def arguments(self) -> str:
        return "".join(self.pieces)

    @property
    def is_whole(self) -> bool:
        """Whether its arguments are a whole value by their brackets and quotes."""
        return self._json.is_closed or (self.length < 10 and self.arguments.strip() == "null")

    @property
    def is_empty(self) -> bool:
        """Whether its arguments are an empty object. Long ones, which are not, are not put together for each stub."""
        return self.length < _LONGEST_EMPTY and _text_of(self.pieces).strip() == "{}"

    @property
    def says_nothing(self) -> bool:
        """Whether it has neither id nor name nor arguments."""
        return self.id is None and self.name is None and not self.has_arguments

    def add(self, arguments: str) -> None:
        if not arguments:
            return
        self.pieces.append(arguments)
        self.length += len(arguments)
        self.has_arguments = self.has_arguments or not arguments.isspace()
        self._json.add(arguments)


class ToolCalls:
    """The calls of one answer.

    Pieces belong together by their `index`, or by their id where there is none; without either, one goes on with the
    last call. A name begins a call when the one before is whole: some servers number all calls 0, or give all one id.
    And some repeat the name, a new id or the whole call in each piece of one call.

    Args:
        offered: The schemas of the tools that the model may call, by their names; None where a tool has none.
        taken_ids: Ids of earlier calls. Some servers give each turn's first call the same id.

    Attributes:
        offered: The names that the model may call by.
        lost_a_part: Whether arguments begin like a JSON object and have no end, or end like one and have no beginning.
        may_quote_marks: Whether values may have marks of the model's format, because the query is about them.
    """

    def __init__(
        self, offered: Mapping[str, Mapping[str, Any] | None], taken_ids: Collection[str] = ()
    ) -> None:
        self._schemas = offered
        self.offered = OfferedTools(offered)
        self._calls: list[_Call] = []
        self._by_index: dict[int, _Call] = {}
        self._by_id: dict[str, _Call] = {}
        self._told: list[_Call] = []
        self._ids = set(taken_ids)
        self._room = _MAX_ARGUMENTS
        self.lost_a_part = False
        self.may_quote_marks = False

    def __bool__(self) -> bool:
        return bool(self._calls)

    def add(self, pieces: Any, *, are_calls: bool = False) -> None:
        """Takes in what came.

        Args:
            pieces: The API's `tool_calls`, a list; or one of them, or an older `function_call`.
            are_calls: Whether each is a call, as in answers that are not streamed.

        Raises:
            TypeError: If they are of an unknown shape.
            ModelError: If there are more than `MAX_CALLS` calls, or if their arguments are longer than any can be.
        """
        for each in [pieces] if isinstance(pieces, Mapping) else _list(pieces):
            if each is None:
                continue
            piece = _Piece.read(each)
            self._room -= len(piece.arguments)
            if self._room < 0:
                raise ModelError(
                    "The arguments of the answer's tool calls are longer than arguments can be.",
                    "Lower the query's maximum of output tokens.",
                )
            call = None if are_calls else self._continued(piece)
            if call is None:
                self._begin(piece)
            else:
                self._go_on(call, piece)

    def heads(self) -> tuple[ToolCallDelta, ...]:
        """Returns the beginnings of calls as soon as they are certain.

        That is so once arguments come: a name may come in pieces before them, or be said once too often.

        Returns:
            Ids and names that are certain by now and were not handed on before.
        """
        heads = []
        for call in self._calls[len(self._told) :]:
            name = call.name
            if not call.id or call.id in self._ids or name is None or not call.has_arguments:
                break
            if self.offered.meant_by(name) is None:
                break
            self._ids.add(call.id)
            self._told.append(call)
            call.is_told = True
            heads.append(ToolCallDelta(len(self._told) - 1, call.id, self.offered.meant_by(name)))
        return tuple(heads)

    def rest(self, calls: Sequence[ToolCall]) -> tuple[ToolCallDelta, ...]:
        """Finds what was not yet handed on of the calls.

        Args:
            calls: The calls, as `finished` returned them.

        Returns:
            The arguments of each call, with its id and name where `heads` has not told them.
        """
        told = len(self._told)
        return tuple(
            ToolCallDelta(at, arguments=call.arguments)
            if at < told
            else ToolCallDelta(at, call.id, call.name, call.arguments)
            for at, call in enumerate(calls)
        )

    def add_again(self, calls: Any) -> None:
        """Takes in the calls of a whole message that follows their pieces: what the pieces lack counts.

        Args:
            calls: The API's `tool_calls`, a list; or one of them.

        Raises:
            TypeError: If they are of an unknown shape.
            ModelError: If there are more than `MAX_CALLS` calls.
        """
        given = [calls] if isinstance(calls, Mapping) else [each for each in _list(calls) if each is not None]
        for at, each in enumerate(given):
            piece = _Piece.read(each)
            call = self._by_id.get(piece.id or "") or (self._calls[at] if at < len(self._calls) else None)
            if call is None:
                self._begin(piece)
                continue
            call.name = call.name if call.is_told else piece.name or call.name
            if is_whole(piece.arguments):
                call.pieces = [piece.arguments]
                call.has_arguments = True

    @property
    def say_nothing(self) -> bool:
        """Whether there is a call, and none that has an id, a name or arguments."""
        return bool(self._calls) and all(call.says_nothing for call in self._calls)

    def finished(self, *, cut_short: bool, forced: str | None = None) -> tuple[ToolCall, ...]:
        """Ends the answer.

        Args:
            cut_short: Whether the answer ended at its token limit.
            forced: The tool that a call without a name is of, if it can be of one only.

        Returns:
            The calls, each with its own id and the text of a JSON object as its arguments; `MAX_CALLS` at most.

        Raises:
            NamelessCall: If a call has no name.
            ModelError: If the token limit cut a call short.
        """
        calls = self._without_strays()
        ids = set(self._ids)
        finished = []
        for call in calls:
            offered = self.offered.meant_by(call.name or "")
            name = offered or readable_name(call.name or "") or forced
            if not name:
                raise NamelessCall
            if cut_short and call is calls[-1] and not call.is_whole:
                which = f" of the tool {offered!r}" if offered else ""  # any other name may be any text
                raise ModelError(
                    f"The answer reached its token limit in the middle of a call{which}.",
                    "Raise the query's maximum of output tokens.",
                )
            arguments = self._arguments(call, self._schemas.get(name), cut_short=cut_short)
            within = [] if call.is_told else self._calls_within(name, arguments)
            if within:
                finished.extend(within)
                continue
            call_id = call.id if call.id and (call.is_told or call.id not in ids) else _free_id(call.id, ids)
            ids.add(call_id)
            finished.append(ToolCall(call_id, name, arguments))
        return tuple(finished[:MAX_CALLS])

    def _arguments(self, call: _Call, schema: Mapping[str, Any] | None, *, cut_short: bool) -> str:
        """The text of a JSON object for a call's arguments; notes whether a part of them is lost."""
        came = behind_mark(_text_of(call.pieces))
        text = with_its_end(without_next_call(came))
        begins = text.lstrip().startswith(("{", "[", '"{', "`"))
        ends = call.is_whole or is_whole(text) if begins else not text.rstrip().endswith("}")
        self.lost_a_part = self.lost_a_part or not ends or text != came
        if begins and not ends and not cut_short:
            text = _closed(text, schema)
        arguments = without_marks(arguments_text(text), schema, may_quote=self.may_quote_marks)
        return with_declared_kinds(arguments, schema)

    def _calls_within(self, name: str, arguments: str) -> list[ToolCall]:
        """The calls that models trained by OpenAI wrap into one of a tool that there is not, if they are clear."""
        if not name.endswith("parallel") or self.offered.meant_by(name) is not None:
            return []
        uses = json.loads(arguments).get("tool_uses")
        calls = []
        for use in uses if isinstance(uses, list) else ():
            wanted = use.get("recipient_name") if isinstance(use, Mapping) else None
            tool = self.offered.meant_by(wanted) if isinstance(wanted, str) else None
            if tool is None or not isinstance(use.get("parameters", {}), dict):
                return []
            calls.append(ToolCall(_new_id(), tool, json.dumps(use.get("parameters", {}), ensure_ascii=False)))
        return calls

    def _begin(self, piece: _Piece) -> None:
        if len(self._calls) >= MAX_CALLS:
            raise ModelError(
                f"The model asks for more than {MAX_CALLS} tool calls in one answer.",
                "A larger model, or a limit on the output tokens, may help.",
            )
        call = _Call(piece.id, piece.name)
        call.add(piece.arguments)
        self._calls.append(call)
        if piece.index is not None:
            self._by_index[piece.index] = call
        if piece.id is not None:
            self._by_id.setdefault(piece.id, call)

    def _go_on(self, call: _Call, piece: _Piece) -> None:
        if piece.name is not None:
            call.name = self._joined_name(call, piece.name)
        if piece.id is not None:
            if call.id is None:
                call.id = piece.id
                self._by_id.setdefault(piece.id, call)
            call.id_changes = call.id_changes or piece.id != call.id
        if piece.index is not None:
            self._by_index.setdefault(piece.index, call)
        call.add(piece.arguments)

    def _continued(self, piece: _Piece) -> _Call | None:
        """The call that a piece goes on with; None when it begins one."""
        call = self._candidate(piece)
        if call is None or piece.name is None or call.name is None:
            return call
        other_id = piece.id is not None and call.id is not None and piece.id != call.id
        if call.id_changes and piece.name == call.name:
            return call
        if call.is_whole:
            return call if self._repeats(call, piece) else None
        if not other_id and self._is_more_of_the_name(call, piece.name):
            return call
        if piece.name == call.name:
            return call if not other_id or call.has_arguments or piece.arguments else None
        return None

    def _candidate(self, piece: _Piece) -> _Call | None:
        """The call with the piece's index or id, or else the last one if the piece cannot begin a call."""
        by_id = self._by_id.get(piece.id) if piece.id is not None else None
        if piece.index is not None:
            call = self._by_index.get(piece.index)
            if call is not None:
                return call
            if by_id is not None:
                return by_id
        elif by_id is not None:
            return by_id
        last = self._calls[-1] if self._calls else None
        if last is None:
            return None
        if piece.name is not None:
            # Only a server that has neither index nor id can mean the last call by a name, or one that repeats it.
            if piece.index is not None or piece.id is not None:
                return None
            is_open = piece.name == last.name and last.has_arguments and not last.is_whole
            return last if last.id is None or is_open else None
        if piece.index is None and piece.id is None:
            return last
        return None if last.is_whole else last

    def _repeats(self, call: _Call, piece: _Piece) -> bool:
        """Whether a named piece after whole arguments says once more what is known."""
        if piece.name != call.name:
            return False
        if piece.id is None or piece.id != call.id:
            return False
        if not piece.arguments.lstrip().startswith("{"):
            return True
        return len(piece.arguments) >= call.length and piece.arguments.strip() == call.arguments.strip()

    def _is_more_of_the_name(self, call: _Call, more: str) -> bool:
        """Whether `more` goes on with a call's name, or is that name so far."""
        name = call.name or ""
        if call.has_arguments or call.names >= _MAX_PIECES_OF_A_NAME or more == name:
            return False
        if self.offered.meant_by(name) is None or self.offered.meant_by(name + more) is not None:
            return True
        return more.startswith(name)

    def _joined_name(self, call: _Call, more: str) -> str:
        name = call.name
        if name is None:
            return more
        if not self._is_more_of_the_name(call, more):
            return name
        call.names += 1
        if self.offered.meant_by(name + more) is not None:
            return name + more
        return more if more.startswith(name) or self.offered.meant_by(more) is not None else name + more

    def _without_strays(self) -> list[_Call]:
        """The calls but those that are none: pieces that lost their call, names that were said too often, and stubs."""
        calls: list[_Call] = []
        are_stubs_only = self.say_nothing
        for call in self._calls:
            before = calls[-1] if calls else None
            if call.says_nothing and not are_stubs_only:
                continue
            if before is not None and call.name is None and not before.is_whole:
                before.add(call.arguments)
            elif (
                before is not None
                and not call.is_told
                and not call.has_arguments
                and call.name == before.name
                and call.id in (None, before.id)
                and before.has_arguments
                and not before.is_empty
            ):
                continue
            else:
                calls.append(call)
        return calls


def _text_of(pieces: list[str]) -> str:
    """The arguments in their pieces: joined, unless that is not a JSON object and they are snapshots of it."""
    joined = "".join(pieces)
    if is_whole(joined):
        return joined
    length = 0
    parts: list[str] = []
    for piece in pieces:
        if length and len(piece) >= length:
            grown = "".join(parts)
            parts = [grown]
            if piece.startswith(grown):
                parts = [piece]
                length = len(piece)
                continue
        parts.append(piece)
        length += len(piece)
    grown = "".join(parts)
    return grown if is_whole(grown) else written_again(joined)


def _closed(text: str, schema: Mapping[str, Any] | None) -> str:
    """The arguments with the brackets that they lack, unless they lack a value that the schema requires, too."""
    closed = text if last_beginning(text.lstrip()) else with_lost_brackets(text)
    required = schema.get("required") if schema is not None else None
    if closed == text or not isinstance(required, list):
        return closed
    values = json.loads(closed, strict=False)
    return closed if all(name in values for name in required) else text


def _free_id(wanted: str | None, taken: Collection[str]) -> str:
    """An id that no other call has. Kimi's models read the tool and the call's number in it: `functions.add:0`."""
    numbered = _NUMBERED_ID.fullmatch(wanted or "")
    if numbered is None:
        return _new_id()
    number = int(numbered[2])
    while f"{numbered[1]}:{number}" in taken:
        number += 1
    return f"{numbered[1]}:{number}"


def _new_id() -> str:
    """Nine letters and digits: the one form of id that Mistral's templates accept when it is handed back."""
    return uuid.uuid4().hex[:9]


def _id(value: Any) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value) if abs(value) < 2**63 else None
    if not isinstance(value, str) or len(value) > _LONGEST_ID:
        return None
    text = whole_characters(value).strip()
    return None if text.lower() in _NO_ID else text


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError
    return value
