"""Inference jobs at work: the rows of the subquery over HTTP to the model's engine, and Parquet files of the results.

Output: Snowflake documentation, "EXECUTE INFERENCE JOB SERVICE", and the integration tests of snowflake-ml-python
(4159fc6), which read the files: the columns of the input with those of the output beside them, and `_SUCCESS` at the
end. Whether nested columns are nested in Parquet or JSON text, and which columns there are in what order, was not seen:
`nested` chooses.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import requests

from sandbox.snowflake.catalog.inference_jobs import InferenceJob
from sandbox.snowflake.catalog.services import Instance, Service
from sandbox.snowflake.world import World

Row = Mapping[str, Any]
BATCH_ROWS = 64  # where the specification does not say: not published
TRIES = 3
_RETRIED = (429, 502, 503, 504)
_JSON = ("ARRAY", "OBJECT", "VARIANT")


@dataclass
class JobFault:
    """What the next `times` jobs meet.

    kind: "fail" (when `after` rows are done), "pending" (it is never placed), "missing" (every `every`th row has no
    result), "no_success" (DONE without `_SUCCESS`).
    """

    kind: str
    times: int = 1
    after: int = 0
    every: int = 10
    condition: str = "refused_input"


@dataclass
class InferenceJobs:
    """The jobs of an account, and what tests do to them.

    started: what each job was asked for, in order. Between `hold(rows)` and `release()`, a job stops when this number
    of its rows is done.
    """

    world: World
    nested: str = "values"
    started: list[InferenceJob] = field(default_factory=list)
    faults: list[JobFault] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._held_at: int | None = None
        self._go_on = threading.Event()
        self._threads: list[threading.Thread] = []
        self.closed = False

    def arm(self, kind: str, **params: Any) -> JobFault:
        fault = JobFault(kind, **params)
        self.faults.append(fault)
        return fault

    def hold(self, rows: int) -> None:
        self._held_at = rows
        self._go_on.clear()

    def release(self) -> None:
        self._held_at = None
        self._go_on.set()

    def close(self) -> None:
        self.closed = True
        self.release()
        for thread in self._threads:
            thread.join(10)

    def start(self, job: InferenceJob, owner: str) -> Service:
        """The job as a service, with the world's lock held. It works when its containers are ready."""
        catalog = self.world.catalog
        now = catalog.settle()
        service = catalog.add_service(
            job.key[2], database=job.key[0], schema=job.key[1], pool=job.pool.name, owner=owner, granted={},
            running=False, is_job=True, is_async_job=True, min_instances=job.replicas, max_instances=job.replicas,
        )  # fmt: skip
        self.started.append(job)
        fault = self._take("pending")
        if fault is not None:
            service.status = "PENDING"
            service.instances = [Instance(0, now, lambda when: None)]
            service.fall_into("unschedulable")
            return service
        begun: list[bool] = []

        def work(when: float) -> None:
            if not begun:
                begun.append(True)
                thread = threading.Thread(
                    target=_JobWork(self, job, service).run, name="sandbox-job", daemon=True
                )
                self._threads.append(thread)
                thread.start()

        service.when_ready = work
        service.resume(now)
        return service

    def _take(self, *kinds: str) -> JobFault | None:
        for fault in self.faults:
            if fault.kind in kinds and fault.times > 0:
                fault.times -= 1
                return fault
        return None

    def wait_if_held(self, done: int, service: Service) -> None:
        while self._held_at is not None and done >= self._held_at and service.status == "RUNNING":
            self._go_on.wait(0.02)


class _FailedJobError(Exception):
    """A batch that the engine does not answer ends the job."""


class _JobWork:
    """One job: batch after batch until its end, or until somebody ends it."""

    def __init__(self, jobs: InferenceJobs, job: InferenceJob, service: Service) -> None:
        self._jobs = jobs
        self._job = job
        self._service = service
        self._fault = jobs._take("fail", "missing", "no_success")
        self._size = int((job.specification.get("inference") or {}).get("max_batch_rows") or BATCH_ROWS)

    def run(self) -> None:
        try:
            self._all()
        except _FailedJobError:
            condition = self._fault.condition if self._fault is not None else "refused_input"
            self._end("FAILED", condition)
        except Exception:  # a mistake of the sandbox's own must be seen as well
            self._end("INTERNAL_ERROR", "internal_error")
            raise

    def _all(self) -> None:
        rows = self._job.rows
        for number, at in enumerate(range(0, len(rows), self._size)):
            self._jobs.wait_if_held(at, self._service)
            if not self._runs():
                return
            if self._is("fail") and at >= self._fault_of("after"):
                raise _FailedJobError
            self._write(number, at, rows[at : at + self._size])
        if self._is("fail"):
            raise _FailedJobError
        if not self._runs():
            return
        if not self._is("no_success"):
            self._job.stage.write(f"{self._job.below}_SUCCESS")
        self._end("DONE")

    def _write(self, number: int, at: int, rows: Sequence[Row]) -> None:
        outputs = self._asked(rows)
        kept = [
            {**row, **output}
            for i, (row, output) in enumerate(zip(rows, outputs), at)
            if not (self._is("missing") and i % self._fault_of("every") == 0)
        ]
        if kept:
            path = self._job.stage.folder / self._job.below / f"part_{number:06d}.parquet"
            write_parquet(path, kept, as_text=self._jobs.nested == "text")

    def _runs(self) -> bool:
        if self._job.stage.is_removed:
            raise _FailedJobError
        return self._service.status == "RUNNING" and not self._jobs.closed

    def _asked(self, rows: Sequence[Row]) -> list[dict[str, Any]]:
        kinds = {name.upper(): kind for name, kind in self._job.function.arguments}
        sent = [[i, _given(row, kinds)] for i, row in enumerate(rows)]
        params = (self._job.specification.get("input") or {}).get("params") or {}
        url = f"{self._job.version.engine}/{self._job.function.target_method}"
        for _ in range(TRIES):
            with requests.Session() as http:
                http.trust_env = False
                try:
                    reply = http.post(url, json={"data": sent, "params": params}, timeout=60)
                except requests.RequestException:
                    continue
            if reply.status_code == 200:
                return [output for _, output in reply.json()["data"]]
            if reply.status_code not in _RETRIED:
                break
        raise _FailedJobError

    def _is(self, kind: str) -> bool:
        return self._fault is not None and self._fault.kind == kind

    def _fault_of(self, what: str) -> int:
        return int(getattr(self._fault, what))

    def _end(self, status: str, condition: str | None = None) -> None:
        with self._jobs.world.lock:
            if self._service.status == "RUNNING":
                self._service.end_job(self._jobs.world.catalog.settle(), status, condition)


def _given(row: Row, kinds: Mapping[str, str]) -> dict[str, Any]:
    """The columns that the model takes. An array in an input file is JSON text, as COPY INTO a stage writes it."""
    return {
        name.lower(): json.loads(cell) if kinds[name.upper()] in _JSON and isinstance(cell, str) else cell
        for name, cell in row.items()
        if name.upper() in kinds
    }


def write_parquet(path: Path, rows: Sequence[Row], *, as_text: bool) -> None:
    """Rows as a file of Parquet, which appears as a whole."""
    cells = [
        {name: json.dumps(v) if as_text and isinstance(v, (list, dict)) else v for name, v in row.items()}
        for row in rows
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}")
    with duckdb.connect(":memory:") as db:
        db.execute(
            "CREATE TABLE result AS SELECT unnest(value) FROM (SELECT unnest(from_json(?::JSON, ?)) AS value)",
            [json.dumps(cells), json.dumps([_type_of(cells)])],
        )
        db.execute(f"COPY result TO '{unfinished}' (FORMAT parquet)")
    unfinished.replace(path)


def _type_of(values: Sequence[Any]) -> Any:
    """The type that all of these values have, as duckdb's `from_json` takes it."""
    there = [value for value in values if value is not None]
    if any(isinstance(value, dict) for value in there):
        names = dict.fromkeys(name for value in there for name in value)
        return {name: _type_of([value.get(name) for value in there]) for name in names}
    if any(isinstance(value, list) for value in there):
        return [_type_of([inner for value in there for inner in value])]
    for kinds, name in (((bool,), "BOOLEAN"), ((int,), "BIGINT"), ((int, float), "DOUBLE")):
        if there and all(isinstance(value, kinds) for value in there):
            return name
    return "VARCHAR"
