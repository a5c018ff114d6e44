"""What a diagnosis is about: a model's settings, and what its steps have found out so far, for the next ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Callable

from spcs_llm.connections import Connection, Connections, ReadToken
from spcs_llm.control.diagnosis.observed import Observations, observed
from spcs_llm.control.identifiers import QualifiedName
from spcs_llm.control.session import SqlSession
from spcs_llm.errors import SpcsError
from spcs_llm.http.network_errors import LLM_ENDPOINT_URL
from spcs_llm.http.reachability import Addresses, TlsFacts
from spcs_llm.http.transport import Transport
from spcs_llm.settings import Settings, SignIn, read_settings
from spcs_llm.urls import BaseUrl

OpenSql = Callable[[], SqlSession]


@dataclass
class StreamTiming:
    """When the pieces of a streamed answer came.

    Attributes:
        moments: Seconds from the request to each piece.
        whole: Seconds from the request to the end.
    """

    moments: list[float] = field(default_factory=list)
    whole: float = 0.0


@dataclass
class Facts:
    """What the steps have found out. None stands for what is not known.

    Attributes:
        addresses: What the names are resolved to, by the field of the form that names the host.
        tls: What was agreed on, by the same field.
        session_seconds: How long the session token lives.
        renewed: Whether the session could be renewed.
        role: The role that the service is called with.
        service: The service's full name in Snowflake.
        gateway: The gateway whose endpoint the form names, if it is one.
        refusal: What the endpoint answered when it was asked what it speaks, if that was an error.
        spoken: The protocol that the service speaks, a key of `protocol_choices.PROTOCOLS`.
        kind: The kind of query that the service was asked: `chat`, `embed` or `rerank`.
        query_seconds: How long the one query took.
        busy_seconds: How long the service was busy with it.
        ranking: The places in the query of the documents that were ranked, the best first.
        stream: When the pieces of the streamed answer came.
        rates: Queries per second, by how many were asked at once.
        paths: Which of the paths that a service may have without a setting it has.
        columns: The columns that each SHOW had.
        booleans: The forms in which SQL gave truth values.
        errors: The errors, by step.
    """

    addresses: dict[str, Addresses] = field(default_factory=dict)
    tls: dict[str, TlsFacts] = field(default_factory=dict)
    session_seconds: float | None = None
    renewed: bool | None = None
    role: str | None = None
    service: QualifiedName | None = None
    gateway: QualifiedName | None = None
    refusal: SpcsError | None = None
    spoken: str | None = None
    kind: str | None = None
    query_seconds: float | None = None
    busy_seconds: float | None = None
    ranking: Sequence[object] = ()
    stream: StreamTiming | None = None
    rates: dict[int, float] = field(default_factory=dict)
    paths: dict[str, bool] = field(default_factory=dict)
    columns: dict[str, tuple[str, ...]] = field(default_factory=dict)
    booleans: set[str] = field(default_factory=set)
    errors: dict[str, SpcsError] = field(default_factory=dict)


class Subject:
    """The model under diagnosis.

    Attributes:
        config: The form's values, as DSS hands them over.
        refresh: Reads a current access token off what DSS gives under `__credentials` (DSS 14.5 and later).
        open_sql: Opens a session for SQL; None if no session can be opened.
        capability: The kind of query to ask: `chat`, `embed` or `rerank`; None finds it out by asking.
        log_lines: How many lines of the containers' logs to show.
        sql_is_the_callers: Whether the session for SQL is of the user who calls the service.
        problem: What is wrong with the fields that a model does not have, if anything is. They are left out.
        observations: What came back on all connections.
        facts: What the steps have found out.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        refresh: ReadToken | None = None,
        open_sql: OpenSql | None = None,
        *,
        capability: str | None = None,
        service: QualifiedName | None = None,
        log_lines: int = 0,
        sql_is_the_callers: bool = False,
        problem: SpcsError | None = None,
    ) -> None:
        self.config = config
        self.refresh = refresh
        self.open_sql = open_sql
        self.capability = capability
        self.log_lines = log_lines
        self.sql_is_the_callers = sql_is_the_callers
        self.problem = problem
        self.observations = Observations()
        self.facts = Facts(service=service)
        self.transport_class = observed(self.observations)
        self._settings: Settings | None = None
        self._connection: Connection | None = None
        self._transports: dict[str, Transport] = {}

    def read(self) -> Settings:
        """Reads the settings.

        Returns:
            The settings, as a query would read them.

        Raises:
            SettingsError: If any of them is wrong.
        """
        self._settings = read_settings(self.config)
        return self._settings

    @property
    def settings(self) -> Settings:
        if self._settings is None:
            raise RuntimeError("the settings have not been read")
        return self._settings

    @property
    def config_sign_in(self) -> SignIn | None:
        """How the user signs in; None if the settings are wrong."""
        return None if self._settings is None else self._settings.credential.sign_in

    @property
    def connection(self) -> Connection:
        """What a query would ask the service by; but a service that starts is not waited for.

        Raises:
            SpcsError: If a key, a template, the proxy or the CA bundle cannot be used.
        """
        if self._connection is None:
            settings = self.settings
            at_once = replace(settings, endpoint=replace(settings.endpoint, cold_start_wait=0.0))
            self._connection = Connections(transport=self.transport_class).connect(at_once, self.refresh)
        return self._connection

    def url(self, named_by: str) -> BaseUrl | None:
        """The address that a field of the form has: `LLM_ENDPOINT_URL` or `SNOWFLAKE_ACCOUNT_URL`."""
        if named_by == LLM_ENDPOINT_URL:
            return self.settings.endpoint.url
        return self.settings.credential.account

    def transport(self, named_by: str) -> Transport:
        """Connections to that address, for a look at the way.

        Args:
            named_by: The label of a field that has an address.

        Returns:
            The connections.

        Raises:
            NetworkError: If the proxy or the CA bundle cannot be used.
        """
        if named_by not in self._transports:
            url = self.url(named_by)
            if url is None:
                raise RuntimeError("the address does not exist")
            self._transports[named_by] = Transport(url, field=named_by)
        return self._transports[named_by]
