"""Steps of the way to a host: its name, a connection, its certificate. There are the account's and the endpoint's."""

from __future__ import annotations

from spcs_llm.control.diagnosis.finding import Outcome, ok, quoted, skipped, warning
from spcs_llm.control.diagnosis.settings_steps import private_zone_hint
from spcs_llm.control.diagnosis.subject import Subject
from spcs_llm.errors import NetworkError
from spcs_llm.http.reachability import Addresses, connect, look_up, shake_hands
from spcs_llm.http.transport import CONNECT_SECONDS
from spcs_llm.query_context import QueryContext
from spcs_llm.urls import is_loopback, is_private_link

_NOT_NEEDED = "The account is not needed to sign in: a programmatic access token is used as it is."
_EXPIRES_SOON = 14.0  # days


def dns(subject: Subject, named_by: str, context: QueryContext) -> Outcome:
    """Whether the host's name is resolved, and to what."""
    url = subject.url(named_by)
    if url is None:
        return skipped(_NOT_NEEDED)
    try:
        found = look_up(subject.transport(named_by))
    except NetworkError as error:
        zone = private_zone_hint(url)
        return Outcome.of(error, f"{error.hint} {zone}".strip() if zone else "")
    subject.facts.addresses[named_by] = found
    seen = _addresses(found)
    if found.of_proxy:
        return ok(f"Requests go through the proxy that HTTPS_PROXY names. Its name is resolved: {seen}.")
    inside = found.private + found.loopback
    if is_private_link(url) and not inside:
        return warning(f"The name is resolved: {seen}.", private_zone_hint(url))
    return ok(f"The name is resolved: {seen}.")


def _addresses(found: Addresses) -> str:
    kinds = [f"{found.private} private" if found.private else "", "this machine" if found.loopback else ""]
    kinds.append(f"{found.version_6} of IPv6" if found.version_6 else "")
    told = ", ".join(kind for kind in kinds if kind)
    count = f"{found.count} address{'' if found.count == 1 else 'es'}"
    return f"{count} ({told})" if told else count


def tcp(subject: Subject, named_by: str, context: QueryContext) -> Outcome:
    """Whether the host takes connections."""
    if subject.url(named_by) is None:
        return skipped(_NOT_NEEDED)
    transport = subject.transport(named_by)
    seconds = connect(transport, min(CONNECT_SECONDS, context.remaining()))
    to = "The proxy" if transport.proxy is not None else "The host"
    return ok(f"{to} takes connections: {seconds * 1000:.0f} ms.")


def tls(subject: Subject, named_by: str, context: QueryContext) -> Outcome:
    """Whether the host's certificate is accepted."""
    url = subject.url(named_by)
    if url is None:
        return skipped(_NOT_NEEDED)
    if url.scheme == "http":
        return skipped("Requests to this machine may use plain http, without TLS.")
    found = shake_hands(subject.transport(named_by), min(CONNECT_SECONDS, context.remaining()))
    subject.facts.tls[named_by] = found
    by = f", issued by {quoted(found.issuer)}" if found.issuer else ""
    seen = f"The certificate is accepted{by}; {found.version}."
    if found.days_left is not None and found.days_left < _EXPIRES_SOON and not is_loopback(url.host):
        return warning(
            f"{seen} It expires in {found.days_left:.0f} days.",
            "Ask the owner of that host to renew it in time.",
        )
    return ok(seen)
