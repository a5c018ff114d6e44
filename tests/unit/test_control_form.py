"""The macros' forms as DSS leaves them: absent, null, empty, a number as text."""

from __future__ import annotations

from typing import Any

import pytest

from spcs_llm.control.executor_session import ExecutorSession
from spcs_llm.control.identifiers import QualifiedName
from spcs_llm.control.macro_form import read_cost, read_discover, read_operate
from spcs_llm.control.open_session import Dss, open_session
from spcs_llm.control.sql_api import SqlApiSession
from spcs_llm.errors import SettingsError
from spcs_llm.settings import KeyPairSignIn, OAuthSignIn, TokenSignIn

ACCOUNT = "https://myorg-prod.snowflakecomputing.com"
OAUTH = {"oauth": {"snowflake_oauth": "token"}, "snowflakeAccountUrl": ACCOUNT}


def test_a_connection_is_enough() -> None:
    settings = read_discover({"snowflakeConnection": " SNOW ", "role": "analyst", "warehouse": '"My WH"'})
    sign_in = settings.sign_in
    assert (sign_in.connection, sign_in.credential) == ("SNOW", None)
    assert (sign_in.role, sign_in.warehouse) == ("ANALYST", "My WH")
    assert (settings.scope.database, settings.scope.schema) == (None, None)


def test_a_connection_wins_over_a_preset_even_over_a_broken_one() -> None:
    settings = read_discover({**OAUTH, "snowflakeConnection": "SNOW", "oauth": {"snowflake_oauth": {}}})
    assert (settings.sign_in.connection, settings.sign_in.credential) == ("SNOW", None)


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        (OAUTH, OAuthSignIn),
        (
            {
                "authenticationMode": "PROGRAMMATIC_ACCESS_TOKEN",
                "programmaticAccessToken": {"token": "secret"},
                "snowflakeAccountUrl": ACCOUNT,
            },
            TokenSignIn,
        ),
        (
            {
                "authenticationMode": "KEY_PAIR",
                "keyPair": {"user": "ROBOT", "privateKey": "key", "role": "robot_role"},
                "snowflakeAccountUrl": ACCOUNT,
            },
            KeyPairSignIn,
        ),
    ],
    ids=["oauth", "token", "key-pair"],
)
def test_each_preset_signs_in(config: dict[str, Any], kind: type) -> None:
    sign_in = read_discover(config).sign_in
    assert sign_in.credential is not None
    assert isinstance(sign_in.credential.sign_in, kind)
    assert sign_in.role == ("robot_role" if kind is KeyPairSignIn else None)


def test_the_forms_role_wins_over_the_presets() -> None:
    preset = {"user": "ROBOT", "privateKey": "key", "role": "robot_role"}
    config = {
        "authenticationMode": "KEY_PAIR",
        "keyPair": preset,
        "snowflakeAccountUrl": ACCOUNT,
        "role": "OTHER",
    }
    assert read_discover(config).sign_in.role == "OTHER"


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({}, "'Snowflake connection' is empty"),
        (None, "'Snowflake connection' is empty"),
        ({"oauth": {"snowflake_oauth": "t"}}, "'Snowflake account URL' is empty"),
        ({"snowflakeConnection": "S", "role": "a b"}, "'Role' is not a name of Snowflake"),
        ({**OAUTH, "snowflakeAccountUrl": "https://evil.example.com"}, "not Snowflake's"),
        ({"snowflakeConnection": "S", "scope": "DATABASE"}, "'Database' is empty"),
        ({"snowflakeConnection": "S", "scope": "SCHEMA", "database": "d"}, "'Schema' is empty"),
        ({"snowflakeConnection": "S", "scope": "PLANET"}, "'Where to look' must be one of"),
    ],
)
def test_what_is_wrong_names_its_field(config: Any, told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        read_discover(config)


def test_a_scope_ignores_what_it_does_not_need() -> None:
    config = {"snowflakeConnection": "S", "scope": "DATABASE", "database": "ml", "schema": "prod"}
    scope = read_discover(config).scope
    assert (scope.database, scope.schema) == ("ML", None)


def test_without_dry_run_in_the_config_nothing_is_changed() -> None:
    settings = read_operate({"snowflakeConnection": "S", "services": "a.b.c"})
    assert settings.dry_run
    assert settings.wait == 0


@pytest.mark.parametrize("value", [False, "false", 0])
def test_only_an_explicit_no_turns_the_dry_run_off(value: Any) -> None:
    assert not read_operate({"snowflakeConnection": "S", "services": "a.b.c", "dryRun": value}).dry_run


@pytest.mark.parametrize("value", ["perhaps", 2, []])
def test_an_odd_dry_run_is_refused(value: Any) -> None:
    with pytest.raises(SettingsError, match="'Only show what would be done'"):
        read_operate({"snowflakeConnection": "S", "services": "a.b.c", "dryRun": value})


def test_services_on_one_line_are_told_to_be_on_several() -> None:
    """Lists of hosts, in the same forms, are parted by commas."""
    with pytest.raises(SettingsError, match="one on each line"):
        read_operate({"snowflakeConnection": "S", "services": "ML.PROD.CHAT, ML.PROD.EMBED"})


def test_all_complaints_about_a_macro_are_made_at_once() -> None:
    form = {
        "snowflakeConnection": "S",
        "services": "foo\nA.B.C;\n" + "\n".join("abcde"),
        "listedServices": "bar",
        "waitSeconds": -1,
        "dryRun": "maybe",
    }
    with pytest.raises(SettingsError) as refused:
        read_operate(form)
    told = str(refused.value)
    assert "'Services' has what is not a full name: 'foo', 'A.B.C;', 'a', 'b', 'c' and 2 more. Write" in told
    assert "'Services found' has what is not a full name: 'bar'. Write" in told
    assert "'Wait' must be" in told
    assert "'Only show what would be done' must be" in told


@pytest.mark.parametrize(
    ("read", "form", "told"),
    [
        (
            read_operate,
            {"snowflakeConnection": {"name": "x"}, "services": "A.B.C"},
            "'Snowflake connection' must be text.",
        ),
        (
            read_operate,
            {"snowflakeConnection": "S", "listedServices": {"name": "x"}},
            "'Services found' must be text.",
        ),
        (
            read_discover,
            {**OAUTH, "authenticationMode": "OAUTH2"},
            "'Sign-in' must be one of OAUTH, KEY_PAIR, PROGRAMMATIC_ACCESS_TOKEN.",
        ),
    ],
)
def test_what_is_wrong_is_neither_said_twice_nor_called_empty(read: Any, form: Any, told: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read(form)
    assert refused.value.message == told


def test_services_are_lines_and_what_was_picked_each_once() -> None:
    config = {
        "snowflakeConnection": "S",
        "services": "ML.PROD.A\n\n  ML.PROD.*  \n# a comment\n",
        "listedServices": ["ML.PROD.A", "ML.PROD.B", None],
        "waitSeconds": "60.0",
    }
    settings = read_operate(config)
    assert [one.text for one in settings.services] == ["ML.PROD.A", "ML.PROD.*", "ML.PROD.B"]
    assert settings.wait == 60


@pytest.mark.parametrize("listed", ["ML.PROD.A\nML.PROD.B", ["ML.PROD.A", "ML.PROD.B"]])
@pytest.mark.parametrize("field", ["services", "listedServices"])
def test_services_come_as_a_list_or_as_text_by_the_api(field: str, listed: Any) -> None:
    """Who calls DSS's API has no form that makes a list of one field and a text of the other."""
    settings = read_operate({"snowflakeConnection": "S", field: listed})
    assert [one.text for one in settings.services] == ["ML.PROD.A", "ML.PROD.B"]


@pytest.mark.parametrize("name", ["*", "A*", "A\nML.PROD.B\nC", "#", 'A"*"', "A\u2028B"])
def test_a_service_that_was_chosen_is_no_other(name: str) -> None:
    """Whoever may create a service chooses its name, and an operator chooses it in the list."""
    chosen = QualifiedName("ML", "PROD", name)
    (pattern,) = read_operate({"snowflakeConnection": "S", "listedServices": [chosen.sql]}).services
    assert pattern.fits(chosen)
    assert not any(pattern.fits(QualifiedName("ML", "PROD", other)) for other in ("AB", "A", "B", "C", "A*B"))


def test_a_star_without_quotes_is_no_name() -> None:
    (pattern,) = read_operate({"snowflakeConnection": "S", "listedServices": ["ML.PROD.A*"]}).services
    assert pattern.fits(QualifiedName("ML", "PROD", "AB"))


@pytest.mark.parametrize("services", [None, "", " \n ", "# nothing"])
def test_no_services_are_a_mistake_and_never_all_services(services: Any) -> None:
    with pytest.raises(SettingsError, match="'Services' is empty"):
        read_operate({"snowflakeConnection": "S", "services": services})


def test_the_cost_report_looks_back_a_month_unless_told_otherwise() -> None:
    assert read_cost({"snowflakeConnection": "S"}).days == 30
    settings = read_cost({"snowflakeConnection": "S", "days": 7.0, "creditPrice": "2.5"})
    assert (settings.days, settings.credit_price) == (7, 2.5)
    with pytest.raises(SettingsError, match="'Days' must be a whole number from 1 to 365"):
        read_cost({"snowflakeConnection": "S", "days": 400})


def test_a_connection_opens_an_executor_and_a_preset_the_sql_api() -> None:
    asked: list[str] = []

    def executor(connection: str) -> Any:
        asked.append(connection)
        return object()

    assert isinstance(
        open_session(read_discover({"snowflakeConnection": "S"}).sign_in, Dss(executor)), ExecutorSession
    )
    assert isinstance(open_session(read_discover(OAUTH).sign_in, Dss(executor)), SqlApiSession)
    assert asked == ["S"]


def test_a_connection_that_dss_does_not_have_is_named_wherever_dss_says_so() -> None:
    class Late:
        def query_to_iter(self, *args: Any, **others: Any) -> Any:
            raise ValueError("Query failed: Connection not found: SNOW")

    def early(connection: str) -> Any:
        raise ValueError("Unknown connection: SNOW")

    settings = read_discover({"snowflakeConnection": "SNOW"}).sign_in
    for executor in (early, lambda connection: Late()):
        with pytest.raises(
            SettingsError, match="'Snowflake connection' SNOW does not exist in DSS, or"
        ) as refused:
            open_session(settings, Dss(executor)).rows("SELECT 1")
        assert "ask a DSS administrator to let your group use the connection freely" in refused.value.hint


def test_a_connection_that_dss_refuses_is_told() -> None:
    def executor(connection: str) -> Any:
        raise ValueError("secret")

    with pytest.raises(SettingsError, match="'Snowflake connection' cannot be used") as refused:
        open_session(read_discover({"snowflakeConnection": "S"}).sign_in, Dss(executor))
    assert "secret" not in str(refused.value)
