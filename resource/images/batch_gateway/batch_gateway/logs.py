"""Logs as one JSON object a line, which `SYSTEM$GET_SERVICE_LOGS` and event tables show as they are.

No line holds a prompt, an answer, a parameter or a key: of an exception only its type and its place are written,
because its text may quote what was being read.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

_CLIPPED = 200


class JsonLines(logging.Formatter):
    """Formats a record as a JSON object: time, level, logger, message, and the fields given as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update(getattr(record, "fields", {}))
        if record.exc_info and record.exc_info[1] is not None:
            line["exception"] = _where(record.exc_info[1])
        return json.dumps(line, default=str)


def log_as_json(level: str) -> None:
    """Sends the logs of all modules to the standard output, and drops what other handlers were set.

    Args:
        level: The level's name, such as INFO.
    """
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.getLogger("asyncio").setLevel(logging.WARNING)  # noqa: TID251 - nothing is logged by it here


def fields(**facts: Any) -> dict[str, Any]:
    """The `extra` of a log call, with texts of callers cut short."""
    return {
        "fields": {
            name: fact[:_CLIPPED] if isinstance(fact, str) else fact
            for name, fact in facts.items()
            if fact is not None
        }
    }


def _where(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    place = f" in {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}"
