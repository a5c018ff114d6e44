"""Every fault that the sandbox can arm is named by one step of the diagnosis, with a hint: see `diagnosis_faults`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sandbox.snowflake import Snowflake, dead_ends
from sandbox.snowflake.endpoint import STATES
from sandbox.snowflake.fault_kinds import KINDS
from sandbox.snowflake.tls import VARIANTS, Certificates
from spcs_llm.control.diagnosis.diagnosis import Diagnosis, diagnose
from spcs_llm.control.diagnosis.finding import FAILED, OK, SKIPPED, WARNING, Finding
from tests.integration.diagnosis_faults import ENDPOINT_URL, HOSTS, TABLE, Row, account, diagnosed, key_of
from tests.waiting import FAR_TOO_LONG


@pytest.fixture(scope="module")
def snowflake() -> Iterator[Snowflake]:
    with account() as made:
        yield made


@pytest.fixture(autouse=True)
def soon(short_back_offs: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    short_back_offs()
    account = __import__("spcs_llm.snowflake.account", fromlist=["RetryPolicy"])
    policy = account.RetryPolicy
    monkeypatch.setattr(account, "RetryPolicy", lambda **options: policy(first_delay=0.01, **options))


@pytest.fixture(scope="module")
def private_key(snowflake: Snowflake) -> str:
    return key_of(snowflake)


def first_trouble(diagnosis: Diagnosis, result: str) -> Finding | None:
    return next((found for found in diagnosis.findings if found.result == result), None)


@pytest.mark.sample(14)
@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_each_fault_is_named_by_the_step_of_the_table(
    snowflake: Snowflake, row: Row, private_key: str
) -> None:
    began = time.monotonic()
    diagnosis = diagnosed(snowflake, row, private_key)
    table = "\n".join(f"{f.step:18} {f.result:8} {f.seen} || {f.hint}" for f in diagnosis.findings)
    assert time.monotonic() - began < 3 * FAR_TOO_LONG
    assert row.fails_in([found.step for found in diagnosis.findings if found.result == FAILED]), table
    assert len(diagnosis.findings) == diagnosis.count
    if row.result == OK:
        noted = [f.step for f in diagnosis.findings if f.result == WARNING and f.step != "Parallelism"]
        assert noted == [], table
        return
    found = first_trouble(diagnosis, row.result)
    assert found is not None, table
    assert found.step in (row.step, row.or_step), table
    assert found.hint, table
    assert row.hint.lower() in f"{found.hint} {found.seen}".lower(), table
    assert "oauth-" not in table
    assert "ETMsDg" not in table


# Before Python 3.11, asyncio leaves the server's end of a handshake that failed to the garbage collector.
@pytest.mark.filterwarnings(r"ignore:.*_SSLProtocolTransport")
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_bad_certificate_is_named_by_the_step_tls(
    variant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificates = Certificates(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificates.ca_file))
    hints = {"expired": "renew it", "wrong_host": ENDPOINT_URL, "unknown_ca": "REQUESTS_CA_BUNDLE"}
    with Snowflake(tls=certificates.context("good")) as snowflake:
        service = snowflake.create_service("chat", tls=certificates.context(variant))
        config = {
            "oauth": {"snowflake_oauth": snowflake.issue_oauth_token()},
            "snowflakeAccountUrl": snowflake.account_url,
            "llmEndpointUrl": service.url,
            "serviceProtocol": "AUTOMATIC",
        }
        diagnosis = diagnose(config, limit=FAR_TOO_LONG)
    results = {found.step: found for found in diagnosis.findings}
    assert results["TLS (account)"].result == OK
    found = results["TLS (endpoint)"]
    if variant == "good":
        assert found.result == OK
        assert "TLSv1.3" in found.seen
        assert diagnosis.first_problem is None
        return
    assert found.result == FAILED
    assert hints[variant] in found.hint
    assert results["Gateway"].seen == "Waits for the step 'TLS (endpoint)', which has to work first."
    assert results["Gateway"].result == results["Query"].result == SKIPPED


def test_no_kind_of_fault_is_forgotten() -> None:
    assert {row.fault for row in TABLE if row.fault} == set(KINDS)
    assert {row.name.partition(": ")[2] for row in TABLE if row.name.startswith("state: ")} == set(STATES)
    ends = {name for name in vars(dead_ends) if callable(getattr(dead_ends, name)) and name in dir(dead_ends)}
    named = {row.name.partition(": ")[2] for row in HOSTS}
    assert {"refused", "hanging_connect", "silent", "handshake_cut"} <= ends & named
