"""The parent's handle on the process under attack: hands it jobs, and tells what became of them."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
_MOST_KEPT = 24 << 20
MEMORY = 3 << 30  # bytes of address space: more than any bound below, less than a machine has


@dataclass(frozen=True)
class Outcome:
    """What became of one query. Exactly one of answer, error and died is there.

    died: how the process ended, or that the query did not. cpu, seconds: of the whole query. memory: bytes above what
    was in use at first, at the most; kept: those still in use after it. stall: the longest time, in seconds, in which
    no other thread could run.
    """

    answer: Any = None
    error: Mapping[str, Any] | None = None
    died: str | None = None
    trace: Any = None
    cpu: float = 0.0
    seconds: float = 0.0
    memory: int = 0
    stall: float = 0.0
    kept: int = 0
    log: Sequence[str] = ()
    looked_up: Sequence[str] = ()
    written: Sequence[str] = ()

    @property
    def text(self) -> str:
        return str(self.error["text"]) if self.error else ""

    @property
    def place(self) -> str | None:
        return self.error["place"] if self.error else None

    def shown(self) -> dict[str, str]:
        """All that a person or a log file may get to see of a query that failed, or of how one was answered."""
        error = self.error or {}
        places = {
            name: str(error[name]) for name in ("text", "repr", "pickled", "traceback") if name in error
        }
        return {**places, "trace": json.dumps(self.trace, ensure_ascii=False), "log": "\n".join(self.log)}


@dataclass
class Victim:
    """A process that runs the plugin; started when it is needed, and again after it died."""

    python: str = sys.executable
    environment: Mapping[str, str] = field(default_factory=dict)
    memory: int = MEMORY
    _process: subprocess.Popen[bytes] | None = None
    _errors: Any = None

    def ask(self, *queries: Mapping[str, Any], timeout: float = 60.0, **job: Any) -> list[Outcome]:
        """One outcome for each query. A process that dies, or is silent for `timeout` seconds, is every query's end."""
        return self._answered({"queries": queries, **job}, timeout, queries)

    def ask_side_by_side(self, groups: Sequence[Sequence[Any]], timeout: float = 60.0) -> list[list[Outcome]]:
        """Each group's queries one after the other, many groups at the same time: what waits costs no time."""
        told: Any = self._answered({"groups": groups}, timeout, [None])
        if isinstance(told[0], Outcome):  # the process is gone
            return [[told[0]] * len(group) for group in groups]
        return [[Outcome(**outcome) for outcome in group] for group in told]

    def _answered(self, job: Mapping[str, Any], timeout: float, queries: Sequence[Any]) -> list[Any]:
        process = self._started()
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(job).encode() + b"\n")
            process.stdin.flush()
        except BrokenPipeError:
            return self._lost(queries, "it was gone before the query")
        try:
            line = self._line(process, timeout)
        except BaseException:  # a test that is over leaves no answer to the next one
            self.stop()
            raise
        if line is None:
            process.kill()
            return self._lost(queries, f"no end within {timeout:g} s")
        if not line:
            process.wait(10)
            return self._lost(queries, f"the process ended ({process.returncode}): {self.errors()[-300:]}")
        told = json.loads(line)
        if "groups" in job:
            return list(told["outcomes"])
        if any(outcome.get("kept", 0) > _MOST_KEPT for outcome in told["outcomes"]):
            self.stop()  # what comes next is measured from the beginning
        around = {"looked_up": told["looked_up"], "written": told["written"]}
        return [Outcome(**outcome, **around) for outcome in told["outcomes"]]

    def errors(self) -> str:
        """All that was written to standard error since the process started."""
        if self._errors is None:
            return ""
        self._errors.seek(0)
        return str(self._errors.read().decode("utf-8", "replace"))

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            for pipe in (self._process.stdin, self._process.stdout, self._errors):
                with contextlib.suppress(OSError):
                    pipe.close()
            self._process = None

    def _lost(self, queries: Sequence[Any], how: str) -> list[Outcome]:
        self.stop()
        return [Outcome(died=how) for _ in queries]

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._errors = tempfile.TemporaryFile()  # noqa: SIM115
            environment = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
            environment["PYTHONPATH"] = str(ROOT / "python-lib")
            environment["VICTIM_MEMORY"] = str(self.memory)
            # Memory that is free again is given back at once, so that what an attack takes can be seen.
            environment["PYTHONDONTWRITEBYTECODE"] = "1"
            environment.update({"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"})
            environment.update(self.environment)
            self._process = subprocess.Popen(
                [self.python, str(Path(__file__).with_name("victim_process.py"))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=environment,
                cwd=ROOT,
            )
        return self._process

    def _line(self, process: subprocess.Popen[bytes], timeout: float) -> bytes | None:
        assert process.stdout is not None
        until, received = time.monotonic() + timeout, bytearray()
        while not received.endswith(b"\n"):
            if not select.select([process.stdout], [], [], max(0.0, until - time.monotonic()))[0]:
                return None
            if not (more := os.read(process.stdout.fileno(), 1 << 20)):
                return b""
            received += more
        return bytes(received)
