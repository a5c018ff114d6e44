"""What macros show: tables for people and scenarios, and the choices of a form."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from spcs_llm.control.choices import service_choices
from spcs_llm.control.discovery import discover
from spcs_llm.control.discovery_table import COLUMNS, discovery_table
from spcs_llm.control.families import price_list
from spcs_llm.control.open_session import Dss
from spcs_llm.control.operate import Operation
from spcs_llm.control.operated import Operated, Outcome, Verb
from spcs_llm.control.operation_table import operation_table, raise_for_failures
from spcs_llm.control.pool_effects import PoolEffect
from spcs_llm.control.table import Table
from spcs_llm.errors import SpcsError

from .scripted_session import JANE, ScriptedSession, rows
from .test_control_discovery import account

DONE = Operated("ML.PROD.CHAT", "GPU", "RUNNING", "SUSPENDED", Outcome.CHANGED)
FAILED = Operated(
    "ML.PROD.B", "GPU", "RUNNING", "RUNNING", Outcome.FAILED, "GRANT OPERATE ON SERVICE ML.PROD.B."
)
EFFECT = PoolEffect("GPU", 0.57, "0.57 credits per hour end.")


def as_dicts(table: Any) -> list[dict[str, str]]:
    assert all(len(row) == len(table.columns) for row in table.rows)
    assert all(isinstance(cell, str) for row in table.rows for cell in row)
    return [dict(zip(table.columns, row)) for row in table.rows]


def test_each_endpoint_has_the_values_to_enter_in_the_form_of_a_model() -> None:
    table = discovery_table(
        discover(account(), price_list()), "https://myorg-prod.snowflakecomputing.com", 3.0
    )
    chat, embed, new, *notes = as_dicts(table)
    assert chat["llmEndpointUrl"] == "https://abc-myorg-prod.snowflakecomputing.app"
    assert chat["snowflakeAccountUrl"] == "https://myorg-prod.snowflakecomputing.com"
    assert (chat["spcsCreditsPerHourCost"], chat["nodeCount"]) == ("0.57", "2")
    assert (chat["methodName"], chat["model"]) == ("__call__", "ML.PROD.QWEN version V1")
    assert (chat["ready"], chat["poolCredits"], chat["poolCost"]) == ("1 of 2", "3.25", "9.75")
    assert embed["state"] == "SUSPENDED"
    assert "still creating the host name" in new["note"]
    assert new["llmEndpointUrl"] == ""
    assert "user JANE, role ANALYST" in notes[0]["note"]
    assert "HIDDEN" in notes[1]["note"]


@pytest.mark.parametrize(
    ("account_url", "expected"),
    [
        ("https://myorg-prod.snowflakecomputing.com", "https://abc-myorg-prod.snowflakecomputing.app"),
        (
            "https://myorg-prod.privatelink.snowflakecomputing.com",
            "https://abc.spcs.xyz.privatelink.snowflake.app",
        ),
    ],
)
def test_an_account_by_private_link_has_its_services_by_it_too(account_url: str, expected: str) -> None:
    both = rows(
        "name is_public ingress_url privatelink_ingress_url",
        "api|true|abc-myorg-prod.snowflakecomputing.app|abc.spcs.xyz.privatelink.snowflake.app",
    )
    found = discover(account(SHOW_ENDPOINTS=both), price_list())
    assert as_dicts(discovery_table(found, account_url, 3.0))[0]["llmEndpointUrl"] == expected


def test_a_host_that_the_form_would_refuse_does_not_hide_the_other_services() -> None:
    """SHOW ENDPOINTS is read more loosely than a form: a label may not end in a dash there."""
    odd = rows("name is_public ingress_url", "api|true|abc-myorg-prod-.snowflakecomputing.app")
    found = discover(account(SHOW_ENDPOINTS=odd), price_list())
    first = as_dicts(discovery_table(found, "https://myorg-prod.snowflakecomputing.com", 3.0))[0]
    assert (first["endpoint"], first["llmEndpointUrl"]) == ("api", "")
    assert "abc-myorg-prod-.snowflakecomputing.app" in first["note"]


def test_an_empty_account_says_what_the_role_needs() -> None:
    found = discover(ScriptedSession({"SHOW SERVICES": [], "SHOW COMPUTE POOLS": []}), price_list())
    shown = as_dicts(discovery_table(found, None, 3.0))
    assert "privilege on the service" in shown[1]["note"]
    assert list(shown[0]) == list(COLUMNS)


def test_the_table_of_an_operation_has_services_pools_and_rights() -> None:
    table = operation_table(Operation(Verb.SUSPEND, False, JANE, (DONE, FAILED), (EFFECT,)))
    shown = as_dicts(table)
    assert [row["result"] for row in shown] == ["changed", "failed", "saved", ""]
    assert shown[2]["creditsPerHour"] == "0.57"
    assert "user JANE" in shown[3]["note"]


def test_a_failure_fails_the_macro_with_all_that_the_table_would_have_said() -> None:
    done = Operation(Verb.SUSPEND, False, JANE, (DONE, FAILED), (EFFECT,))
    with pytest.raises(SpcsError, match="1 of 2 could not be suspended") as failed:
        raise_for_failures(done)
    assert "GRANT OPERATE ON SERVICE ML.PROD.B" in str(failed.value)
    assert "The others are: ML.PROD.CHAT" in str(failed.value)


def test_neither_success_nor_a_dry_run_fails_the_macro() -> None:
    raise_for_failures(Operation(Verb.RESUME, False, JANE, (DONE,), ()))
    raise_for_failures(Operation(Verb.RESUME, True, JANE, (FAILED,), ()))


class Executor:
    """Answers SHOW SERVICES with two services, or does what a test puts in its way."""

    def __init__(self, on_query: Any = lambda: None) -> None:
        self._on_query = on_query

    def query_to_iter(self, query: str, pre_queries: Any = None) -> Any:
        self._on_query()
        return self

    def get_schema(self) -> Any:
        return [{"name": name} for name in ("database_name", "schema_name", "name", "status")]

    def iter_tuples(self) -> Any:
        return [["ML", "PROD", "CHAT", "RUNNING"], ["ML", "PROD", "MODEL_BUILD_1", "RUNNING"]]


SAVED = {"snowflakeConnection": "SNOW", "listedServices": ["ML.PROD.CHAT", "ML.PROD.GONE"]}
LISTED = [
    {"value": "ML.PROD.GONE", "label": "ML.PROD.GONE (chosen)"},
    {"value": "ML.PROD.CHAT", "label": "ML.PROD.CHAT (RUNNING)"},
]


@pytest.mark.parametrize(
    ("payload", "config"),
    [
        ({}, SAVED),
        ({}, {"config": SAVED}),
        ({"rootModel": SAVED}, {}),
        ({"rootModel": SAVED}, None),
        (None, SAVED),
        ({"rootModel": {"snowflakeConnection": "SNOW"}}, SAVED),
    ],
)
def test_services_are_offered_in_every_shape_that_values_arrive_in(payload: Any, config: Any) -> None:
    assert service_choices(payload, config, Dss(lambda connection: Executor())) == LISTED


def test_a_preset_is_read_as_it_was_saved_and_not_as_the_form_names_it() -> None:
    saved = {
        "oauth": {"snowflake_oauth": "token"},
        "snowflakeAccountUrl": "https://o-a.snowflakecomputing.com",
        "role": "a b",
    }
    typed = {"oauth": {"mode": "PRESET", "name": "prod"}, "role": "a b"}
    (line,) = service_choices({"rootModel": typed}, saved, Dss(lambda connection: Executor()))
    assert "'Role' is not a name" in line["label"]


def test_a_form_without_a_sign_in_says_what_to_fill_in() -> None:
    (line,) = service_choices({}, {}, Dss(lambda connection: Executor()))
    assert "'Snowflake connection' is empty" in line["label"]
    assert "value" not in line


def failing() -> None:
    raise RuntimeError("secret of the driver")


def test_a_form_never_fails_and_keeps_what_was_chosen() -> None:
    kept, message, *rest = [
        *service_choices({}, SAVED, Dss(lambda connection: Executor(failing))),
    ][1:]
    assert (kept["value"], rest) == ("ML.PROD.GONE", [])
    assert "value" not in message


def test_a_form_does_not_wait_for_a_database_that_hangs() -> None:
    release = threading.Event()
    (*kept, line) = service_choices(
        {}, SAVED, Dss(lambda c: Executor(lambda: release.wait(30))), seconds=0.05
    )
    release.set()
    assert [choice["value"] for choice in kept] == SAVED["listedServices"]
    assert "takes too long" in line["label"]


def test_cells_are_visible_characters_whatever_names_services_have() -> None:
    """DSS shows, exports and mails the table of a macro."""
    shown: list[list[str]] = []

    class ResultTable:
        def set_name(self, name: str) -> None: ...
        def add_column(self, *column: str) -> None: ...
        def add_record(self, record: list[str]) -> None:
            shown.append(record)

    Table("Services", {"service": "Service"}, [["A\n\x1b[31mred\u202e"], ["x" * 10_000]]).shown_in(
        ResultTable()
    )
    assert shown == [["A red"], ["x" * 10_000]]
