"""Model services are processes that start quickly and never outlive whoever started them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import requests

from sandbox.services import ChildService
from tests.waiting import wait_for

ROOT = Path(__file__).resolve().parents[2]

PARENT = """
import sys, time
from sandbox.services import ChildService
service = ChildService({model!r}, {protocol!r}, {{}})
print(service.pid, service.url, flush=True)
time.sleep(60)
"""

SERVED = [("smollm2", "PREDICT"), ("e5", "MODEL_SERVING"), ("smollm2", "OPENAI"), ("e5", "OPENAI")]


def gone(pid: int) -> Any:
    try:
        os.kill(pid, 0)
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return True
    return " Z " in stat


@pytest.mark.sample(1)
@pytest.mark.parametrize(("model", "protocol"), SERVED)
def test_a_service_dies_with_a_parent_that_is_killed(model: Any, protocol: str) -> None:
    code = PARENT.format(model=model, protocol=protocol)
    parent = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    with parent:
        try:
            pid, url = parent.stdout.readline().split()
            assert requests.post(url + "/nothing", timeout=30).status_code in (404, 405)
        finally:
            parent.kill()
        parent.wait(30)
        wait_for(lambda: gone(int(pid)))


def test_a_service_is_ready_as_soon_as_it_is_there_and_gone_when_it_is_stopped() -> None:
    service = ChildService("e5", "PREDICT", {})
    assert requests.get(service.url + "/health", timeout=30).status_code == 200
    service.stop()
    assert gone(service.pid)


@pytest.mark.exhaustive
def test_an_account_runs_in_a_process_of_its_own_until_its_input_ends() -> None:
    services = ["chat=scripted:PREDICT:tokens=3,echo=false", "embed=e5:PREDICT"]
    command = [sys.executable, "-m", "sandbox.snowflake", *services]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, **pipes) as process:
        where = json.loads(process.stdout.readline())
        chat = where["services"]["chat"]
        token = requests.post(where["account"] + "/_sandbox/tokens", json={"kind": "pat"}, timeout=30).json()[
            "token"
        ]
        headers = {"Authorization": f'Snowflake Token="{token}"'}
        for url in where["services"].values():
            body = {"data": [[0, {"inputs": "a"}]]}
            assert requests.post(url + "/predict", json=body, headers=headers, timeout=30).status_code == 200
        assert requests.get(chat + "/_sandbox/batches", timeout=30).json() == {"batch_sizes": [1]}
        process.stdin.close()
        assert process.wait(30) == 0


def test_a_service_that_cannot_start_says_why() -> None:
    with pytest.raises(RuntimeError, match="unexpected keyword argument 'nonsense'"):
        ChildService("e5", "PREDICT", {"nonsense": 1})
