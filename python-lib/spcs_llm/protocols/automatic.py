"""The choice to have the plugin ask a service what it speaks."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from spcs_llm.errors import ModelError, NotFound, ServiceError, SpcsError, TokenRefused
from spcs_llm.http.request import HttpRequest
from spcs_llm.protocol_choices import AUTOMATIC, PROTOCOLS
from spcs_llm.protocols.base import ServiceProtocol
from spcs_llm.protocols.probe import Probe
from spcs_llm.protocols.registry import protocol_class, protocol_for
from spcs_llm.query_context import QueryContext
from spcs_llm.server_text.log_lines import one_line_logger
from spcs_llm.sharing.discovery import Discovery
from spcs_llm.sharing.learned import Learned

if TYPE_CHECKING:
    from spcs_llm.http.endpoint import Endpoint
    from spcs_llm.settings import ProtocolSettings

_KINDS = {"chat": "chat", "embed": "embeddings", "rerank": "reranking"}
_MAX_SECONDS = 15.0
_SECONDS_BETWEEN_FAILED_LOOKS = 15.0

logger = one_line_logger(__name__)


class AutomaticProtocol(ServiceProtocol):
    """Finds out with the first query what the service speaks, and speaks that. Thread-safe.

    Args:
        endpoint: The service. Nothing is sent to it yet.
        settings: The model's settings, from which the protocol that is found takes its own.
    """

    capabilities = PROTOCOLS[AUTOMATIC].capabilities

    def __init__(self, endpoint: Endpoint, settings: ProtocolSettings) -> None:
        self._endpoint = endpoint
        self._settings = settings
        self._lock = threading.Lock()
        self._protocols: dict[str, ServiceProtocol] = {}
        self._spoken: Discovery[str] = Discovery("what the service speaks")
        # A look takes a dozen requests: where every query fails, not every one of them looks.
        self._failure: Learned[SpcsError | None] = Learned(None, seconds=_SECONDS_BETWEEN_FAILED_LOOKS)
        self._kinds: Discovery[frozenset[str]] = Discovery("the kinds of query that the service takes")

    @classmethod
    def of(cls, endpoint: Endpoint, settings: ProtocolSettings) -> AutomaticProtocol:
        return cls(endpoint, settings)

    @property
    def known(self) -> ServiceProtocol:
        last = self._spoken.last
        return self if last is None else self._protocol(last[0])

    def resolved(self, context: QueryContext) -> ServiceProtocol:
        return self._protocol(self._spoken.value(context, self._find))

    def spoken(self, context: QueryContext) -> str:
        """The name of the protocol that the service speaks.

        Args:
            context: The query that needs to know.

        Returns:
            A key of `protocol_choices.PROTOCOLS`.

        Raises:
            SpcsError: If the service cannot be asked, or does not show what it speaks.
        """
        return self._spoken.value(context, self._find)

    def kinds(self, context: QueryContext) -> frozenset[str]:
        """The kinds of query that the service takes, as far as its paths show.

        Args:
            context: The query that needs to know.

        Returns:
            Some of `chat`, `embed` and `rerank`, as in `paths`.

        Raises:
            SpcsError: As `spoken`.
        """
        return self._kinds.value(context, self._find_kinds)

    def explained(self, error: SpcsError, kind: str, chosen: str, context: QueryContext) -> SpcsError:
        """Looks for a better error if the service turns out to be another than the settings say.

        Args:
            error: The error that the query failed with: there is no such path.
            kind: The kind of the query: `chat`, `embed` or `rerank`, as in `paths`.
            chosen: The name of the protocol in the model's settings, a key of `protocol_choices.PROTOCOLS`.
            context: The query. At most 15 seconds of the time that it has left are used.

        Returns:
            An error that names what the service speaks or what it is for; `error` itself if nothing better is found.
        """
        if chosen == AUTOMATIC:
            self._spoken.forget()  # the service has changed, it seems: the next query asks anew
        child = context.child(_MAX_SECONDS)
        try:
            spoken = self._spoken.value(child, self._find)
            if chosen not in (AUTOMATIC, spoken):
                return _of_another_protocol(error, PROTOCOLS[chosen].title, PROTOCOLS[spoken].title)
            return _of_another_kind(error, kind, self._kinds.value(child, self._find_kinds))
        except SpcsError:
            return error

    def _find_kinds(self, context: QueryContext) -> frozenset[str]:
        probe = Probe(self._endpoint, context)
        paths = protocol_class(self._spoken.value(context, self._find)).paths(self._settings)
        return frozenset(kind for kind, asked in paths.items() if any(map(probe.takes, asked)))

    def _protocol(self, name: str) -> ServiceProtocol:
        protocol = self._protocols.get(name)
        if protocol is None:
            made = protocol_for(replace(self._settings, name=name), self._endpoint)
            with self._lock:
                protocol = self._protocols.setdefault(name, made)
        return protocol

    def _find(self, context: QueryContext) -> str:
        began, since = time.time(), time.perf_counter()
        name = self._found(context)
        title = PROTOCOLS[name].title
        logger.info(
            "The service at %s speaks %s: it was asked which paths it has.", self._endpoint.host, title
        )
        context.record_step("SPCS_PROTOCOL", began, time.perf_counter() - since, protocol=name)
        return name

    def _found(self, context: QueryContext) -> str:
        failure = self._failure.value
        if failure is not None:
            raise failure.again()
        name = spoken_name(Probe(self._endpoint, context), self._settings)
        refusal = None
        if name is None:
            refusal = self._refusal(context)
            name = spoken_name(Probe(self._endpoint, context), self._settings)
        if name is None:
            error = refusal or NotFound(
                f"The service has none of the paths of {_titles()}, so its protocol could not be found.",
                "Check that 'LLM endpoint URL' is the model's own endpoint, as SHOW ENDPOINTS IN SERVICE lists it now,"
                " and choose its 'Service protocol'.",
                status=404,
            )
            self._failure.learn(error.again())
            raise error
        return name

    def _refusal(self, context: QueryContext) -> SpcsError | None:
        """Asks once as any other request does: the gateway may hide behind a 404 that it refuses the token.

        The endpoint replaces a token that is refused, and asks again.

        Args:
            context: The query that the request is for.

        Returns:
            The error of a token that is refused even so; None if the gateway takes the token.
        """
        try:
            self._endpoint.send_for_body(HttpRequest("/v1/models", method="GET"), context)
        except TokenRefused as error:
            return error
        except (ServiceError, ModelError):
            pass
        return None


def spoken_name(probe: Probe, settings: ProtocolSettings) -> str | None:
    """Finds the protocol that a service speaks, by its paths.

    Args:
        probe: One look at the service.
        settings: The model's settings, which may name paths.

    Returns:
        The name of the protocol, a key of `protocol_choices.PROTOCOLS`; None if the service has none of the paths.

    Raises:
        SpcsError: If an answer says nothing about the path: see `Probe`.
    """
    candidates = {name: protocol_class(name) for name in reversed(list(PROTOCOLS)) if name != AUTOMATIC}
    shown = (name for name, protocol in candidates.items() if protocol.is_spoken(probe, settings))
    found = (name for name, protocol in candidates.items() if protocol.has_a_path(probe, settings))
    return next(shown, None) or next(found, None)


def _titles() -> str:
    return ", ".join(protocol.title for name, protocol in PROTOCOLS.items() if name != AUTOMATIC)


def _of_another_protocol(error: SpcsError, chosen: str, spoken: str) -> SpcsError:
    return NotFound(
        f"The service does not speak {chosen} but {spoken}.",
        f"Set 'Service protocol' to {spoken}, or to Automatic.",
        status=error.status,
        request_id=error.request_id,
    )


def _of_another_kind(error: SpcsError, kind: str, kinds: frozenset[str]) -> SpcsError:
    if not kinds or kind in kinds:
        return error
    has = " and ".join(name for known, name in _KINDS.items() if known in kinds)
    return NotFound(
        f"The service has {has}, but no {_KINDS[kind]}.",
        f"Use the model for {has}, or give the 'LLM endpoint URL' of a model for {_KINDS[kind]}.",
        status=error.status,
        request_id=error.request_id,
    )
