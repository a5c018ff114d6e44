"""Faults of single statements, armed ahead: "the next N statements that match go wrong like this".

What strikes an HTTP request instead (a connection that is lost, a session that has ended, a limit of requests) is armed
with `Snowflake.faults` on the operations `query`, `statement`, `result` and `cancel`.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from sandbox.snowflake.sql.errors import SqlError
from sandbox.snowflake.sql.results import Column, Result


@dataclass
class StatementFault:
    """One armed fault. match: a regular expression to find in the statement; times: None for always."""

    kind: str
    match: str = ""
    times: int | None = 1
    skip: int = 0
    params: dict[str, Any] = field(default_factory=dict)
    hits: int = 0

    @property
    def spent(self) -> bool:
        return self.times is not None and self.hits >= self.times


class StatementFaults:
    """The faults of an account, in the order of arming."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._armed: list[StatementFault] = []

    def arm(
        self, kind: str, match: str = "", *, times: int | None = 1, skip: int = 0, **params: Any
    ) -> StatementFault:
        """Arm a fault and return it (its `hits` count up); ValueError for an unknown kind.

        kind: "error" (code, state, message), "slow" (seconds of the account's clock), or one that changes a result:
        "add_columns" (columns: name to value), "drop_columns" (columns), "reverse_columns", "rename_columns" (columns:
        old to new), "null_columns" (columns), "set_cells" (columns: name to value), "drop_rows" (keep: how many stay).
        """
        if kind not in ("error", "slow", *CHANGES):
            raise ValueError(f"unknown fault {kind!r}; known are error, slow, {', '.join(CHANGES)}")
        re.compile(match)
        fault = StatementFault(kind, match, times, skip, params)
        with self._lock:
            self._armed.append(fault)
        return fault

    def clear(self) -> None:
        with self._lock:
            self._armed.clear()

    def listed(self) -> list[dict[str, Any]]:
        with self._lock:
            return [asdict(fault) for fault in self._armed]

    def take(self, text: str) -> list[StatementFault]:
        """Every fault that this statement meets, already counted."""
        met = []
        with self._lock:
            for fault in self._armed:
                if fault.spent or not re.search(fault.match, text, re.IGNORECASE):
                    continue
                if fault.skip > 0:
                    fault.skip -= 1
                    continue
                fault.hits += 1
                met.append(fault)
        return met


def error_of(fault: StatementFault) -> SqlError:
    code = str(fault.params.get("code", "000603"))
    message = str(
        fault.params.get("message", "SQL execution internal error:\nProcessing aborted by error 300010.")
    )
    return SqlError(code, str(fault.params.get("state", "XX000")), message)


def changed(result: Result, fault: StatementFault) -> Result:
    """The result with what the fault does to it."""
    return CHANGES[fault.kind](result, fault.params)


def _added(result: Result, params: dict[str, Any]) -> Result:
    new: dict[str, Any] = params["columns"]
    more = tuple(Column(name) for name in new)
    return Result(result.columns + more, tuple((*row, *new.values()) for row in result.rows), result.kind)


def _dropped(result: Result, params: dict[str, Any]) -> Result:
    kept = [i for i, column in enumerate(result.columns) if column.name not in params["columns"]]
    return _picked(result, kept)


def _reversed(result: Result, params: dict[str, Any]) -> Result:
    return _picked(result, list(reversed(range(len(result.columns)))))


def _picked(result: Result, kept: list[int]) -> Result:
    rows = tuple(tuple(row[i] for i in kept) for row in result.rows)
    return Result(tuple(result.columns[i] for i in kept), rows, result.kind)


def _renamed(result: Result, params: dict[str, Any]) -> Result:
    names: dict[str, str] = params["columns"]
    columns = tuple(Column(names.get(c.name, c.name), c.type, c.nullable, c.scale) for c in result.columns)
    return Result(columns, result.rows, result.kind)


def _nulled(result: Result, params: dict[str, Any]) -> Result:
    return _set(result, {"columns": dict.fromkeys(params["columns"])})


def _set(result: Result, params: dict[str, Any]) -> Result:
    values: dict[str, Any] = params["columns"]
    rows = tuple(
        tuple(values.get(column.name, cell) for column, cell in zip(result.columns, row))
        for row in result.rows
    )
    columns = tuple(Column(c.name, c.type, True, c.scale) if c.name in values else c for c in result.columns)
    return Result(columns, rows, result.kind)


def _fewer(result: Result, params: dict[str, Any]) -> Result:
    return Result(result.columns, result.rows[: int(params.get("keep", 0))], result.kind)


CHANGES: dict[str, Callable[[Result, dict[str, Any]], Result]] = {
    "add_columns": _added,
    "drop_columns": _dropped,
    "reverse_columns": _reversed,
    "rename_columns": _renamed,
    "null_columns": _nulled,
    "set_cells": _set,
    "drop_rows": _fewer,
}
