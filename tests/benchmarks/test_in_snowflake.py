"""A job inside Snowflake against the time that its service needs at least, and what it costs DSS's process."""

from __future__ import annotations

import time
from typing import Any

import pytest

from sandbox.services import ChildService
from sandbox.snowflake.catalog import DATABASE, SCHEMA
from tests.benchmarks.dss_process import cpu_of_children, peak_memory
from tests.benchmarks.report import record
from tests.integration.in_snowflake import Scene, scene

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1800)]

REPLICAS = 2
JOBS = ((20_000, 0.002), (1_000_000, 0.001))  # rows, and the seconds of each on one replica
NOISE = 1.1  # what a busy machine may add before an aim counts as missed
AIM = 1.15
NOTE = (
    f"Embeddings by a scripted service with {REPLICAS} replicas, in a separate process. The bound is the seconds of"
    " all rows, divided by the replicas: what the service needs at least. The time is that of the whole recipe, from"
    " the start of its process to its outputs. *CPU s* and *peak MB* are those of the recipe's process. The account,"
    " whose SQL runs here as well, shares the machine's cores with it."
)


def test_a_small_job_takes_what_its_service_takes() -> None:
    with scene() as at:
        job = _job(at, "small", 20_000, 0.006)
    assert job["time ÷ bound"] < AIM * NOISE, job


def test_a_million_rows_take_what_their_service_takes_and_no_memory_of_dss() -> None:
    with scene() as at:
        rows = [_job(at, f"wide{count}", count, seconds) for count, seconds in JOBS]
    record("in_snowflake", "Jobs inside Snowflake", NOTE, rows)
    small, large = rows
    assert large["time ÷ bound"] < AIM * NOISE
    assert large["peak MB"] < 1.1 * small["peak MB"]


def _job(at: Scene, name: str, count: int, seconds: float) -> dict[str, float]:
    """A job of `count` rows, each of which takes one replica `seconds`."""
    options: dict[str, Any] = {
        "signature": "embedding", "kind": "embedding", "row_seconds": seconds, "replicas": REPLICAS,
    }  # fmt: skip
    service = ChildService("scripted", "MODEL_SERVING", {**options})
    placed = {"min_instances": REPLICAS, "max_instances": REPLICAS}
    at.sf.create_service(name, service, "MODEL_SERVING", placed=placed, **options)
    at.sf.clock.advance(600)
    # How many Snowflake sends is not published. With these, a busy machine keeps no replica waiting for its next batch.
    at.sf.tables.batches.at_once = 8
    at.fill([])
    texts = f"SELECT i, 'text number ' || i FROM range({count}) AS t(i)"
    at.sf.tables.load(f'INSERT INTO "{DATABASE}"."{SCHEMA}"."INPUT" {texts}')
    before, began = cpu_of_children(), time.monotonic()
    run = at.start(
        {
            "task": "EMBEDDING",
            "service": f"{DATABASE}.{SCHEMA}.{name.upper()}",
            "keyColumns": ["id"],
            "textColumn": "text",
        }
    )
    peak = 0.0
    while not run.done.wait(0.1):
        peak = max(peak, peak_memory(at.dss.recipes.pid(run)))
    took, bound = time.monotonic() - began, count * seconds / REPLICAS
    assert run.failure is None, run.failure
    (counted,) = at.sf.tables.rows(f'SELECT COUNT(DISTINCT "id") AS n FROM "{DATABASE}"."{SCHEMA}"."OUTPUT"')
    assert counted["n"] == count
    return {
        "rows": count,
        "seconds": took,
        "rows a second": count / took,
        "bound": bound,
        "time ÷ bound": took / bound,
        "CPU s": cpu_of_children() - before,
        "peak MB": peak,
    }
