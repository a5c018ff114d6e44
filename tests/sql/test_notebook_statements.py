"""The statements that the notebook sends: documented, and allowed to the role that it uses."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("sqlglot", reason="a development package")

from spcs_deployment import DeploymentError, pools, service
from spcs_deployment import session as notebook_session
from spcs_llm.control.services import Container

from . import scenarios
from .account import Account, Refused

CHAT = f"{scenarios.SCHEMA}.QWEN3_4B_SERVICE"


class Session:
    """A Snowpark session on the model of an account; answers no rows."""

    def __init__(self, account: Account) -> None:
        self.account = account

    def sql(self, query: str) -> _Query:
        return _Query(self.account, query)


class _Query:
    def __init__(self, account: Account, query: str) -> None:
        self.account = account
        self.query = query

    def collect(self) -> list[Any]:
        try:
            self.account.execute(self.query)
        except Refused as error:
            raise RuntimeError(
                f"003001 (42501): Insufficient privileges to operate on object 'X' ({error})"
            ) from error
        return []


@pytest.fixture
def account() -> Account:
    account = scenarios.empty_account()
    scenarios.set_up(account, scenarios.shipped())
    scenarios.deploy_with_the_notebook(account)
    scenarios.sign_in_by_oauth(account, "DIANA", "DATAIKU_SPCS_DEPLOYER_OAUTH", scenarios.DEPLOYER)
    return account


def test_the_deployer_may_send_every_statement(account: Account) -> None:
    session = Session(account)
    with pytest.raises(IndexError):  # no rows: the statement itself is allowed without a warehouse
        notebook_session.region(session)
    assert service.named_service(session, CHAT) is None
    service.suspend(session, CHAT)
    service.resume(session, CHAT)
    account.execute(f"SHOW SERVICE CONTAINERS IN SERVICE {CHAT}")
    account.execute(service.log_statement(CHAT, ()))
    account.execute(service.log_statement(CHAT, [Container("0", "main", "FAILED", restarts=4)]))
    assert pools.trouble(session, scenarios.GPU) == ""
    service.drop(session, CHAT)
    assert ("SERVICE", CHAT) not in account.things


def test_the_deployer_grants_the_service_role_and_leaves_the_rest_to_the_owner(account: Account) -> None:
    account.grants -= {grant for grant in account.grants if grant[0] == "ENDPOINTS"}
    notes = service.grant(Session(account), CHAT, scenarios.CALLER)
    # setup.sql granted USAGE before: the deployer owns neither the database nor the schema.
    assert ["database" in note or "schema" in note for note in notes] == [True, True]
    scenarios.call(account, "CARL", scenarios.CALLER, "QWEN3_4B_SERVICE")


def test_a_caller_may_not_suspend_the_service(account: Account) -> None:
    scenarios.sign_in_by_oauth(account, "CARL", "DATAIKU_SPCS_OAUTH", scenarios.CALLER)
    with pytest.raises(DeploymentError, match="lacks a privilege"):
        service.suspend(Session(account), CHAT)
