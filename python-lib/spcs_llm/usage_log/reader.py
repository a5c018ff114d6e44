"""Reads the usage log while others write it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from spcs_llm.usage_log.lines import UsageLine, read_line
from spcs_llm.usage_log.writer import KEPT, file_name

# Seconds by which the clock of a file server may be behind: older files are not even read.
_SKEW = 3600.0


def read_usage(folder: Path, since: datetime, kept: int = KEPT) -> Iterator[UsageLine]:
    """The lines of the usage log, file by file, the oldest first.

    Lines are in the order in which queries ended, as far as several processes agree on one. What is not a whole line
    is left out.

    Args:
        folder: The folder of the log.
        since: The earliest end of a query; it must have a time zone.
        kept: How many full files there may be.

    Yields:
        The lines.

    Raises:
        OSError: If the folder is not there or must not be read.
    """
    list(folder.iterdir())
    with contextlib.ExitStack() as closing:
        files = []
        seen = set()
        # The newest is opened first: one that is moved aside in the meantime is then met again, not missed.
        for number in range(kept + 1):
            with contextlib.suppress(FileNotFoundError):
                file = closing.enter_context(
                    (folder / file_name(number)).open(encoding="utf-8", errors="replace")
                )
                status = os.fstat(file.fileno())
                if (
                    status.st_dev,
                    status.st_ino,
                ) not in seen and status.st_mtime + _SKEW >= since.timestamp():
                    files.append(file)
                seen.add((status.st_dev, status.st_ino))
        for file in reversed(files):
            for text in file:
                line = read_line(text)
                if line is not None and line.time >= since:
                    yield line
