"""What it takes to find many services over the SQL API: statements, seconds, CPU and memory of the plugin's side."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spcs_llm.control.discovery import discover
from spcs_llm.control.families import price_list
from spcs_llm.control.macro_form import read_discover
from spcs_llm.control.open_session import Dss, open_session
from tests.benchmarks.report import record

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
COUNTS = (100, 1000)


@contextlib.contextmanager
def account(services: int) -> Iterator[dict[str, Any]]:
    """The form of a macro that signs in to an account with this number of services, in a separate process."""
    command = [sys.executable, "-m", "tests.benchmarks.many_services", str(services)]
    environment = {"PYTHONPATH": f"{ROOT / 'python-lib'}:{ROOT}", "PATH": ""}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
    ) as process:
        assert process.stdout is not None
        url, token = process.stdout.readline().split()
        yield {
            "authenticationMode": "PROGRAMMATIC_ACCESS_TOKEN",
            "programmaticAccessToken": {"token": token},
            "snowflakeAccountUrl": url,
        }
        assert process.stdin is not None
        process.stdin.close()


class Counted:
    """A session that counts its statements."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.whose = session.whose
        self.statements = 1  # that of `whose`

    def rows(self, statement: str, **more: Any) -> Any:
        self.statements += 1
        return self._session.rows(statement, **more)


def _measure(form: dict[str, Any], services: int, workers: int) -> dict[str, Any]:
    session = Counted(open_session(read_discover(form).sign_in, Dss(lambda connection: None)))  # type: ignore[arg-type,return-value]
    began, cpu = time.monotonic(), time.process_time()
    found = discover(session, price_list(), workers=workers)
    seconds, cpu = time.monotonic() - began, time.process_time() - cpu
    assert len(found.services) == services
    assert not found.notes
    assert all(service.endpoints and service.containers for service in found.services)
    tracemalloc.start()
    discover(session, price_list(), workers=workers)
    memory = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {
        "services": services,
        "at the same time": workers,
        "statements": session.statements // 2,
        "seconds": seconds,
        "CPU s of the plugin": cpu,
        "memory, MB": memory / 1e6,
    }


def test_finding_services_is_linear_in_their_number() -> None:
    rows = []
    for count in COUNTS:
        with account(count) as form:
            rows += [_measure(form, count, workers) for workers in (1, 8)]
    record(
        "discovery",
        "Finding services over the SQL API",
        "The sandbox's account, in another process on the same machine; 100 schemas, 10 compute pools. Snowflake itself"
        " takes longer for each statement, so that statements at the same time gain more there.",
        rows,
    )
    for few, many in zip(rows[:2], rows[2:], strict=True):
        ratio = COUNTS[1] / COUNTS[0]
        assert many["statements"] < ratio * few["statements"]
        assert many["CPU s of the plugin"] < 1.5 * ratio * few["CPU s of the plugin"]
        assert many["memory, MB"] < 1.5 * ratio * few["memory, MB"]
