"""A model server as a process of its own, behind a free port."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import requests

_LAST_BYTES = 8000


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@contextlib.contextmanager
def server_process(
    command: Sequence[str | Path], port: int, path: str, seconds: float = 180.0, **variables: str
) -> Iterator[str]:
    """Gives the server's URL once `path` answers with a success; ends it, and what it started, at the end."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", **variables}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        with _ended(process):
            url = f"http://127.0.0.1:{port}"
            _wait(process, url + path, seconds, log)
            yield url


@contextlib.contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(20)
        with contextlib.suppress(ProcessLookupError):  # what it started and left, such as vLLM's worker
            os.killpg(process.pid, signal.SIGKILL)


def _wait(process: subprocess.Popen[bytes], url: str, seconds: float, log: IO[bytes]) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode}:\n{_end_of(log)}")
        with contextlib.suppress(requests.RequestException):
            if requests.get(url, timeout=2).ok:
                return
        time.sleep(0.2)
    raise RuntimeError(f"the server does not get ready:\n{_end_of(log)}")


def _end_of(log: IO[bytes]) -> str:
    """What the server said at last. It writes at the same place of the file, so that nothing is moved here."""
    length = os.fstat(log.fileno()).st_size
    return os.pread(log.fileno(), _LAST_BYTES, max(0, length - _LAST_BYTES)).decode("utf-8", "replace")
