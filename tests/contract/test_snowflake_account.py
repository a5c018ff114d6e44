"""The sandbox's account speaks as Snowflake's drivers expect: codes are strings inside HTTP 200."""

from __future__ import annotations

import base64
import gzip
import json
import time
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from sandbox.snowflake import ROLE, Snowflake

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"


@pytest.fixture
def sf() -> Iterator[Snowflake]:
    with Snowflake() as snowflake:
        yield snowflake


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def post(sf: Snowflake, path: str, body: Any = None, token: Any = None, **kwargs: Any) -> requests.Response:
    headers = dict(kwargs.pop("headers", {}))
    if token is not None:
        headers["Authorization"] = f'Snowflake Token="{token}"'
    return requests.post(sf.account_url + path, json=body, headers=headers, timeout=30, **kwargs)


def log_in(
    sf: Snowflake, authenticator: str = "OAUTH", token: Any = None, query: str = "", **data: Any
) -> requests.Response:
    body = {"data": {"AUTHENTICATOR": authenticator, "TOKEN": token or sf.issue_oauth_token(), **data}}
    return post(sf, "/session/v1/login-request" + query, body)


def session(sf: Snowflake, **kwargs: Any) -> Any:
    reply = log_in(sf, **kwargs).json()
    assert reply["success"] is True
    return reply["data"]


def code(response: requests.Response) -> Any:
    assert response.status_code == 200
    body = response.json()
    assert body["success"] is False
    assert body["message"]
    assert isinstance(body["code"], str)
    return body["code"]


def renew(sf: Snowflake, data: Any, **body: Any) -> requests.Response:
    asked = {"oldSessionToken": data["token"], "requestType": "RENEW", **body}
    return post(sf, "/session/token-request?requestId=1", asked, data["masterToken"])


def signed(
    sf: Snowflake,
    key: rsa.RSAPrivateKey,
    user: str = "ALICE",
    fingerprint: str | None = None,
    algorithm: str = "RS256",
    account: str | None = None,
    **claims: Any,
) -> str:
    fingerprint = fingerprint or sf.register_public_key(user, public(key))
    name = f"{account or sf.world.account}.{user}"
    now = sf.clock()
    all_claims = {"iss": f"{name}.{fingerprint}", "sub": name, "iat": now, "exp": now + 60, **claims}
    return jwt.encode({k: v for k, v in all_claims.items() if v is not None}, key, algorithm=algorithm)


def public(key: rsa.RSAPrivateKey) -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form)


# -- logging in


def test_the_minimal_oauth_body_opens_a_session_with_every_field_of_a_login(sf: Snowflake) -> None:
    data = session(sf)
    assert data["validityInSeconds"] == 3600
    assert data["masterValidityInSeconds"] == 14400
    assert data["displayUserName"] == "ALICE"
    assert isinstance(data["sessionId"], int)
    assert data["token"] != data["masterToken"]
    assert data["sessionInfo"]["roleName"] == ROLE
    assert {"serverVersion", "firstLogin", "healthCheckInterval", "parameters", "remMeToken"} <= data.keys()


def test_a_gzipped_body_of_a_connector_is_understood(sf: Snowflake) -> None:
    client = {"CLIENT_APP_ID": "PythonConnector", "CLIENT_ENVIRONMENT": {}, "SESSION_PARAMETERS": {}}
    login = {"AUTHENTICATOR": "OAUTH", "TOKEN": sf.issue_oauth_token(), "LOGIN_NAME": ""}
    body = {"data": {**login, **client}}
    response = requests.post(
        sf.account_url
        + "/session/v1/login-request?request_id=1&databaseName=&warehouse=dataiku_spcs_warehouse",
        data=gzip.compress(json.dumps(body).encode()),
        headers={"Content-Encoding": "gzip", "Authorization": 'Snowflake Token="None"'},
        timeout=30,
    )
    assert response.json()["data"]["sessionInfo"]["warehouseName"] == "DATAIKU_SPCS_WAREHOUSE"


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'{"data": 1}', b"\xff"])
def test_a_login_that_is_no_json_object_is_a_bad_request(sf: Snowflake, raw: Any) -> None:
    assert (
        requests.post(sf.account_url + "/session/v1/login-request", data=raw, timeout=30).status_code == 400
    )


def test_an_unknown_oauth_token_is_390303_and_an_expired_one_390318(sf: Snowflake) -> None:
    assert code(log_in(sf, token="nonsense")) == "390303"
    token = sf.issue_oauth_token()
    sf.clock.advance(601)
    assert code(log_in(sf, token=token)) == "390318"


def test_a_role_in_the_query_must_be_the_one_the_token_was_given_for(sf: Snowflake) -> None:
    assert session(sf, query=f"?roleName={ROLE}")["sessionInfo"]["roleName"] == ROLE
    assert code(log_in(sf, query="?roleName=PUBLIC")) == "390317"


def test_a_password_login_knows_its_user_and_its_roles(sf: Snowflake) -> None:
    sf.world.add_user("bob", "ANALYST", password="hunter2")
    bob = {"authenticator": "SNOWFLAKE", "LOGIN_NAME": "Bob", "PASSWORD": "hunter2"}
    assert session(sf, **bob)["sessionInfo"]["roleName"] == "ANALYST"
    assert code(log_in(sf, **bob, query="?roleName=SYSADMIN")) == "390189"
    assert code(log_in(sf, **{**bob, "PASSWORD": "wrong"})) == "390100"


def test_another_users_name_beside_a_token_is_refused(sf: Snowflake) -> None:
    assert code(log_in(sf, LOGIN_NAME="MALLORY")) == "390100"


def test_a_pat_logs_in_unless_expired_revoked_or_outside_the_network_policy(sf: Snowflake) -> None:
    pat = sf.create_pat()
    assert session(sf, authenticator="PROGRAMMATIC_ACCESS_TOKEN", token=pat)
    outside = sf.create_pat(network_allowed=False)
    assert code(log_in(sf, "PROGRAMMATIC_ACCESS_TOKEN", outside)) == "394400"
    sf.world.revoke(pat)
    assert code(log_in(sf, "PROGRAMMATIC_ACCESS_TOKEN", pat)) == "394400"
    short = sf.create_pat(seconds=5)
    sf.clock.advance(6)
    assert code(log_in(sf, "PROGRAMMATIC_ACCESS_TOKEN", short)) == "394400"


def test_an_id_token_is_390195_when_unknown_and_390110_when_expired(sf: Snowflake) -> None:
    token = sf.world.issue("id", "ALICE", None, 10).text
    assert session(sf, authenticator="ID_TOKEN", token=token)
    assert code(log_in(sf, "ID_TOKEN", "nonsense")) == "390195"
    sf.clock.advance(11)
    assert code(log_in(sf, "ID_TOKEN", token)) == "390110"


@pytest.mark.parametrize("refusal", ["390120", "390122", "390123", "390126", "390127", "390129", "390132"])
def test_a_user_can_be_turned_away_by_the_external_authenticator(sf: Snowflake, refusal: Any) -> None:
    sf.world.user("ALICE").login_refusal = refusal
    assert code(log_in(sf)) == refusal
    assert sf.counters["account"]["login_refused"] == 1


# -- key pairs


def test_a_signed_jwt_logs_in(sf: Snowflake, key: rsa.RSAPrivateKey) -> None:
    assert session(sf, authenticator="SNOWFLAKE_JWT", token=signed(sf, key))["displayUserName"] == "ALICE"


def jwt_cases() -> dict[str, Any]:
    now = time.time()
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return {
        "a user without a key": ("390144", {"user": "BOB", "fingerprint": "SHA256:x"}),
        "signed by another key": ("390144", {"key": other, "registered": True}),
        "subject and issuer differ": ("394300", {"sub": "MYORG-MYACCT.BOB"}),
        "expired": ("394301", {"iat": now - 120, "exp": now - 60}),
        "from the future": ("394302", {"iat": now + 600, "exp": now + 660}),
        "living longer than an hour": ("394303", {"exp": now + 7200}),
        "without an end": ("394303", {"exp": None}),
        "another key's fingerprint": ("394304", {"fingerprint": "SHA256:AAAA"}),
        "another account": ("394304", {"account": "OTHER"}),
        "signed with a secret": ("394305", {"key": "secret" * 8, "algorithm": "HS256", "registered": True}),
        "signed on an elliptic curve by another key": (
            "390144",
            {"key": ec.generate_private_key(ec.SECP256R1()), "algorithm": "ES256", "registered": True},
        ),
    }


@pytest.mark.sample(5)
@pytest.mark.parametrize("case", jwt_cases())
def test_a_jwt_is_refused_with_the_code_of_the_claim_that_is_wrong(
    sf: Snowflake, key: rsa.RSAPrivateKey, case: str
) -> None:
    expected, changes = jwt_cases()[case]
    mine = sf.register_public_key("ALICE", public(key))
    sf.world.add_user("BOB", ROLE)
    changes = {"key": key, "fingerprint": mine, **changes}
    changes.pop("registered", None)
    assertion = signed(sf, changes.pop("key"), **changes)
    assert code(log_in(sf, "SNOWFLAKE_JWT", assertion)) == expected


def test_a_jwt_that_is_none_is_394306(sf: Snowflake) -> None:
    assert code(log_in(sf, "SNOWFLAKE_JWT", "not.a.jwt")) == "394306"


def exchange(sf: Snowflake, assertion: str, scope: str, grant_type: str = JWT_BEARER) -> requests.Response:
    form = {"grant_type": grant_type, "scope": scope, "assertion": assertion}
    return requests.post(sf.account_url + "/oauth/token", data=form, timeout=30)


def test_the_key_pair_exchange_answers_with_the_bare_token_as_text(
    sf: Snowflake, key: rsa.RSAPrivateKey
) -> None:
    chat = sf.create_service("chat")
    reply = exchange(sf, signed(sf, key), f"session:role:{ROLE} {chat.endpoint.host}")
    assert reply.status_code == 200
    assert reply.headers["content-type"].startswith("text/plain")
    claims = jwt.decode(reply.text, options={"verify_signature": False})
    assert claims["exp"] == pytest.approx(sf.clock() + 600, abs=2)


def test_the_key_pair_exchange_can_give_a_token_that_is_no_jwt(sf: Snowflake, key: rsa.RSAPrivateKey) -> None:
    chat = sf.create_service("chat")
    sf.world.endpoint_token_is_jwt = False
    assert "." not in exchange(sf, signed(sf, key), chat.endpoint.host).text


def test_the_key_pair_exchange_takes_only_known_hosts_without_scheme_and_granted_roles(
    sf: Snowflake, key: rsa.RSAPrivateKey
) -> None:
    chat = sf.create_service("chat")
    assertion = signed(sf, key)
    stale = exchange(sf, assertion, "gone.snowflakecomputing.app")
    assert stale.status_code == 400
    assert "could not find the service associated with endpoint" in stale.json()["message"].lower()
    assert exchange(sf, assertion, chat.url).status_code == 400
    assert exchange(sf, assertion, f"session:role:SYSADMIN {chat.endpoint.host}").json()["code"] == "390186"
    assert exchange(sf, assertion, chat.endpoint.host, grant_type="password").json()["code"] == "390400"
    assert exchange(sf, "not.a.jwt", chat.endpoint.host).json()["code"] == "394306"
    assert sf.counters["account"]["endpoint_token_refused"] == 5


# -- renewing


def test_a_renewal_hands_out_a_new_session_token_and_a_new_master_token(sf: Snowflake) -> None:
    data = session(sf)
    renewed = renew(sf, data).json()["data"]
    assert renewed["validityInSecondsST"] == 3600
    assert renewed["validityInSecondsMT"] == 14400
    assert renewed["sessionId"] == data["sessionId"]
    assert renewed["sessionToken"] != data["token"]
    assert renewed["masterToken"] != data["masterToken"]
    assert "token" not in renewed
    assert post(sf, "/session/heartbeat", token=renewed["sessionToken"]).json()["success"] is True
    assert code(post(sf, "/session/heartbeat", token=data["token"])) == "390112"


def test_an_expired_session_is_renewed_as_long_as_its_master_lives(sf: Snowflake) -> None:
    sf.world.lifetimes.session, sf.world.lifetimes.master = 2, 10
    data = session(sf)
    assert data["validityInSeconds"] == 2
    sf.clock.advance(3)
    assert code(post(sf, "/session/heartbeat", token=data["token"])) == "390112"
    renewed = renew(sf, data).json()["data"]
    again = {"token": renewed["sessionToken"], "masterToken": renewed["masterToken"]}
    sf.clock.advance(11)
    assert code(renew(sf, again)) == "390114"


def test_a_renewal_needs_the_living_master_token_of_the_session(sf: Snowflake) -> None:
    data = session(sf)
    assert code(renew(sf, {**data, "masterToken": "nonsense"})) == "390113"
    assert code(post(sf, "/session/token-request", {"requestType": "RENEW"})) == "390113"
    assert code(renew(sf, {**data, "masterToken": data["token"]})) == "390115"
    assert code(renew(sf, data, oldSessionToken="another")) == "390400"
    assert code(renew(sf, data, requestType="RENOVATE")) == "390400"
    assert renew(sf, data).json()["success"] is True
    assert code(renew(sf, data)) == "390115"
    assert sf.counters["account"]["renew"] == 1


def test_an_issued_token_lives_beside_the_first_one(sf: Snowflake) -> None:
    data = session(sf)
    body = {"oldSessionToken": data["token"], "requestType": "ISSUE"}
    issued = post(sf, "/session/token-request", body, data["masterToken"]).json()["data"]
    assert "masterToken" not in issued
    for token in (data["token"], issued["sessionToken"]):
        assert post(sf, "/session/heartbeat", token=token).json()["success"] is True


# -- using and ending a session


def test_calls_without_a_living_session_say_which_way_it_is_not_living(sf: Snowflake) -> None:
    assert code(post(sf, "/session/heartbeat")) == "390101"
    assert code(post(sf, "/session/heartbeat", token="None")) == "390103"
    assert code(post(sf, "/session/heartbeat", token="nonsense")) == "390104"
    data = session(sf)
    assert post(sf, "/session?delete=true", token=data["token"]).json()["success"] is True
    assert code(post(sf, "/session/heartbeat", token=data["token"])) == "390111"
    assert code(renew(sf, data)) == "390111"


# -- Snowflake OAuth


def refresh(sf: Snowflake, token: Any, client: str = "dss:dss-secret", **form: Any) -> requests.Response:
    headers = {"Authorization": "Basic " + base64.b64encode(client.encode()).decode()}
    data = {"grant_type": "refresh_token", "refresh_token": token, **form}
    return requests.post(sf.account_url + "/oauth/token-request", data=data, headers=headers, timeout=30)


def test_a_refresh_token_buys_access_tokens_that_log_in(sf: Snowflake) -> None:
    reply = refresh(sf, sf.issue_refresh_token()).json()
    assert reply["expires_in"] == 600
    assert reply["username"] == "ALICE"
    assert f"session:role:{ROLE}" in reply["scope"]
    assert session(sf, token=reply["access_token"])


def test_oauth_refuses_unknown_clients_grants_and_dead_refresh_tokens(sf: Snowflake) -> None:
    token = sf.issue_refresh_token()
    assert refresh(sf, token, client="dss:wrong").status_code == 401
    assert refresh(sf, token, grant_type="authorization_code").json()["error"] == "unsupported_grant_type"
    sf.world.revoke(token)
    refused = refresh(sf, token)
    assert refused.status_code == 400
    assert refused.json()["error"] == "invalid_grant"


def test_the_sandbox_stops_completely() -> None:
    with Snowflake() as sf:
        url = sf.account_url
    with pytest.raises(requests.ConnectionError):
        requests.get(url, timeout=30)
