"""The same texts, asked by the recipe inside Snowflake and through LLM Mesh: what each takes of DSS.

Both ways ask the same service. The account is in this process; the service, DSS, and who asks LLM Mesh are in one each.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from sandbox.services import ChildService
from sandbox.snowflake import USER, Snowflake
from sandbox.snowflake.catalog import CALLER, DATABASE, SCHEMA, WAREHOUSE
from tests.benchmarks.dss_process import Account, DssProcess, Taken, ask_mesh, dss_process
from tests.benchmarks.report import as_markdown, record, spread

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1800)]

RECIPE, MESH = "recipe", "LLM Mesh"
REPLICAS, SLOTS = 2, 16
TEXT_SECONDS, CHAT_SECONDS = 0.001, 0.25
ANSWER_TOKENS = 16
QUERIES_A_CALL = 1_000
NOTE = (
    f"The scripted service takes {TEXT_SECONDS * 1e3:g} ms for a text, on {REPLICAS} replicas, and"
    f" {CHAT_SECONDS:g} s for a chat, {SLOTS} at once; the bound is what it needs at least. The real models run on the"
    f" cores of this machine, with at most {ANSWER_TOKENS} tokens in an answer. A job is measured from the start of its"
    " process to its end. *CPU s* and *peak MB* are those of the recipe's process, or of DSS's process that has the"
    " plugin; *besides* is the CPU time of the other process: DSS, which runs the recipe's SQL, or the one that asks"
    f" LLM Mesh by `dataikuapi`, {QUERIES_A_CALL:,} queries a call. LLM Mesh's way neither reads the texts from"
    " Snowflake here nor writes the answers, and the scripted vectors have 8 dimensions only: in a real DSS, it takes"
    " more."
)


@dataclass(frozen=True)
class Work:
    """Texts to ask a model about.

    at_once: what README recommends for *Max parallelism*. options: those of the service. bound: the seconds that it
    needs at least.
    """

    name: str
    rows: int
    task: str
    model: str
    at_once: int
    options: Mapping[str, Any] = field(default_factory=dict)
    bound: float | None = None
    rounds: int = 1

    @property
    def is_chat(self) -> bool:
        return self.task == "CHAT"

    @property
    def settings(self) -> dict[str, Any]:
        return {"temperature": 0, "maxOutputTokens": ANSWER_TOKENS} if self.is_chat else {}

    @property
    def recipe(self) -> dict[str, Any]:
        column = {"promptTemplate": "{{text}}"} if self.is_chat else {"textColumn": "text"}
        service = f"{DATABASE}.{SCHEMA}.MODEL"
        return {"task": self.task, "service": service, "keyColumns": ["id"], **column, **self.settings}


def embeddings(rows: int, rounds: int = 1) -> Work:
    options = {
        "signature": "embedding",
        "kind": "embedding",
        "replicas": REPLICAS,
        "row_seconds": TEXT_SECONDS,
    }
    bound = rows * TEXT_SECONDS / REPLICAS
    return Work(f"{rows:,} embeddings", rows, "EMBEDDING", "scripted", REPLICAS, options, bound, rounds)


def chats(rows: int, rounds: int = 1) -> Work:
    options = {"replicas": SLOTS, "row_seconds": CHAT_SECONDS}
    bound = rows * CHAT_SECONDS / SLOTS
    return Work(f"{rows:,} chats", rows, "CHAT", "scripted", SLOTS, options, bound, rounds)


REAL = (
    Work("1,000 embeddings by E5", 1_000, "EMBEDDING", "e5", 1, rounds=2),
    Work("48 chats by SmolLM2", 48, "CHAT", "smollm2", 2, rounds=2),
)


@dataclass(frozen=True)
class Measured:
    """A job. main: the process of the recipe, or DSS's own with the plugin; besides: CPU seconds of the other one."""

    seconds: float
    main: Taken
    besides: float


@contextmanager
def account(work: Work) -> Iterator[Account]:
    """An account with the service, and with the texts in a table."""
    scripted = work.model == "scripted"
    service: Any = ChildService(work.model, "MODEL_SERVING", {**work.options}) if scripted else work.model
    with Snowflake() as sf:
        sf.world.lifetimes.oauth_access = 86_400
        placed = {"min_instances": REPLICAS, "max_instances": REPLICAS}
        model = sf.create_service("model", service, "MODEL_SERVING", placed=placed, **work.options)
        sf.clock.advance(3600)  # the service is up
        sf.tables.allow(DATABASE, SCHEMA)
        columns = {"id": "NUMBER", "text": "VARCHAR"}
        sf.tables.create("INPUT", columns, database=DATABASE, schema=SCHEMA)
        texts = f"SELECT i, 'Ticket ' || i || ': the parcel is late.' FROM range({work.rows}) AS t(i)"
        sf.tables.load(f'INSERT INTO "{DATABASE}"."{SCHEMA}"."INPUT" {texts}')
        params = {"llmEndpointUrl": model.url, "maxParallelism": work.at_once}
        models = [{"id": "model", "capability": "CHAT" if work.is_chat else "EMBEDDING", "params": params}]
        place = (CALLER, WAREHOUSE, DATABASE, SCHEMA)
        yield Account(sf.account_url, sf.issue_oauth_token(), USER, *place, models)
        (counted,) = sf.tables.rows(f'SELECT COUNT(*) AS n FROM "{DATABASE}"."{SCHEMA}"."OUTPUT"')
        assert counted["n"] == work.rows


def by_recipe(dss: DssProcess, work: Work) -> Measured:
    before, began = dss.taken(), time.monotonic()
    taken = dss.run_recipe(work.recipe)
    return Measured(time.monotonic() - began, taken, dss.taken().cpu - before.cpu)


def by_mesh(dss: DssProcess, work: Work) -> Measured:
    texts = [f"Ticket {number}: the parcel is late." for number in range(work.rows)]
    before, began = dss.taken(), time.monotonic()
    asking = ask_mesh(dss, "model", texts, QUERIES_A_CALL, work.settings)
    seconds, after = time.monotonic() - began, dss.taken()
    return Measured(seconds, Taken(after.cpu - before.cpu, after.memory), asking.cpu)


def measured(work: Work) -> dict[str, list[Measured]]:
    """Both ways in turns. Each has its own DSS, so that the memory of one says nothing of the other."""
    found: dict[str, list[Measured]] = {RECIPE: [], MESH: []}
    with account(work) as place, dss_process(place) as for_recipe, dss_process(place) as for_mesh:
        for _ in range(work.rounds):
            found[RECIPE].append(by_recipe(for_recipe, work))
            found[MESH].append(by_mesh(for_mesh, work))
    return found


def rows_of(work: Work, found: Mapping[str, Sequence[Measured]]) -> list[dict[str, Any]]:
    return [
        {
            "work": work.name,
            "way": way,
            "rows a second": spread([work.rows / job.seconds for job in jobs], digits=1),
            "time ÷ bound": f"{_seconds(jobs) / work.bound:.2f}" if work.bound else "",
            "CPU s": spread([job.main.cpu for job in jobs], digits=2),
            "CPU ms a row": 1e3 * _cpu(jobs) / work.rows,
            "peak MB": max(job.main.memory for job in jobs),
            "CPU s besides": spread([job.besides for job in jobs], digits=2),
            "CPU of Mesh ÷ recipe": f"{_cpu(jobs) / _cpu(found[RECIPE]):.2g}" if way == MESH else "",
        }
        for way, jobs in found.items()
    ]


def _cpu(jobs: Sequence[Measured]) -> float:
    return statistics.median(job.main.cpu for job in jobs)


def _seconds(jobs: Sequence[Measured]) -> float:
    return statistics.median(job.seconds for job in jobs)


@pytest.mark.parametrize("work", [embeddings(4_000), chats(200)], ids=lambda work: work.task.lower())
def test_a_quick_look(work: Work) -> None:
    found = measured(work)
    print("\n" + as_markdown(rows_of(work, found)))
    assert all(job.main.cpu > 0 and job.main.memory > 0 for jobs in found.values() for job in jobs)


def test_full_jobs() -> None:
    works = (embeddings(100_000, rounds=2), chats(2_000, rounds=3), *REAL)
    found = [measured(work) for work in works]
    record(
        "recipe_and_mesh",
        "The recipe inside Snowflake, and LLM Mesh",
        NOTE,
        [row for work, jobs in zip(works, found) for row in rows_of(work, jobs)],
    )
    for work, jobs in zip(works, found):
        if work.model == "scripted":
            assert _cpu(jobs[RECIPE]) < _cpu(jobs[MESH]) / 3, work.name
    large, small = found[0][RECIPE], found[1][RECIPE]
    assert large[0].main.memory < 1.1 * small[0].main.memory, "it grows with the rows"
