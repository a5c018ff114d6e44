"""The batch gateway of `resource/images` as a separate process, beside a model server that runs already."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "resource" / "images" / "batch_gateway"
READY_SECONDS = 60.0
# As `python -m batch_gateway`, and ends with its standard input, that is with this process, however that ends.
# It imports nothing else, so that it runs where only the packages of the image are.
_PROGRAM = """
import os, runpy, sys, threading, time

def follow_parent():
    while os.read(0, 4096):
        pass
    os._exit(1)

threading.Thread(target=follow_parent, daemon=True).start()
pause, shorter_by = time.sleep, float(sys.argv[1])
time.sleep = lambda seconds: pause(seconds / shorter_by)
runpy.run_module("batch_gateway", run_name="__main__")
"""


class BatchGateway:
    """`variables` are the gateway's settings; with a LOG_LEVEL above INFO it does not say where it listens.

    `python` runs it, and needs no packages but those of its image.

    The pauses between its attempts are `pauses_shorter_by` times shorter than in earnest.

    `log` has the lines that it has written so far.
    """

    def __init__(
        self,
        engine_url: str,
        python: str = sys.executable,
        pauses_shorter_by: float = 1.0,
        **variables: Any,
    ) -> None:
        settings = {"LLM_ENDPOINT_URL": engine_url, "HOST": "127.0.0.1", "PORT": 0, **variables}
        path = os.pathsep.join(map(str, (ROOT / "python-lib", FOLDER)))
        self._process = subprocess.Popen(
            [python, "-c", _PROGRAM, str(pauses_shorter_by)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": path, **{name: str(value) for name, value in settings.items()}},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.log: list[str] = []
        self._port: queue.Queue[int | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, name="batch-gateway", daemon=True)
        self._reader.start()
        port = None
        with contextlib.suppress(queue.Empty):
            port = self._port.get(timeout=READY_SECONDS)
        if port is None:
            self.stop()
            raise RuntimeError("the batch gateway did not start:\n" + "".join(self.log[-20:]))
        self.url = f"http://127.0.0.1:{port}"

    @property
    def pid(self) -> int:
        return self._process.pid

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.log.append(line)
            if '"port"' in line:
                self._port.put(json.loads(line)["port"])
        self._port.put(None)

    def terminate(self) -> None:
        """What Snowflake does to a container that is to stop; `stop` waits for its end."""
        self._process.terminate()

    def stop(self, seconds: float = 30.0) -> int:
        """Returns its exit status."""
        if self._process.poll() is None:
            self._process.terminate()
        try:
            status = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait(5)
        self._reader.join(5)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        return status
