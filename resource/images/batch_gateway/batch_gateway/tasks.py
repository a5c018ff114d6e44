"""What the arguments of a row mean at each path, and the value that the row gets: one VARIANT.

    {"answer": …, "error": null, "finishReason": …, "promptTokens": …, "completionTokens": …, "totalTokens": …, …}
    {"answer": null, "error": "why this row has no answer"}

A row's failure is a value, so that it fails no other row and no query.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NoReturn

from batch_gateway.logs import fields
from batch_gateway.parameters import chat_settings, embedding_settings
from batch_gateway.rows import Row
from batch_gateway.snowflake_json import loads
from spcs_llm.errors import (
    ModelError,
    NetworkError,
    QueryError,
    QueryTimeout,
    ServiceBusy,
    ServiceDown,
    ServiceStarting,
    SpcsError,
)
from spcs_llm.model import Model
from spcs_llm.protocols.openai.schema_check import is_of_schema
from spcs_llm.server_text.log_lines import one_line_logger
from spcs_llm.whole_characters import whole_characters

logger = one_line_logger(__name__)

_OUTAGES = (NetworkError, ServiceBusy, ServiceDown, ServiceStarting)
_OUTAGE_STATUSES = (429, 502, 503, 504)
_GIVE_MESSAGES = "Give an ARRAY of messages."
_TOKENS = ("promptTokens", "completionTokens", "totalTokens", "tokenCountsAreEstimated")


@dataclass(frozen=True)
class Answer:
    """What a row gets.

    Attributes:
        value: The row's value, as JSON.
        error: Why it has no answer; None if it has one.
        is_outage: Whether the model server could not be asked, which says nothing of the row.
    """

    value: bytes = field(repr=False)
    error: SpcsError | None = None
    is_outage: bool = False


class Task:
    """What a path does with rows.

    Attributes:
        path: The path, to which a function's AS clause points.
        arguments: What a row's arguments are, of which only the first must be there.
        rows_per_call: How many rows the model server is asked for at a time.

    Args:
        model: The model server's.
    """

    path: ClassVar[str]
    arguments: ClassVar[tuple[str, ...]]
    rows_per_call: int = 1

    def __init__(self, model: Model) -> None:
        self._model = model

    def ask(self, rows: Sequence[Row]) -> list[Answer]:
        """Asks the model server.

        Args:
            rows: At most `rows_per_call` rows.

        Returns:
            An answer for each row, in order. Nothing is raised.
        """
        return [_guarded(self._value, row) for row in rows]

    def _value(self, row: Row) -> dict[str, Any]:
        raise NotImplementedError

    def _argument(self, row: Row, place: int) -> Any:
        return row.arguments[place] if place < len(row.arguments) else None


class Chat(Task):
    """A conversation in each row."""

    path = "/chat"
    arguments: ClassVar[tuple[str, ...]] = ("messages", "parameters")

    def _value(self, row: Row) -> dict[str, Any]:
        messages = self._argument(row, 0)
        if isinstance(messages, str):
            messages = _json(messages)
        if not isinstance(messages, list) or not messages:
            raise QueryError("The messages are not an array of messages.", _GIVE_MESSAGES)
        return self._answered(messages, self._argument(row, 1))

    def _answered(self, messages: Any, parameters: Any) -> dict[str, Any]:
        settings = chat_settings(parameters)
        response = self._model.complete({"messages": messages}, settings, None)
        answer = response["text"]
        if settings.get("responseFormat"):
            answer = _json_answer(answer, settings["responseFormat"], response.get("finishReason"))
        return {**_value_of(answer, response), "finishReason": response.get("finishReason")}


class Complete(Chat):
    """A prompt in each row, and a system prompt if there is one."""

    path = "/complete"
    arguments: ClassVar[tuple[str, ...]] = ("prompt", "system prompt", "parameters")

    def _value(self, row: Row) -> dict[str, Any]:
        prompt, system = self._argument(row, 0), self._argument(row, 1)
        if prompt is None:
            raise QueryError("The prompt is NULL.", "Fill the cell, or filter such rows out.")
        if isinstance(prompt, (list, dict)):
            raise QueryError("The prompt is an array or an object.", "Make a text of it: TO_VARCHAR(…).")
        messages = [{"role": "user", "content": prompt}]
        if system not in (None, ""):
            messages.insert(0, {"role": "system", "content": system})
        return self._answered(messages, self._argument(row, 2))


class Embed(Task):
    """A text in each row; its vector is the answer.

    Args:
        model: The model server's.
        rows_per_call: How many texts share a request.
    """

    path = "/embed"
    arguments: ClassVar[tuple[str, ...]] = ("text", "parameters")

    def __init__(self, model: Model, rows_per_call: int) -> None:
        super().__init__(model)
        self.rows_per_call = rows_per_call

    def ask(self, rows: Sequence[Row]) -> list[Answer]:
        """The same. Rows of equal parameters share requests."""
        groups: dict[str, list[int]] = {}
        for place, row in enumerate(rows):
            groups.setdefault(json.dumps(self._argument(row, 1), sort_keys=True), []).append(place)
        answers: dict[int, Answer] = {}
        for places in groups.values():
            answers.update(zip(places, self._ask_alike([rows[place] for place in places])))
        return [answers[place] for place in range(len(rows))]

    def _ask_alike(self, rows: Sequence[Row]) -> list[Answer]:
        def ask() -> list[dict[str, Any] | SpcsError]:
            settings = embedding_settings(self._argument(rows[0], 1))
            return self._model.embed_rows([_text(self._argument(row, 0)) for row in rows], settings)

        try:
            found = ask()
        except SpcsError as error:
            return [_failed(error)] * len(rows)
        except Exception as error:  # noqa: BLE001 - one call's failure is its rows' only
            return [_failed(_unexpected(error))] * len(rows)
        return [
            _failed(row) if isinstance(row, SpcsError) else _answer(_value_of(_short(row["embedding"]), row))
            for row in found
        ]


def _short(vector: Sequence[float]) -> list[float]:
    """The vector with nine significant digits: all that 32 bits hold, in half as many characters."""
    return [float(f"{number:.9g}") for number in vector]


def _text(argument: Any) -> str | QueryError:
    if isinstance(argument, str):
        return argument
    return QueryError("The text is NULL, or is not text.", "Fill the cell, or filter such rows out.")


def _guarded(value_of: Any, row: Row) -> Answer:
    try:
        return _answer(value_of(row))
    except SpcsError as error:
        return _failed(error)
    except Exception as error:  # noqa: BLE001 - one row's failure is that row's only
        return _failed(_unexpected(error))


def _unexpected(error: Exception) -> SpcsError:
    logger.error("A row failed unexpectedly", exc_info=error, extra=fields(kind=type(error).__name__))
    return SpcsError(
        f"The batch gateway failed unexpectedly ({type(error).__name__}).",
        "Please report this to the plugin's authors, with the container's log.",
    )


def _answer(value: Mapping[str, Any]) -> Answer:
    return Answer(_encoded(value))


def _failed(error: SpcsError) -> Answer:
    if isinstance(error, NetworkError) and error.transient and not error.silent and error.hint:
        error.hint = "The model server is still starting, or has ended: read the log of its container."
    return Answer(_encoded({"answer": None, "error": str(error)}), error, _is_outage(error))


def _is_outage(error: SpcsError) -> bool:
    if isinstance(error, QueryTimeout):
        return error.status in _OUTAGE_STATUSES
    return isinstance(error, _OUTAGES)


def _encoded(value: Mapping[str, Any]) -> bytes:
    return whole_characters(
        json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    ).encode()


def _value_of(answer: Any, response: Mapping[str, Any]) -> dict[str, Any]:
    counts = {name: response[name] for name in _TOKENS if name in response}
    return {"answer": answer, "error": None, **counts}


def _json(text: str) -> Any:
    try:
        return loads(text)
    except (ValueError, RecursionError):
        raise QueryError("The messages are text that is not JSON.", _GIVE_MESSAGES) from None


def _json_answer(text: str, wanted: Any, finish_reason: str | None) -> Any:
    """The value of an answer that was to be JSON.

    Args:
        text: What the model wrote.
        wanted: LLM Mesh's `responseFormat`, which was read without an error.
        finish_reason: Why the model stopped.

    Returns:
        The value.

    Raises:
        ModelError: If the text is not JSON, or not of the schema.
    """
    schema = wanted.get("schema") if isinstance(wanted, Mapping) else None
    try:
        value = json.loads(text, parse_constant=_refuse)
        json.dumps(value, allow_nan=False)  # a number such as 1e999
    except (ValueError, RecursionError):
        cut = finish_reason == "LENGTH"
        raise ModelError(
            "The answer is not JSON: the model reached its limit of tokens."
            if cut
            else "The answer is not JSON.",
            "Raise max_tokens." if cut else "Check that the model server supports structured output.",
        ) from None
    if isinstance(schema, Mapping) and not is_of_schema(value, schema):
        raise ModelError(
            "The answer is JSON, but not of the schema.",
            "Check that the model server supports this schema.",
        )
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)
