"""The oldest and the newest client of DSS, each in its own process, get the same from the same plugin and models."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.instance import PROJECT, Instance
from sandbox.models import CHAT_OPENAI, EMBEDDING, add_models
from tests.real.environments import environment

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

OLDEST, NEWEST = "14.1.0", "15.2.0"


@pytest.fixture(scope="module", params=["14.1", "15.0"])
def instance(request: pytest.FixtureRequest) -> Iterator[Instance]:
    with Instance(version=request.param) as made:
        add_models(made, lambda step: None)
        made.add_sql_connection("account")
        yield made
        assert not made.dss.violations


def asked(instance: Instance, python: Path, version: str) -> Any:
    command: list[str | Path] = [
        python,
        "-c",
        "import importlib.metadata as m; print(m.version('dataiku-api-client'))",
    ]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip() == version
    given = {
        "api_key": instance.api_key,
        "chat": CHAT_OPENAI,
        "embedding": EMBEDDING,
        "macro": f"pyrunnable_{instance.plugin_id}_spcs-llm-discover",
        "macro_params": {"snowflakeConnection": "account"},
    }
    done = subprocess.run(
        [python, Path(__file__).with_name("ask_dss.py"), instance.url, PROJECT],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


def test_the_oldest_client_gets_what_the_newest_gets(instance: Instance) -> None:
    oldest = asked(instance, environment("dss-oldest"), OLDEST)
    assert "Paris" in oldest["text"]
    assert oldest["text"] == oldest["streamed"] == oldest["LangChain"]
    assert len(oldest["batch"]) == 2
    assert oldest["schema"].keys() == {"city"}
    assert oldest["vectors"] == [384] * 3
    assert oldest["LangChain embeddings"] == 384
    for name in ("too long", "too long, streamed"):
        assert "exceeds the available context size (4096 tokens)" in oldest[name]
    assert len(oldest["macro"]) == 3
    newest = asked(instance, Path(sys.executable), NEWEST)
    # A client before 14.5 asks for no errors as events of the stream: it gets an HTTP error, with its class in Java.
    told = oldest.pop("too long, streamed").removeprefix("com.dataiku.dip.exceptions.ServerException: ")
    assert told == newest.pop("too long, streamed")
    assert oldest == newest
