"""The steps of a diagnosis that need no token of a viewer: the service as Snowflake sees it, and the way to it."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from functools import partial
from typing import Any

from spcs_llm.control.diagnosis import gateway_steps, network_steps
from spcs_llm.control.diagnosis.runner import Step
from spcs_llm.control.diagnosis.service_steps import ServiceSteps
from spcs_llm.control.diagnosis.subject import Subject
from spcs_llm.control.identifiers import QualifiedName
from spcs_llm.control.session import SqlSession
from spcs_llm.http.network_errors import LLM_ENDPOINT_URL
from spcs_llm.urls import parse_base_url

STATE, LOG, DNS, TCP, TLS, OPEN = (
    "Service state",
    "Log",
    "DNS (endpoint)",
    "TCP (endpoint)",
    "TLS (endpoint)",
    "Request without a token",
)
SECONDS = 120.0
_LOG_LINES = 20
_FIREWALL = "Ask network administrators to let this DSS node connect to this host (port 443)."


def account_steps(
    open_session: Callable[[], SqlSession], service: QualifiedName, host: str | None
) -> list[Step]:
    """The steps, in their order.

    Args:
        open_session: Opens a session.
        service: The service.
        host: The host name of its public endpoint; None if it has none.

    Returns:
        The steps.
    """
    subject = Subject(_config(host), None, open_session, service=service, log_lines=_LOG_LINES)
    subject.read()
    known = ServiceSteps(subject)
    named = LLM_ENDPOINT_URL
    steps = [
        Step(STATE, known.state, (), 60, optional=True),
        Step(LOG, known.log, (), 30, optional=True),
    ]
    if host:
        steps += [
            Step(DNS, partial(network_steps.dns, subject, named), (), 15),
            Step(TCP, partial(network_steps.tcp, subject, named), (DNS,), 30, _FIREWALL),
            Step(TLS, partial(network_steps.tls, subject, named), (TCP,), 20, _FIREWALL),
            Step(OPEN, partial(gateway_steps.without_token, subject), (TLS,), 15, optional=True),
        ]
    return steps


def _config(host: str | None) -> dict[str, Any]:
    """A model's form for the service. No step of these sends its token, so that any text will do."""
    return {
        "authenticationMode": "PROGRAMMATIC_ACCESS_TOKEN",
        "programmaticAccessToken": {"token": secrets.token_hex(16)},
        "llmEndpointUrl": str(parse_base_url(host)) if host else "https://no-endpoint.snowflakecomputing.app",
    }
