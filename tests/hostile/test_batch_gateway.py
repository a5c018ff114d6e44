"""What a client of the batch gateway can do to the others: bodies that cost much, or never come to their end."""

from __future__ import annotations

import asyncio
import json
import threading
import tracemalloc
from collections.abc import MutableMapping
from typing import Any

import pytest

from batch_gateway import app
from batch_gateway.app import Gateway
from batch_gateway.rows import BadBatch, read_rows
from batch_gateway.settings import read_settings
from tests.hostile.surfaces import MB

pytestmark = pytest.mark.exhaustive

_BRACKETS = b",[]" * 2_000_001  # one more than a batch can have
COSTLY = {
    "escapes": b'"' + rb"\\" * (4 * MB) + b'"',
    "quotes": b'"' + rb"\"" * (4 * MB) + b'"',
    "small texts": b'"",' * (2 * MB) + b'""',
    "texts of a letter": b'"a",' * (2 * MB) + b'""',
}


@pytest.mark.parametrize("name", COSTLY)
def test_a_body_is_refused_without_much_memory(name: str) -> None:
    body = b'{"data":[[0,' + COSTLY[name] + _BRACKETS + b"]]}"
    tracemalloc.start()
    with pytest.raises(BadBatch, match="more lists and objects"):
        read_rows(body, 3)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 4 * len(body), f"{most / MB:.0f} MB for {len(body) / MB:.0f}"


def test_brackets_in_texts_are_none() -> None:
    text = '[{"a\\' * 500_000
    assert read_rows(json.dumps({"data": [[0, text]]}).encode(), 1)[0].arguments == (text,)


Message = MutableMapping[str, Any]


def test_ids_of_batches_take_no_more_memory_than_there_is() -> None:
    """They are headers, of a megabyte at most, and batches without rows are kept as well."""
    settings = {
        "LLM_ENDPOINT_URL": "http://127.0.0.1:9",
        "MAX_BODY_MEGABYTES": "1",
        "MAX_HELD_MEGABYTES": "8",
    }
    gateway = Gateway(read_settings(settings))

    async def ask(number: int) -> None:
        async def receive() -> Message:
            return {"type": "http.request", "body": b'{"data":[]}'}

        async def send(message: Message) -> None:
            pass

        batch_id = b"%d" % number + b"x" * MB
        headers = [(b"sf-external-function-query-batch-id", batch_id)]
        await gateway(
            {"type": "http", "method": "POST", "path": "/complete", "headers": headers}, receive, send
        )

    async def ask_often() -> None:
        for number in range(40):
            await ask(number)

    tracemalloc.start()
    asyncio.run(ask_often())
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 12 * MB


def test_questions_for_readiness_hold_up_no_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model server that takes connections and says nothing: each look takes a thread, and batches need one, too."""
    gateway = Gateway(read_settings({"LLM_ENDPOINT_URL": "http://127.0.0.1:9"}))
    answers, looks = threading.Event(), []

    def is_healthy() -> bool:
        looks.append(1)
        return answers.wait(60)

    monkeypatch.setattr(gateway._engine, "is_healthy", is_healthy)

    async def ask(method: str, path: str) -> int:
        replies: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": b'{"data":[]}'}

        async def send(message: Message) -> None:
            replies.append(message)

        await gateway({"type": "http", "method": method, "path": path, "headers": []}, receive, send)
        return int(replies[0]["status"])

    async def ask_all() -> tuple[int, set[int]]:
        probes = [asyncio.ensure_future(ask("GET", "/ready")) for _ in range(100)]
        probes[7].cancel()
        while not looks:
            await asyncio.sleep(0)
        try:
            status = await asyncio.wait_for(ask("POST", "/complete"), 30)
        finally:
            answers.set()
        return status, set(await asyncio.gather(*probes[8:]))

    assert asyncio.run(ask_all()) == (200, {200})
    assert len(looks) == 1


@pytest.mark.parametrize("sent", [b"", b'{"data":'])
@pytest.mark.parametrize("length", [None, b"33554432"])
def test_a_body_that_does_not_come_is_given_up(
    monkeypatch: pytest.MonkeyPatch, sent: bytes, length: bytes | None
) -> None:
    """The room that it was given is free again, for the others' batches."""
    monkeypatch.setattr(app, "_SLOWEST_BODY", 0.01)
    settings = {"LLM_ENDPOINT_URL": "http://127.0.0.1:9", "MAX_HELD_MEGABYTES": "32"}

    async def ask(gateway: Gateway) -> int:
        parts: list[Message] = [{"type": "http.request", "body": sent, "more_body": True}]
        replies: list[Message] = []

        async def receive() -> Message:
            if parts:
                return parts.pop()
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: Message) -> None:
            replies.append(message)

        headers = [] if length is None else [(b"content-length", length)]
        scope = {"type": "http", "method": "POST", "path": "/complete", "headers": headers}
        await asyncio.wait_for(gateway(scope, receive, send), 10)
        return int(replies[0]["status"])

    async def ask_twice() -> list[int]:
        gateway = Gateway(read_settings(settings))
        return [await ask(gateway), await ask(gateway)]

    assert asyncio.run(ask_twice()) == [503, 503]
