"""The SQL API over real sockets: tokens, roles, waiting, partitions, refusals, lost answers, cancelling."""

from __future__ import annotations

import itertools
import logging
import math
from typing import Any

import pytest

from spcs_llm.control.sql_api import SqlApiSession
from spcs_llm.errors import (
    AccessDenied,
    LoginError,
    NetworkError,
    QueryTimeout,
    SpcsError,
    SqlError,
    TokenRefused,
)
from spcs_llm.http.retry import RetryPolicy
from spcs_llm.snowflake.bearer import KeyPairBearer, OAuthBearer, bearer
from spcs_llm.snowflake.key_pair import KeyPair
from spcs_llm.snowflake.login_errors import SignInKind
from spcs_llm.snowflake.sign_in import FixedToken
from spcs_llm.snowflake.token_cache import TokenCache
from spcs_llm.urls import parse_base_url
from tests.waiting import longer_each_time

from .sql_api_server import Request, Result, SqlApiServer, table

WHO = table(
    "user role warehouse organization account region", "JANE|ANALYST|NULL|MYORG|PROD|AWS_EU_CENTRAL_1"
)
NOTHING_TWICE = RetryPolicy(first_delay=0.001, longest_delay=0.001)


def session(server: SqlApiServer, read: Any = None, **how: Any) -> SqlApiSession:
    tokens = TokenCache(OAuthBearer(read or (lambda: "good-token")))
    how = {"retry": NOTHING_TWICE, "sleep": lambda seconds: None, **how}
    return SqlApiSession.at(parse_base_url(server.url), tokens, SignInKind.OAUTH, **how)


def test_rows_come_by_column_name_and_as_text() -> None:
    shown = Result(
        [
            ("name", "text"),
            ("is_public", "boolean"),
            ("created_on", "timestamp_ltz"),
            ("day", "DATE"),
            ("n", "fixed"),
        ],
        [["A", "true", "1732911167.310000000", "20056", "3"], [None, "0", None, None, None]],
    )
    with SqlApiServer({"SHOW SERVICES": shown}) as server:
        rows = session(server).rows("SHOW SERVICES IN ACCOUNT")
    assert rows[0] == {
        "name": "A",
        "is_public": "true",
        "created_on": "2024-11-29T20:12:47.310000+00:00",
        "day": "2024-11-29",
        "n": "3",
    }
    assert rows[1] == {"name": None, "is_public": "false", "created_on": None, "day": None, "n": None}


def test_a_result_that_snowflake_has_cut_is_no_whole_one() -> None:
    """Snowflake documentation, "SQL API: handling responses": code 391908 comes with success, and with some rows."""
    shape = {"rowType": [{"name": "name", "type": "text"}], "partitionInfo": [{"rowCount": 1}], "numRows": 1}
    cut = {"code": "391908", "statementHandle": "01b", "resultSetMetaData": shape, "data": [["A"]]}
    with SqlApiServer({}) as server:
        server.before = lambda request: (200, {}, cut)
        with pytest.raises(SqlError, match="not all rows") as raised:
            session(server).rows("SHOW SERVICES IN ACCOUNT")
    assert "Ask for less" in raised.value.hint


def test_a_result_with_too_many_rows_says_so_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spcs_llm.control.sql_api._MAX_ROWS", 2)
    shown = Result([("name", "text")], [[str(row)] for row in range(9)], partition_rows=3)
    with (
        SqlApiServer({"SHOW SERVICES": shown}) as server,
        pytest.raises(SqlError, match="The statement") as raised,
    ):
        session(server).rows("SHOW SERVICES IN ACCOUNT")
    assert raised.value.message == "The statement has more than 2 rows."
    assert "Ask for less" in raised.value.hint


def test_a_zone_of_a_time_is_kept() -> None:
    shown = Result([("at", "timestamp_tz")], [["1732911167.310000000 960"]])
    with SqlApiServer({"SELECT": shown}) as server:
        assert session(server).rows("SELECT 1")[0]["at"] == "2024-11-29T12:12:47.310000-08:00"


def test_the_session_says_whose_it_is_and_asks_once() -> None:
    with SqlApiServer({"SELECT CURRENT_USER": WHO}) as server:
        asked = session(server)
        assert str(asked.whose()) == "user JANE, role ANALYST, warehouse none, account MYORG-PROD"
        assert asked.whose().region == "AWS_EU_CENTRAL_1"
    assert len(server.executed) == 1


def test_role_and_warehouse_stand_in_each_body_in_their_own_case() -> None:
    with SqlApiServer({"SHOW": table("name", "A")}) as server:
        session(server, role="ops team", warehouse="XS").rows("SHOW SERVICES IN ACCOUNT")
        with pytest.raises(SqlError, match="does not exist") as refused:
            session(server, role="analyst").rows("SHOW SERVICES IN ACCOUNT")
    body = server.requests[0].body
    assert (body["role"], body["warehouse"], body["parameters"]["timezone"]) == ("ops team", "XS", "UTC")
    assert refused.value.code == "390201"
    assert "'Role'" in refused.value.hint


def test_bindings_are_numbered_texts() -> None:
    with SqlApiServer({"SELECT": table("n", "1")}) as server:
        session(server).rows("SELECT ?, ?", bindings=["it's", "b"])
    assert server.requests[0].body["bindings"] == {
        "1": {"type": "TEXT", "value": "it's"},
        "2": {"type": "TEXT", "value": "b"},
    }


def test_all_partitions_are_read_in_order() -> None:
    rows: list[list[str | None]] = [[str(number)] for number in range(2500)]
    with SqlApiServer({"SHOW": Result([("n", "fixed")], rows)}) as server:
        assert [row["n"] for row in session(server).rows("SHOW SERVICES")] == [str(n) for n in range(2500)]
    assert [request.query.get("partition") for request in server.requests] == [None, "1", "2"]


def test_a_statement_that_runs_on_is_asked_about_until_it_ends() -> None:
    pauses: list[float] = []
    with SqlApiServer({"SELECT": table("n", "1", looks=3)}) as server:
        assert session(server, sleep=pauses.append).rows("SELECT 1") == [{"n": "1"}]
    assert [request.method for request in server.requests] == ["POST", "GET", "GET", "GET"]
    assert len(pauses) == 3
    assert min(pauses) > 0


def test_a_statement_that_takes_too_long_is_cancelled_and_told() -> None:
    for seconds in longer_each_time(0.3):
        runs_on = {"SHOW": table("n", "1", looks=-1)}
        with SqlApiServer(runs_on) as server, pytest.raises(QueryTimeout, match="SHOW SERVICES") as late:
            session(server, seconds=seconds).rows("SHOW SERVICES IN SCHEMA SECRETIVE.PLACE")
        if server.cancelled:  # or the time was up before the statement was sent
            break
    assert f"SHOW SERVICES did not end within {seconds:g} s, and was cancelled" in str(late.value)
    assert len(server.cancelled) == 1
    assert 1 <= server.requests[0].body["timeout"] <= math.ceil(seconds)
    assert "SECRETIVE" not in str(late.value)


@pytest.mark.parametrize("failure", [(503, {}, b""), (429, {}, {"code": "390505"}), "close"], ids=str)
def test_a_lost_answer_is_asked_for_again_and_the_statement_runs_once(failure: Any) -> None:
    with SqlApiServer({"ALTER": table("status", "Statement executed successfully.")}) as server:

        def lose_the_first_answer(request: Request) -> Any:
            if len(server.requests) > 1:
                return None
            server._answer(request)
            return failure

        server.before = lose_the_first_answer
        session(server).rows("ALTER SERVICE A.B.C SUSPEND")
    assert server.executed == ["ALTER SERVICE A.B.C SUSPEND"]
    first, second = server.requests
    assert first.query["requestId"] == second.query["requestId"]
    assert (first.query.get("retry"), second.query.get("retry")) == (None, "true")


def test_a_connection_that_is_lost_again_and_again_is_an_error() -> None:
    with SqlApiServer({}) as server:
        server.before = lambda request: "close"
        with pytest.raises(NetworkError):
            session(server).rows("SHOW SERVICES")
    assert len(server.requests) == 4


def test_a_refused_token_is_replaced_once() -> None:
    tokens = itertools.chain(["old"], itertools.repeat("good-token"))
    with SqlApiServer({"SHOW": table("n", "1")}) as server:
        assert session(server, lambda: next(tokens)).rows("SHOW SERVICES")
    assert [request.headers["Authorization"] for request in server.requests] == [
        "Bearer old",
        "Bearer good-token",
    ]


def test_a_token_that_stays_refused_is_told_with_the_reason_and_what_to_do() -> None:
    with SqlApiServer({}) as server, pytest.raises(TokenRefused) as refused:
        session(server, lambda: "old").rows("SHOW SERVICES")
    assert len(server.requests) == 2
    assert "Invalid OAuth access token" in str(refused.value)
    assert "390303" in str(refused.value)
    assert "Profile > Credentials" in refused.value.hint
    assert refused.value.place == "login"


def test_a_programmatic_access_token_is_sent_as_one() -> None:
    with SqlApiServer({"SHOW": table("n", "1")}, kind="PROGRAMMATIC_ACCESS_TOKEN") as server:
        found = SqlApiSession.at(
            parse_base_url(server.url),
            FixedToken(bearer("good-token", "PROGRAMMATIC_ACCESS_TOKEN")),
            SignInKind.TOKEN,
        ).rows("SHOW SERVICES")
    assert found == [{"n": "1"}]


def test_a_key_pair_signs_a_token_that_needs_no_login(rsa_pem: str) -> None:
    jwt = pytest.importorskip("jwt", reason="a package of key pairs")
    tokens = TokenCache(KeyPairBearer(KeyPair("myorg-prod", "robot", rsa_pem)))
    with SqlApiServer({"SHOW": table("n", "1")}, kind="KEYPAIR_JWT") as server:
        seen: list[str] = []
        server.before = lambda request: seen.append(request.headers["Authorization"])
        with pytest.raises(TokenRefused, match="Snowflake does not accept the token"):
            SqlApiSession.at(parse_base_url(server.url), tokens, SignInKind.KEY_PAIR).rows("SHOW SERVICES")
    claims = jwt.decode(seen[0].removeprefix("Bearer "), options={"verify_signature": False})
    assert claims["sub"] == "MYORG-PROD.ROBOT"
    assert claims["exp"] - claims["iat"] <= 3600


@pytest.fixture(scope="module")
def rsa_pem() -> str:
    rsa = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.rsa")
    serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return str(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode()
    )


@pytest.mark.parametrize(
    ("error", "check", "hint"),
    [
        (
            ("002003", "42S02", "SQL compilation error:\nService 'D.S.X' does not exist or not authorized."),
            "is_absent",
            "grant the role a privilege",
        ),
        (
            (
                "003001",
                "42501",
                "SQL access control error:\nInsufficient privileges to operate on service 'X'",
            ),
            "lacks_privilege",
            "grant the role",
        ),
        (
            ("000606", "57P03", "No active warehouse selected in the current session."),
            "lacks_warehouse",
            "'Warehouse'",
        ),
    ],
    ids=["absent", "privilege", "warehouse"],
)
def test_a_refusal_says_which_kind_it_is(error: tuple[str, str, str], check: str, hint: str) -> None:
    with SqlApiServer({"ALTER": Result(error=error)}) as server, pytest.raises(SqlError) as refused:
        session(server).rows("ALTER SERVICE D.S.X RESUME")
    assert getattr(refused.value, check)
    assert (refused.value.code, refused.value.sqlstate) == error[:2]
    assert refused.value.statement_kind == "ALTER SERVICE"
    assert (
        str(refused.value).startswith("[SQL] Snowflake refuses ALTER SERVICE: SQL")
        or check == "lacks_warehouse"
    )
    assert hint in refused.value.hint


def test_a_timeout_of_the_statement_itself_is_told() -> None:
    with SqlApiServer({}) as server:
        server.before = lambda request: (408, {}, b"")
        with pytest.raises(SqlError, match="timeout") as refused:
            session(server).rows("SELECT 1")
    assert refused.value.code == "000630"


def test_a_network_policy_is_told_with_who_can_change_it() -> None:
    with SqlApiServer({}) as server:
        server.before = lambda request: (403, {}, {"code": "390420", "message": "IP 1.2.3.4 is not allowed"})
        with pytest.raises(AccessDenied, match=r"1\.2\.3\.4") as refused:
            session(server).rows("SELECT 1")
    assert "network policy" in refused.value.hint


@pytest.mark.parametrize(
    "answer",
    [
        (200, {"Content-Type": "text/html"}, b"<html>Welcome</html>"),
        (200, {}, b"[]"),
        (200, {}, {"data": [["a"]], "statementHandle": "h"}),
        (200, {}, {"statementHandle": "../../session", "code": "333334"}),
        (200, {}, {"resultSetMetaData": {"rowType": []}, "statementHandle": "h"}),
        (302, {"Location": "https://elsewhere"}, b""),
        (405, {}, b""),
    ],
    ids=["page", "list", "no-metadata", "odd-handle", "no-data", "redirect", "method"],
)
def test_what_is_no_sql_api_is_told_as_such(answer: Any) -> None:
    with SqlApiServer({}) as server:
        server.before = lambda request: answer
        with pytest.raises(LoginError, match="does not answer as a Snowflake account") as refused:
            session(server).rows("SELECT 1")
    assert "Welcome" not in str(refused.value)
    assert len(server.requests) == 1


def test_no_log_line_and_no_error_holds_a_token_or_a_literal(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    error = ("001003", "42000", "syntax error at good-token")
    with SqlApiServer({"SELECT": Result(error=error)}) as server, pytest.raises(SpcsError) as refused:
        session(server).rows("SELECT 'private words'", bindings=["more private words"])
    told = f"{caplog.text} {refused.value!s} {refused.value!r}"
    assert "good-token" not in told
    assert "private words" not in told
