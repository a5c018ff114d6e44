"""What a diagnosis makes of what Snowflake says of a service, over a session that follows a script."""

from __future__ import annotations

from typing import Any

import pytest

from spcs_llm.control.container_messages import hint_for_message, hint_for_pool, log_may_tell
from spcs_llm.control.diagnosis.finding import FAILED, OK, SKIPPED, WARNING, Outcome
from spcs_llm.control.diagnosis.grants import with_names
from spcs_llm.control.diagnosis.service_steps import ServiceSteps
from spcs_llm.control.diagnosis.subject import Facts, Subject
from spcs_llm.control.identifiers import QualifiedName
from spcs_llm.control.services import Container
from spcs_llm.errors import NetworkError, NotFound, ServiceStarting
from spcs_llm.query_context import QueryContext
from spcs_llm.server_text.redaction import SENT_SECRETS
from spcs_llm.snowflake.ingress import GRANT_GATEWAY
from tests.unit.scripted_session import ABSENT, NO_PRIVILEGE, ScriptedSession, rows

HOST = "abc-myorg-prod.snowflakecomputing.app"
CONFIG = {
    "authenticationMode": "PROGRAMMATIC_ACCESS_TOKEN",
    "programmaticAccessToken": {"token": "pat"},
    "llmEndpointUrl": HOST,
}
SERVICES = "name database_name schema_name status compute_pool current_instances target_instances auto_resume"
CONTAINERS = "instance_id container_name status message restart_count last_exit_code"
POOL = "name state active_nodes max_nodes error_code status_message"
QWEN = QualifiedName("LLM", "PUBLIC", "QWEN")


def session(
    status: str = "RUNNING", containers: Any = None, pool: Any = None, more: dict[str, Any] | None = None
) -> ScriptedSession:
    ready = rows(CONTAINERS, "0 | main | READY | Running | 0 | NULL")
    return ScriptedSession(
        {
            "SHOW SERVICES": rows(
                SERVICES,
                "OTHER | LLM | PUBLIC | RUNNING | POOL | 1 | 1 | true",
                f"QWEN | LLM | PUBLIC | {status} | GPU | 1 | 1 | true",
            ),
            "SHOW ENDPOINTS IN SERVICE LLM.PUBLIC.OTHER": rows("name ingress_url", "api | x.y.app"),
            "SHOW ENDPOINTS IN SERVICE LLM.PUBLIC.QWEN": rows("name ingress_url", f"api | {HOST}"),
            "SHOW SERVICE CONTAINERS": ready if containers is None else containers,
            "DESCRIBE COMPUTE POOL": pool or rows(POOL, "GPU | ACTIVE | 1 | 1 | NULL | NULL"),
            **(more or {}),
        }
    )


def steps(made: ScriptedSession, **options: Any) -> ServiceSteps:
    subject = Subject(CONFIG, open_sql=lambda: made, **options)
    subject.read()
    return ServiceSteps(subject)


def state(made: ScriptedSession, **options: Any) -> Outcome:
    return steps(made, **options).state(QueryContext(10))


def test_the_endpoint_of_a_gateway_is_told_as_that() -> None:
    """It belongs to no service: a host that no service has is right there."""
    columns = "name database_name schema_name ingress_url"
    gateways = rows(columns, "OTHER | ML | PROD | x.y.app", f"GW | ML | PROD | {HOST}")
    answers = {"SHOW ENDPOINTS IN SERVICE LLM.PUBLIC.QWEN": [], "SHOW GATEWAYS IN ACCOUNT": gateways}
    outcome = state(session(more=answers))
    assert outcome.result == OK
    assert "gateway ML.PROD.GW" in outcome.seen
    assert with_names(GRANT_GATEWAY, Facts(gateway=QualifiedName("ML", "PROD", "GW"), role="R")).endswith(
        "GRANT USAGE ON GATEWAY ML.PROD.GW TO ROLE R."
    )
    assert with_names(f"Grant. {GRANT_GATEWAY}", Facts(service=QWEN)) == "Grant.", (
        "the endpoint is the service's"
    )
    assert state(session(more={**answers, "SHOW GATEWAYS IN ACCOUNT": gateways[:1]})).result == WARNING
    assert state(session(more={**answers, "SHOW GATEWAYS IN ACCOUNT": NO_PRIVILEGE})).result == WARNING


def test_a_service_that_runs_is_told_with_its_container_and_pool() -> None:
    outcome = state(session())
    assert outcome.result == OK
    assert outcome.seen == (
        "LLM.PUBLIC.QWEN is RUNNING; 1 of 1 instances; container main is READY (Running);"
        " compute pool GPU is ACTIVE, with 1 of at most 1 nodes active."
    )


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("Waiting to start; Compute pool node(s) are being provisioned", "Wait"),
        ("Unschedulable due to insufficient resources", "MAX_NODES"),
        ("Readiness probe is failing at path: /health, port: 8000", "readinessProbe"),
        ("Failed to pull image", "READ on the image repository"),
        ("Provided image name uses an invalid format", "image's path"),
        ("Encountered fatal error, retrying", "SYSTEM$GET_SERVICE_LOGS"),
        ("Encountered fatal error while running, check container logs", "SYSTEM$GET_SERVICE_LOGS"),
        ("Container was OOMKilled due to resource usage", "memory"),
        ("User application error, check container logs", "SYSTEM$GET_SERVICE_LOGS"),
    ],
)
def test_each_message_of_a_container_has_its_hint(message: str, told: str) -> None:
    outcome = state(session(containers=rows(CONTAINERS, f"0 | main | PENDING | {message} | 0 | NULL")))
    assert outcome.result == WARNING
    assert message in outcome.seen
    assert told in outcome.hint


def test_a_container_that_restarts_is_a_warning_though_it_is_ready() -> None:
    outcome = state(session(containers=rows(CONTAINERS, "0 | main | READY | Running | 4 | 137")))
    assert outcome.result == WARNING
    assert "4 restarts, last exit code 137" in outcome.seen
    assert "SYSTEM$GET_SERVICE_LOGS" in outcome.hint


def test_the_reason_that_only_the_log_has_is_told_without_a_line_of_it() -> None:
    """vllm-project/vllm#17939: the last lines say no more than that the cause stands above them."""
    log = (
        "INFO prompt: 'the secret plan'\n(EngineCore pid=7) ValueError: No available memory for the cache blocks. Try\n"
        + "(EngineCore pid=7) Traceback\n" * 300
        + "(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above."
    )
    crashed = rows(CONTAINERS, "3 | main | PENDING | Encountered fatal error, retrying | 2 | 1")
    before = "SELECT SYSTEM$GET_SERVICE_LOGS('LLM.PUBLIC.QWEN', '3', 'main', 1000, TRUE)"
    outcome = state(session(containers=crashed, more={before: [{"log": log}]}))
    assert outcome.result == WARNING
    assert "its log says that the weights leave no memory of the GPU" in outcome.seen
    assert "--max-model-len" in outcome.hint and "SYSTEM$GET_SERVICE_LOGS" not in outcome.hint
    assert "secret plan" not in outcome.seen + outcome.hint


@pytest.mark.parametrize("refusal", [NO_PRIVILEGE, ABSENT])
def test_a_log_that_may_not_be_read_is_named_as_before(refusal: Any) -> None:
    crashed = rows(CONTAINERS, "0 | main | PENDING | Encountered fatal error, retrying | 2 | 1")
    outcome = state(session(containers=crashed, more={"SELECT SYSTEM$GET_SERVICE_LOGS": refusal}))
    assert "SYSTEM$GET_SERVICE_LOGS" in outcome.hint


def test_no_log_is_read_where_the_message_says_enough() -> None:
    made = session(containers=rows(CONTAINERS, "0 | main | PENDING | Failed to pull image | 0 | NULL"))
    state(made)
    assert not any("LOGS" in statement for statement in made.asked)


def test_a_service_without_an_instance_has_no_container_of_nulls() -> None:
    nothing = rows(CONTAINERS, "NULL | NULL | NULL | NULL | NULL | NULL")
    starting = rows(POOL, "GPU | STARTING | 0 | 1 | 392507 | CAPACITY_ERROR")
    outcome = state(session("PENDING", nothing, starting))
    assert outcome.result == WARNING
    assert "does not have a container yet" in outcome.seen
    assert "392507: CAPACITY_ERROR" in outcome.seen
    assert "BACKUP_INSTANCE_FAMILIES" in outcome.hint


def test_a_suspended_service_is_resumed_by_its_statement() -> None:
    outcome = state(session("SUSPENDED", pool=rows(POOL, "GPU | SUSPENDED | 0 | 1 | NULL | NULL")))
    assert outcome.result == WARNING
    assert "ALTER SERVICE LLM.PUBLIC.QWEN RESUME" in outcome.hint
    assert "ALTER COMPUTE POOL GPU RESUME" in outcome.hint


def test_containers_that_the_role_may_not_see_are_told_with_the_grant() -> None:
    outcome = state(session(containers=NO_PRIVILEGE))
    assert outcome.result == OK
    assert "GRANT MONITOR ON SERVICE LLM.PUBLIC.QWEN TO ROLE ANALYST" in outcome.hint


def test_an_endpoint_of_no_visible_service_may_be_that_of_a_dropped_one() -> None:
    made = session()
    made.answers["SHOW ENDPOINTS IN SERVICE LLM.PUBLIC.QWEN"] = ABSENT
    outcome = state(made)
    assert outcome.result == WARNING
    assert outcome.seen == "No service that the role ANALYST may see has this endpoint."
    assert "a new URL" in outcome.hint


def test_a_service_that_is_named_is_not_searched_for() -> None:
    made = session()
    assert state(made, service=QWEN).result == OK
    assert not any(statement.startswith("SHOW ENDPOINTS") for statement in made.asked)


def test_a_session_that_cannot_be_had_is_a_warning() -> None:
    def fail() -> Any:
        raise NetworkError("no way.", "Check.")

    subject = Subject(CONFIG, open_sql=fail)
    subject.read()
    outcome = ServiceSteps(subject).state(QueryContext(10))
    assert (outcome.result, outcome.hint) == (WARNING, "Check.")


def test_without_sql_the_step_is_skipped() -> None:
    subject = Subject(CONFIG)
    subject.read()
    assert ServiceSteps(subject).state(QueryContext(1)).result == SKIPPED


def test_a_service_that_does_not_answer_is_explained_by_its_state() -> None:
    made = steps(session(containers=rows(CONTAINERS, "0 | main | PENDING | Failed to pull image | 0 | NULL")))
    made._subject.facts.refusal = ServiceStarting("The service is not reachable yet.", "See SHOW.")
    made.state(QueryContext(10))
    outcome = made.answers(QueryContext(10))
    assert outcome.result == FAILED
    assert "READ on the image repository" in outcome.hint


def test_a_service_that_answers_with_no_such_path_answers() -> None:
    made = steps(session())
    made._subject.facts.refusal = NotFound("none of the paths.")
    assert made.answers(QueryContext(10)).result == OK


# -- the log ------------------------------------------------------------------------------------------------


def test_the_log_shows_its_last_lines_without_those_about_requests() -> None:
    log = "\n".join(
        [
            "an old line",
            "INFO Received request chatcmpl-1: prompt: 'the secret plan', params: …",
            'DEBUG {"messages": [{"role": "user", "content": "the secret plan"}]}',
            "ERROR CUDA out of memory",
        ]
    )
    made = steps(session(more={"SELECT SYSTEM$GET_SERVICE_LOGS": [{"log": log}]}), log_lines=3)
    made.state(QueryContext(10))
    outcome = made.log(QueryContext(10))
    assert outcome.result == OK
    assert (
        outcome.seen == "main: (a line about a request) | (a line about a request) | ERROR CUDA out of memory"
    )


def test_the_log_of_each_instance_is_its_own() -> None:
    """snowflakedb/snowflake-cli#3084: the instance is that of the container's row, which need not be 0."""
    containers = rows(
        CONTAINERS,
        "1 | main | READY | Running | 0 | NULL",
        "2 | main | FAILED | User application error | 4 | 1",
    )
    more = {
        f"SELECT SYSTEM$GET_SERVICE_LOGS('LLM.PUBLIC.QWEN', '{number}'": rows("log", text)
        for number, text in (("0", "wrong"), ("1", "fine"), ("2", "CUDA out of memory"))
    }
    made = steps(session(containers=containers, more=more), log_lines=3)
    made.state(QueryContext(10))
    seen = made.log(QueryContext(10)).seen
    assert seen == "main of instance 1: fine || main of instance 2: CUDA out of memory"


def test_no_log_is_read_unless_lines_are_asked_for() -> None:
    made = session()
    found = steps(made)
    found.state(QueryContext(10))
    assert found.log(QueryContext(10)).result == SKIPPED
    assert not any("LOGS" in statement for statement in made.asked)


# -- hints --------------------------------------------------------------------------------------------------


def test_real_names_stand_in_place_of_those_in_angle_brackets() -> None:
    hint = "Ask: GRANT SERVICE ROLE <service>!ALL_ENDPOINTS_USAGE TO ROLE <role>."
    named = with_names(hint, Facts(role="my role", service=QualifiedName("Db", "PUBLIC", "QWEN")))
    assert 'GRANT USAGE ON DATABASE "Db" TO ROLE "my role"' in named
    assert 'GRANT SERVICE ROLE "Db".PUBLIC.QWEN!ALL_ENDPOINTS_USAGE TO ROLE "my role"' in named
    assert "<" not in named
    assert with_names(hint, Facts()) == hint
    assert (
        with_names("GRANT ROLE <role> TO USER <user>", Facts(role="R"), "JANE") == "GRANT ROLE R TO USER JANE"
    )


def test_what_is_not_known_has_no_hint() -> None:
    assert hint_for_message("Running") == ""
    assert hint_for_pool("P", "ACTIVE") == ""
    assert hint_for_message("something new", "FAILED") != ""


def test_a_service_whose_program_has_ended_is_one_that_failed() -> None:
    """A server that could not start may end without an error: SHOW SERVICE CONTAINERS then says DONE."""
    for restarts in (0, 5):
        ended = Container(
            "0", "main", "DONE", "Completed successfully", restarts=restarts, last_exit_code="0"
        )
        assert log_may_tell(ended)
        assert "must not end" in hint_for_message(ended.message, ended.status)
    assert "must not end" in hint_for_message("", "DONE")
    assert "Snowflake Support" in hint_for_message("", "UNKNOWN")


def test_a_token_in_a_log_is_masked() -> None:
    token = "ver:1-hint:1000001-ETMsDgAAA-canary-of-some-length"
    SENT_SECRETS.add(token)
    log = f'Authorization: Snowflake Token="{token}"\n\x1b[31mERROR\x1b[0m <b>done</b>'
    made = steps(session(more={"SELECT SYSTEM$GET_SERVICE_LOGS": [{"log": log}]}), log_lines=5)
    made.state(QueryContext(10))
    shown = made.log(QueryContext(10)).seen
    assert "canary" not in shown
    assert "\x1b" not in shown
    assert "<b>" not in shown
    assert "ERROR" in shown
