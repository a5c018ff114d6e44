"""All steps in their order, from the form to what a thousand queries cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from spcs_llm.connections import ReadToken
from spcs_llm.control.diagnosis import gateway_steps, network_steps, settings_steps
from spcs_llm.control.diagnosis.finding import FAILED, WARNING, Finding
from spcs_llm.control.diagnosis.grants import with_names
from spcs_llm.control.diagnosis.query_steps import QuerySteps
from spcs_llm.control.diagnosis.runner import Step, findings_of
from spcs_llm.control.diagnosis.service_steps import ServiceSteps
from spcs_llm.control.diagnosis.sign_in_steps import SignInSteps
from spcs_llm.control.diagnosis.subject import Subject
from spcs_llm.http.network_errors import LLM_ENDPOINT_URL, SNOWFLAKE_ACCOUNT_URL
from spcs_llm.settings import KeyPairSignIn

SECONDS = 300.0
SETTINGS, HOSTS = "Settings", "Host names"
CREDENTIAL, LOGIN, SESSION = "Credential", "Sign-in", "Session"
GATEWAY, OPEN = "Gateway", "Request without a token"
STATE, LOG, SERVICE = "Service state", "Log", "Service"
PROTOCOL, MODELS = "Protocol", "Models"
QUERY, STREAMING, PARALLELISM, COST = "Query", "Streaming", "Parallelism", "Cost"
_CHECK_RESOLVER = (
    "Ask a DSS administrator to check the name servers of this DSS node: they do not answer in time."
)
_CHECK_FIREWALL = "Ask network administrators to let this DSS node connect to this host (port 443)."
_ASK_DSS = (
    "DSS does not return the user's credential in time. Ask a DSS administrator to look at the backend's log."
)
_SLOW = (
    "The service takes the request and does not answer in time. Look at its load and at its log. 'Request timeout' is"
    " how long a query waits."
)
_SLOW_LOGIN = (
    "Run the diagnosis again. If this happens again, check that this DSS node reaches 'Snowflake account URL'"
    " (firewall, proxy); status.snowflake.com reports outages."
)
_DROPPED_LOGIN = (
    "Run the diagnosis again. If this happens again, something between this DSS node and 'Snowflake account URL' closes"
    " connections, such as a firewall or a proxy."
)
_DROPPED = (
    "Run the diagnosis again. If this happens again, the service restarts, or something between this DSS node and"
    " 'LLM endpoint URL' closes connections, such as a firewall or a proxy."
)
_SLOW_SQL = "Select a 'Snowflake connection' that works, and enter the service's name, so that it is not searched for."


def of(layer: str, host: str) -> str:
    """The name of a step that is taken for the account and for the endpoint."""
    return f"{layer} ({host})"


def _way_to(subject: Subject, host: str, named_by: str) -> list[Step]:
    dns, tcp, tls = (of(layer, host) for layer in ("DNS", "TCP", "TLS"))
    return [
        Step(dns, partial(network_steps.dns, subject, named_by), (HOSTS,), 15, _CHECK_RESOLVER),
        Step(tcp, partial(network_steps.tcp, subject, named_by), (dns,), 30, _CHECK_FIREWALL),
        Step(tls, partial(network_steps.tls, subject, named_by), (tcp,), 20, _CHECK_FIREWALL),
    ]


def steps(subject: Subject) -> list[Step]:
    """The steps.

    Args:
        subject: The model under diagnosis.

    Returns:
        The steps, in the order in which they are taken.
    """
    sign_in, service, queries = SignInSteps(subject), ServiceSteps(subject), QuerySteps(subject)
    account_tls, endpoint_tls = of("TLS", "account"), of("TLS", "endpoint")
    return [
        Step(SETTINGS, partial(settings_steps.settings, subject), (), 15),
        Step(HOSTS, partial(settings_steps.hosts, subject), (SETTINGS,), 5),
        *_way_to(subject, "account", SNOWFLAKE_ACCOUNT_URL),
        *_way_to(subject, "endpoint", LLM_ENDPOINT_URL),
        Step(CREDENTIAL, sign_in.credential, (SETTINGS,), 20, _ASK_DSS),
        Step(LOGIN, sign_in.login, (CREDENTIAL, account_tls), 40, _SLOW_LOGIN, _DROPPED_LOGIN),
        Step(SESSION, sign_in.session, (LOGIN,), 20, _SLOW_LOGIN),
        Step(GATEWAY, partial(gateway_steps.gateway, subject), (SESSION, endpoint_tls), 40, _SLOW, _DROPPED),
        Step(OPEN, partial(gateway_steps.without_token, subject), (endpoint_tls,), 15, optional=True),
        Step(STATE, service.state, (SETTINGS,), 60, _SLOW_SQL, optional=True),
        Step(LOG, service.log, (SETTINGS,), 30, _SLOW_SQL, optional=True),
        Step(SERVICE, service.answers, (GATEWAY,), 5),
        Step(PROTOCOL, partial(gateway_steps.protocol, subject), (SERVICE,), 30, _SLOW, _DROPPED),
        Step(MODELS, partial(gateway_steps.models, subject), (PROTOCOL,), 20, _SLOW, _DROPPED),
        Step(QUERY, queries.query, (MODELS,), 90, _SLOW, _DROPPED),
        Step(STREAMING, queries.streaming, (QUERY,), 60, _SLOW, _DROPPED),
        Step(PARALLELISM, queries.parallelism, (QUERY,), 40, _SLOW, _DROPPED, optional=True),
        Step(COST, queries.cost, (QUERY,), 5),
    ]


class Diagnosis:
    """A diagnosis of one model.

    Args:
        subject: The model.
        seconds: The longest that it may take in all.
        limit: The longest that any step may take; None for each step's own.
    """

    def __init__(self, subject: Subject, seconds: float = SECONDS, limit: float | None = None) -> None:
        self.subject = subject
        self._seconds = seconds
        planned = steps(subject)
        self._steps = (
            planned if limit is None else [replace(s, seconds=min(s.seconds, limit)) for s in planned]
        )
        self._findings: list[Finding] = []

    @property
    def count(self) -> int:
        """The number of steps."""
        return len(self._steps)

    def run(self) -> Iterator[Finding]:
        """Takes the steps.

        Yields:
            Each finding as soon as it is there. `findings` has them all, with the names that are known in the end.
        """
        try:
            for finding in findings_of(self._steps, self._seconds):
                self._findings.append(finding)
                if finding.outcome.error is not None:
                    self.subject.facts.errors[finding.step] = finding.outcome.error
                yield finding
        finally:
            self.subject.observations.close()

    @property
    def findings(self) -> list[Finding]:
        """What has been found so far, with real names in the hints."""
        sign_in = self.subject.config_sign_in
        user = sign_in.user.upper() if isinstance(sign_in, KeyPairSignIn) else None
        return [
            replace(
                found,
                outcome=replace(found.outcome, hint=with_names(found.hint, self.subject.facts, user)),
            )
            for found in self._findings
        ]

    @property
    def first_problem(self) -> Finding | None:
        """What has to be corrected first, if anything failed."""
        return next((found for found in self.findings if found.result == FAILED), None)

    @property
    def problems(self) -> list[Finding]:
        """What failed, and what should be corrected all the same."""
        return [found for found in self.findings if found.result in (FAILED, WARNING)]


def diagnose(
    config: Mapping[str, Any],
    refresh: ReadToken | None = None,
    *,
    seconds: float = SECONDS,
    limit: float | None = None,
    progress: Callable[[int], None] = lambda count: None,
    **options: Any,
) -> Diagnosis:
    """Diagnoses a model.

    Args:
        config: The form's values, as DSS hands them over.
        refresh: Reads a current access token off what DSS gives under `__credentials` (DSS 14.5 and later).
        seconds: The longest that it may take in all.
        limit: The longest that any step may take; None for each step's own.
        progress: Told how many steps have been taken.
        options: Those of `Subject`.

    Returns:
        The diagnosis, with all its findings.
    """
    diagnosis = Diagnosis(Subject(config, refresh, **options), seconds, limit)
    for count, _ in enumerate(diagnosis.run(), 1):
        progress(count)
    return diagnosis
