"""The steps of a diagnosis that need a sign-in: one query through LLM Mesh with the viewer's own rights.

The webapp has no token of the viewer's, and must not use one of somebody else. LLM Mesh has the viewer's credential and
the model's settings; what failed in there is said by the error, which names its place, and what was done by the trace.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from spcs_llm.control.diagnosis.finding import FAILED, Outcome, ok, quoted, skipped, warning
from spcs_llm.control.diagnosis.query_steps import doubtful_ranking, is_sensible, judged_stream
from spcs_llm.control.diagnosis.runner import Step
from spcs_llm.errors import SpcsError
from spcs_llm.monitor.as_viewer import AsViewer, Carry
from spcs_llm.monitor.mesh_models import MeshModel, models_of
from spcs_llm.monitor.mesh_query import Asked, ask
from spcs_llm.monitor.timeline import number, spans_of, usage_of
from spcs_llm.query_context import QueryContext

MODEL, SIGN_IN, GATEWAY, QUERY, STREAMING, COST = (
    "Model",
    "Sign-in",
    "Gateway",
    "Query",
    "Streaming",
    "Cost",
)
SECONDS = 120.0
_SIGN_IN_SPANS = ("SNOWFLAKE_LOGIN", "SNOWFLAKE_RENEW", "SNOWFLAKE_ENDPOINT_TOKEN")
_AT_SIGN_IN, _AT_GATEWAY, _AFTER = (
    ("settings", "login"),
    ("network", "ingress"),
    ("service", "model", "query"),
)
_SLOW = (
    "A service that is suspended or starting takes minutes. Diagnose again when its containers are ready; if it happens"
    " again, look at the service's log and load."
)
_NOT_SAID = "The query failed, and its error does not say whether it came this far: see the step 'Query'."


class MeshSteps:
    """The steps, and what they hand on to each other.

    Args:
        as_viewer: Asks DSS as a viewer.
        user: The viewer.
        model_id: The model that the viewer selected.
        hosts: The host names of the service's public endpoints.
        carry: Makes a function for another thread, which has the context of the viewer's request there.
    """

    def __init__(
        self, as_viewer: AsViewer, user: str, model_id: str, hosts: Sequence[str], carry: Carry
    ) -> None:
        self._as_viewer = as_viewer
        self._user = user
        self._model_id = model_id
        self._hosts = {_as_in_urls(host) for host in hosts}
        self._list, self._send = carry(self._listed), carry(self._sent)
        self._models: list[MeshModel] | SpcsError = []
        self._model: MeshModel | None = None
        self._answered = threading.Event()
        self._asked: Asked | None = None
        self._error: SpcsError | None = None
        self.seconds: dict[str, float] = {}

    def steps(self) -> list[Step]:
        """The steps, in their order."""
        return [
            Step(MODEL, self.model, (), 30),
            Step(SIGN_IN, self.sign_in, (MODEL,), SECONDS - 10),
            Step(GATEWAY, self.gateway, (SIGN_IN,), 5),
            Step(QUERY, self.query, (GATEWAY,), 5),
            Step(STREAMING, self.streaming, (QUERY,), 5),
            Step(COST, self.cost, (QUERY,), 5),
        ]

    def model(self, context: QueryContext) -> Outcome:
        """Whether LLM Mesh lets the viewer use the model."""
        self._list()
        if isinstance(self._models, SpcsError):
            return _failure(self._models)
        self._model = next((model for model in self._models if model.id == self._model_id), None)
        if self._model is None:
            return Outcome(
                FAILED,
                "LLM Mesh does not offer this model to you any more.",
                "Reload the page, and select one of the models that it lists.",
            )
        return ok(f"LLM Mesh lets you use {quoted(self._model.name)}.")

    def sign_in(self, context: QueryContext) -> Outcome:
        """Sends the query, and says whether its sign-in worked. A query may last longer than the diagnosis."""
        threading.Thread(target=self._send, name="query-of-viewer", daemon=True).start()
        if not self._answered.wait(context.remaining() - 1):
            self._error = SpcsError(
                f"There was no answer within {context.seconds:.0f} s.", _SLOW, place="webapp"
            )
        if self._error is not None:
            place = self._error.place
            if place in _AT_SIGN_IN:
                return _failure(self._error)
            return ok("The sign-in worked.") if place in ("ingress", *_AFTER) else skipped(_NOT_SAID)
        spans = [span for span in self._spans() if span.get("name") in _SIGN_IN_SPANS]
        self.seconds[SIGN_IN] = sum(number(span.get("duration")) or 0.0 for span in spans) / 1000
        if spans:
            return ok("The query signed in with the credential that you have in DSS.")
        return ok(
            "No sign-in was needed: the session of an earlier query, or a programmatic access token, is valid."
        )

    def gateway(self, context: QueryContext) -> Outcome:
        """Whether Snowflake's gateway let the query pass, and to which endpoint."""
        if self._error is not None:
            place = self._error.place
            if place in _AT_GATEWAY:
                return _failure(self._error)
            return ok("The gateway let the query pass.") if place in _AFTER else skipped(_NOT_SAID)
        attempts = self._attributes("SPCS_REQUEST")
        hosts = sorted({_as_in_urls(str(each["host"])) for each in attempts if each.get("host")})
        if not hosts:
            return warning(
                "The query was answered, and its trace does not say by which endpoint.",
                "Check that the model's 'LLM endpoint URL' is that of this service.",
            )
        if not self._hosts.intersection(hosts):
            return warning(
                f"The query went to {quoted(', '.join(hosts))}, which is not an endpoint of this service.",
                "Select a model of this service; or correct the model's 'LLM endpoint URL', unless it names a reverse"
                " proxy in front of this service.",
            )
        failed = sorted({str(each["error"]) for each in attempts if each.get("error")})
        if failed:
            return warning(
                f"The query was answered after {len(attempts)} requests, some of which failed"
                f" ({quoted(', '.join(failed))}).",
                "Diagnose again. If this happens again, look at the containers' log and restart count.",
            )
        return ok("The gateway let the query pass, and it went to an endpoint of this service.")

    def query(self, context: QueryContext) -> Outcome:
        """Whether the model answered."""
        if self._error is not None:
            return _failure(self._error)
        assert self._asked is not None  # noqa: S101 - the step 'Sign-in' asks, or keeps the error
        self.seconds[QUERY] = self._asked.seconds
        if not is_sensible(self._asked.ranking):
            return doubtful_ranking(self._asked.seen)
        count = usage_of(self._asked.told)["completionTokens"]
        tokens = f" It has {count:.0f} tokens." if count and self._asked.timing is not None else ""
        return ok(f"{self._asked.seen}{tokens}")

    def streaming(self, context: QueryContext) -> Outcome:
        """Whether the pieces of the answer arrived one by one."""
        assert self._asked is not None  # noqa: S101 - needs the step 'Query'
        if self._asked.timing is None:
            return skipped("Only chats are streamed.")
        return judged_stream(self._asked.timing, context)

    def cost(self, context: QueryContext) -> Outcome:
        """What LLM Mesh was told of the query's cost."""
        assert self._asked is not None  # noqa: S101 - needs the step 'Query'
        cost = usage_of(self._asked.told)["cost"]
        if cost is None:
            return skipped("LLM Mesh does not say what the query costs.")
        return ok(
            f"1,000 queries like this one cost about USD {cost * 1000:.3g}, by the prices in the model's settings. The"
            " idle time of the compute pool is not included."
        )

    def _listed(self) -> None:
        try:
            self._models = self._as_viewer.call(self._user, models_of)
        except SpcsError as error:
            self._models = error.again()

    def _sent(self) -> None:
        assert self._model is not None  # noqa: S101 - needs the step 'Model'
        model = self._model
        try:
            self._asked = self._as_viewer.query(self._user, lambda project: ask(project, model))
        except SpcsError as error:
            self._error = error.again()  # without the frames of the client, which hold its connection
        finally:
            self._answered.set()

    def _spans(self) -> list[Mapping[str, Any]]:
        assert self._asked is not None  # noqa: S101 - asked for after an answer only
        return [span for span, _ in spans_of(self._asked.told.get("trace"))]

    def _attributes(self, name: str) -> list[Mapping[str, Any]]:
        found = [span.get("attributes") for span in self._spans() if span.get("name") == name]
        return [attributes for attributes in found if isinstance(attributes, Mapping)]


def _failure(error: SpcsError) -> Outcome:
    if error.place == "webapp":
        return Outcome(FAILED, error.message, error.hint, error)
    return Outcome.of(error)


def _as_in_urls(host: str) -> str:
    return host.lower().replace("_", "-")
