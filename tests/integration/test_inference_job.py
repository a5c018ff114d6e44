"""The engine JOB of the recipe *Run a model inside Snowflake*: inference jobs of an account that runs them."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from sandbox.services.scripted import POISON, answer_to, vector_of
from sandbox.snowflake.catalog import CALLER, DATABASE, SCHEMA
from sandbox.snowflake.catalog.objects import CHAT_PARAMS_FUNCTION
from spcs_llm.errors import SpcsError
from spcs_llm.in_snowflake import engine_choice, job_engine, job_watch
from tests.integration.in_snowflake import CHAT, PLUGIN, PROJECT, PROMPT, RECIPE, Scene, scene
from tests.waiting import wait_for

pytest.importorskip("duckdb")
pytest.importorskip("yaml")

HERE = f"{DATABASE}.{SCHEMA}"
JOB = {
    "task": "CHAT", "engine": "JOB", "model": f"{HERE}.M", "computePool": "JOBS", "keyColumns": ["id"],
    "promptTemplate": "{{text}}",
}  # fmt: skip
EMBEDDING = {
    "task": "EMBEDDING",
    "engine": "JOB",
    "model": f"{HERE}.E",
    "computePool": "CPU_JOBS",
    "keyColumns": ["id"],
    "textColumn": "text",
}
EXECUTE = "EXECUTE INFERENCE JOB SERVICE"
HOSTILE = "mark $$ ${projectKey} ' \" \\ {{ }} \u2028 \U0001f600 \x00 ; DROP TABLE x -- ?"


class At(Scene):
    """A scene with models of the registry."""

    model_of_jobs: Any

    def rows(self, count: int, text: str = "t{}") -> None:
        self.fill([(i, text.format(i)) for i in range(count)])

    def do(self, params: dict[str, Any], **how: Any) -> Any:
        return self.here(params, sleep=self.look_again, **how)

    def look_again(self, seconds: float) -> None:
        """A pause of the recipe's takes less time here."""
        threading.Event().wait(0.01)

    @property
    def jobs(self) -> Any:
        return self.sf.tables.jobs

    @property
    def executed(self) -> list[str]:
        return [text for text in self.sf.executor.statements if text.startswith(EXECUTE)]

    @property
    def left(self) -> list[str]:
        """Jobs and stages that are there."""
        catalog = self.sf.catalog
        return [
            key[2]
            for objects in (catalog.services, catalog.stages)
            for key in objects
            if "SPCS_LLM" in key[2]
        ]


@pytest.fixture(scope="module")
def shared() -> Iterator[At]:
    with scene() as made:
        made.__class__ = At
        assert isinstance(made, At)
        made.sf.catalog.add_pool("JOBS", "GPU_NV_S", max_nodes=3)
        made.sf.catalog.add_pool("CPU_JOBS", "CPU_X64_XS", max_nodes=3)
        made.model_of_jobs = made.sf.create_model("m", functions=[CHAT_PARAMS_FUNCTION])
        made.sf.create_model("columns")
        made.sf.create_model("texts", content="string", functions=[CHAT_PARAMS_FUNCTION])
        made.sf.create_model("e", signature="embedding", kind="embedding")
        yield made


@pytest.fixture
def at(shared: At) -> Iterator[At]:
    yield shared
    shared.sf.statement_faults.clear()
    shared.jobs.faults.clear()
    shared.jobs.release()
    shared.jobs.nested = "values"
    for key in [key for key in shared.sf.tables.known if key[2].startswith("SPCS_LLM_")]:
        shared.sf.run_sql(f'DROP TABLE IF EXISTS "{key[0]}"."{key[1]}"."{key[2]}"', role=CALLER)
    for key in [key for key in shared.sf.catalog.services if key[2].startswith("SPCS_LLM_")]:
        shared.sf.run_sql(f"DROP SERVICE {'.'.join(key)}", role=CALLER)
    for key in [key for key in shared.sf.catalog.stages if key[2].startswith("SPCS_LLM_")]:
        shared.sf.run_sql(f"DROP STAGE {'.'.join(key)}", role=CALLER)


def answers(at: At, column: str = "answer") -> dict[int, Any]:
    return {int(row["id"]): row[column] for row in at.output}


# -- what it does ----------------------------------------------------------------------------------


@pytest.mark.exhaustive
def test_a_job_answers_every_row_in_the_process_that_dss_starts(at: At) -> None:
    at.rows(200)
    run = at.succeed(JOB)
    assert answers(at) == {i: answer_to(f"t{i}") for i in range(200)}
    assert (at.failures, at.work_tables, at.left) == ([], [], [])
    assert "200 rows: 200 answered, 0 failed." in run.log
    assert re.search(r"Inference job SPCS_LLM_\w+_P1 is done", run.log)
    assert "An inference job cannot be measured before it runs" in run.log
    assert at.jobs.started[-1].specification["resources"] == {"gpu_requests": "1"}


@pytest.mark.sample(1)
@pytest.mark.parametrize("model", ["M", "COLUMNS"])
@pytest.mark.parametrize("nested", ["values", "text"])
def test_what_is_sent_is_what_the_form_says_and_no_statement_has_it_as_it_is(
    at: At, model: str, nested: str
) -> None:
    at.fill([(1, HOSTILE)])
    at.jobs.nested = nested
    began = len(at.executed)
    schema = {"type": "object", "properties": {"a": {"type": "string", "description": HOSTILE}}}
    report = at.do(
        {
            **JOB, "model": f"{HERE}.{model}", "systemPrompt": HOSTILE, "examples": [{"input": HOSTILE, "output": "x"}],
            "stopSequences": [HOSTILE], "jsonSchema": schema, "temperature": 0, "maxOutputTokens": 300,
            "outputColumn": "o",
        }
    )  # fmt: skip
    assert report.rows == 1
    statements = at.executed[began:]
    for text in statements:
        assert text.count("$") == 4
        assert not any(word in text for word in ("${", "--", "?", "\x00", "{{", "\u2028"))
        assert model == "M" or "projectKey" not in text
    job = at.jobs.started[-1]
    (row,) = job.rows
    messages = json.loads(row["MESSAGES"])
    assert [part["content"][0]["text"] for part in messages] == [HOSTILE, HOSTILE, "x", HOSTILE]
    expected = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}
    if model == "M":
        params = job.specification["input"]["params"]
        assert params == {
            "max_completion_tokens": 300, "temperature": 0.0, "stop": [HOSTILE], "response_format": expected,
        }  # fmt: skip
    else:
        assert "input" not in job.specification
        assert (int(row["MAX_COMPLETION_TOKENS"]), float(row["TEMPERATURE"])) == (300, 0.0)
        assert json.loads(row["STOP"]) == [HOSTILE]
        assert json.loads(row["RESPONSE_FORMAT"]) == expected


@pytest.mark.exhaustive
def test_the_statement_is_the_same_for_any_prompt(at: At) -> None:
    """But for the digest in the job's name and the number of the run."""
    found = set()
    for prompt in ("a {{text}}", HOSTILE.replace("{{", "\\{{") + "{{text}}"):
        at.fill([(1, prompt)])
        at.do({**JOB, "promptTemplate": prompt})
        found.add(re.sub(r"_J\w+|RUN_ID = '\w+'", "", at.executed[-1]))
    assert len(found) == 1


@pytest.mark.exhaustive
def test_fields_of_a_schema_become_typed_columns_and_an_answer_that_breaks_it_is_a_failed_row(at: At) -> None:
    at.fill(
        [(i, json.dumps({"team": "it", "score": i})) for i in range(9)] + [(9, '{"team": 1}'), (10, "no")]
    )

    async def chat(messages: Any, settings: Any) -> Any:
        text = messages[-1]["content"][0]["text"]
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        return {
            "id": "1", "object": "o", "created": 1, "model": "m", "choices": [choice], "usage": {"total_tokens": 5},
        }  # fmt: skip

    schema = {
        "type": "object",
        "properties": {"team": {"type": "string"}, "score": {"type": "integer"}},
        "required": ["team", "score"],
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(at.model_of_jobs.model, "chat", chat)
        report = at.do({**JOB, "jsonSchema": schema})
    assert (report.answered, report.failed) == (9, 2)
    assert {int(row["id"]): (row["team"], int(row["score"])) for row in at.output} == {
        i: ("it", i) for i in range(9)
    }
    reasons = {int(row["id"]): row["answer_error"] for row in at.failures}
    assert reasons == {9: "The field team is not of type string.", 10: "The answer is not a JSON object."}


@pytest.mark.exhaustive
@pytest.mark.parametrize("nested", ["values", "text"])
def test_texts_are_embedded_and_a_row_without_text_is_a_failure(at: At, nested: str) -> None:
    at.fill([(1, "a"), (2, "b"), (3, None), (4, "")])
    at.jobs.nested = nested
    report = at.do({**EMBEDDING, "vectorType": "VECTOR"})
    vectors = {key: json.loads(cell) for key, cell in answers(at, "embedding").items()}
    assert {key: pytest.approx(vector, abs=1e-6) for key, vector in vectors.items()} == {
        1: vector_of("a"), 2: vector_of("b"),
    }  # fmt: skip
    assert report.failed == 2
    assert "resources" not in at.jobs.started[-1].specification
    assert len(at.jobs.started[-1].rows) == 2


@pytest.mark.exhaustive
def test_a_model_that_takes_text_instead_of_parts_is_asked_with_text(at: At) -> None:
    at.rows(9)
    assert at.do({**JOB, "model": f"{HERE}.TEXTS"}).answered == 9
    assert answers(at) == {i: answer_to(f"t{i}") for i in range(9)}
    assert [job.key[2][-2:] for job in at.jobs.started[-2:]] == ["P1", "T2"]


@pytest.mark.exhaustive
def test_a_large_job_has_replicas_as_far_as_the_pool_has_free_nodes(at: At) -> None:
    at.rows(70)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job_engine, "ROWS_OF_A_REPLICA", 40)
        at.do(JOB)
    assert at.jobs.started[-1].replicas == 2
    assert "REPLICAS = 2" in at.executed[-1]


@pytest.mark.exhaustive
def test_smollm2_chats_and_e5_embeds_in_jobs(at: At) -> None:
    at.sf.create_model("smol", "smollm2", max_new_tokens=16, functions=[CHAT_PARAMS_FUNCTION])
    at.sf.create_model("e5", "e5")
    at.fill([(1, "The capital of France is"), (2, "Two and two is")])
    report = at.do({**JOB, "model": f"{HERE}.SMOL", "maxOutputTokens": 12})
    assert (report.answered, report.failed) == (2, 0)
    assert all(len(answer) > 3 for answer in answers(at).values())
    assert at.do({**EMBEDDING, "model": f"{HERE}.E5"}).answered == 2
    vectors = [json.loads(cell) for cell in answers(at, "embedding").values()]
    assert [len(vector) for vector in vectors] == [384, 384]
    assert sum(x * x for x in vectors[0]) == pytest.approx(1, abs=1e-3)


# -- stops -----------------------------------------------------------------------------------------


class Interrupted(BaseException):
    """The process is gone: no handler of the recipe's sees it coming."""


def _killed(at: At, params: dict[str, Any], pattern: str, skip: int = 0) -> None:
    """Runs the recipe until a statement, and not a statement further."""
    gone = False

    def on_statement(text: str) -> None:
        nonlocal gone, skip
        if re.match(pattern, text):
            skip -= 1
        gone = gone or skip < 0
        if gone:
            raise Interrupted

    with pytest.raises(Interrupted):
        at.do(params, on_statement=on_statement)


@pytest.mark.exhaustive
@pytest.mark.parametrize("done", [False, True], ids=["running", "done"])
def test_a_run_after_a_crash_takes_the_results_of_the_job_instead_of_starting_another(
    at: At, done: bool
) -> None:
    at.rows(150)
    began = len(at.executed)
    at.jobs.hold(64)
    _killed(at, JOB, "DESCRIBE SERVICE", skip=1)
    if done:
        at.jobs.release()
        wait_for(lambda: at.sf.catalog.services[at.jobs.started[-1].key].status == "DONE")

    def on_statement(text: str) -> None:
        if text.startswith("DESCRIBE SERVICE"):
            at.jobs.release()

    assert at.do(JOB, on_statement=on_statement).answered == 150
    assert len(at.executed) - began == 1
    assert answers(at) == {i: answer_to(f"t{i}") for i in range(150)}
    assert at.left == []


@pytest.mark.exhaustive
def test_results_that_were_taken_before_a_crash_are_not_doubled(at: At) -> None:
    at.rows(80)
    _killed(at, JOB, "DROP SERVICE")  # after they were taken
    began = len(at.executed)
    assert at.do(JOB).answered == 80
    assert len(at.executed) == began
    assert Counter(int(row["id"]) for row in at.output) == Counter(range(80))
    assert at.left == []


@pytest.mark.exhaustive
@pytest.mark.parametrize("other", [{"temperature": 0.5}, {"promptTemplate": "Say {{text}}"}])
def test_a_run_with_other_settings_ends_the_job_that_a_crash_has_left(at: At, other: dict[str, Any]) -> None:
    at.rows(80)
    at.jobs.hold(0)
    _killed(at, JOB, "DESCRIBE SERVICE")
    (job, _) = at.left
    at.jobs.release()
    assert at.do({**JOB, **other}).answered == 80
    assert f"DROP SERVICE IF EXISTS {HERE}.{job}" in at.sf.executor.statements
    assert at.left == []


@pytest.mark.exhaustive
def test_engine_service_ends_the_job_that_a_crash_has_left(at: At) -> None:
    at.rows(20)
    at.jobs.hold(0)
    _killed(at, JOB, "DESCRIBE SERVICE")
    assert at.do(PROMPT).answered == 20
    assert at.left == []


@pytest.mark.exhaustive
def test_a_recipe_that_is_killed_leaves_its_job_to_the_next_run(at: At) -> None:
    at.rows(150)
    at.jobs.hold(64)
    run = at.start(JOB)
    wait_for(lambda: " is RUNNING after" in run.log)
    at.dss.recipes.abort(run)
    assert run.done.wait(100)
    at.jobs.release()
    began = len(at.executed)
    assert at.do(JOB).answered == 150
    assert len(at.executed) == began


@pytest.mark.exhaustive
def test_a_recipe_that_is_told_to_end_drops_its_job_and_keeps_what_it_has_written(at: At) -> None:
    at.rows(150)
    at.jobs.hold(64)
    run = at.start(JOB)
    wait_for(lambda: " is RUNNING after" in run.log)
    os.kill(at.dss.recipes.pid(run), signal.SIGTERM)
    assert run.done.wait(30)
    assert "does not run any more. What it has written is kept for the next run." in run.log
    assert [name.rpartition("_")[2] for name in at.left] == ["RESULTS"]
    at.jobs.release()
    assert at.do(JOB).answered == 150
    assert len(at.jobs.started[-1].rows) == 86  # without the 64 that were written before


@pytest.mark.exhaustive
def test_of_two_runs_at_once_the_later_one_follows_the_job_and_the_earlier_one_stops(at: At) -> None:
    at.rows(150)
    began = len(at.executed)
    at.jobs.hold(64)
    outcome: list[BaseException] = []
    looked = threading.Event()

    def first() -> None:
        def on_statement(text: str) -> None:
            if text.startswith("DESCRIBE SERVICE"):
                looked.set()

        try:
            at.do(JOB, on_statement=on_statement)
        except SpcsError as error:
            outcome.append(error)

    thread = threading.Thread(target=first)
    thread.start()
    assert looked.wait(60)

    def on_statement(text: str) -> None:
        if text.startswith("DESCRIBE SERVICE"):
            at.jobs.release()

    report = at.do(JOB, on_statement=on_statement)
    thread.join(60)
    assert "Another run of this recipe has begun" in str(outcome[0])
    assert report.answered == 150
    assert len(at.executed) - began == 1
    assert Counter(int(row["id"]) for row in at.output) == Counter(range(150))
    assert at.left == []


@pytest.mark.exhaustive
@pytest.mark.parametrize("count", [4, 12])
def test_no_row_is_lost_or_doubled_by_interruptions(at: At, count: int) -> None:
    _interruptions(at, 1, count)


@pytest.mark.soak
def test_no_row_is_lost_or_doubled_by_many_interruptions(at: At) -> None:
    seed = random.SystemRandom().randint(1, 10**6)
    print(f"seed {seed}")
    _interruptions(at, seed, 50)


def _interruptions(at: At, seed: int, count: int) -> None:
    rng = random.Random(seed)
    at.rows(300)
    interrupted = 0
    while interrupted < count:
        if rng.random() < 0.5:
            at.jobs.arm(
                rng.choice(["fail", "missing", "no_success"]),
                after=rng.choice([0, 64]),
                every=rng.randint(2, 9),
            )
        left = rng.randint(1, 60)

        def on_statement(text: str) -> None:
            nonlocal left
            left -= 1
            if left <= 0:
                raise Interrupted

        try:
            at.do(JOB, on_statement=on_statement)
        except (Interrupted, SpcsError):
            interrupted += 1
    at.jobs.faults.clear()
    report = at.do(JOB)
    assert (report.answered, report.failed) == (300, 0), seed
    assert Counter(int(row["id"]) for row in at.output) == Counter(range(300)), seed
    assert at.left == []


# -- jobs that go wrong ----------------------------------------------------------------------------


def test_a_job_that_fails_is_told_with_what_its_log_says(at: At) -> None:
    at.rows(3)
    at.jobs.arm("fail", after=0, condition="application_error")
    said = _refused(at, JOB)
    assert "its log says that the image does not contain the Python package vllm" in said


@pytest.mark.exhaustive
def test_a_job_that_fails_is_told_with_its_message_and_what_it_has_done_is_kept(at: At) -> None:
    at.rows(150)
    at.jobs.arm("fail", after=64, condition="out_of_memory")
    said = _refused(at, JOB)
    assert "has failed: main is FAILED: Container was OOMKilled due to resource usage" in said
    assert "Raise the memory that the service's specification requests, or serve a smaller model." in said
    assert any("_P1" in name for name in at.left)  # its log can be read
    report = at.do(JOB)
    assert (report.answered, report.asked) == (150, 86)
    assert len(at.jobs.started[-1].rows) == 86
    assert at.left == []


def test_a_row_that_makes_the_model_fail_fails_the_job_and_the_hint_says_what_finds_it(at: At) -> None:
    at.fill([(1, "a"), (2, POISON)])
    said = _refused(at, JOB)
    assert "If a row makes the model fail, engine SERVICE finds it." in said
    assert POISON not in said


@pytest.mark.exhaustive
def test_a_job_that_somebody_drops_is_told_and_the_next_run_goes_on(at: At) -> None:
    at.rows(150)
    at.jobs.hold(64)

    def drop(seconds: float) -> None:
        name = ".".join(at.jobs.started[-1].key)
        if len(at.sf.run_sql(f"LIST @{HERE}.{at.left[-1]}")) == 1:
            at.sf.run_sql(f"DROP SERVICE IF EXISTS {name}")

    with pytest.raises(SpcsError, match="was dropped before its end, and not by this run"):
        at.here(JOB, sleep=drop)
    at.jobs.release()
    assert (at.do(JOB).answered, len(at.jobs.started[-1].rows)) == (150, 86)


def test_a_job_that_does_not_start_is_stopped_with_what_the_pool_says(at: At) -> None:
    at.rows(5)
    at.jobs.arm("pending")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job_watch, "PENDING_SECONDS", -1.0)
        said = _refused(at, JOB)
    assert re.search(r"has not started after \d+ s, and is stopped: main is PENDING: Unschedulable", said)
    assert "raise MAX_NODES of the compute pool" in said
    assert [name.rpartition("_")[2] for name in at.left] == ["RESULTS"]


@pytest.mark.exhaustive
def test_rows_without_a_result_are_asked_again(at: At) -> None:
    at.rows(100)
    at.jobs.arm("missing", every=10)
    assert at.do(JOB).answered == 100
    assert [len(job.rows) for job in at.jobs.started[-2:]] == [100, 10]


@pytest.mark.exhaustive
def test_rows_that_never_have_a_result_are_failures(at: At) -> None:
    at.rows(100)
    at.jobs.arm("missing", every=10)
    at.jobs.arm("missing", every=2)
    report = at.do(JOB)
    assert (report.answered, report.failed) == (95, 5)
    assert {row["answer_error"] for row in at.failures} == {
        "The inference job returned no answer for the row, also when it was asked again."
    }


@pytest.mark.exhaustive
def test_a_job_without_any_result_stops_the_recipe_and_fails_no_row(at: At) -> None:
    at.rows(10)
    at.jobs.arm("missing", every=1)
    assert "has ended without a single answer" in _refused(at, JOB)
    assert at.do(JOB).answered == 10


@pytest.mark.exhaustive
def test_results_that_are_not_said_to_be_complete_are_taken_with_a_warning(
    at: At, caplog: pytest.LogCaptureFixture
) -> None:
    at.rows(100)
    at.jobs.arm("no_success")
    assert at.do(JOB).answered == 100
    assert "did not say that its results are complete" in caplog.text


@pytest.mark.exhaustive
def test_a_look_at_the_job_that_fails_does_not_end_it(at: At) -> None:
    at.rows(5)
    began = len(at.executed)
    at.sf.statement_faults.arm("error", "^DESCRIBE SERVICE", times=5)
    assert at.do(JOB).answered == 5
    assert len(at.executed) - began == 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job_watch, "MISSES", 2)
        at.sf.statement_faults.arm("error", "^DESCRIBE SERVICE", times=3)
        assert "Snowflake refuses DESCRIBE SERVICE" in _refused(at, JOB)
    assert [name.rpartition("_")[2] for name in at.left] == ["RESULTS"]


@pytest.mark.exhaustive
def test_a_statement_that_waits_for_an_image_is_repeated(at: At) -> None:
    at.rows(5)
    at.sf.statement_faults.arm("error", f"^{EXECUTE}", times=3, code="000630", state="57014")
    assert at.do(JOB).answered == 5


@pytest.mark.exhaustive
def test_a_cost_limit_stops_the_job_and_keeps_what_it_has_done(at: At) -> None:
    at.rows(150)
    at.jobs.hold(64)

    def pause(seconds: float) -> None:
        wait_for(lambda: len(at.sf.run_sql(f"LIST @{HERE}.{at.left[-1]}")) == 1)

    with pytest.raises(SpcsError, match="has cost about that much: it is stopped"):
        at.here({**JOB, "costLimit": 0.000000001}, sleep=pause)
    assert [name.rpartition("_")[2] for name in at.left] == ["RESULTS"]
    at.jobs.release()
    assert at.do(JOB).answered == 150


def _refused(at: At, params: dict[str, Any]) -> str:
    with pytest.raises(SpcsError) as refused:
        at.do(params)
    return f"{refused.value.message} {refused.value.hint}"


@pytest.mark.exhaustive
def test_a_statement_that_is_started_twice_is_one_job(at: At) -> None:
    """As when the answer to the first one is lost."""
    at.rows(5)

    def on_statement(text: str) -> None:
        if text.startswith(EXECUTE):
            at.sf.run_sql(text, role=CALLER)

    before = len(at.jobs.started)
    assert at.do(JOB, on_statement=on_statement).answered == 5
    assert len(at.jobs.started) - before == 1


@pytest.mark.exhaustive
def test_the_log_says_how_many_rows_have_results_and_what_it_costs_so_far(
    at: At, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    at.rows(150)
    at.jobs.hold(64)

    def pause(seconds: float) -> None:
        if "has results for 64 rows" in caplog.text:
            at.jobs.release()
        threading.Event().wait(0.02)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job_watch, "PROGRESS_SECONDS", -1.0)
        at.here(JOB, sleep=pause)
    assert re.search(
        r"has results for 64 rows, \d+\.\d a second\. So far this costs about USD \d", caplog.text
    )


# -- rights and bad input --------------------------------------------------------------------------


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("kind", "privilege", "grant"),
    [
        (
            "schema",
            "CREATE SERVICE",
            f"GRANT USAGE, CREATE STAGE, CREATE SERVICE ON SCHEMA {HERE} TO ROLE {CALLER}",
        ),
        (
            "schema",
            "CREATE STAGE",
            f"GRANT USAGE, CREATE STAGE, CREATE SERVICE ON SCHEMA {HERE} TO ROLE {CALLER}",
        ),
        ("pool", "USAGE", f"GRANT USAGE ON COMPUTE POOL JOBS TO ROLE {CALLER}"),
        ("model", "USAGE", f"GRANT USAGE ON MODEL {HERE}.M TO ROLE {CALLER}"),
    ],
)
def test_a_right_that_is_missing_is_named_as_its_grant(at: At, kind: str, privilege: str, grant: str) -> None:
    at.rows(3)
    catalog = at.sf.catalog
    on = {
        "schema": catalog.databases[DATABASE].schemas[SCHEMA].securable,
        "pool": catalog.pools["JOBS"].securable,
        "model": catalog.models[DATABASE, SCHEMA, "M"].securable,
    }[kind]
    catalog.grants.revoke(privilege, on, CALLER)
    try:
        assert grant in _refused(at, JOB)
    finally:
        catalog.grants.grant(privilege, on, CALLER)
    assert at.do(JOB).answered == 3


@pytest.mark.sample(4)
@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"model": None}, "'Model' is empty"),
        ({"computePool": None}, "'Compute pool' is empty"),
        ({"model": "M"}, "'Model' must have three parts"),
        ({"model": f"{HERE}.NOPE"}, f"GRANT USAGE ON MODEL {HERE}.NOPE TO ROLE {CALLER}"),
        ({"modelVersion": "V9"}, "'Model version' is V9, and the model has only V1."),
        ({"computePool": "NOPE"}, f"GRANT USAGE ON COMPUTE POOL NOPE TO ROLE {CALLER}"),
        (
            {"method": "predict"},
            "'Method or function' is PREDICT, and the version of the model has only __CALL__.",
        ),
        ({"method": f"{HERE}.F"}, "is a function of a service, and engine JOB runs a method of a model"),
    ],
)
def test_bad_input_is_refused_in_a_sentence_before_anything_runs(
    at: At, params: dict[str, Any], said: str
) -> None:
    at.rows(3)
    assert said in _refused(at, {**JOB, **params})
    assert (at.work_tables, at.left) == ([], [])


def test_all_that_a_job_lacks_is_said_at_once(at: At) -> None:
    at.rows(3)
    said = _refused(at, {**JOB, "model": f"{HERE}.NOPE", "computePool": "NOPE"})
    assert "ON MODEL" in said
    assert "ON COMPUTE POOL" in said
    form = _refused(at, {"engine": "JOB", "keyColumns": ["id"]})
    for label in ("Model", "Compute pool", "Prompt"):
        assert f"'{label}' is empty" in form


@pytest.mark.exhaustive
@pytest.mark.parametrize("resumes", [True, False])
def test_a_suspended_pool_is_used_if_it_resumes_by_itself(at: At, resumes: bool) -> None:
    at.rows(3)
    pool = at.sf.catalog.add_pool("ASLEEP", "GPU_NV_S", suspended=True, auto_resume=resumes, max_nodes=1)
    try:
        if resumes:
            assert at.do({**JOB, "computePool": "ASLEEP"}).answered == 3
        else:
            said = _refused(at, {**JOB, "computePool": "ASLEEP"})
            assert "compute pool ASLEEP is SUSPENDED and does not resume by itself." in said
            assert "ALTER COMPUTE POOL ASLEEP RESUME" in said
    finally:
        del at.sf.catalog.pools[pool.name]


@pytest.mark.exhaustive
def test_a_stage_that_another_role_owns_is_named_with_its_grant(at: At) -> None:
    at.rows(150)
    at.jobs.arm("fail", after=64)
    _refused(at, JOB)
    stage = next(stage for stage in at.sf.catalog.stages.values() if "SPCS_LLM" in stage.name)
    grants = at.sf.catalog.grants
    grants.revoke("OWNERSHIP", stage.securable, CALLER)
    grants.grant("WRITE", stage.securable, CALLER)
    try:
        assert f"GRANT READ, WRITE ON STAGE {stage.full_name} TO ROLE {CALLER}" in _refused(at, JOB)
    finally:
        grants.own(stage.securable, CALLER)


@pytest.mark.exhaustive
def test_an_account_that_lists_no_jobs_runs_both_engines(at: At) -> None:
    at.rows(3)
    at.sf.statement_faults.arm("error", "^SHOW JOB SERVICES", times=None, code="001003", state="42000")
    assert at.do(PROMPT).answered == 3
    assert at.do(JOB).answered == 3


@pytest.mark.exhaustive
def test_an_alias_of_a_version_is_taken(at: At) -> None:
    at.rows(3)
    assert at.do({**JOB, "modelVersion": "last"}).answered == 3
    assert " VERSION = V1 " in at.executed[-1]


# -- AUTO ------------------------------------------------------------------------------------------


BOTH = {**PROMPT, "model": f"{HERE}.M", "computePool": "JOBS"}


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    ("params", "most", "missing", "said"),
    [
        (PROMPT, 1, "", "AUTO selects the engine SERVICE: there is a service, and not both a model"),
        ({**BOTH, "service": None}, 100, "", "AUTO selects the engine JOB: there is a model, and no service"),
        (BOTH, 100, "", "AUTO selects the engine SERVICE: for fewer than 100 rows"),
        (BOTH, 5, "", "AUTO selects the engine JOB: there are 5 rows or more"),
        (BOTH, 5, "CREATE SERVICE", f"GRANT CREATE SERVICE ON SCHEMA {HERE} TO ROLE {CALLER}"),
    ],
)
def test_auto_selects_by_rows_model_and_rights_and_says_why(
    at: At, caplog: pytest.LogCaptureFixture, params: dict[str, Any], most: int, missing: str, said: str
) -> None:
    caplog.set_level("INFO")
    at.rows(10)
    grants, schema = at.sf.catalog.grants, at.sf.catalog.databases[DATABASE].schemas[SCHEMA].securable
    if missing:
        grants.revoke(missing, schema, CALLER)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(engine_choice, "ROWS_FOR_A_JOB", {True: most, False: most})
            assert at.do(params).answered == 10
    finally:
        if missing:
            grants.grant(missing, schema, CALLER)
    assert said in caplog.text


def test_auto_selects_service_where_only_a_secondary_role_may_create(
    at: At, caplog: pytest.LogCaptureFixture
) -> None:
    """Snowflake documentation, "SHOW WAREHOUSES", WITH PRIVILEGES: only the primary role may create objects.

    IS_ROLE_IN_SESSION is true of secondary roles, too.
    """
    caplog.set_level("INFO")
    at.rows(10)
    at.sf.statement_faults.arm(
        "error", "^CREATE STAGE", times=1, code="003001", state="42501",
        message="SQL access control error: Insufficient privileges to operate on schema 'PUBLIC'.",
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine_choice, "ROWS_FOR_A_JOB", {True: 5, False: 5})
        assert at.do(BOTH).answered == 10
    assert "AUTO selects the engine SERVICE: the role itself may not create a stage" in caplog.text


@pytest.mark.exhaustive
def test_auto_goes_on_with_the_job_that_a_crash_has_left(at: At) -> None:
    at.rows(80)
    at.jobs.hold(64)
    _killed(at, {**JOB}, "DESCRIBE SERVICE", skip=1)
    began = len(at.executed)
    at.jobs.release()
    assert at.do(BOTH).answered == 80
    assert len(at.executed) - began in (0, 1)  # the job may have ended before


# -- the form --------------------------------------------------------------------------------------


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    ("field", "value"), [("listedModel", f"{HERE}.M"), ("listedPool", "JOBS"), ("listedService", CHAT)]
)
def test_the_form_offers_models_and_pools_beside_services(at: At, field: str, value: str) -> None:
    inputs = [{"role": "input", "type": "DATASET", "fullName": f"{PROJECT}.input"}]
    choices = at.dss.form_choices(
        PLUGIN, RECIPE, field, {field: "A.B.GONE"}, project_key=PROJECT, inputs=inputs
    )
    values = [choice.get("value") for choice in choices]
    assert values[0] == "A.B.GONE"
    assert value in values


@pytest.mark.exhaustive
def test_a_model_and_a_pool_that_are_selected_are_used(at: At) -> None:
    at.rows(3)
    listed = {"model": "", "computePool": None, "listedModel": f"{HERE}.M", "listedPool": "JOBS"}
    assert at.do({**JOB, **listed}).answered == 3
