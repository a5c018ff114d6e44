"""The account of the sandbox serves older connectors, too: the contract tests of the connector, with each of them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.real.environments import ROOT, environment

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

TESTS = ("tests/contract/test_snowflake_connector.py", "tests/contract/test_snowflake_statements.py")


@pytest.mark.parametrize(("name", "version"), [("connector-3", "3.12.4"), ("connector-4", "4.8.1")])
def test_the_contract_tests_pass_with_an_older_connector(name: str, version: str) -> None:
    python = environment(name)
    show: list[str | Path] = [python, "-c", "import snowflake.connector as c; print(c.__version__)"]
    shown = subprocess.run(show, check=True, capture_output=True, text=True)
    assert shown.stdout.strip() == version
    command: list[str | Path] = [
        python,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "--no-header",
        "-rs",
        *TESTS,
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=800)
    print(f"\n{version}: {done.stdout.strip().splitlines()[-1]}", flush=True)
    assert done.returncode == 0, done.stdout[-10_000:]
