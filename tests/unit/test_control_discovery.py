"""Discovery: complete where it can be, and honest about what is missing."""

from __future__ import annotations

import resource
import threading
from typing import Any

import pytest

from spcs_llm.control.discovery import Discovery, discover
from spcs_llm.control.families import price_list
from spcs_llm.control.identifiers import QualifiedName
from spcs_llm.errors import LoginError, NetworkError, SqlError

from .scripted_session import ABSENT, NO_PRIVILEGE, ScriptedSession, rows

SERVICES = rows(
    "database_name schema_name name status compute_pool is_job target_instances",
    "ML|PROD|CHAT|RUNNING|GPU|false|2",
    "ML|PROD|EMBED|SUSPENDED|CPU|false|1",
    "ML|PROD|NIGHTLY|RUNNING|GPU|true|1",
    "ML|PROD|MODEL_BUILD_7|RUNNING|GPU|false|1",
    "ML|my schema|NEW|RUNNING|HIDDEN|false|1",
)
POOLS = rows(
    "name state instance_family active_nodes idle_nodes auto_suspend_secs",
    "GPU|ACTIVE|GPU_NV_S|1|1|300",
    "CPU|SUSPENDED|CPU_X64_XS|0|0|300",
)
ENDPOINTS = rows(
    "name port protocol is_public ingress_url",
    "inference|5000|HTTP|true|abc-myorg-prod.snowflakecomputing.app",
)
PROVISIONING = rows(
    "name port protocol is_public ingress_url",
    "inference|5000|HTTP|true|Endpoints provisioning in progress... check back in a few minutes",
)
CONTAINERS = rows(
    "instance_id container_name status message",
    "0|main|READY|Running",
    "0|proxy|READY|Running",
    "1|main|PENDING|Waiting to start",
    "1|proxy|READY|Running",
)


def account(**answers: Any) -> ScriptedSession:
    return ScriptedSession(
        {
            "SHOW SERVICES": SERVICES,
            "SHOW COMPUTE POOLS": POOLS,
            "SHOW NODES IN COMPUTE POOL GPU": rows("instance_family", "GPU_NV_S", "GPU_NV_M"),
            "SHOW MODELS": rows("database_name schema_name name", "ML|PROD|QWEN"),
            "SHOW VERSIONS IN MODEL ML.PROD.QWEN": rows(
                "name functions inference_services", 'V1|["__call__"]|["ML.PROD.CHAT"]'
            ),
            "SHOW ENDPOINTS": ENDPOINTS,
            'SHOW ENDPOINTS IN SERVICE ML."my schema".NEW': PROVISIONING,
            "SHOW SERVICE CONTAINERS": CONTAINERS,
            **{name.replace("_", " "): answer for name, answer in answers.items()},
        }
    )


def find(session: ScriptedSession, **how: Any) -> Discovery:
    return discover(session, price_list(), **how)


def test_services_are_found_with_all_that_belongs_to_them() -> None:
    found = find(account())
    chat, embed, new = found.services
    assert [s.service.name.name for s in found.services] == ["CHAT", "EMBED", "NEW"]
    assert (chat.ready, chat.service.target_instances) == (1, 2)
    assert chat.endpoints is not None
    assert chat.endpoints[0].host == "abc-myorg-prod.snowflakecomputing.app"
    assert chat.notes == ("main is PENDING: Waiting to start",)
    assert (embed.ready, embed.containers) == (0, None)
    assert new.endpoints is not None
    assert new.endpoints[0].is_provisioning
    assert found.models[QualifiedName("ML", "PROD", "CHAT")].model.name == "QWEN"


def test_each_node_is_billed_by_its_own_family() -> None:
    rate = find(account()).rates["GPU"]
    assert rate.credits_per_hour == pytest.approx(0.57 + 2.68)
    assert (rate.nodes, rate.by_node, rate.gpu) == (2, True, "1 NVIDIA A10G (24 GB)")


def test_without_the_nodes_the_pools_family_stands_for_them() -> None:
    rate = find(account(SHOW_NODES_IN_COMPUTE_POOL_GPU=ABSENT)).rates["GPU"]
    assert rate.credits_per_hour == pytest.approx(2 * 0.57)
    assert not rate.by_node


def test_a_pool_that_the_role_does_not_see_is_noted() -> None:
    assert any("does not see HIDDEN" in note for note in find(account()).notes)


def test_missing_rights_are_named_with_the_grant_and_nothing_else_is_lost() -> None:
    found = find(account(SHOW_ENDPOINTS=NO_PRIVILEGE, SHOW_SERVICE_CONTAINERS=ABSENT, SHOW_MODELS=ABSENT))
    chat = found.services[0]
    assert (chat.endpoints, chat.containers, chat.ready) == (None, None, None)
    assert "USAGE on the service" in chat.notes[0]
    assert "GRANT MONITOR ON SERVICE ML.PROD.CHAT TO ROLE ANALYST" in chat.notes[1]
    assert len(found.services) == 3
    assert any("SHOW MODELS" in note for note in found.notes)


@pytest.mark.parametrize(
    "lost",
    [NetworkError("The connection was closed."), LoginError("The session has ended.")],
    ids=["connection", "session"],
)
def test_what_was_found_before_the_connection_was_lost_is_kept_and_marked(lost: Any) -> None:
    session = account()
    asked: list[str] = []

    def endpoints(statement: str) -> Any:
        asked.append(statement)
        return lost if len(asked) > 1 else ENDPOINTS

    session.answers["SHOW ENDPOINTS"] = session.answers['SHOW ENDPOINTS IN SERVICE ML."my schema".NEW'] = (
        endpoints
    )
    found = find(session)
    assert [s.endpoints is not None for s in found.services] == [True, False, False]
    assert len(asked) == 2
    (note,) = [note for note in found.notes if "missing for 2 of 3 services" in note]
    assert lost.message.rstrip(".") in note


def test_a_connection_of_dss_that_is_lost_is_not_asked_a_thousand_times() -> None:
    many = rows(
        "database_name schema_name name status", *(f"D|S|A{number:03}|SUSPENDED" for number in range(200))
    )
    session = account(SHOW_SERVICES=many, SHOW_ENDPOINTS=SqlError("Communication error."))
    found = find(session)
    assert len([s for s in session.asked if s.startswith("SHOW ENDPOINTS")]) == 3
    assert any("Communication error" in note for note in found.notes)


def test_the_time_is_bounded_and_what_was_left_out_is_marked() -> None:
    now = [0.0]
    session = account()

    def slow(statement: str) -> Any:
        now[0] += 10.0
        return ENDPOINTS

    session.answers["SHOW ENDPOINTS"] = slow
    found = find(session, seconds=5.0, clock=lambda: now[0])
    assert [s.endpoints is not None for s in found.services] == [True, False, False]
    assert any("the time was up" in note for note in found.notes)


def test_as_many_statements_run_at_the_same_time_as_the_session_takes() -> None:
    many = rows("database_name schema_name name status", *(f"D|S|A{n}|SUSPENDED" for n in range(8)))
    together = threading.Barrier(4)

    def endpoints(statement: str) -> Any:
        together.wait(30)  # breaks if fewer than four ever meet
        return ENDPOINTS

    found = find(account(SHOW_SERVICES=many, SHOW_ENDPOINTS=endpoints), workers=4)
    assert all(s.endpoints for s in found.services)


def test_the_scope_is_written_into_the_statements() -> None:
    session = account()
    find(session, database="ML", schema="my schema")
    assert session.asked[0] == 'SHOW SERVICES EXCLUDE JOBS IN SCHEMA ML."my schema"'


def test_ten_thousand_rows_are_all_that_show_lists() -> None:
    line = "D|S|A|DONE"
    found = find(account(SHOW_SERVICES=rows("database_name schema_name name status", line) * 10_000))
    assert any("at most 10,000" in note for note in found.notes)


def test_a_thousand_services_take_two_statements_each_and_bounded_memory() -> None:
    many = rows(
        "database_name schema_name name status compute_pool target_instances",
        *(f"D{n // 500}|S{n % 100}|SERVICE_{n}|RUNNING|GPU|1" for n in range(1000)),
    )
    session = account(SHOW_SERVICES=many)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    shares: list[float] = []
    found = find(session, workers=8, progress=shares.append)
    assert len(found.services) == 1000
    assert all(s.endpoints and s.containers for s in found.services)
    # SHOW SERVICES, POOLS, NODES, MODELS, VERSIONS, and endpoints and containers of each service.
    assert len(session.asked) == 5 + 2 * 1000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024, "KiB"
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
