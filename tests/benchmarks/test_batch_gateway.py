"""What a row costs through the batch gateway, beside the same requests sent to the model server directly."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter

from sandbox.services import ChildService
from sandbox.services.batch_gateway import BatchGateway
from sandbox.services.scripted import answer_to
from tests.benchmarks.cores import a_core_for_services, all_cores_afterwards
from tests.benchmarks.report import record, spread

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]

ROUNDS, PARALLELISM, TEXTS_A_REQUEST, TEXTS = 3, 16, 32, 4_800
# What a chat takes the model, and how many of them make a batch.
CHATS = ((0.0, 480), (0.1, 320), (0.5, 160))
NOISE = 1.25  # what a busy machine may add before an aim counts as missed

Ask = Callable[[list[str]], list[Any]]


@contextmanager
def running(seconds: float, **variables: Any) -> Iterator[tuple[ChildService, BatchGateway]]:
    """A model server on one core, and a gateway that shares the other with the client."""
    with all_cores_afterwards():
        with a_core_for_services():
            engine = ChildService("scripted", "OPENAI", {"request_seconds": seconds, "replicas": 1000})
        gateway = BatchGateway(engine.url, MAX_PARALLELISM=PARALLELISM, **variables)
        try:
            yield engine, gateway
        finally:
            gateway.stop()
            engine.stop()


def session() -> requests.Session:
    made = requests.Session()
    made.mount("http://", HTTPAdapter(pool_maxsize=PARALLELISM))
    return made


def directly(url: str, sent: requests.Session, *, streamed: bool) -> Ask:
    """Bare requests, as many at once as the gateway sends: as one JSON, or as the stream that the gateway asks for."""

    def one(text: str) -> str:
        body = {"model": "scripted", "messages": [{"role": "user", "content": text}], "stream": streamed}
        answer = sent.post(f"{url}/v1/chat/completions", json=body, timeout=60)
        if not streamed:
            return str(answer.json()["choices"][0]["message"]["content"])
        events = [line[6:] for line in answer.text.splitlines() if line.startswith("data: {")]
        deltas = [choice["delta"] for event in events for choice in json.loads(event)["choices"]]
        return "".join(delta.get("content") or "" for delta in deltas)

    def ask(texts: list[str]) -> list[Any]:
        with ThreadPoolExecutor(PARALLELISM) as threads:
            return list(threads.map(one, texts))

    return ask


def through(gateway: BatchGateway, path: str, sent: requests.Session) -> Ask:
    """One batch, without an id, so that it is answered whole."""

    def ask(texts: list[str]) -> list[Any]:
        body = {"data": [[number, text] for number, text in enumerate(texts)]}
        answer = sent.post(gateway.url + path, json=body, timeout=600).json()
        return [value["answer"] for _, value in answer["data"]]

    return ask


def embeddings_directly(url: str, sent: requests.Session) -> Ask:
    def some(texts: list[str]) -> list[Any]:
        body = {"model": "scripted", "input": texts}
        return [
            item["embedding"]
            for item in sent.post(f"{url}/v1/embeddings", json=body, timeout=60).json()["data"]
        ]

    def ask(texts: list[str]) -> list[Any]:
        starts = range(0, len(texts), TEXTS_A_REQUEST)
        with ThreadPoolExecutor(PARALLELISM) as threads:
            answers = threads.map(some, [texts[start : start + TEXTS_A_REQUEST] for start in starts])
            return [vector for vectors in answers for vector in vectors]

    return ask


def seconds_a_row(
    ways: dict[str, Ask], rows: int, check: Callable[[str, Any], bool]
) -> dict[str, list[float]]:
    """The ways in turns, with other texts each time."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(ROUNDS + 1):
        for name, ask in ways.items():
            texts = [f"{name} {turn} row {number}" for number in range(rows)]
            began = time.perf_counter()
            answers = ask(texts)
            took = time.perf_counter() - began
            assert all(map(check, texts, answers))
            if turn:  # the first one warms up
                found[name].append(took / rows)
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_chat_through_the_gateway() -> None:
    rows, ratios = [], {}
    for seconds, count in CHATS:
        with running(seconds) as (engine, gateway), session() as sent:
            ways = {
                "directly": directly(engine.url, sent, streamed=False),
                "directly, streamed": directly(engine.url, sent, streamed=True),
                "batch gateway": through(gateway, "/complete", sent),
            }
            before = cpu_seconds(gateway.pid)
            found = seconds_a_row(ways, count, lambda text, answer: answer == answer_to(text))
            cpu = (cpu_seconds(gateway.pid) - before) / (count * (ROUNDS + 1))
        base = statistics.median(found["directly"])
        for name, samples in found.items():
            ratios[seconds, name] = statistics.median(samples) / base
            rows.append(
                {
                    "model's seconds an answer": f"{seconds:g}",
                    "way": name,
                    "ms a row": spread(samples, 1e3, 2),
                    "times directly": ratios[seconds, name],
                    "CPU of the gateway, ms a row": f"{cpu * 1e3:.2f}" if name == "batch gateway" else "",
                }
            )
    record(
        "batch_gateway",
        "A row through the batch gateway",
        f"{PARALLELISM} chats at once, {ROUNDS} rounds of a batch. Directly: bare `requests` from"
        f" {PARALLELISM} threads; the gateway asks for streams, as the plugin does for every chat. The model server"
        " has one core; the gateway and the client share the other.",
        rows,
    )
    assert ratios[CHATS[-1][0], "batch gateway"] < 1.1 * NOISE, "beside a model that takes its time"


def test_an_embedding_through_the_gateway() -> None:
    with running(0.02, MAX_BATCH_SIZE=TEXTS_A_REQUEST) as (engine, gateway), session() as sent:
        ways = {
            "directly": embeddings_directly(engine.url, sent),
            "batch gateway": through(gateway, "/embed", sent),
        }
        before = cpu_seconds(gateway.pid)
        found = seconds_a_row(ways, TEXTS, lambda text, answer: len(answer) == 8)
        cpu = (cpu_seconds(gateway.pid) - before) / (TEXTS * (ROUNDS + 1))
    base = statistics.median(found["directly"])
    record(
        "batch_gateway_embeddings",
        "A vector through the batch gateway",
        f"{TEXTS:,} texts in a batch, {TEXTS_A_REQUEST} a request, {PARALLELISM} requests at once; a request takes"
        f" the model 20 ms; vectors of 8 dimensions; {ROUNDS} rounds.",
        [
            {
                "way": name,
                "µs a row": spread(samples, 1e6),
                "times directly": statistics.median(samples) / base,
                "CPU of the gateway, µs a row": f"{cpu * 1e6:.0f}" if name == "batch gateway" else "",
            }
            for name, samples in found.items()
        ],
    )
    assert statistics.median(found["batch gateway"]) < 1.5 * base * NOISE
