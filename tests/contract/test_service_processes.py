"""Model services are processes that start quickly and never outlive whoever started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from sandbox.services import ChildService

ROOT = Path(__file__).resolve().parents[2]

PARENT = """
import sys, time
from sandbox.services import ChildService
service = ChildService({model!r}, {protocol!r}, {{}})
print(service.pid, service.url, flush=True)
time.sleep(60)
"""

SERVED = [("smollm2", "PREDICT"), ("e5", "MODEL_SERVING"), ("smollm2", "OPENAI"), ("e5", "OPENAI")]


def gone(pid, seconds=5):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if Path(f"/proc/{pid}/stat").exists() and " Z " in Path(f"/proc/{pid}/stat").read_text():
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize(("model", "protocol"), SERVED)
def test_a_service_dies_with_a_parent_that_is_killed(model, protocol):
    code = PARENT.format(model=model, protocol=protocol)
    parent = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    with parent:
        pid, url = parent.stdout.readline().split()
        assert requests.post(url + "/nothing", timeout=5).status_code in (404, 405)
        parent.send_signal(signal.SIGKILL)
        parent.wait(5)
        assert gone(int(pid))


def test_a_service_is_ready_within_five_seconds_and_stops_at_once():
    start = time.monotonic()
    service = ChildService("e5", "PREDICT", {})
    assert time.monotonic() - start < 5
    pid, start = service.pid, time.monotonic()
    service.stop()
    assert time.monotonic() - start < 2
    assert gone(pid)


def test_a_service_that_cannot_start_says_why():
    with pytest.raises(RuntimeError, match="unexpected keyword argument 'nonsense'"):
        ChildService("e5", "PREDICT", {"nonsense": 1})
