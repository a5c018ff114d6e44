"""Snowflake's command-line client operates the services of the sandbox's account."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.snowflake import USER, Snowflake
from sandbox.snowflake.catalog import CPU_POOL, DATABASE, WAREHOUSE
from tests.real.environments import environment

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]


class Snow:
    """`snow`, signed in with a programmatic access token, with a home of its own."""

    def __init__(self, sf: Snowflake, home: Path) -> None:
        self._command = environment("snowflake-cli").parent / "snow"
        self._environment = {**os.environ, "HOME": str(home), "SNOWFLAKE_HOME": str(home)}
        token = home / "token"
        token.write_text(sf.create_pat())
        token.chmod(0o600)
        settings = {
            "account": "MYORG-MYACCT", "host": "127.0.0.1", "port": sf.account_url.rsplit(":", 1)[1],
            "protocol": "http", "user": USER, "authenticator": "PROGRAMMATIC_ACCESS_TOKEN",
            "token-file-path": token, "warehouse": WAREHOUSE, "database": DATABASE, "schema": "PUBLIC",
        }  # fmt: skip
        self._connection = [part for name, value in settings.items() for part in (f"--{name}", str(value))]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        command: list[str | Path] = [
            self._command, *words, "--temporary-connection", *self._connection, "--format", "json",
        ]  # fmt: skip
        return subprocess.run(command, capture_output=True, text=True, env=self._environment, timeout=120)

    def __call__(self, *words: str) -> Any:
        done = self.run(*words)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def snow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Snow]:
    with Snowflake() as sf:
        sf.create_service("chat")
        yield Snow(sf, tmp_path_factory.mktemp("home"))


def test_it_signs_in_and_runs_statements(snow: Snow) -> None:
    assert snow("connection", "test")["Status"] == "OK"
    assert snow("sql", "-q", "select 1 as ONE") == [{"ONE": 1}]


def test_it_shows_what_there_is(snow: Snow) -> None:
    assert [row["name"] for row in snow("spcs", "service", "list")] == ["CHAT"]
    assert CPU_POOL in [row["name"] for row in snow("spcs", "compute-pool", "list")]
    assert [row["name"] for row in snow("spcs", "image-repository", "list")] == ["IMAGES"]
    (endpoint,) = snow("spcs", "service", "list-endpoints", "chat")
    assert (endpoint["name"], endpoint["is_public"]) == ("predict", "true")
    (container,) = snow("spcs", "service", "list-containers", "chat")
    assert (container["container_name"], container["status"]) == ("main", "READY")


def test_it_reads_the_log_of_a_container(snow: Snow) -> None:
    done = snow.run("spcs", "service", "logs", "chat", "--container-name", "main", "--instance-id", "0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "INFO" in done.stdout


def test_it_suspends_and_resumes(snow: Snow) -> None:
    for verb, statuses in (
        ("suspend", {"SUSPENDING", "SUSPENDED"}),
        ("resume", {"PENDING", "RUNNING", "RESUMING"}),
    ):
        snow("spcs", "service", verb, "chat")
        (row,) = snow("spcs", "service", "describe", "chat")
        assert row["status"] in statuses


def test_it_is_told_of_a_statement_that_does_not_compile(snow: Snow) -> None:
    done = snow.run("sql", "-q", "selct 1")
    assert done.returncode == 1
    assert "unexpected 'selct'" in done.stdout + done.stderr
