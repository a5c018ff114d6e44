"""Reads what the event table of an account has on a service: events and metrics.

Columns: Snowflake documentation, "Monitoring services", SPCS_GET_EVENTS and SPCS_GET_METRICS. Their times are in UTC.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from spcs_llm.control import cells
from spcs_llm.control.container_logs import shown_line
from spcs_llm.control.session import Row
from spcs_llm.monitor.account import Event, Series
from spcs_llm.server_text.foreign_text import plain

_MAX_POINTS = 120


def read_events(rows: Iterable[Row]) -> tuple[Event, ...]:
    """Reads the rows of `statements.events`."""
    found = []
    for row in rows:
        details = cells.json_value(row, "details")
        told = details if isinstance(details, dict) else {}
        found.append(
            Event(
                cells.moment(row, "timestamp"),
                plain(cells.text(row, "severity") or "", 20),
                plain(cells.text(row, "event") or "", 100),
                shown_line(str(told.get("message") or "")),
                plain(str(told.get("status") or ""), 60),
                plain(cells.text(row, "container") or "", 100),
            )
        )
    return tuple(found)


def read_series(rows: Iterable[Row]) -> tuple[Series, ...]:
    """Reads the rows of `statements.metrics`: one series for each metric and container, of the newest values."""
    points: dict[tuple[str, str, str], list[tuple[datetime, float]]] = {}
    for row in rows:
        at, value = cells.moment(row, "timestamp"), cells.number(row, "value")
        name = plain(cells.text(row, "metric") or "", 100)
        if at is None or value is None or not name:
            continue
        unit = plain(cells.text(row, "unit") or "", 20)
        key = (name, unit, plain(cells.text(row, "container") or "", 100))
        points.setdefault(key, []).append((at, value))
    return tuple(
        Series(name, unit, container, tuple(sorted(found)[-_MAX_POINTS:]))
        for (name, unit, container), found in sorted(points.items())
    )
