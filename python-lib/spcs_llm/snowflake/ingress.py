"""What an answer of a service's ingress means that is not a success: Snowflake's gateway, or the container behind it.

Shapes: Snowflake documentation, "Service network communications" and "Model serving: REST"; datamasque-python
`client/spcs.py`; relationalai 1.37, `direct_access_client.py`. The gateway's errors are JSON with `responseType` and
`detail`, a few fixed sentences, or nothing at all; JSON of any other shape is the container's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from spcs_llm.errors import (
    BUSY_STATUSES,
    CONNECTION_STATUSES,
    DOWN_STATUSES,
    SILENT_STATUSES,
    AccessDenied,
    BadRequest,
    Blocked,
    GatewayDown,
    IngressError,
    ModelError,
    ModelLoading,
    NotFound,
    RequestTooLarge,
    ServiceBusy,
    ServiceDown,
    ServiceError,
    ServiceStarting,
    SpcsError,
    TokenRefused,
)
from spcs_llm.http.asked_wait import wait_for_limit, wait_in_headers
from spcs_llm.http.event_stream import events
from spcs_llm.server_text.container_errors import (
    ContainerError,
    fields_in_xml,
    read_error,
    reason_in_text,
    telling_line,
)
from spcs_llm.server_text.foreign_text import error_code, request_id
from spcs_llm.server_text.redaction import without_secrets
from spcs_llm.server_text.refusal_hints import (
    CHECK_PROTOCOL,
    CHECK_SERVICE_KEY,
    SEE_LOGS,
    SMALLER,
    hint_for,
    says_busy,
    says_filtered,
    says_loading,
    says_provider_failed,
    says_too_large,
    says_too_long,
    says_used_up,
)
from spcs_llm.snowflake.login_errors import (
    ASSIGN_POLICY,
    NETWORK_POLICY,
    SignInKind,
    hint_for_refusal,
    names_network_policy,
)

_TO_GRANT = (
    " a Snowflake administrator to grant the role USAGE on the service's database and schema, and the service role:"
    " GRANT SERVICE ROLE <service>!ALL_ENDPOINTS_USAGE TO ROLE <role>."
)
_GRANT = f"Ask{_TO_GRANT}"
_TOKEN_HINTS = {
    SignInKind.OAUTH: f"{_GRANT} The role is the one that 'Scope' of the preset names, or the user's default role.",
    SignInKind.KEY_PAIR: f"{_GRANT} The role is 'Role' of the preset, or the user's default role.",
    SignInKind.TOKEN: "Check that the programmatic access token has not expired, and that the role it is restricted to"
    f" may call the service. {_GRANT}",
    SignInKind.UNKNOWN: f"{_GRANT} If it is a programmatic access token, check that it has not expired and has a role"
    " that may call.",
}
_CHECK_HOST = "If the service was dropped and created again, its URL is new: SHOW ENDPOINTS IN SERVICE."
# Snowflake documentation, "Gateway": it splits requests among services, and has its own privilege.
GRANT_GATEWAY = (
    "If it is the URL of a gateway, the role needs instead: GRANT USAGE ON GATEWAY <gateway> TO ROLE <role>."
)
_SET_SERVICE_KEY = "If the container requires a separate key, enter it as 'Service API key'."
_MAX_PAGE = 16_384  # bytes, of which known phrases are looked for
_EVENTS = (b"data:", b"event:", b"id:", b"retry:", b": ")  # how a stream of events begins
_LOST_UPSTREAM = "upstream connect error"
_STARTING = (
    "no service hosts",
    "no healthy upstream",
    _LOST_UPSTREAM,
    "connection refused",
    "not reachable",
)
# What Envoy says of a connection that it had, or whose TLS it does not accept, and of its own limit: the container has
# started.
_ENVOY_LOST_IT = re.compile(
    r"reset reason: (?:connection termination|remote reset|local reset|protocol error)"
    r"|\btls[ _]error:[|\s\d]{0,20}:ssl routines"  # those of the "system library" are the socket's, and may pass
)
_ENVOY_IS_BUSY = re.compile(r"reset reason: overflow\b")
_ABOUT_NETWORK = re.compile(r"network policy|\bip/token\b")  # words that name no token
_ABOUT_TOKEN = re.compile(r"\b(token|session|credential|authenticat\w+|expired|revoked)\b")
# What web filters and firewalls say on the pages that they answer with; Snowflake's pages do not.
_PROXYS_PAGE = re.compile(
    r"\b(?:squid|cache administrator|zscaler|zscloud)\b|\bnetwork error \((?:tcp|dns|ssl)_\w{1,40}\)"  # ProxySG's
)
# What a page says that has another status than a refusal: PAN-OS blocks with 503.
_BLOCKED = re.compile(r"\bblocked (?:by|in accordance with)\b|<title>[^<]{0,100}\bblocked\b")
_OTHERS_PAGE = re.compile(
    rf"\b(?:proxy|firewall|web ?filter|cloudflare|captcha|blocked|requested url was rejected)\b|{_PROXYS_PAGE.pattern}"
)
_HEADERS_TOO_LARGE = re.compile(r"request header[^.<]{0,40}too large")
_PROVIDERS = re.compile(r"\b(?:error|status|code|http)\W{0,3}(4\d\d)\b", re.IGNORECASE)
_TITLE = re.compile(r"<title>([^<]{1,200})</title>")
_SNOWFLAKES = re.compile(r"39\d{4}")
_API_PATH = re.compile(
    r"^https?://[^/]+/(.*/)?(v\d|predict|chat|completions|embed\w*|rerank|models|generate|__call__|--call--)(/|$|\?)",
    re.IGNORECASE,
)
_LET_PASS = "Ask its administrators to let this DSS server call the host of 'LLM endpoint URL'."
_MAY_BE_ANOTHER = f" If a proxy or firewall redirects to its own page: {_LET_PASS[0].lower()}{_LET_PASS[1:]}"
_HOST_OF_URL = re.compile(r"(?:https?:)?//([^/?#]*)", re.IGNORECASE)
# This machine is trusted here as everywhere.
_SNOWFLAKES_HOST = re.compile(
    r"snowflakecomputing\.|snowflake\.(?:com|app)|^(?:localhost|127\.)", re.IGNORECASE
)
_SIGN_IN = re.compile(r"oauth|log-?in|sign-?in|sso|saml|authorize", re.IGNORECASE)
_SIGN_IN_PAGE = re.compile(rf"snowflakecomputing|snowflake\.com|{_SIGN_IN.pattern}", re.IGNORECASE)


class NotFoundOrDenied(TokenRefused, NotFound):
    """A 404 of which nobody can say whose it is: worth a new token once, and then it is a path that is not there."""


class TokenOrKeyRefused(TokenRefused, ServiceError):
    """A 401 in the container's form: worth a new token once, since the form may be the gateway's, too."""

    place = "service"


class TokenOrAccessDenied(TokenRefused, AccessDenied):
    """A denial that names the token as well as the network or the role: worth a new token once."""


@dataclass(frozen=True)
class _ErrorReply:
    """What a response says.

    Attributes:
        status: The HTTP status.
        reason: The reason, in the server's words.
        page: All of it in lower case, to look for known phrases.
        gateway: Whether it is certainly Snowflake's own.
        container: Whether it is certainly the container's.
        code: Snowflake's code of a refusal.
        location: Where a redirect points.
        provider_status: What the server behind a gateway answered with, if the gateway says so beside a failure.
    """

    status: int
    reason: str
    page: str
    gateway: bool = False
    container: bool = False
    code: str | None = None
    location: str = ""
    provider_status: int | None = None

    def says(self, *phrases: str) -> bool:
        return any(phrase in self.page for phrase in phrases)

    @property
    def names_network_policy(self) -> bool:
        """Whether Snowflake does not let the address in."""
        if self.says("network policy") or self.code in NETWORK_POLICY:
            return True
        return self.gateway and names_network_policy(self.reason)

    @property
    def title(self) -> str:
        """The title of a web page, in lower case; "" of all else."""
        found = _TITLE.search(self.page)
        return found[1].strip() if found else ""

    @property
    def is_starting(self) -> bool:
        """Whether a gateway cannot reach the container at all."""
        if self.container or not (self.gateway or self.status in (502, 503, 504)):
            return False
        reached = _ENVOY_LOST_IT.search(self.page) or _ENVOY_IS_BUSY.search(self.page)
        return self.says(*_STARTING) and not reached

    @property
    def is_of_another(self) -> bool:
        """Whether a proxy or firewall answers, and neither Snowflake nor the container."""
        return self.status in (407, 511) or self.is_blocked

    @property
    def is_blocked(self) -> bool:
        """Whether a proxy or firewall answers with a page that it blocks this request."""
        words = {403: _OTHERS_PAGE, 451: _OTHERS_PAGE, 503: _BLOCKED}.get(self.status)
        return words is not None and self._is_page and words.search(self.page) is not None

    @property
    def is_proxys_failure(self) -> bool:
        """Whether a proxy says that it cannot reach what is behind it."""
        return self.status in (502, 503, 504) and self._is_page and _PROXYS_PAGE.search(self.page) is not None

    @property
    def _is_page(self) -> bool:
        return not self.gateway and self.page.lstrip()[:1] == "<"

    def error(self, kind: Callable[[str, str], SpcsError], what: str, hint: str) -> SpcsError:
        """An error that says `what`, then the status and the server's reason."""
        error = kind(f"{what} (HTTP {self.status}).", hint)
        if self.reason:
            error.quote(self.reason)
        return error


@dataclass(frozen=True)
class IngressErrors:
    """Makes errors of responses that are not a success, with hints that suit the way of signing in.

    Attributes:
        sign_in: How the user signs in.
        service_key: Whether the container's own key is sent as well.
    """

    sign_in: SignInKind = SignInKind.UNKNOWN
    service_key: bool = False

    def __call__(self, status: int, headers: Mapping[str, str], body: bytes) -> SpcsError:
        """The error behind a response. Of a web page nothing is quoted, of other texts what gives the reason."""
        reply = _json(body)
        told = _read_reply(status, headers, body, reply)
        if self.sign_in is SignInKind.NONE:  # no gateway of Snowflake is on the way
            told = replace(told, page="", gateway=False, container=True)
        error = self._error(told)
        error.status = status
        error.code = error.code or told.code
        error.retry_after = wait_in_headers(headers)
        if error.retry_after is None and isinstance(error, ServiceBusy):
            error.retry_after = wait_for_limit(headers, reply or fields_in_xml(_page(body)), told.reason)
        if isinstance(reply, dict):
            error.request_id = _request_id(reply.get("requestId"))
        return error

    def _error(self, told: _ErrorReply) -> SpcsError:
        status = told.status
        if 300 <= status < 400:
            return self._redirected(told)
        if told.is_proxys_failure:
            return told.error(ServiceDown, "A proxy or firewall cannot reach the service", _LET_PASS)
        if told.is_starting:
            return told.error(
                ServiceStarting,
                "The service is not reachable yet",
                "It is suspended, starting or failing. Try again in a few minutes, or ask a DSS administrator to raise"
                " 'Cold start wait'. A Snowflake administrator can see its state with SHOW SERVICE CONTAINERS IN"
                " SERVICE.",
            )
        if status in (401, 403) and told.says(_LOST_UPSTREAM) and not told.container:  # Higress's
            return told.error(ServiceDown, "The service does not answer", SEE_LOGS)
        denied = self._denied(told)
        if denied is not None:
            return denied
        if status in (401, 403):
            return self._refused(told)
        if status == 404:
            return self._not_found(told)
        return _failed(told)

    def _redirected(self, told: _ErrorReply) -> SpcsError:
        within = told.status in (301, 307, 308) and _is_within_container(told.location)
        if within or self.sign_in is SignInKind.NONE:
            return NotFound(
                f"The service redirects to another path (HTTP {told.status}), and redirects are not followed.",
                "Check the path in 'LLM endpoint URL', 'Service protocol' and 'Method name': the container serves this"
                " request under another path, such as one with a slash at its end.",
            )
        foreign = _is_foreign(told.location)
        if foreign and not _SIGN_IN.search(told.location):
            return AccessDenied(
                f"The request is redirected to a host that is not Snowflake's (HTTP {told.status}), and redirects are"
                " not followed.",
                f"Check 'LLM endpoint URL'.{_MAY_BE_ANOTHER}",
            )
        return TokenRefused(
            f"Snowflake's gateway asks for a sign-in (HTTP {told.status}): it does not accept the token for this"
            " endpoint.",
            f"{_TOKEN_HINTS[self.sign_in]}{_MAY_BE_ANOTHER if foreign else ''}",
        )

    def _denied(self, told: _ErrorReply) -> SpcsError | None:
        """The token is good, it seems; the role, the network or the host is not."""
        kind = TokenOrAccessDenied if told.status == 401 or _ABOUT_TOKEN.search(told.page) else AccessDenied
        if told.says("could not find the service associated"):
            return AccessDenied(
                f"Snowflake's gateway cannot find a service at this endpoint that the role may call"
                f" (HTTP {told.status}).",
                f"{_CHECK_HOST} Otherwise, ask{_TO_GRANT} {GRANT_GATEWAY}",
            )
        if told.names_network_policy:
            hint = (
                "Ask a Snowflake administrator to add the address of this DSS server to the network policy of the user"
                " or of the security integration; a programmatic access token needs such a policy."
            )
            if hint_for_refusal(told.code or "", told.reason) == ASSIGN_POLICY:
                hint = ASSIGN_POLICY
            elif _ABOUT_TOKEN.search(_ABOUT_NETWORK.sub("", told.page)):
                hint += f" It may be the token as well: {_TOKEN_HINTS[self.sign_in]}"
            return told.error(kind, "Snowflake refuses the request: the network policy may be why", hint)
        if told.says("contact snowflake support") and not told.container:
            return told.error(
                AccessDenied,
                "Snowflake refuses the request",
                "Ask a Snowflake administrator to contact Snowflake support.",
            )
        if told.is_of_another:
            what = f"A proxy or firewall denies the request (HTTP {told.status})."
            if not told.is_blocked:
                return AccessDenied(what, _LET_PASS)
            return Blocked(
                what,
                f"{_LET_PASS} If it denies only some queries, it takes their text for an attack, as it may do with SQL"
                " or code: then ask them to change the rule for that.",
            )
        if told.says("access denied", "insufficient privileges"):
            return AccessDenied(f"Snowflake's gateway denies the role access (HTTP {told.status}).", _GRANT)
        return None

    def _refused(self, told: _ErrorReply) -> SpcsError:
        key = CHECK_SERVICE_KEY if self.service_key else _SET_SERVICE_KEY
        if told.container:
            kind = TokenOrKeyRefused if told.status == 401 else ServiceError
            if says_filtered(told.reason) or says_used_up(told.reason):
                key = hint_for(told.reason)
            return told.error(kind, "The service itself refuses the request", key)
        hint = _TOKEN_HINTS[self.sign_in]
        if told.code is not None:
            hint = hint_for_refusal(told.code, told.reason, self.sign_in) or hint
            return told.error(TokenRefused, f"Snowflake refuses the token, code {told.code}", hint)
        if told.gateway:
            hint = hint_for_refusal("", told.reason, self.sign_in) or hint
            return told.error(TokenRefused, "Snowflake's gateway refuses the token", hint)
        # Nobody can say whose it is.
        return told.error(
            TokenRefused,
            "Snowflake's gateway refuses the token, or the container refuses its key",
            f"{key} {hint}" if self.service_key else f"{hint} {key}",
        )

    def _not_found(self, told: _ErrorReply) -> SpcsError:
        if told.container:
            hint = hint_for(told.reason)
            return told.error(
                NotFound,
                "The service has no such path or model",
                CHECK_PROTOCOL if hint == SEE_LOGS else hint,
            )
        return NotFoundOrDenied(
            "The service does not answer there (HTTP 404): either the URL, path or method is wrong, or the role has no"
            " access, which Snowflake hides behind a 404.",
            f"Check 'LLM endpoint URL' and 'Service protocol'. {_GRANT} {GRANT_GATEWAY} {_CHECK_HOST}",
        )


error_from_response = IngressErrors()


def _request_id(value: Any) -> str | None:
    """The gateway's id of the request; none where it is, or holds, a credential that was sent."""
    told = request_id(value)
    return told if told is not None and without_secrets(told) == told else None


def _is_within_container(location: str) -> bool:
    """Whether a redirect leads to a path of the same container, such as one with a slash at its end.

    The container knows itself by another host name than its clients do: only the path can tell.

    Args:
        location: The redirect's `Location`.

    Returns:
        Whether it does.
    """
    if not location or _SIGN_IN_PAGE.search(location):
        return False
    return (location[0] == "/" and location[1:2] != "/") or _API_PATH.search(location) is not None


def _is_foreign(location: str) -> bool:
    """Whether a redirect leads to a host that is not Snowflake's: an identity provider's, or that of a proxy."""
    host = _HOST_OF_URL.match(location)
    return host is not None and _SNOWFLAKES_HOST.search(host[1]) is None


def _page(body: bytes) -> str:
    return body[:_MAX_PAGE].decode("utf-8", "replace")


def _read_reply(status: int, headers: Mapping[str, str], body: bytes, reply: Any) -> _ErrorReply:
    location = headers.get("Location") or "" if 300 <= status < 400 else ""
    text = _page(body)
    if isinstance(reply, dict) and "responseType" in reply:
        detail = reply.get("detail")
        detail = detail if isinstance(detail, str) else ""
        return _ErrorReply(status, telling_line(detail), detail.lower(), gateway=True, location=location)
    told = read_error(reply)
    if told is not None:
        code = error_code(reply.get("code")) if isinstance(reply, dict) else None
        if code is not None and _SNOWFLAKES.fullmatch(code):
            return _ErrorReply(status, told.reason, told.reason.lower(), gateway=True, code=code)
        provider_status = _provider_status(told) if status >= 500 else None
        return _ErrorReply(
            status, told.reason, "", container=True, location=location, provider_status=provider_status
        )
    if "html" in headers.get("Content-Type", "").lower() or text.lstrip()[:1] == "<":
        told = read_error(fields_in_xml(text))  # whoever wrote it: a gateway, a firewall or the container
        return _ErrorReply(status, told.reason if told is not None else "", text.lower(), location=location)
    if reply is not None and not isinstance(reply, str):
        return _ErrorReply(status, "", text.lower(), location=location)  # JSON that says nothing
    return _ErrorReply(status, reason_in_text(reply or text), text.lower(), location=location)


def _provider_status(told: ContainerError) -> int | None:
    """The refusal of a server behind a gateway, that the gateway presents as a failure."""
    found = _PROVIDERS.search(told.reason[:300])
    status = told.status or (int(found[1]) if found is not None else None)
    return status if status in (400, 413, 422, *BUSY_STATUSES) else None


def _failed(told: _ErrorReply) -> SpcsError:
    status = told.provider_status or told.status
    if status == 431 or (status == 400 and _HEADERS_TOO_LARGE.search(told.page)):
        return told.error(
            IngressError,
            "The headers of the request are too large",
            "The token, or 'Service API key', is too long for the server. Ask an administrator for a shorter one, such"
            " as that of a user in fewer groups, or to raise the server's limit.",
        )
    if status == 413:
        return told.error(
            RequestTooLarge,
            "The request is too large",
            "Lower 'Max batch size', or send shorter texts: model serving takes 1 MB.",
        )
    if status in BUSY_STATUSES and says_too_large(told.reason):
        return told.error(RequestTooLarge, "The request is larger than the service's limit", SMALLER)
    is_busy = status in BUSY_STATUSES or (status in (500, 503) and says_busy(told.reason))
    is_busy = is_busy or (status == 503 and _ENVOY_IS_BUSY.search(told.page) is not None)
    if is_busy and not says_used_up(told.reason):
        return told.error(ServiceBusy, "The service has too many requests", "Lower 'Max parallelism'.")
    if status in (502, 503) and says_loading(told.reason or told.title, status):
        return told.error(
            ModelLoading,
            "The service is not ready yet",
            "Try again in a few minutes, or ask a DSS administrator to raise 'Cold start wait'.",
        )
    if status in CONNECTION_STATUSES:
        return told.error(
            ServiceDown,
            "A proxy or firewall does not accept the connection that the request came on",
            f"If it happens again, check 'LLM endpoint URL'. {_LET_PASS}",
        )
    if status in SILENT_STATUSES:
        return told.error(
            ServiceDown,
            "The service was silent for too long",
            "Snowflake's ingress ends a request after 90 s of silence: ask for fewer tokens, or lower"
            " 'Max batch size'.",
        )
    if (status in DOWN_STATUSES and not says_too_long(told.reason)) or (
        status == 400 and says_provider_failed(told.reason)
    ):
        return told.error(ServiceDown, "The service does not answer", SEE_LOGS)
    if status >= 500 and told.gateway:
        return told.error(
            GatewayDown,
            "Snowflake's gateway fails",
            "Try again later; status.snowflake.com reports outages. If it happens again, ask a Snowflake administrator"
            " to contact Snowflake Support with the request id.",
        )
    if status >= 500 or status == 424:  # TGI's, where the model fails
        hint = hint_for(told.reason)
        return told.error(ServiceError, "The service fails", SEE_LOGS if hint == CHECK_PROTOCOL else hint)
    kind = BadRequest if status in (400, 422) else ServiceError
    hint = CHECK_PROTOCOL if status in (405, 406, 415) else hint_for(told.reason)
    if status == 405 and not told.container:  # what answers at the former host of a service
        hint = f"{CHECK_PROTOCOL} {_CHECK_HOST}"
    return told.error(kind, "The service refuses the request", hint)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return _first_event(body) if body.lstrip().startswith(_EVENTS) else None


def _first_event(body: bytes) -> Any:
    """What the first event says: some gateways refuse a request for a stream with a stream of one error."""
    try:
        for event in events([body]):
            data = event.data.strip()
            if data and data != b"[DONE]":
                return json.loads(data) if data[:1] in b'{["' else data.decode("utf-8", "replace")
    except (ValueError, RecursionError, ModelError):
        pass
    return None
