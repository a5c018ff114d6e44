"""A job inside Snowflake against the time that its service needs at least, and what it costs DSS's process."""

from __future__ import annotations

import re
import resource
import time
from pathlib import Path

import pytest

from sandbox.snowflake.catalog import DATABASE, SCHEMA
from tests.benchmarks.report import record
from tests.integration.in_snowflake import Scene, scene

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]

REPLICAS = 2
# Rows, and seconds of each on one replica: the first is long enough for several slices, the second is for memory.
JOBS = ((20_000, 0.006), (200_000, 0.0004))


def test_a_job_takes_what_its_service_takes_and_no_memory_of_dss() -> None:
    rows = []
    with scene() as at:
        for number, (count, seconds) in enumerate(JOBS):
            rows.append(_job(at, f"wide{number}", count, seconds))
    record(
        "in_snowflake",
        "Jobs inside Snowflake",
        f"Embeddings by a scripted service with {REPLICAS} replicas. The bound is the seconds of all rows, divided by "
        "the replicas. In the second job, the sandbox's own work for a row (SQL and HTTP on this machine) is a good "
        "part of the time.",
        rows,
        {},
    )
    first, second = rows
    assert first["time ÷ bound"] < 1.25
    assert second["MB of the recipe's process"] < 1.1 * first["MB of the recipe's process"]


def _job(at: Scene, name: str, count: int, seconds: float) -> dict[str, float]:
    at.sf.create_service(
        name,
        protocol="MODEL_SERVING",
        signature="embedding",
        kind="embedding",
        row_seconds=seconds,
        replicas=REPLICAS,
        placed={"min_instances": REPLICAS, "max_instances": REPLICAS},
    )
    at.sf.clock.advance(600)
    at.sf.tables.batches.at_once = REPLICAS
    at.fill([(i, f"text number {i}") for i in range(100)])
    table = f'"{DATABASE}"."{SCHEMA}"."INPUT"'
    at.sf.tables.load(f"INSERT INTO {table} SELECT i, 'text number ' || i FROM range(100, {count}) AS t(i)")
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    task = {
        "task": "EMBEDDING",
        "service": f"{DATABASE}.{SCHEMA}.{name.upper()}",
        "keyColumns": ["id"],
        "textColumn": "text",
    }
    run = at.start(task)
    peak = 0.0
    while not run.done.wait(0.1):
        peak = max(peak, _peak(at.dss.recipes.pid(run)))
    assert run.failure is None, run.failure
    took, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    bound = count * seconds / REPLICAS
    return {
        "rows": count,
        "seconds": took,
        "rows a second": count / took,
        "bound": bound,
        "time ÷ bound": took / bound,
        "CPU s of the recipe's process": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "MB of the recipe's process": peak,
    }


def _peak(pid: int) -> float:
    """The most MB that a process has had resident; 0 when it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else 0.0
