"""A line of the usage log: what a query took, and nothing of what it said."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

# What a line begins with: a reader finds it behind what a full disk left of the line before.
BEGIN = '{"time": "'
_MOST = 1e12  # of seconds and USD: what is more was written by something else, and would be all of any sum


@dataclass(frozen=True)
class UsageLine:
    """What one query took.

    Attributes:
        time: When it ended, in UTC.
        kind: chat, embed or rerank.
        model: The name under which the service was asked for the model, where the model's settings give one.
        endpoint: What `endpoint_mark` makes of the endpoint's host.
        project: The key of the project, where the environment of the process has one.
        status: ok; failed; or abandoned, for a stream that was not read to its end.
        error: What failed, as the class of the error; None if nothing did.
        rows: The texts of an embedding query; 1 for the other kinds.
        prompt_tokens: Tokens read; None if they are not known.
        completion_tokens: Tokens written; None if they are not known.
        total_tokens: Both together; None if they are not known.
        estimated: Whether the counts are the plugin's estimates.
        seconds: How long the query took.
        busy_seconds: Its share of the time in which the service was busy, from which the cost is calculated.
        cost: The estimated cost in USD.
    """

    time: datetime
    kind: str
    model: str | None = None
    endpoint: str | None = None
    project: str | None = None
    status: str = "ok"
    error: str | None = None
    rows: int = 1
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    estimated: bool = False
    seconds: float = 0.0
    busy_seconds: float = 0.0
    cost: float = 0.0

    def written(self) -> bytes:
        """The line as it is in the file. What is None is left out."""
        moment = self.time.astimezone(timezone.utc).isoformat(timespec="milliseconds")[:-6] + "Z"
        known = {name: value for name, value in vars(self).items() if value is not None}
        return (json.dumps({**known, "time": moment}) + "\n").encode()


def endpoint_mark(host: str) -> str:
    """Stands for an endpoint in the log, which does not contain names of hosts.

    Args:
        host: The endpoint's host, such as `SHOW ENDPOINTS` has in `ingress_url`.

    Returns:
        Twelve hexadecimal digits, the same for the same host.
    """
    return hashlib.sha256(host.strip().lower().encode()).hexdigest()[:12]


def read_line(text: str) -> UsageLine | None:
    """A line of the file.

    Args:
        text: The line. What comes before its last beginning is the rest of one that was cut off.

    Returns:
        What it says; None if it is not a whole line.
    """
    begin = text.rfind(BEGIN)
    if begin < 0:
        return None
    try:
        value: Any = json.loads(text[begin:])
        return _line_of(value) if isinstance(value, Mapping) else None
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None


def _line_of(value: Mapping[str, Any]) -> UsageLine:
    moment = datetime.fromisoformat(str(value["time"]).replace("Z", "+00:00"))
    if moment.tzinfo is None:
        raise ValueError
    return UsageLine(
        moment.astimezone(timezone.utc),
        str(value["kind"]),
        model=_text(value.get("model")),
        endpoint=_text(value.get("endpoint")),
        project=_text(value.get("project")),
        status=str(value.get("status", "ok")),
        error=_text(value.get("error")),
        rows=int(value.get("rows", 1)),
        prompt_tokens=_count(value.get("prompt_tokens")),
        completion_tokens=_count(value.get("completion_tokens")),
        total_tokens=_count(value.get("total_tokens")),
        estimated=value.get("estimated") is True,
        seconds=_number(value.get("seconds", 0.0)),
        busy_seconds=_number(value.get("busy_seconds", 0.0)),
        cost=_number(value.get("cost", 0.0)),
    )


def _number(value: Any) -> float:
    number = float(value)
    if not 0 <= number <= _MOST:
        raise ValueError
    return number


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
