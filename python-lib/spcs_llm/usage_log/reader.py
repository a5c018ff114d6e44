"""Reads the usage log while others write it.

Whoever may write to the folder may put anything there, by the files' names as well. Pipes and links are neither waited
for nor followed, and lines and files that are longer than the plugin's are not read to their end.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from spcs_llm.usage_log.lines import UsageLine, read_line
from spcs_llm.usage_log.writer import KEPT, MAX_BYTES, file_name

# Seconds by which the clock of a file server may be behind: older files are not even read.
_SKEW = 3600.0
# A pipe or a link by a file's name is left out, rather than waited for or followed.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
_NO_FILE = (errno.ELOOP, errno.EMLINK, errno.ENXIO)
_LONGEST_LINE = 64_000  # bytes
_MOST_OF_A_FILE = 4 * MAX_BYTES


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
            file = _opened(folder / file_name(number))
            if file is None:
                continue
            closing.enter_context(file)
            status = os.fstat(file.fileno())
            is_new = (status.st_dev, status.st_ino) not in seen
            if is_new and status.st_mtime + _SKEW >= since.timestamp():
                files.append(file)
            seen.add((status.st_dev, status.st_ino))
        for file in reversed(files):
            for text in _lines(file):
                line = read_line(text)
                if line is not None and line.time >= since:
                    yield line


def _opened(path: Path) -> BinaryIO | None:
    """Opens a regular file. Returns None if nothing has this name, or something else, such as a pipe."""
    try:
        file = os.open(path, _FLAGS)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in _NO_FILE:
            return None
        raise
    if stat.S_ISREG(os.fstat(file).st_mode):
        return os.fdopen(file, "rb")
    os.close(file)
    return None


def _lines(file: BinaryIO) -> Iterator[str]:
    """The lines of a file, but for those that are longer than any of the plugin's."""
    read, is_rest = 0, False
    while read < _MOST_OF_A_FILE:
        piece = file.readline(_LONGEST_LINE)
        if not piece:
            return
        read += len(piece)
        is_whole = piece.endswith(b"\n") or len(piece) < _LONGEST_LINE
        if is_whole and not is_rest:
            yield piece.decode("utf-8", "replace")
        is_rest = not is_whole
