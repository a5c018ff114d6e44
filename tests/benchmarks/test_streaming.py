"""CPU per streamed token and time to the first one, beside OpenAI's own client where that is installed.

Both read the same bytes from the same server in the same run; only the ratios mean something elsewhere.
"""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import urllib3

from spcs_llm.query_context import QueryContext
from tests.benchmarks.report import record, spread
from tests.integration.openai_client import asking, client_for

TOKENS = 2000
ROUNDS = 15

pytestmark = pytest.mark.bench


def burst() -> bytes:
    """A whole streamed answer, framed as uvicorn frames it: a chunk for each event."""
    base = {"id": "chatcmpl-0123456789abcdef", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": f" token{i}"} for i in range(TOKENS)]
    events = [
        {**base, "choices": [{"index": 0, "delta": d, "logprobs": None, "finish_reason": None}]}
        for d in deltas
    ]
    events.append({**base, "choices": [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}]})
    lines = [f"data: {json.dumps(event)}\n\n".encode() for event in events] + [b"data: [DONE]\n\n"]
    chunks = b"".join(f"{len(line):x}\r\n".encode() + line + b"\r\n" for line in lines)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + chunks + b"0\r\n\r\n"


def serve(listener: socket.socket) -> None:
    answer = burst()

    def converse(connection: socket.socket) -> None:
        with connection:
            while received := connection.recv(65536):
                while not received.rstrip().endswith(b"}"):
                    received += connection.recv(65536)
                connection.sendall(answer)

    while True:
        connection, _ = listener.accept()
        threading.Thread(target=converse, args=(connection,), daemon=True).start()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = multiprocessing.get_context("fork").Process(target=serve, args=(listener,), daemon=True)
        server.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.kill()
        server.join()


def ours(url: str) -> Callable[[], Iterator[str]]:
    client = client_for(url, model="m")

    def ask() -> Iterator[str]:
        for piece in client.protocol.stream(asking("hi"), QueryContext(60)):
            if hasattr(piece, "text"):
                yield piece.text

    return ask


def openais(url: str) -> Callable[[], Iterator[str]]:
    import openai

    client = openai.OpenAI(base_url=f"{url}/v1", api_key="x")

    def ask() -> Iterator[str]:
        messages = [{"role": "user", "content": "hi"}]
        for chunk in client.chat.completions.create(model="m", messages=messages, stream=True):
            yield chunk.choices[0].delta.content or ""

    return ask


def bare(url: str) -> Callable[[], Iterator[str]]:
    """Lines as they come off the socket, and JSON out of them: what any client has to do."""
    pool = urllib3.PoolManager()
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True})

    def ask() -> Iterator[str]:
        response = pool.request("POST", f"{url}/v1/chat/completions", body=body, preload_content=False)
        for line in response:
            if line.startswith(b"data: {"):
                yield json.loads(line[6:])["choices"][0]["delta"].get("content", "")

    return ask


def measure(ask: Callable[[], Iterator[str]]) -> tuple[float, float]:
    """CPU microseconds a token, and microseconds until the first one."""
    cpu, began = time.process_time(), time.perf_counter()
    texts = ask()
    next(text for text in texts if text)
    first = time.perf_counter() - began
    count = 1 + sum(bool(text) for text in texts)
    cpu = time.process_time() - cpu
    assert count == TOKENS
    return cpu / TOKENS * 1e6, first * 1e6


def test_a_streamed_token_costs_little(url: str) -> None:
    clients = {"urllib3 and json, bare": bare(url), "the plugin": ours(url)}
    if importlib.util.find_spec("openai"):
        clients["openai's client"] = openais(url)
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in clients}
    for ask in clients.values():
        measure(ask)
    for _ in range(ROUNDS):
        for name, ask in clients.items():
            samples[name].append(measure(ask))
    columns = {name: list(zip(*rows, strict=True)) for name, rows in samples.items()}
    cpu = {name: statistics.median(column[0]) for name, column in columns.items()}
    first = {name: statistics.median(column[1]) for name, column in columns.items()}
    record(
        "streaming",
        "A streamed answer",
        f"{TOKENS:,} tokens that the server sends without a pause, each in its own chunk: the CPU time per token, and"
        " the time until the caller has the first one.",
        [
            {
                "client": name,
                "CPU µs per token": spread(columns[name][0], digits=1),
                "first token, ms": spread(columns[name][1], 1e-3, 2),
            }
            for name in clients
        ],
        {name: list(column[0]) for name, column in columns.items()},
    )
    assert cpu["the plugin"] < 60, "a bound for slow and busy machines; 10 to 20 is usual"
    if "openai's client" in cpu:
        assert cpu["the plugin"] <= 0.15 * cpu["openai's client"]
        assert first["the plugin"] < first["openai's client"]
