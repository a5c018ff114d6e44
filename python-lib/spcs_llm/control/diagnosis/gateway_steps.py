"""Steps at the ingress: whether the gateway accepts the token, what the service speaks, and which models it lists."""

from __future__ import annotations

from dataclasses import replace

from spcs_llm.connections import name_path
from spcs_llm.control.diagnosis.finding import Outcome, ok, quoted, skipped, warning
from spcs_llm.control.diagnosis.subject import Subject
from spcs_llm.errors import (
    GatewayDown,
    LoginError,
    ModelError,
    NetworkError,
    NotFound,
    QueryTimeout,
    ServiceBusy,
    ServiceDown,
    ServiceError,
    ServiceStarting,
    SpcsError,
    TokenRefused,
)
from spcs_llm.http.endpoint import Endpoint
from spcs_llm.http.request import HttpRequest
from spcs_llm.http.retry import RetryPolicy
from spcs_llm.http.token_source import NoToken
from spcs_llm.protocol_choices import AUTOMATIC, OPENAI, PROTOCOLS
from spcs_llm.protocols.automatic import AutomaticProtocol, spoken_name
from spcs_llm.protocols.openai.models import ServedModels
from spcs_llm.protocols.probe import Probe
from spcs_llm.protocols.registry import protocol_class
from spcs_llm.query_context import QueryContext
from spcs_llm.settings import ProtocolSettings
from spcs_llm.snowflake.ingress import error_from_response

_MAX_NAMES = 10
_REFUSED = (301, 302, 303, 307, 308, 401, 403, 404)
_WAIT = "SPCS_WAIT"  # which `http.endpoint` records before it tries again
_PASSING = {
    NetworkError.__name__: "a connection failed",
    ServiceBusy.__name__: "the service had too many requests",
    ServiceDown.__name__: "the service did not answer",
    GatewayDown.__name__: "Snowflake's gateway failed",
    TokenRefused.__name__: "the gateway refused the token, and accepted the next one",
}
_UNSTEADY = (
    "Run the diagnosis again. If this happens again, the service restarts, or something on the way drops connections:"
    " look at the containers' log and restart count."
)


def automatic(subject: Subject) -> AutomaticProtocol:
    """What finds out by asking what the service speaks."""
    protocol = subject.connection.automatic()
    assert isinstance(protocol, AutomaticProtocol)  # noqa: S101 - its line in PROTOCOLS says so
    return protocol


def gateway(subject: Subject, context: QueryContext) -> Outcome:
    """Whether the gateway lets the token pass. What the container answers is for the next steps."""
    try:
        subject.facts.spoken = automatic(subject).spoken(context)
    except SpcsError as error:
        if not is_the_gateways(error):
            subject.facts.refusal = error
            return ok("Snowflake's gateway accepts the token and passes requests on to the service.")
        if isinstance(error, NotFound) and _method_is_wrong(subject, context):
            subject.facts.refusal = error
            return ok("Snowflake's gateway accepts the token and passes requests on to the service.")
        raise
    return as_steady(context, "Snowflake's gateway accepts the token, and the service answers.")


def without_token(subject: Subject, context: QueryContext) -> Outcome:
    """Whether the endpoint refuses a request without a token, and how."""
    transport = subject.transport_class(subject.settings.endpoint.url)
    endpoint = Endpoint(
        transport, NoToken(), error_from_response, retry=RetryPolicy(attempts=1, cold_start=0.0)
    )
    try:
        endpoint.send_for_body(HttpRequest("/v1/models", method="GET", is_probe=True), context)
    except ModelError:
        return ok("A request without a token is answered with a web page, as that of a sign-in.")
    except SpcsError as error:
        if error.status in _REFUSED:
            return ok(f"A request without a token is refused with HTTP {error.status}.")
        return skipped(f"It cannot be told how a request without a token is answered: {error.message}")
    return warning(
        "A request without a token is answered.",
        "Find out what answers at 'LLM endpoint URL': Snowflake's ingress refuses such requests. A host that lets them"
        " pass lets everybody who reaches it use the model.",
    )


def is_the_gateways(error: SpcsError) -> bool:
    """Whether an error is of the way to the container, and not of the container itself."""
    if isinstance(error, (ServiceStarting, ModelError)):
        return False
    return isinstance(error, (NetworkError, LoginError, QueryTimeout)) or error.place == "ingress"


def _method_is_wrong(subject: Subject, context: QueryContext) -> bool:
    """Whether the service is found as soon as the form's method is left out of the question."""
    settings = subject.settings.protocol
    if settings.method_name is None:
        return False
    probe = Probe(subject.connection.client.endpoint, context)
    try:
        return spoken_name(probe, replace(settings, method_name=None)) is not None
    except SpcsError:
        return False


def protocol(subject: Subject, context: QueryContext) -> Outcome:
    """Whether the service speaks what the form says."""
    chosen, spoken = subject.settings.protocol.name, subject.facts.spoken
    if spoken is None:
        return _not_found(subject, context)
    subject.facts.paths = _known_paths(Probe(subject.connection.client.endpoint, context))
    title = PROTOCOLS[spoken].title
    kinds = automatic(subject).kinds(context)
    seen = f"The service speaks {title}, with paths for {_listed(sorted(_KINDS[kind] for kind in kinds))}."
    if chosen in (AUTOMATIC, spoken):
        return as_steady(context, seen)
    probe = Probe(subject.connection.client.endpoint, context)
    if protocol_class(chosen).has_a_path(probe, subject.settings.protocol):
        return ok(f"{seen} It has paths of {PROTOCOLS[chosen].title} as well, which the form chooses.")
    error = automatic(subject).explained(NotFound("", status=404), "chat", chosen, context)
    return Outcome.of(error)


def _known_paths(probe: Probe) -> dict[str, bool]:
    """Which paths the service has, of those that the protocols use where the form names none."""
    found = {"/v1/models": probe.found_at("/v1/models") is not None}
    for name in PROTOCOLS:
        for paths in protocol_class(name).paths(ProtocolSettings(name)).values():
            found.update({path: probe.takes(path) for path in paths})
    return found


_KINDS = {"chat": "chat", "embed": "embeddings", "rerank": "reranking"}


def _not_found(subject: Subject, context: QueryContext) -> Outcome:
    error = subject.facts.refusal
    method = subject.settings.protocol.method_name
    if method is not None and _method_is_wrong(subject, context):
        return Outcome.of(
            NotFound(
                f"The service has no method {quoted(method)}.",
                "Correct 'Method name', or leave it empty: __call__ is used for chat, and encode for"
                " embeddings.",
            )
        )
    error = error or NotFound("The service's protocol could not be found.")
    name_path(error, subject.settings.endpoint.url)
    return Outcome.of(error)


def models(subject: Subject, context: QueryContext) -> Outcome:
    """Which models the service lists, and whether the form's is one of them."""
    if subject.facts.spoken != OPENAI:
        return skipped("Only servers with the OpenAI API list their models.")
    wanted = subject.settings.protocol.model_name
    served_models = ServedModels(subject.connection.client.endpoint, wanted)
    try:
        names = served_models.listed(context)
    except ServiceError as error:
        if wanted is None and not (isinstance(error, NotFound) or error.status in (400, 405, 422, 501)):
            raise
        return skipped("The server does not list its models.")
    if not names:
        if wanted is None:
            return Outcome.of(
                NotFound(
                    "The service does not list a model.",
                    "Enter the model's name as 'Model name'.",
                )
            )
        return skipped("The server does not list its models.")
    if wanted is not None and wanted not in names:
        return Outcome.of(served_models.checked_for_model(NotFound("", status=404), {}, context))
    shown = ", ".join(quoted(name, 100) for name in names[:_MAX_NAMES])
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return as_steady(context, f"The service lists {shown}{more}.")


def as_steady(context: QueryContext, seen: str) -> Outcome:
    """A step that worked; with a warning if it worked only after a failure."""
    failures = [
        _PASSING[reason]
        for step in context.steps
        for reason in (step.attributes.get("reason"), step.attributes.get("error"))
        if reason in _PASSING and (step.name == _WAIT or reason == TokenRefused.__name__)
    ]
    if not failures:
        return ok(seen)
    return warning(f"{seen} It took more than one attempt: {', '.join(dict.fromkeys(failures))}.", _UNSTEADY)


def _listed(words: list[str]) -> str:
    if len(words) < 2:
        return words[0] if words else "no kind of query"
    return f"{', '.join(words[:-1])} and {words[-1]}"
