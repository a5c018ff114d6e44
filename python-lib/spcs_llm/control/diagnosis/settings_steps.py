"""Steps that need no network: the settings, and what the names of the hosts say."""

from __future__ import annotations

import contextlib

from spcs_llm.control.diagnosis.finding import Outcome, ok, warning
from spcs_llm.control.diagnosis.subject import Subject
from spcs_llm.errors import NetworkError, SettingsError, SpcsError
from spcs_llm.protocol_choices import PROTOCOLS
from spcs_llm.query_context import QueryContext
from spcs_llm.settings import FIELDS, Settings, TokenSignIn
from spcs_llm.urls import BaseUrl, is_loopback, is_private_link, is_snowflakes

_INGRESS_SECONDS = 90.0
_MACROS_FORM = "Correct the fields that are named here, in the form of this macro."
_BOTH_FORMS = (
    "Correct the fields that are named here: those of a model in its settings of the DSS connection, the others in the"
    " form of this macro."
)
_RESOLVES_PRIVATELY = (
    "This is a private link host: DSS must resolve it by a private DNS zone. SYSTEM$GET_PRIVATELINK_CONFIG() lists"
    " the names that the zone needs."
)


def settings(subject: Subject, context: QueryContext) -> Outcome:
    """Whether the form can be used, its key and its chat template included."""
    try:
        read = subject.read()
    except SettingsError as error:
        raise _with_problem(error, subject.problem) from None
    with contextlib.suppress(NetworkError):  # the proxy or the CA bundle: the steps of the network say so
        _ = subject.connection
    protocol = PROTOCOLS[read.protocol.name].title
    seen = f"{_sign_in(subject)}, protocol {protocol}, {_times(read)}."
    hint = _impatient(read)
    if subject.problem is not None:  # no query reads these fields
        seen = f"{seen} Not used: {subject.problem.message}"
        return warning(seen, f"{_MACROS_FORM} {hint}".strip(), subject.problem)
    return warning(seen, hint) if hint else ok(seen)


def _with_problem(error: SettingsError, problem: SpcsError | None) -> SettingsError:
    """The error of the model's settings, with what is wrong with the other fields: all is said at once."""
    if problem is None:
        return error
    return SettingsError(f"{error.message} {problem.message}", error.hint or _BOTH_FORMS)


def _sign_in(subject: Subject) -> str:
    kinds = {"OAuthSignIn": "OAuth", "KeyPairSignIn": "key pair", "TokenSignIn": "programmatic access token"}
    kind = kinds.get(type(subject.settings.credential.sign_in).__name__)
    return "No sign-in" if kind is None else f"Sign-in by {kind}"


def _times(read: Settings) -> str:
    return (
        f"request timeout {read.endpoint.request_timeout:g} s, cold start wait {read.endpoint.cold_start_wait:g} s,"
        f" query timeout {read.query_timeout:g} s"
    )


def _impatient(read: Settings) -> str:
    if read.endpoint.cold_start_wait >= read.query_timeout:
        return (
            f"Raise '{FIELDS.query_timeout.label}' above '{FIELDS.cold_start_wait.label}': a query that waits for a"
            " service to start has no time left for its answer."
        )
    if read.endpoint.request_timeout >= read.query_timeout:
        return (
            f"Raise '{FIELDS.query_timeout.label}' above '{FIELDS.request_timeout.label}': a request that fails late"
            " cannot be tried again."
        )
    return ""


def hosts(subject: Subject, context: QueryContext) -> Outcome:
    """What kind of host each address names."""
    read = subject.settings
    told = [f"'{FIELDS.endpoint.label}' names {_kind(read.endpoint.url)}"]
    if isinstance(read.credential.sign_in, TokenSignIn):
        told.append("the account's URL is not needed with a programmatic access token")
    elif read.credential.account is not None:
        told.append(f"'{FIELDS.account.label}' names {_kind(read.credential.account)}")
    seen = "; ".join(told) + "."
    addresses = (read.endpoint.url, read.credential.account)
    if any(url is not None and not is_snowflakes(url) for url in addresses):
        return warning(
            seen,
            f"Users' tokens are sent to that host, because '{FIELDS.allowed_hosts.label}' allows it. Make sure that it"
            " is a reverse proxy of your organization that passes on the Authorization header.",
        )
    return ok(seen)


def _kind(url: BaseUrl) -> str:
    if is_loopback(url.host):
        return "this machine"
    if not is_snowflakes(url):
        return f"{url.host}, a host outside Snowflake"
    return (
        f"{url.host}, Snowflake's over private link" if is_private_link(url) else f"{url.host}, Snowflake's"
    )


def private_zone_hint(url: BaseUrl) -> str:
    """What to add to a hint where a name that private link needs is not resolved as it must be."""
    return _RESOLVES_PRIVATELY if is_private_link(url) else ""
