"""A model service in a separate process, which ends when its parent does, however that ends."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
READY_SECONDS = 60.0


class ChildService:
    """`python -m sandbox.services`: prints its URL when ready and lives as long as its standard input."""

    def __init__(self, model: str, protocol: str, options: dict[str, Any]) -> None:
        order = json.dumps({"model": model, "protocol": protocol, "options": options})
        self._process = subprocess.Popen(
            [sys.executable, "-m", "sandbox.services", order],
            cwd=ROOT,
            # Models read their weights by a path in UTF-8, whatever the locale says.
            env={**os.environ, "PYTHONUTF8": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._errors: list[str] = []
        self._lines: queue.Queue[str] = queue.Queue()
        self._readers = [self._reader(self._read_output), self._reader(self._read_errors)]
        self.url = self._wait_until_ready()

    @property
    def pid(self) -> int:
        return self._process.pid

    def _reader(self, target: Any) -> threading.Thread:
        thread = threading.Thread(target=target, name=f"service-{self._process.pid}", daemon=True)
        thread.start()
        return thread

    def _read_output(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._errors = [*self._errors[-200:], line]

    def _wait_until_ready(self) -> str:
        try:
            while line := self._lines.get(timeout=READY_SECONDS):
                if line.startswith("ready http"):
                    return line.split()[1]
        except queue.Empty:
            pass
        self.stop()
        raise RuntimeError("the model service did not start:\n" + "".join(self._errors[-40:]))

    def stop(self) -> None:
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(5)
        for reader in self._readers:
            reader.join(2)
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()
