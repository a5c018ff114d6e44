"""Stages and inference jobs of the sandbox's account: clauses, rights, states, files and faults."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sandbox.services.scripted import POISON, answer_to
from sandbox.snowflake import Snowflake
from sandbox.snowflake.catalog import CALLER, DATABASE, GPU_POOL, SCHEMA
from sandbox.snowflake.catalog.objects import CHAT_PARAMS_FUNCTION
from sandbox.snowflake.sql.errors import SqlError
from tests.waiting import wait_for

pytest.importorskip("duckdb")
pytest.importorskip("yaml")

HERE = f"{DATABASE}.{SCHEMA}"
STAGE = f"{HERE}.RESULTS"
CLAUSES = {
    "IN": f"COMPUTE POOL {GPU_POOL}",
    "WITH": f'SPECIFICATION $${{"output": {{"stage_location": "@{STAGE}/r"}}}}$$',
    "FROM": f"(SELECT T.KEY AS KEY, T.MESSAGES AS MESSAGES FROM {HERE}.T AS T)",
    "MODEL": f"= {HERE}.M",
    "VERSION": "= V1",
    "FUNCTION": "= '__call__'",
    "NAME": f"= {HERE}.J",
    "ASYNC": "= TRUE",
    "REPLICAS": "= 2",
}


def statement(**changes: str | None) -> str:
    clauses = {**CLAUSES, **changes}
    said = [f"{name} {text}" for name, text in clauses.items() if text is not None]
    return " ".join(["EXECUTE INFERENCE JOB SERVICE", *said])


@pytest.fixture
def sf() -> Iterator[Snowflake]:
    with Snowflake() as made:
        durations = made.world.durations
        durations.suspending = durations.container_start = durations.model_loading = durations.node_start = (
            0.0
        )
        made.create_model("m", functions=[CHAT_PARAMS_FUNCTION])
        made.tables.allow(DATABASE, SCHEMA)
        rows = [(i, [{"role": "user", "content": [{"type": "text", "text": f"t{i}"}]}]) for i in range(150)]
        made.tables.create(
            "T", {"KEY": "NUMBER", "MESSAGES": "ARRAY"}, rows, database=DATABASE, schema=SCHEMA
        )
        ask(
            made,
            f"CREATE STAGE {STAGE} ENCRYPTION = (TYPE = 'SNOWFLAKE_SSE') FILE_FORMAT = (TYPE = PARQUET)",
        )
        yield made


def ask(sf: Snowflake, text: str) -> list[dict[str, Any]]:
    return sf.run_sql(text, role=CALLER)


def state(sf: Snowflake) -> str:
    return str(ask(sf, f"DESCRIBE SERVICE {HERE}.J")[0]["status"])


def ended(sf: Snowflake) -> str:
    wait_for(lambda: state(sf) not in ("PENDING", "RUNNING"))
    return state(sf)


def answers(sf: Snowflake) -> dict[int, str]:
    rows = ask(
        sf,
        "SELECT F.R:KEY::NUMBER AS KEY, F.R:choices[0]:message:content::VARCHAR AS C FROM "
        f"(SELECT $1 AS R FROM @{STAGE}/r/J/ (PATTERN => '.*[.]parquet')) AS F",
    )
    return {int(row["KEY"]): row["C"] for row in rows}


def refused(sf: Snowflake, text: str) -> SqlError:
    with pytest.raises(SqlError) as error:
        ask(sf, text)
    return error.value


def test_a_job_asks_the_model_and_leaves_parquet_and_a_mark_at_the_end(sf: Snowflake) -> None:
    (reply,) = ask(sf, statement())
    assert f"Batch inference job {HERE}.J with model" in str(reply["status"])
    assert ended(sf) == "DONE"
    assert answers(sf) == {i: answer_to(f"t{i}") for i in range(150)}
    names = [row["name"] for row in ask(sf, f"LIST @{STAGE}/r/J/")]
    assert names[0] == "results/r/J/_SUCCESS"
    assert len(names) == 4
    (job,) = ask(sf, f"SHOW JOB SERVICES LIKE 'J' IN SCHEMA {HERE}")
    assert (job["status"], job["is_async_job"]) == ("DONE", "true")
    ask(sf, f"REMOVE @{STAGE}/r/J/")
    assert ask(sf, f"LIST @{STAGE}") == []
    assert answers(sf) == {}


def test_its_name_its_output_and_its_clauses_are_checked(sf: Snowflake) -> None:
    ask(sf, statement(ASYNC="= FALSE"))
    assert state(sf) == "DONE"
    assert refused(sf, statement()).code == "002002"
    ask(sf, f"DROP SERVICE {HERE}.J")
    assert "is not empty" in refused(sf, statement()).message
    names = list(CLAUSES)
    for one, other in zip(names, names[1:]):
        swapped = {**CLAUSES}
        order = [*names]
        i = order.index(one)
        order[i], order[i + 1] = other, one
        text = " ".join(["EXECUTE INFERENCE JOB SERVICE", *(f"{name} {swapped[name]}" for name in order)])
        assert refused(sf, text).code == "001003", (one, other)


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"NAME": f'= {HERE}."J"'}, "Unsupported feature"),
        ({"WITH": "SPECIFICATION ?"}, "syntax error"),
        ({"WITH": 'SPECIFICATION $${"resources": {}}$$'}, "output.stage_location is required"),
        (
            {"WITH": f'SPECIFICATION $${{"output": {{"stage_location": "@{STAGE}/"}}, "gpu": 1}}$$'},
            "unknown field gpu",
        ),
        ({"MODEL": f"= {HERE}.NOPE"}, "does not exist"),
        ({"VERSION": "= V9"}, "Version"),
        ({"FUNCTION": "= 'predict'"}, "Unknown function predict"),
        ({"IN": "COMPUTE POOL NOPE"}, "Compute pool 'NOPE' does not exist"),
    ],
)
def test_what_is_wrong_is_refused(sf: Snowflake, changes: dict[str, str], said: str) -> None:
    assert said in refused(sf, statement(**changes)).message
    assert sf.tables.jobs.started == []


@pytest.mark.sample(1)
@pytest.mark.parametrize("missing", ["CREATE SERVICE", "USAGE on the pool", "USAGE on the model"])
def test_a_missing_right_is_refused(sf: Snowflake, missing: str) -> None:
    catalog = sf.catalog
    on, privilege = {
        "CREATE SERVICE": (catalog.databases[DATABASE].schemas[SCHEMA].securable, "CREATE SERVICE"),
        "USAGE on the pool": (catalog.pools[GPU_POOL].securable, "USAGE"),
        "USAGE on the model": (catalog.models[DATABASE, SCHEMA, "M"].securable, "USAGE"),
    }[missing]
    catalog.grants.revoke(privilege, on, CALLER)
    assert refused(sf, statement()).code in ("003001", "002003")


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    ("fault", "status", "files"),
    [({"kind": "fail", "after": 64}, "FAILED", 1), ({"kind": "no_success"}, "DONE", 3)],
)
def test_a_job_that_goes_wrong_leaves_what_it_has_done(
    sf: Snowflake, fault: dict[str, Any], status: str, files: int
) -> None:
    sf.tables.jobs.arm(**fault)
    ask(sf, statement())
    assert ended(sf) == status
    names = [row["name"] for row in ask(sf, f"LIST @{STAGE}/r/J/")]
    assert (len(names), any("_SUCCESS" in name for name in names)) == (files, False)


def test_a_batch_that_the_model_does_not_answer_fails_the_job_with_a_message(sf: Snowflake) -> None:
    bad = [{"role": "user", "content": [{"type": "text", "text": POISON}]}]
    sf.tables.create(
        "T", {"KEY": "NUMBER", "MESSAGES": "ARRAY"}, [(1, bad)], database=DATABASE, schema=SCHEMA
    )
    ask(sf, statement())
    assert ended(sf) == "FAILED"
    rows = ask(sf, f"SHOW SERVICE CONTAINERS IN SERVICE {HERE}.J")
    assert rows[0]["message"] == "User application error, check container logs"


def test_a_job_without_a_node_stays_pending_until_it_is_cancelled_or_dropped(sf: Snowflake) -> None:
    sf.tables.jobs.arm("pending")
    ask(sf, statement())
    assert state(sf) == "PENDING"
    ask(sf, f"SELECT {HERE}.J!SPCS_CANCEL_JOB()")
    assert state(sf) == "CANCELLED"


def test_a_job_that_is_dropped_stops(sf: Snowflake) -> None:
    sf.tables.jobs.hold(64)
    ask(sf, statement())
    wait_for(lambda: len(ask(sf, f"LIST @{STAGE}/r/J/")) == 1)
    ask(sf, f"DROP SERVICE {HERE}.J")
    sf.tables.jobs.close()
    assert len(ask(sf, f"LIST @{STAGE}/r/J/")) == 1


@pytest.mark.sample(1)
@pytest.mark.parametrize("nested", ["values", "text"])
def test_nested_results_are_values_or_json_text(sf: Snowflake, nested: str) -> None:
    sf.tables.jobs.nested = nested
    ask(sf, statement())
    assert ended(sf) == "DONE"
    rows = ask(
        sf,
        "SELECT TYPEOF(F.R:choices) AS K FROM "
        f"(SELECT $1 AS R FROM @{STAGE}/r/J/ (PATTERN => '.*[.]parquet')) AS F LIMIT 1",
    )
    assert rows[0]["K"] == {"values": "ARRAY", "text": "VARCHAR"}[nested]


def test_stages_need_their_privileges(sf: Snowflake) -> None:
    assert refused(sf, f"CREATE STAGE {STAGE}").code == "002002"
    assert ask(sf, f"CREATE STAGE IF NOT EXISTS {STAGE}")[0]["status"].endswith("statement succeeded.")
    assert [row["name"] for row in ask(sf, f"SHOW STAGES IN SCHEMA {HERE}")] == ["RESULTS"]
    schema = sf.catalog.databases[DATABASE].schemas[SCHEMA].securable
    sf.catalog.grants.revoke("CREATE STAGE", schema, CALLER)
    assert refused(sf, f"CREATE STAGE {HERE}.OTHER").code == "003001"
    ask(sf, f"DROP STAGE {STAGE}")
    assert refused(sf, f"LIST @{STAGE}").code == "002003"
