"""A Snowflake account with services, in a separate process: its work is not counted as the client's."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from tests.benchmarks.cores import a_core_for_services, all_cores_afterwards

ROOT = Path(__file__).parents[2]


@contextmanager
def snowflake(**services: str) -> Iterator[dict[str, Any]]:
    """`services`: as `python -m sandbox.snowflake` takes them. Gives `account`, `services` (URLs) and `token`."""
    arguments = [f"{name}={service}" for name, service in services.items()]
    command = [sys.executable, "-m", "sandbox.snowflake", *arguments]
    with all_cores_afterwards():
        with a_core_for_services():
            process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        assert process.stdin is not None and process.stdout is not None
        try:
            urls = json.loads(process.stdout.readline())
            asked = requests.post(f"{urls['account']}/_sandbox/tokens", json={"kind": "oauth"}, timeout=30)
            yield {**urls, "token": asked.json()["token"]}
        finally:
            process.stdin.close()
            process.wait(30)
            process.stdout.close()
