"""Appends lines to the usage log, from any number of threads and processes, and never fails a query.

A line is one write at the end of the file, which the file system keeps apart from the writes of others. Nobody waits:
only who moves a full file aside holds a lock, and who finds it held writes on in the meantime.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
from collections.abc import Iterator
from pathlib import Path

from spcs_llm.server_text.log_lines import one_line_logger

try:
    import fcntl
except ImportError:  # not on Windows, where DSS does not run
    fcntl = None  # type: ignore[assignment]

logger = one_line_logger(__name__)

MAX_BYTES = 20_000_000
KEPT = 9
# A pipe or a link by the file's name is refused, rather than waited for or followed.
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)


def file_name(number: int) -> str:
    """The file's name; number 0 is the one that is written to, higher ones are older."""
    return f"usage.{number}.jsonl" if number else "usage.jsonl"


class UsageWriter:
    """Appends to `usage.jsonl` of a folder.

    A file that would grow beyond its limit becomes `usage.1.jsonl`, the one before it `usage.2.jsonl` and so on; the
    oldest is deleted.

    Args:
        folder: The folder. It is not created: a path that is wrong, or a disk that is not there, is to be noticed.
        max_bytes: The size of a file.
        kept: How many full files are kept.
        ceiling: The size that a file may reach while another process is moving files; twice `max_bytes` if None.
    """

    def __init__(
        self, folder: Path, max_bytes: int = MAX_BYTES, kept: int = KEPT, ceiling: int | None = None
    ) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._ceiling = 2 * max_bytes if ceiling is None else ceiling
        self._kept = kept
        self._is_torn = False
        self._has_warned = False

    def append(self, line: bytes) -> None:
        """Writes a line. What prevents it is logged once; the lines are lost, and nothing else is.

        Args:
            line: The line, with its end.
        """
        try:
            self._append(line)
        except OSError as problem:
            if not self._has_warned:
                self._has_warned = True
                logger.warning(
                    "The usage log cannot be written to %s: %s. Queries are answered all the same, but are missing in"
                    " the log. Correct 'Folder of the usage log' in the plugin's settings, or what is wrong with the"
                    " folder.",
                    self._folder,
                    os.strerror(problem.errno) if problem.errno else type(problem).__name__,
                )

    def _append(self, line: bytes) -> None:
        if not self._folder.is_absolute():
            raise OSError(errno.EINVAL, "")
        if self._is_torn:  # what was left of a line is ended first
            line = b"\n" + line
        with self._opened() as file:
            size = os.fstat(file).st_size
            if size + len(line) <= self._max_bytes:
                self._write(file, line)
                return
        if not self._rotate(len(line)) and size > self._ceiling:
            raise OSError(errno.EFBIG, "")
        with self._opened() as file:
            self._write(file, line)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        file = os.open(self._folder / file_name(0), _FLAGS, 0o640)
        try:
            yield file
        finally:
            os.close(file)

    def _write(self, file: int, line: bytes) -> None:
        written = os.write(file, line)
        self._is_torn = written < len(line)
        if self._is_torn:
            raise OSError(errno.ENOSPC, "")

    def _rotate(self, more: int) -> bool:
        """Makes room for `more` bytes.

        Args:
            more: How many.

        Returns:
            Whether there is room now; false where another process is making it.
        """
        lock = os.open(
            self._folder / "usage.lock", os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o640
        )
        try:
            if fcntl is not None:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self._size() + more > self._max_bytes:
                for number in range(self._kept, 0, -1):
                    with contextlib.suppress(FileNotFoundError):
                        (self._folder / file_name(number - 1)).replace(self._folder / file_name(number))
            return True
        except BlockingIOError:
            return False
        finally:
            os.close(lock)

    def _size(self) -> int:
        try:
            return (self._folder / file_name(0)).stat().st_size
        except FileNotFoundError:
            return 0


@functools.lru_cache(maxsize=8)
def writer_for(folder: Path) -> UsageWriter:
    """The one writer of a folder in this process, so that its trouble is logged once."""
    return UsageWriter(folder)
