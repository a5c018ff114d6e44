"""The login API of one Snowflake account.

Bodies and fields: snowflake-connector-python 4.8.1 and 5.2.0, `auth` and `network`; Snowflake documentation, "Tutorial:
access a public endpoint programmatically" (`/oauth/token`). Logins are raw HTTP on purpose: in a session of the Python
connector, results come as Arrow, which the ingress cannot read (snowflake-ml-python 2.6.0,
`feature_store/online_service_http_client.py`).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

from spcs_llm.call import Call
from spcs_llm.endpoint import Endpoint, NoToken, Outgoing
from spcs_llm.errors import LoginError, ModelError, ServiceBusy, ServiceDown, SpcsError
from spcs_llm.retry import RetryPolicy, parse_retry_after
from spcs_llm.snowflake.codes import login_error
from spcs_llm.transport import Transport
from spcs_llm.urls import BaseUrl

_JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_LIFE_NOT_TOLD = 300.0
_FORM = {"Content-Type": "application/x-www-form-urlencoded"}
_CHECK_URL = "Check 'Snowflake account URL': https://<organization>-<account>.snowflakecomputing.com."


@dataclass(frozen=True)
class Session:
    """What a login or renewal gives. Lives are in seconds from then on."""

    token: str = field(repr=False)
    seconds: float
    master_token: str | None = field(default=None, repr=False)
    master_seconds: float = 0.0


class Account:
    """Signs in. Thread-safe. Every method raises LoginError, NetworkError or QueryTimeout."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    @classmethod
    def at(cls, url: BaseUrl) -> Account:
        retry = RetryPolicy(attempts=3)
        return cls(Endpoint(Transport(url), NoToken(), explain, retry=retry, idle_seconds=30.0))

    def login(self, access_token: str, call: Call) -> Session:
        """A session for an OAuth access token."""
        body = {"data": {"AUTHENTICATOR": "OAUTH", "TOKEN": access_token}}
        data = self._ask("SNOWFLAKE_LOGIN", f"/session/v1/login-request?request_id={uuid4()}", body, {}, call)
        return Session(
            _token(data, "token"),
            _seconds(data, "validityInSeconds"),
            data.get("masterToken") or None,
            _seconds(data, "masterValidityInSeconds", 0.0),
        )

    def renew(self, session: Session, call: Call) -> Session:
        """A session token in place of one that expires; a master token as well, where Snowflake gives a new one."""
        body = {"oldSessionToken": session.token, "requestType": "RENEW"}
        headers = {"Authorization": f'Snowflake Token="{session.master_token}"'}
        path = f"/session/token-request?requestId={uuid4()}&request_guid={uuid4()}"
        data = self._ask("SNOWFLAKE_RENEW", path, body, headers, call)
        return Session(
            _token(data, "sessionToken"),
            _seconds(data, "validityInSecondsST"),
            data.get("masterToken") or session.master_token,
            _seconds(data, "validityInSecondsMT", session.master_seconds),
        )

    def endpoint_token(self, assertion: str, host: str, role: str | None, call: Call, now: float) -> Session:
        """A token for one endpoint and role, for a signed assertion. Bound to `host` (a port belongs to it).

        now: seconds since the epoch, which the token's own `exp` is read against.
        """
        scope = f"session:role:{role} {host}" if role else host
        form = urlencode({"grant_type": _JWT_BEARER, "scope": scope, "assertion": assertion}).encode()
        outgoing = Outgoing("/oauth/token", body=form, headers=_FORM, step="SNOWFLAKE_ENDPOINT_TOKEN")
        reply = self._endpoint.send_for_body(outgoing, call.aside())
        token = _token_in_text(reply)
        expires = _expiry_of_jwt(token)
        return Session(token, _LIFE_NOT_TOLD if expires is None else expires - now)

    def _ask(
        self, step: str, path: str, body: Any, headers: Mapping[str, str], call: Call
    ) -> Mapping[str, Any]:
        outgoing = Outgoing(path, body, headers={"Accept": "application/json", **headers}, step=step)
        try:
            reply = self._endpoint.send(outgoing, call.aside())
        except ModelError:
            raise _no_account("answers with no JSON") from None
        if not isinstance(reply, dict) or "success" not in reply:
            raise _no_account("answers with JSON that is no login's")
        data = reply.get("data")
        if not reply["success"] or not isinstance(data, dict):
            raise login_error(reply.get("code"), reply.get("message"))
        return data


def explain(status: int, headers: Mapping[str, str], body: bytes) -> SpcsError:
    """The error behind an account's response that is no success."""
    if status == 429:
        retry_after = parse_retry_after(headers.get("Retry-After"))
        return ServiceBusy(
            "Snowflake's login is busy (429).", status=status, retry_after=retry_after, place="login"
        )
    if status in (500, 502, 503, 504):
        retry_after = parse_retry_after(headers.get("Retry-After"))
        what = f"Snowflake's login fails (HTTP {status})."
        return ServiceDown(
            what, "See status.snowflake.com.", status=status, retry_after=retry_after, place="login"
        )
    told = _told(body)
    if told is not None:
        return login_error(*told, status=status)
    return _no_account(f"answers HTTP {status}", status)


def _told(body: bytes) -> tuple[object, object] | None:
    """Code and message of a refusal in JSON: the account's own shape, or OAuth's (RFC 6749 §5.2)."""
    try:
        reply = json.loads(body)
    except ValueError:
        return None
    if not isinstance(reply, dict):
        return None
    message = reply.get("message") or reply.get("error_description") or reply.get("error")
    return (reply.get("code"), message) if message or reply.get("code") else None


def _no_account(what: str, status: int | None = None) -> LoginError:
    return LoginError(
        f"The address does not answer as a Snowflake account: it {what}.", _CHECK_URL, status=status
    )


def _token(data: Mapping[str, Any], name: str) -> str:
    token = data.get(name)
    if not isinstance(token, str) or not token or not token.isprintable():
        raise _no_account("grants a sign-in without a token")
    return token


def _seconds(data: Mapping[str, Any], name: str, default: float = _LIFE_NOT_TOLD) -> float:
    value = data.get(name)
    return float(value) if isinstance(value, (int, float)) and value > 0 else default


def _token_in_text(reply: bytes) -> str:
    """The reply is the bare token; JSON is understood too."""
    text = reply.decode("utf-8", "replace").strip()
    if text[:1] in ("{", '"'):
        told = _told(reply)
        try:
            data = json.loads(text)
        except ValueError:
            raise _no_account("answers with no token") from None
        text = data if isinstance(data, str) else str(data.get("access_token") or data.get("token") or "")
        if not text and told is not None:
            raise login_error(*told)
    if not text or not text.isascii() or any(character.isspace() for character in text):
        raise _no_account("answers with no token")
    return text


def _expiry_of_jwt(token: str) -> float | None:
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        return float(claims["exp"])
    except (ValueError, KeyError, TypeError):
        return None
