"""The login API of one Snowflake account.

Bodies and fields: snowflake-connector-python 4.8.1 and 5.2.0, `auth` and `network`; Snowflake documentation, "Tutorial:
access a public endpoint programmatically" (`/oauth/token`). Logins are raw HTTP on purpose: in a session of the Python
connector, results come as Arrow, which the ingress cannot read (snowflake-ml-python 2.6.0,
`feature_store/online_service_http_client.py`).
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode
from uuid import uuid4

from spcs_llm.errors import (
    CONNECTION_STATUSES,
    LoginError,
    ModelError,
    NetworkError,
    QueryTimeout,
    ServiceBusy,
    ServiceDown,
    SpcsError,
)
from spcs_llm.http.asked_wait import parse_retry_after
from spcs_llm.http.endpoint import Endpoint
from spcs_llm.http.network_errors import SNOWFLAKE_ACCOUNT_URL
from spcs_llm.http.request import HttpRequest
from spcs_llm.http.retry import RetryPolicy
from spcs_llm.http.token_source import NoToken
from spcs_llm.http.transport import Transport
from spcs_llm.query_context import QueryContext
from spcs_llm.server_text.container_errors import telling_line
from spcs_llm.server_text.redaction import SENT_SECRETS
from spcs_llm.snowflake.login_errors import (
    CHECK_URL,
    NO_SUCH_ENDPOINT,
    OTHERS_ANSWER,
    SignInKind,
    hint_for_refusal,
    login_error,
    login_timeout,
    no_account,
)
from spcs_llm.urls import BaseUrl

_JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_FORM = {"Content-Type": "application/x-www-form-urlencoded"}
_LIFE_NOT_TOLD = 300.0
_IDLE_SECONDS = 30.0
_MAX_REPLY = 1 << 20  # bytes; a login's answer has some kilobytes
_MAX_TOKEN = 16_384  # characters; no server takes a header that is longer
_PLAIN_ROLE = re.compile(r"[A-Za-z0-9_$.-]+")


@dataclass(frozen=True)
class Session:
    """What a login or a renewal grants. Seconds count from then on.

    Attributes:
        token: The session token.
        seconds: How long the session token lives.
        master_token: Renews the session. None if there is none, or, in a renewal, if the old one stays.
        master_seconds: How long the master token lives; infinite if Snowflake does not say.
        role: The session's role; None if Snowflake does not say, as in a renewal.
    """

    token: str = field(repr=False)
    seconds: float
    master_token: str | None = field(default=None, repr=False)
    master_seconds: float = math.inf
    role: str | None = None


@dataclass(frozen=True)
class EndpointToken:
    """A token for one endpoint.

    Attributes:
        token: The token.
        seconds: How long it lives from now on.
    """

    token: str = field(repr=False)
    seconds: float


class Account:
    """Signs in. Thread-safe. Every method raises LoginError, ServiceDown, ServiceBusy, NetworkError or QueryTimeout."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    @classmethod
    def at(cls, url: BaseUrl, transport: type[Transport] = Transport) -> Account:
        connections, retry = transport(url, field=SNOWFLAKE_ACCOUNT_URL), RetryPolicy(attempts=3)
        return cls(
            Endpoint(connections, NoToken(), error_from_response, retry=retry, idle_seconds=_IDLE_SECONDS)
        )

    def login(self, access_token: str, context: QueryContext) -> Session:
        """A session for an OAuth access token."""
        body = {"data": {"AUTHENTICATOR": "OAUTH", "TOKEN": access_token}}
        path = f"/session/v1/login-request?request_id={uuid4()}"
        SENT_SECRETS.add(access_token)
        data = self._ask("SNOWFLAKE_LOGIN", path, body, {}, context)
        return _session(data, "token", "validityInSeconds", "masterValidityInSeconds")

    def renew(self, token: str, master_token: str, context: QueryContext) -> Session:
        """A session token instead of `token`; a master token as well, where Snowflake gives a new one."""
        body = {"oldSessionToken": token, "requestType": "RENEW"}
        path = f"/session/token-request?requestId={uuid4()}&request_guid={uuid4()}"
        SENT_SECRETS.add(token, master_token)
        data = self._ask("SNOWFLAKE_RENEW", path, body, authorization(master_token), context)
        return _session(data, "sessionToken", "validityInSecondsST", "validityInSecondsMT")

    def endpoint_token(
        self, assertion: str, host: str, role: str | None, context: QueryContext, now: float
    ) -> EndpointToken:
        """Exchanges a signed assertion for a token that is good for one endpoint and role.

        Args:
            assertion: The JWT.
            host: The endpoint's host, with its port if it has one.
            role: The role; None for the user's default role.
            context: The query that needs the token.
            now: Seconds since the epoch, which the token's own `exp` is compared with if it has no `iat`.

        Returns:
            The token.
        """
        scope = f"{_role_scope(role)} {host}" if role else host
        form = urlencode({"grant_type": _JWT_BEARER, "scope": scope, "assertion": assertion}).encode()
        http_request = HttpRequest(
            "/oauth/token", body=form, headers=_FORM, step="SNOWFLAKE_ENDPOINT_TOKEN", max_body=_MAX_REPLY
        )
        SENT_SECRETS.add(assertion)
        token = _token_in_text(self._send(http_request, SignInKind.KEY_PAIR, context))
        return EndpointToken(token, _life_of_jwt(token, now) or _LIFE_NOT_TOLD)

    def _ask(
        self, step: str, path: str, body: Any, headers: Mapping[str, str], context: QueryContext
    ) -> Mapping[str, Any]:
        http_request = HttpRequest(
            path, body, headers={"Accept": "application/json", **headers}, step=step, max_body=_MAX_REPLY
        )
        reply = _json(self._send(http_request, SignInKind.OAUTH, context))
        if not isinstance(reply, dict) or "success" not in reply:
            raise no_account("does not answer with the JSON of a login")
        data = reply.get("data")
        if str(reply["success"]).lower() == "true" and isinstance(data, dict):
            return data
        raise login_error(reply.get("code"), reply.get("message"), sign_in=SignInKind.OAUTH)

    def _send(self, http_request: HttpRequest, sign_in: SignInKind, context: QueryContext) -> bytes:
        child = context.child()
        try:
            return self._endpoint.send_for_body(http_request, child)
        except QueryTimeout:
            context.last_error = child.last_error or context.last_error
            raise login_timeout(context, "signing in to Snowflake") from None
        except ModelError:
            raise no_account("answers with a web page, or with more than the JSON of a login") from None
        except LoginError as error:  # of a status, which does not say which way of signing in was refused
            if error.code is not None:
                error.hint = hint_for_refusal(error.code, error.message, sign_in) or error.hint
            raise
        except NetworkError as error:
            if error.silent:
                error.hint = CHECK_URL
            raise


def authorization(token: str) -> Mapping[str, str]:
    """The header that carries a token: Snowflake documentation, "Service network communications"."""
    return {"Authorization": f'Snowflake Token="{token}"'}


def error_from_response(status: int, headers: Mapping[str, str], body: bytes) -> SpcsError:
    """The error behind an account's response that is not a success."""
    passes = status in (408, 429, *CONNECTION_STATUSES)
    if passes or (status >= 500 and status != 513):  # 513 means that the account does not exist
        kind = ServiceBusy if status == 429 else ServiceDown
        error = kind(
            f"Snowflake's login does not answer (HTTP {status}).",
            "Try again; status.snowflake.com reports outages.",
            status=status,
            retry_after=parse_retry_after(headers.get("Retry-After")),
            place="login",
        )
        if body.lstrip()[:1] == b"<":  # a web page, which a login never has
            error.hint += f" {OTHERS_ANSWER}"
        return error
    refusal = _refusal(_json(body)) or _refusal_in_text(body)
    if 400 <= status < 500 and refusal is not None:
        return login_error(*refusal, status=status)
    return no_account(f"answers HTTP {status}", status)


def _role_scope(role: str) -> str:
    """The scope of a role; one whose name needs quotes in SQL is encoded (Snowflake documentation, "Scopes")."""
    return (
        f"session:role:{role}"
        if _PLAIN_ROLE.fullmatch(role)
        else f"session:role-encoded:{quote(role, safe='')}"
    )


def _refusal_in_text(body: bytes) -> tuple[object, object] | None:
    """What `/oauth/token` says in plain text of an endpoint that it does not know."""
    text = body[:_MAX_TOKEN].decode("utf-8", "replace")
    return (None, telling_line(text)) if NO_SUCH_ENDPOINT in text.lower() and "<" not in text else None


def _refusal(reply: Any) -> tuple[object, object] | None:
    """Code and message of a refusal: the account's own shape, its gateway's, or OAuth's (RFC 6749 §5.2)."""
    if not isinstance(reply, dict):
        return None
    named = ("message", "error_description", "detail", "error")
    message = next((reply[name] for name in named if isinstance(reply.get(name), str)), None)
    return (reply.get("code"), message) if message or reply.get("code") else None


def _session(data: Mapping[str, Any], token: str, life: str, master_life: str) -> Session:
    """Renewals name their fields otherwise than logins."""
    master_token = data.get("masterToken")
    return Session(
        _checked(data.get(token)),
        _seconds(data.get(life)) or _LIFE_NOT_TOLD,
        _checked(master_token) if master_token else None,
        _seconds(data.get(master_life)) or math.inf,
        _role_in(data.get("sessionInfo")),
    )


def _role_in(session_info: Any) -> str | None:
    role = session_info.get("roleName") if isinstance(session_info, Mapping) else None
    return role if isinstance(role, str) and role else None


_TOKEN = re.compile(r"[!#-~]+")  # what can stand between the quotes of the header


def _checked(token: object) -> str:
    if isinstance(token, str) and len(token) <= _MAX_TOKEN and _TOKEN.fullmatch(token):
        return token
    raise no_account("grants a sign-in without a token that can be sent")


def _seconds(value: Any) -> float | None:
    try:
        seconds = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return seconds if 0 < seconds < math.inf else None


def _token_in_text(reply: bytes) -> str:
    """The reply of `/oauth/token` is the bare token; JSON is understood, too."""
    text = reply.decode("utf-8", "replace").strip()
    refusal = _refusal_in_text(reply)
    if refusal is not None and text[:1] != "{":
        raise login_error(*refusal, sign_in=SignInKind.KEY_PAIR)
    if text[:1] not in ("{", "[", '"'):
        return _checked(text)
    granted = _json(reply)
    if not isinstance(granted, dict):
        return _checked(granted)
    token = granted.get("access_token") or granted.get("token")
    refusal = _refusal(granted)
    if token is None and refusal is not None:
        raise login_error(*refusal, sign_in=SignInKind.KEY_PAIR)
    return _checked(token)


def _life_of_jwt(token: str, now: float) -> float | None:
    """Seconds from its issue to its end, by the issuer's clock only, if it says so; None for what is not a JWT."""
    try:
        _, claims, _ = token.split(".")
        claims = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
        return _seconds(float(claims["exp"]) - float(claims.get("iat", now)))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
