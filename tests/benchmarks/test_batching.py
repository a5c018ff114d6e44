"""Single texts from many callers, embedded by a service that takes 20 ms and 1 ms a row, one request at a time on each
replica: how near group commit comes to the best possible, and how far it leaves one text per request behind.

All ways are measured in turns, several times over; figures are medians.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest

from tests.benchmarks.batching_runs import MAX_ROWS, Client, best_seconds, seconds_for, service, warm
from tests.benchmarks.report import record, spread

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
CALLERS = (8, 32, 128)
REPLICAS = (1, 2, 4)
TEXTS_PER_CALLER = 40
TEXTS_ONE_BY_ONE = 80
LONE_CALLS = 1500
NOISE = 1.25  # what a busy machine may add before a goal counts as missed

# Times the best possible, by replicas and callers; and times faster than one text after the other, by callers.
GOALS = {1: {8: 1.2, 32: 1.2, 128: 1.1}, 2: dict.fromkeys(CALLERS, 1.3), 4: dict.fromkeys(CALLERS, 1.5)}
FASTER = {8: 5, 32: 10, 128: 14}


def per_text(embed: Callable[[str], Any], texts: int, callers: int) -> float:
    return seconds_for(embed, texts, callers) / texts


def measure() -> tuple[dict[Any, list[float]], dict[Any, float]]:
    """Seconds per text of each way, of all rounds; and the mean number of rows in a request."""
    times: dict[Any, list[float]] = {}
    rows: dict[Any, float] = {}
    with ExitStack() as stack:
        urls = {replicas: stack.enter_context(service(replicas)) for replicas in REPLICAS}
        for _ in range(ROUNDS):
            one = Client(urls[1], 1)
            one.alone("warm")
            times.setdefault("one by one", []).append(per_text(one.alone, TEXTS_ONE_BY_ONE, 1))
            times.setdefault("one by one, 32 threads", []).append(per_text(one.alone, TEXTS_ONE_BY_ONE, 32))
            times.setdefault("one query", []).append(one.seconds_for_list(10 * MAX_ROWS) / (10 * MAX_ROWS))
            for replicas in REPLICAS:
                for callers in CALLERS:
                    client = Client(urls[replicas], replicas)
                    warm(client, callers)
                    texts = callers * TEXTS_PER_CALLER
                    times.setdefault((replicas, callers), []).append(
                        per_text(client.together, texts, callers)
                    )
                    rows[replicas, callers] = texts / len(client.sizes)
    return times, rows


def test_group_commit_comes_near_the_best_possible() -> None:
    times, rows = measure()
    ms = {way: statistics.median(values) * 1000 for way, values in times.items()}
    before = ms["one by one"]
    table = []
    for replicas in REPLICAS:
        for callers in CALLERS:
            best = best_seconds(1, callers, replicas) * 1000
            values = [value * 1000 / best for value in times[replicas, callers]]
            table.append(
                {
                    "replicas": replicas,
                    "callers": callers,
                    "ms per text": round(ms[replicas, callers], 3),
                    "times the best possible": spread(values, digits=2),
                    "aim": GOALS[replicas][callers],
                    "rows per request": round(rows[replicas, callers], 1),
                    "times faster than one by one": round(before / ms[replicas, callers], 1),
                }
            )
    one_query = ms["one query"] / (best_seconds(1, MAX_ROWS, 1) * 1000)
    record(
        "batching",
        "Single texts of many callers",
        "The service takes 20 ms per request plus 1 ms per text, and each replica handles one request at a time."
        " *Max parallelism* is the number of replicas. In the best possible case, the texts of all callers are shared"
        " out evenly among the requests, and the replicas never pause. Sent one by one, a text took"
        f" {before:.1f} ms, and {ms['one by one, 32 threads']:.1f} ms with 32 threads. One query of {10 * MAX_ROWS}"
        f" texts took {one_query:.2f} times the best possible.",
        table,
        {
            f"{replicas}, {callers}": [
                value * 1000 / (best_seconds(1, callers, replicas) * 1000)
                for value in times[replicas, callers]
            ]
            for replicas in REPLICAS
            for callers in CALLERS
        },
    )
    for replicas in REPLICAS:
        for callers in CALLERS:
            ratio = ms[replicas, callers] / (best_seconds(1, callers, replicas) * 1000)
            assert ratio <= GOALS[replicas][callers] * NOISE, (replicas, callers)
            if replicas == 1:
                assert before / ms[replicas, callers] >= FASTER[callers] / NOISE


def test_a_lone_caller_pays_next_to_nothing() -> None:
    """Alternating calls of a service that answers at once, with and without group commit."""
    samples: dict[str, list[tuple[float, float]]] = {"alone": [], "together": []}
    with service(instant=True) as url:
        client = Client(url, 1)
        for number in range(LONE_CALLS):
            for way, embed in (("alone", client.alone), ("together", client.together)):
                began, worked = time.perf_counter(), time.thread_time()
                embed(f"text number {number}")
                samples[way].append((time.perf_counter() - began, time.thread_time() - worked))
    wall, cpu = (
        {way: statistics.median(row[column] for row in rows) * 1e6 for way, rows in samples.items()}
        for column in (0, 1)
    )
    record(
        "lone_caller",
        "A single caller",
        "What batching adds to a call that has no other call to share a request with, over"
        f" {LONE_CALLS:,} calls with batching and as many without, in turns.",
        [
            {
                "µs per call without batching": wall["alone"],
                "µs added": round(wall["together"] - wall["alone"], 1),
                "CPU µs added": round(cpu["together"] - cpu["alone"], 1),
            }
        ],
    )
    assert cpu["together"] <= 1.15 * cpu["alone"]
