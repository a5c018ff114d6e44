"""Single texts from many callers, embedded by a service that takes 20 ms and 1 ms a row, one request at a time on each
replica: how near group commit comes to the best possible, and how far it leaves one text per request behind.

All ways are measured in turns, several times over; figures are medians. They are also written to
`.cache/benchmarks/batching.json`.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.batching_runs import MAX_ROWS, Client, best_seconds, seconds_for, service, warm

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

RESULTS = Path(__file__).parents[2] / ".cache" / "benchmarks" / "batching.json"


@pytest.fixture(scope="module")
def results() -> Iterator[dict[str, Any]]:
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    found: dict[str, Any] = {"machine": machine, "rounds": ROUNDS}
    yield found
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(found, indent=1))


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


def test_group_commit_comes_near_the_best_possible(
    results: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    times, rows = measure()
    ms = {way: statistics.median(values) * 1000 for way, values in times.items()}
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
                    "times the best": round(statistics.median(values), 3),
                    "from": round(min(values), 3),
                    "to": round(max(values), 3),
                    "goal": GOALS[replicas][callers],
                    "rows": round(rows[replicas, callers], 1),
                    "times faster than one by one": round(ms["one by one"] / ms[replicas, callers], 1),
                }
            )
    others = {
        way: {"ms per text": round(ms[way], 3), "times the best": round(ms[way] / best_ms, 3)}
        for way, best_ms in {
            "one by one": best_seconds(1, 1, 1) * 1000,
            "one by one, 32 threads": best_seconds(1, 32, 1) * 1000,
            "one query": best_seconds(1, MAX_ROWS, 1) * 1000,
        }.items()
    }
    results["group commit"] = table
    results["others"] = others
    with capsys.disabled():
        print()
        print(" ".join(f"{name:>8}" for name in table[0]))
        for line in table:
            print(" ".join(f"{value:>{max(8, len(name))}}" for name, value in line.items()))
        for way, figures in others.items():
            print(f"{way}, one replica: {figures}")
    for line in table:
        assert line["times the best"] <= line["goal"] * NOISE, line
        if line["replicas"] == 1:
            assert line["times faster than one by one"] >= FASTER[line["callers"]] / NOISE, line


def test_a_lone_caller_pays_next_to_nothing(
    results: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Alternating calls of a service that answers at once, with and without group commit."""
    samples: dict[str, list[tuple[float, float]]] = {"alone": [], "together": []}
    with service(instant=True) as url:
        client = Client(url, 1)
        for number in range(LONE_CALLS):
            for way, embed in (("alone", client.alone), ("together", client.together)):
                wall, cpu = time.perf_counter(), time.thread_time()
                embed(f"text number {number}")
                samples[way].append((time.perf_counter() - wall, time.thread_time() - cpu))
    wall, cpu = (
        {way: statistics.median(row[column] for row in rows) * 1e6 for way, rows in samples.items()}
        for column in (0, 1)
    )
    added = {name: round(us["together"] - us["alone"], 1) for name, us in (("wall", wall), ("cpu", cpu))}
    results["lone caller"] = {"µs of a call": round(wall["alone"]), "µs added": added}
    with capsys.disabled():
        print(
            f"\nA lone call of {wall['alone']:.0f} µs takes {added['wall']} µs more, {added['cpu']} of CPU."
        )
    assert cpu["together"] <= 1.15 * cpu["alone"]
