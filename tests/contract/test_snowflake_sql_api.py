"""The sandbox's SQL API, version 2, asked with plain requests: as strict as the documentation says."""

from __future__ import annotations

import datetime as dt
import gzip
import json
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from sandbox.snowflake import ROLE, Snowflake
from sandbox.snowflake.catalog import WAREHOUSE
from tests.waiting import wait_for

PATH = "/api/v2/statements"


@pytest.fixture
def sf() -> Iterator[Snowflake]:
    with Snowflake() as snowflake:
        yield snowflake


def submit(
    sf: Snowflake,
    statement: Any,
    *,
    token: str | None = None,
    query: str = "",
    headers: Any = None,
    **body: Any,
) -> requests.Response:
    sent = {"Authorization": f"Bearer {token or sf.create_pat()}", **(headers or {})}
    return requests.post(
        f"{sf.account_url}{PATH}{query}", json={"statement": statement, **body}, headers=sent, timeout=30
    )


def again(sf: Snowflake, handle: str, rest: str = "", token: str | None = None) -> requests.Response:
    headers = {"Authorization": f"Bearer {token or sf.create_pat()}"}
    return requests.get(f"{sf.account_url}{PATH}/{handle}{rest}", headers=headers, timeout=30)


def rows(sf: Snowflake, statement: str, **body: Any) -> list[dict[str, Any]]:
    response = submit(sf, statement, **body)
    assert response.status_code == 200, response.text
    reply = response.json()
    names = [column["name"] for column in reply["resultSetMetaData"]["rowType"]]
    return [dict(zip(names, row)) for row in reply["data"]]


def refused(response: requests.Response) -> tuple[int, str]:
    body = response.json()
    assert isinstance(body["code"], str)
    assert body["message"]
    return response.status_code, body["code"]


# -- answers


def test_an_answer_has_the_documented_fields_and_every_cell_is_text_or_null(sf: Snowflake) -> None:
    sf.create_service("chat")
    response = submit(sf, "SHOW SERVICES IN ACCOUNT")
    reply = response.json()
    assert (reply["code"], reply["sqlState"]) == ("090001", "00000")
    assert reply["message"] == "Statement executed successfully."
    assert reply["statementStatusUrl"].startswith(f"{PATH}/{reply['statementHandle']}")
    assert abs(reply["createdOn"] / 1000 - sf.clock()) < 60
    meta = reply["resultSetMetaData"]
    assert (meta["format"], meta["numRows"], len(meta["partitionInfo"])) == ("jsonv2", 1, 1)
    keys = {
        "name",
        "database",
        "schema",
        "table",
        "type",
        "scale",
        "precision",
        "length",
        "byteLength",
        "nullable",
    }
    assert all(keys <= column.keys() for column in meta["rowType"])
    assert all(cell is None or isinstance(cell, str) for row in reply["data"] for cell in row)
    assert 'rel="first"' in response.headers["Link"]


def test_cells_are_encoded_as_jsonv2(sf: Snowflake) -> None:
    sf.clock.advance(1_800_000_000 - sf.clock())
    statement = (
        "SELECT TRUE AS B, 1.50 AS D, 2 AS N, '2024-11-29'::DATE AS DAY, '2024-11-29 20:12:47.31Z'::TIMESTAMP_LTZ AS T,"
        " NULL AS NOTHING, PARSE_JSON('{\"a\": [1]}') AS J, 0.5::FLOAT AS R"
    )
    (row,) = rows(sf, statement)
    assert row == {
        "B": "true", "D": "1.50", "N": "2", "DAY": "20056", "T": "1732911167.310000000", "NOTHING": None,
        "J": '{"a": [1]}', "R": "0.5",
    }  # fmt: skip
    types = {c["name"]: c["type"] for c in submit(sf, statement).json()["resultSetMetaData"]["rowType"]}
    assert types == {
        "B": "boolean", "D": "fixed", "N": "fixed", "DAY": "date", "T": "timestamp_ltz", "NOTHING": "text",
        "J": "variant", "R": "real",
    }  # fmt: skip


def test_null_is_a_word_where_the_caller_does_not_take_nulls(sf: Snowflake) -> None:
    assert submit(sf, "SELECT NULL", query="?nullable=false").json()["data"] == [["null"]]


def test_bindings_are_values_and_never_sql(sf: Snowflake) -> None:
    bindings = {"1": {"type": "TEXT", "value": "o'x"}, "2": {"type": "FIXED", "value": "7"}}
    assert rows(sf, "SELECT ? AS A, ? AS B", bindings=bindings) == [{"A": "o'x", "B": "7"}]
    assert refused(submit(sf, "SELECT ?")) == (422, "002049")


def test_a_large_result_comes_in_partitions_of_which_the_later_are_compressed(sf: Snowflake) -> None:
    sf.world.partition_rows = 2
    for number in range(5):
        sf.world.catalog.add_warehouse(f"WH_{number}")
    first = submit(sf, "SHOW WAREHOUSES LIKE 'WH%'").json()
    info = first["resultSetMetaData"]["partitionInfo"]
    assert [part["rowCount"] for part in info] == [2, 2, 1]
    assert "compressedSize" in info[1]
    names = [row[0] for row in first["data"]]
    for number in (1, 2):
        response = again(sf, first["statementHandle"], f"?partition={number}")
        assert response.headers["Content-Encoding"] == "gzip"
        body = response.json()
        assert body.keys() == {"data"}
        names += [row[0] for row in body["data"]]
    assert names == [f"WH_{number}" for number in range(5)]
    assert refused(again(sf, first["statementHandle"], "?partition=3"))[0] == 400


def test_a_result_beyond_the_rows_that_were_asked_for_is_marked_as_cut(sf: Snowflake) -> None:
    for number in range(3):
        sf.world.catalog.add_warehouse(f"WH_{number}")
    reply = submit(sf, "SHOW WAREHOUSES LIKE 'WH%'", parameters={"rows_per_resultset": 2}).json()
    assert (reply["code"], len(reply["data"])) == ("391908", 2)


# -- statements that take long


def test_a_statement_that_takes_long_is_answered_202_until_it_ends(sf: Snowflake) -> None:
    sf.world.durations.statement_wait = 0.05
    response = submit(sf, "CALL SYSTEM$WAIT(3600)")
    assert refused(response) == (202, "333334")
    handle = response.json()["statementHandle"]
    assert again(sf, handle).status_code == 202
    sf.clock.advance(3600)
    wait_for(lambda: again(sf, handle).status_code == 200)
    assert again(sf, handle).json()["data"] == [["waited 3600 seconds"]]


def test_an_asynchronous_statement_is_answered_202_at_once(sf: Snowflake) -> None:
    response = submit(sf, "SELECT 1", query="?async=true")
    handle = response.json()["statementHandle"]
    wait_for(lambda: again(sf, handle).status_code == 200)


def test_a_running_statement_is_cancelled_and_an_ended_one_is_not(sf: Snowflake) -> None:
    headers = {"Authorization": f"Bearer {sf.create_pat()}"}
    handle = submit(sf, "CALL SYSTEM$WAIT(3600)", query="?async=true").json()["statementHandle"]
    cancel = f"{sf.account_url}{PATH}/{handle}/cancel"
    cancelled = requests.post(cancel, headers=headers, timeout=30)
    assert (cancelled.status_code, cancelled.json()["code"], cancelled.json()["sqlState"]) == (
        200,
        "000604",
        "57014",
    )
    assert refused(again(sf, handle)) == (422, "000604")
    assert refused(requests.post(cancel, headers=headers, timeout=30)) == (422, "000709")


def test_a_statement_ends_at_the_timeout_of_its_request(sf: Snowflake) -> None:
    answers: list[requests.Response] = []
    thread = threading.Thread(target=lambda: answers.append(submit(sf, "CALL SYSTEM$WAIT(3600)", timeout=10)))
    thread.start()
    wait_for(lambda: sf.executor.running == 1)
    sf.clock.advance(11)
    thread.join(20)
    assert refused(answers[0]) == (408, "000630")


def test_a_repeated_request_gets_the_first_ones_result_and_runs_nothing(sf: Snowflake) -> None:
    request = uuid.uuid4()
    first = submit(sf, "SELECT CURRENT_TIMESTAMP()", query=f"?requestId={request}").json()
    second = submit(sf, "SELECT CURRENT_TIMESTAMP()", query=f"?requestId={request}&retry=true").json()
    assert second["statementHandle"] == first["statementHandle"]
    assert second["data"] == first["data"]
    assert len(sf.executor.statements) == 1


# -- refusals of requests


def test_a_failed_statement_is_422_with_code_state_and_handle(sf: Snowflake) -> None:
    response = submit(sf, "selct 1")
    assert refused(response) == (422, "001003")
    assert response.json()["sqlState"] == "42000"
    assert refused(again(sf, response.json()["statementHandle"])) == (422, "001003")


@pytest.mark.parametrize("statement", ["USE ROLE PUBLIC", "ALTER SESSION SET TIMEZONE = 'UTC'"])
def test_what_changes_a_session_is_refused_outside_several_statements(sf: Snowflake, statement: str) -> None:
    assert refused(submit(sf, statement)) == (422, "000002")


def test_several_statements_run_in_one_session_and_have_a_handle_each(sf: Snowflake) -> None:
    text = f"USE WAREHOUSE {WAREHOUSE}; SELECT CURRENT_WAREHOUSE()"
    assert refused(submit(sf, text)) == (422, "000008")
    reply = submit(sf, text, parameters={"multi_statement_count": "0"}).json()
    assert reply["data"] == [["Multiple statements executed successfully."]]
    _, second = reply["statementHandles"]
    assert again(sf, second).json()["data"] == [[WAREHOUSE]]


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b'{"statement": 1}', b'{"statement": "x", "timeout": "soon"}']
)
def test_a_body_that_is_not_a_request_is_400(sf: Snowflake, raw: bytes) -> None:
    headers = {"Authorization": f"Bearer {sf.create_pat()}", "Content-Type": "application/json"}
    assert refused(requests.post(sf.account_url + PATH, data=raw, headers=headers, timeout=30)) == (
        400,
        "390142",
    )


def test_other_types_methods_and_paths_are_refused_by_status(sf: Snowflake) -> None:
    token = sf.create_pat()
    headers = {"Authorization": f"Bearer {token}"}
    assert submit(sf, "SELECT 1", headers={"Content-Type": "text/plain"}).status_code == 415
    assert refused(submit(sf, "SELECT 1", headers={"Accept": "text/html"})) == (400, "391902")
    assert requests.get(sf.account_url + PATH, headers=headers, timeout=30).status_code == 405
    assert again(sf, str(uuid.uuid4())).status_code == 404
    assert requests.get(sf.account_url + "/api/v2/nothing", headers=headers, timeout=30).status_code == 404


def test_a_handle_of_another_user_is_unknown(sf: Snowflake) -> None:
    sf.world.add_user("BOB", ROLE)
    handle = submit(sf, "SELECT 1").json()["statementHandle"]
    assert again(sf, handle, token=sf.create_pat("BOB")).status_code == 404


def test_too_many_statements_at_once_are_429(sf: Snowflake) -> None:
    sf.world.statements_at_once = 1
    first = submit(sf, "CALL SYSTEM$WAIT(60)", query="?async=true")
    assert refused(submit(sf, "SELECT 1")) == (429, "390505")
    sf.clock.advance(60)
    wait_for(lambda: again(sf, first.json()["statementHandle"]).status_code == 200)
    assert submit(sf, "SELECT 1").status_code == 200


# -- who calls


def signed(sf: Snowflake, **claims: Any) -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    fingerprint = sf.register_public_key(
        "ALICE", key.public_key().public_bytes(serialization.Encoding.PEM, form)
    )
    name, now = f"{sf.world.account}.ALICE", sf.clock()
    all_claims = {"iss": f"{name}.{fingerprint}", "sub": name, "iat": now, "exp": now + 60, **claims}
    return jwt.encode(all_claims, key, algorithm="RS256")


def test_each_kind_of_token_signs_in_with_and_without_its_name(sf: Snowflake) -> None:
    tokens = {
        "OAUTH": sf.issue_oauth_token(),
        "PROGRAMMATIC_ACCESS_TOKEN": sf.create_pat(),
        "KEYPAIR_JWT": signed(sf),
    }
    for kind, token in tokens.items():
        for headers in ({}, {"X-Snowflake-Authorization-Token-Type": kind}):
            reply = submit(sf, "SELECT CURRENT_USER(), CURRENT_ROLE()", token=token, headers=headers).json()
            assert reply["data"] == [["ALICE", ROLE]]


def test_a_token_under_another_kinds_name_is_refused(sf: Snowflake) -> None:
    wrong = {"X-Snowflake-Authorization-Token-Type": "OAUTH"}
    assert refused(submit(sf, "SELECT 1", token=sf.create_pat(), headers=wrong)) == (401, "390303")


def test_tokens_that_do_not_sign_in_are_401_with_their_reason(sf: Snowflake) -> None:
    oauth, pat = sf.issue_oauth_token(), sf.create_pat(seconds=5)
    sf.clock.advance(601)
    assert refused(submit(sf, "SELECT 1", token=oauth)) == (401, "390318")
    assert refused(submit(sf, "SELECT 1", token=pat)) == (401, "394400")
    assert refused(submit(sf, "SELECT 1", token="nonsense")) == (401, "390303")
    assert refused(submit(sf, "SELECT 1", token=signed(sf, exp=sf.clock() + 9999))) == (401, "390144")
    assert refused(submit(sf, "SELECT 1", token=sf.create_pat(network_allowed=False))) == (401, "394400")
    assert refused(submit(sf, "SELECT 1", headers={"Authorization": ""})) == (401, "390101")
    assert sf.counters["account"]["bearer_refused"] == 6


def test_the_role_is_the_tokens_and_its_case_matters(sf: Snowflake) -> None:
    assert refused(submit(sf, "SELECT 1", role="PUBLIC")) == (401, "390317")
    by_key = signed(sf)
    assert submit(sf, "SELECT CURRENT_ROLE()", token=by_key, role="PUBLIC").json()["data"] == [["PUBLIC"]]
    assert refused(submit(sf, "SELECT 1", token=by_key, role=ROLE.lower())) == (422, "390189")
    assert refused(submit(sf, "SELECT 1", token=by_key, role="ACCOUNTADMIN")) == (422, "390189")


def test_a_warehouse_is_needed_for_tables_only_and_its_case_matters(sf: Snowflake) -> None:
    usage = "SELECT COUNT(*) FROM SNOWFLAKE.ACCOUNT_USAGE.METERING_HISTORY"
    assert refused(submit(sf, usage)) == (422, "000606")
    assert refused(submit(sf, usage, warehouse=WAREHOUSE.lower())) == (422, "000606")
    assert refused(submit(sf, usage, warehouse="ELSEWHERE")) == (422, "000606")
    assert submit(sf, usage, warehouse=WAREHOUSE).status_code == 200
    assert submit(sf, "SELECT CURRENT_ROLE()").status_code == 200
    assert submit(sf, "SHOW SERVICES IN ACCOUNT").status_code == 200
    piped = 'SHOW WAREHOUSES ->> SELECT "name" FROM $1'
    assert refused(submit(sf, piped)) == (422, "000606")
    assert rows(sf, piped, warehouse=WAREHOUSE) == [{"name": WAREHOUSE}]


# -- what goes wrong on the way


def test_http_faults_are_armed_on_submitting_asking_and_cancelling(sf: Snowflake) -> None:
    handle = submit(sf, "SELECT 1").json()["statementHandle"]
    sf.faults.arm("respond", "account", on="statement", status=503, body="busy")
    assert submit(sf, "SELECT 1").status_code == 503
    sf.faults.arm("lost_reply", "account", on="result")
    with pytest.raises(requests.ConnectionError):
        again(sf, handle)
    assert again(sf, handle).status_code == 200
    sf.faults.arm("respond", "account", on="cancel", status=504)
    cancel = f"{sf.account_url}{PATH}/{handle}/cancel"
    headers = {"Authorization": f"Bearer {sf.create_pat()}"}
    assert requests.post(cancel, headers=headers, timeout=30).status_code == 504


def test_statement_faults_strike_what_matches(sf: Snowflake) -> None:
    sf.create_service("chat")
    sf.statement_faults.arm("error", "SHOW SERVICES", code="000603", state="XX000", message="aborted")
    assert refused(submit(sf, "SHOW SERVICES IN ACCOUNT")) == (422, "000603")
    names = list(rows(sf, "SHOW SERVICES IN ACCOUNT")[0])
    assert len(names) == 28
    sf.statement_faults.arm("add_columns", columns={"new_column": "x"})
    sf.statement_faults.arm("drop_columns", columns=["dns_name"])
    sf.statement_faults.arm("reverse_columns")
    (row,) = rows(sf, "SHOW SERVICES IN ACCOUNT")
    assert list(row) == ["new_column", *(name for name in reversed(names) if name != "dns_name")]
    assert (row["name"], row["new_column"]) == ("CHAT", "x")


def test_a_slow_statement_takes_its_time_on_the_accounts_clock(sf: Snowflake) -> None:
    sf.world.durations.statement_wait = 0.05
    sf.statement_faults.arm("slow", "SHOW", seconds=600)
    handle = submit(sf, "SHOW WAREHOUSES").json()["statementHandle"]
    assert again(sf, handle).status_code == 202
    sf.clock.advance(600)
    wait_for(lambda: again(sf, handle).status_code == 200)


def test_a_compressed_request_is_read(sf: Snowflake) -> None:
    headers = {
        "Authorization": f"Bearer {sf.create_pat()}",
        "Content-Type": "application/json",
        "Content-Encoding": "gzip",
    }
    body = gzip.compress(json.dumps({"statement": "SELECT 1"}).encode())
    assert requests.post(sf.account_url + PATH, data=body, headers=headers, timeout=30).json()["data"] == [
        ["1"]
    ]


def test_results_are_kept_for_a_day(sf: Snowflake) -> None:
    handle = submit(sf, "SELECT 1").json()["statementHandle"]
    scan = f"SELECT * FROM TABLE(RESULT_SCAN('{handle}'))"
    assert submit(sf, scan, warehouse=WAREHOUSE).json()["data"] == [["1"]]
    sf.clock.advance(dt.timedelta(days=1, minutes=1).total_seconds())
    assert again(sf, handle).status_code == 404
