"""A kernel process, from outside: started with an order, heard while it works, ended at will."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

STAND_IN = Path(__file__).parent / "stand_in"
_MAIN = Path(__file__).parent / "kernel_main.py"


class KernelFailedError(Exception):
    """What the plugin's code raised in its kernel, as DSS words it."""


class KernelEndedError(Exception):
    """The process is gone without a word: it was aborted, or it crashed."""


class KernelBrokeContractError(Exception):
    def __init__(self, rule: str, found: str) -> None:
        super().__init__(found)
        self.rule = rule


@dataclass(frozen=True)
class Surroundings:
    """What the process finds in its environment.

    `backend` is the URL of this DSS, None where it is not served; `ticket` carries a user's rights; `more` are
    variables of one kind of kernel.
    """

    python_lib: Path
    folder: Path
    data_folder: Path
    ticket: str = field(repr=False)
    backend: str | None = None
    project_key: str | None = None
    more: Mapping[str, str] = field(default_factory=dict)

    def variables(self) -> dict[str, str]:
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("DKU_", "PYTHONPATH"))
        }
        variables = {
            **kept,
            # The plugin's folder is read-only, and its library is on the path of every component.
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": os.pathsep.join((str(STAND_IN), str(self.python_lib))),
            "PYTHONUTF8": "1",
            "DIP_HOME": str(self.data_folder),
            "TMPDIR": str(self.folder),
            "DKU_API_TICKET": self.ticket,
            **self.more,
        }
        if self.project_key is not None:
            variables["DKU_CURRENT_PROJECT_KEY"] = self.project_key
        if self.backend is not None:
            address = urlsplit(self.backend)
            variables["DKU_BACKEND_PROTOCOL"] = address.scheme
            variables["DKU_BACKEND_HOST"] = str(address.hostname)
            variables["DKU_BACKEND_PORT"] = str(address.port)
        return variables


class KernelProcess:
    """Runs one order. `hear` gets each message on the way, such as `{"progress": 3}`, on the thread of `result`."""

    def __init__(
        self,
        order: Mapping[str, Any],
        surroundings: Surroundings,
        hear: Callable[[Mapping[str, Any]], None] = lambda message: None,
    ) -> None:
        self._hear = hear
        self.log = surroundings.folder / "kernel.log"
        reading, writing = os.pipe()
        # It has its folder for working directory, where there is nothing to import: what stands beside the file
        # that it runs is not in reach. `-P` would say the same, from Python 3.11 on.
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START, str(writing)],
                cwd=surroundings.folder,
                env=surroundings.variables(),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=(writing,),
                start_new_session=True,
            )
        os.close(writing)
        self._messages = os.fdopen(reading, encoding="utf-8")
        self._lock = threading.Lock()
        self._send(order)

    @property
    def pid(self) -> int:
        return self._process.pid

    def result(self) -> dict[str, Any]:
        """Waits for the end. Raises KernelFailedError, KernelBrokeContractError and KernelEndedError."""
        try:
            for line in self._messages:
                message = json.loads(line)
                if "result" in message:
                    result: dict[str, Any] = message["result"]
                    return result
                if "error" in message:
                    raise KernelFailedError(_worded(message))
                if "broken" in message:
                    raise KernelBrokeContractError(message["broken"], message["found"])
                self._hear(message)
            raise KernelEndedError(f"the kernel process ended with {self._process.wait()}")
        finally:
            self.end()
            self._messages.close()

    def end(self) -> None:
        """Kills the process and all that it has started. Harmless when it is gone."""
        with self._lock:
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            if self._process.stdin is not None:
                self._process.stdin.close()

    def _send(self, order: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()


# The folder of the file that Python is given comes first on its path: here that is none of the sandbox's.
_START = f"import runpy, sys; sys.path[:] = filter(None, sys.path); runpy.run_path({str(_MAIN)!r}, run_name='__main__')"


def _worded(message: Mapping[str, Any]) -> str:
    at = f"At line {message['line']}: " if message.get("line") else ""
    return f"Error in Python process: {at}<class '{message['type']}'>: {message['error']}"
