"""The log of steps: what a query does is told while it happens, by its number, and never by its content."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spcs_llm.errors import SpcsError
from spcs_llm.http.endpoint import Endpoint
from spcs_llm.http.limits import Limiter
from spcs_llm.http.retry import RetryPolicy
from spcs_llm.http.transport import Transport
from spcs_llm.query_context import QueryContext, log_steps, logger
from spcs_llm.snowflake.ingress import error_from_response
from spcs_llm.urls import parse_base_url
from tests.integration.arena import POST, Arena, OneToken
from tests.integration.raw_server import chunk, head, reply
from tests.waiting import wait_for

DOCS = Path(__file__).parents[2] / "docs" / "operations.md"


@pytest.fixture
def arena(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Arena]:
    arena = Arena(monkeypatch, tmp_path)
    yield arena
    arena.undo.close()


@pytest.fixture
def steps(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    log_steps({"logQuerySteps": True})
    yield caplog
    log_steps({"logQuerySteps": False})


def endpoint(url: str, limiter: Limiter) -> Endpoint:
    return Endpoint(
        Transport(parse_base_url(url)),
        OneToken(),
        error_from_response,
        limiter=limiter,
        retry=RetryPolicy(first_delay=0.001),
        idle_seconds=20,
    )


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == logger.name]


def test_each_step_is_one_line_with_the_querys_number_and_the_time_that_it_has_left(
    arena: Arena, steps: pytest.LogCaptureFixture
) -> None:
    url = arena.serve(reply(503, b"upstream connect error"), reply(429), reply())
    context = QueryContext(60)
    endpoint(url, Limiter(1)).send(POST, context)
    told = lines(steps)
    assert all(line.startswith(f"[query {context.number}, ") for line in told)
    assert [re.sub(r"\[[^]]*\] ", "", line).split()[0] for line in told] == [
        "sends", "is", "waits", "sends", "is", "waits", "sends", "is",
    ]  # fmt: skip
    assert "prompt-canary" not in "".join(told)
    assert "token-canary" not in "".join(told)


def test_who_waits_for_a_slot_and_who_is_cut_off_is_told(
    arena: Arena, steps: pytest.LogCaptureFixture
) -> None:
    def forever(connection: Any) -> None:
        connection.sendall(
            head(transfer_encoding="chunked", content_type="text/event-stream") + chunk(b"data: 1\n\n")
        )
        connection.recv(1)

    url, limiter = arena.serve(forever, reply()), Limiter(1)
    client = endpoint(url, limiter)
    hung = client.open(POST, arena.call(60), lambda stream: stream)
    waiting = threading.Thread(target=client.send, args=(POST, QueryContext(60)))
    waiting.start()
    wait_for(lambda: limiter.waiting)
    arena.skip(60)
    waiting.join(60)
    told = "\n".join(lines(steps))
    assert "waits for one of 1 slots" in told
    assert "is cut off" in told
    with pytest.raises(SpcsError):
        list(hung.chunks())
    hung.close()


def test_every_line_that_the_documentation_explains_can_be_written() -> None:
    library = "".join(path.read_text() for path in (DOCS.parents[1] / "python-lib/spcs_llm").rglob("*.py"))
    table = DOCS.read_text().rpartition("| line | means |")[2]
    explained = re.findall(r"^\| (.*?) \|", table, re.MULTILINE)[1:]
    phrases = [phrase for cell in explained for phrase in re.findall(r"`([^`]+)`", cell)]
    assert len(phrases) >= 9
    written = re.sub(r"%(\.1f|d|s)", "N", library)
    for phrase in phrases:
        words = (
            phrase.partition("…")[0].partition(": TokenRefused")[0].partition("ServiceStarting")[0].strip()
        )
        assert words in written or words.replace("waits for ", "", 1) in written, phrase


@pytest.mark.parametrize("settings", [None, {}, {"logQuerySteps": None}, {"logQuerySteps": "yes"}, "odd"])
def test_without_the_setting_nothing_changes(settings: Any) -> None:
    before = logger.level
    log_steps(settings)
    assert logger.level == before


def test_the_setting_turns_the_log_on_and_off() -> None:
    log_steps({"logQuerySteps": True})
    assert logger.isEnabledFor(logging.DEBUG)
    log_steps({"logQuerySteps": False})
    assert logger.level == logging.NOTSET
