"""Looks at the account again and again, with a bound number of statements each time.

Two statements list all services and compute pools. What has to be asked for one by one (containers, endpoints, nodes,
model versions) is spread over many looks: what is overdue most comes first, and a page that is open before all else.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Callable

from spcs_llm.control import statements
from spcs_llm.control.container_logs import shown_lines
from spcs_llm.control.discovery import FoundService
from spcs_llm.control.families import PriceList
from spcs_llm.control.identifiers import QualifiedName
from spcs_llm.control.rates import PoolRate, rate_of
from spcs_llm.control.services import (
    ModelVersion,
    Pool,
    Service,
    read_containers,
    read_endpoints,
    read_models,
    read_nodes,
    read_pools,
    read_services,
    read_versions,
)
from spcs_llm.control.session import Identity, Row, SqlSession
from spcs_llm.errors import SpcsError, SqlError
from spcs_llm.monitor.account import Account, Closer
from spcs_llm.monitor.telemetry import read_events, read_series

STATEMENTS_PER_LOOK = 20  # besides the two that list
_SECONDS_PER_LOOK = 15.0  # after which no further statement is sent
_UNSETTLED, _SETTLED, _LASTING, _REFUSED = 15.0, 300.0, 1800.0, 600.0
_CLOSER, _TELEMETRY = 10.0, 60.0
_NEVER_ASKED = 50.0  # as if it were overdue so many times
_ODD_REFUSALS = 3
_FOR_OPEN_PAGES = 8  # statements that are kept for what the answers of a look bring up
_MAX_MODELS = 500
_LOG_LINES, _LOGGED_CONTAINERS = 200, 4


@dataclass
class _Kept:
    """An answer, when it was asked for, and what it was asked about."""

    value: Any
    at: float
    about: object = None
    seconds: float = 0.0  # until it is asked for again, where that is not for the question to say


@dataclass
class _Question:
    """Something to ask for.

    Attributes:
        key: Where the answer is kept.
        ask: Asks. A refusal is passed to `refused`.
        about: What it depends on: if that changes, the answer is out of date.
        seconds: How long an answer is good.
        urgent: Whether somebody has its page open.
        refused: What is kept if Snowflake refuses, for lack of a right or of the thing itself.
    """

    key: tuple[object, ...]
    ask: Callable[[], Any]
    about: object
    seconds: float
    urgent: bool = False
    refused: Callable[[SqlError], Any] = lambda error: None


@dataclass
class Lookout:
    """What is known, and how to know more. For one thread.

    Attributes:
        open_session: Opens a session.
        prices: What a node of each instance family costs.
        watched: The services whose pages are open.
        clock: Seconds that never go back.
        budget: The most statements of a look, besides the two that list.
    """

    open_session: Callable[[], SqlSession]
    prices: PriceList
    watched: Callable[[], Iterable[QualifiedName]] = tuple
    clock: Callable[[], float] = time.monotonic
    budget: int = STATEMENTS_PER_LOOK
    _session: SqlSession | None = None
    _kept: dict[tuple[object, ...], _Kept] = field(default_factory=dict)

    def look(self, publish: Callable[[Account], None] = lambda account: None) -> Account:
        """Looks once.

        Args:
            publish: Is given what is known as soon as the services are listed.

        Returns:
            What is known at the end.

        Raises:
            SpcsError: If the services cannot be listed.
        """
        began = self.clock()
        try:
            if self._session is None:
                self._session = self.open_session()
            session, identity = self._session, self._session.whose()
            shown = session.rows(statements.show_services(statements.scope()))
        except SpcsError:
            self._session = None
            raise
        services = {s.name: s for s in read_services(shown) if s.serves}
        notes = []
        if len(shown) >= statements.MAX_SHOWN:
            notes.append(f"Snowflake lists at most {statements.MAX_SHOWN:,} services: there may be more.")
        pools = self._pools(session, notes)
        watched = [name for name in self.watched() if name in services]
        self._forget(services, pools, watched)
        publish(self._account(identity, services, pools, watched, notes))
        self._ask(session, identity, services, pools, watched, began, notes)
        return self._account(identity, services, pools, watched, notes)

    # -- what is asked for ---------------------------------------------------------------------------------

    def _pools(self, session: SqlSession, notes: list[str]) -> dict[str, Pool]:
        try:
            return {pool.name: pool for pool in read_pools(session.rows(statements.SHOW_POOLS))}
        except SpcsError as error:
            notes.append(f"Compute pools cannot be listed. {error.message} {error.hint}".strip())
            return {}

    def _ask(
        self,
        session: SqlSession,
        identity: Identity,
        services: Mapping[QualifiedName, Service],
        pools: Mapping[str, Pool],
        watched: list[QualifiedName],
        began: float,
        notes: list[str],
    ) -> None:
        """Asks for what is overdue, the most overdue first, within the budget."""
        odd, left = 0, self.budget
        for last in (
            False,
            True,
        ):  # answers bring further questions: a container's name its log, a model its versions
            kept_back = _FOR_OPEN_PAGES if watched and not last else 0
            due = self._due(session, identity, services, pools, watched)[: left - kept_back]
            left -= len(due)
            for question in due:
                if self.clock() - began > _SECONDS_PER_LOOK:
                    return
                try:
                    odd += self._put(question)
                except SpcsError as error:
                    notes.append(f"Details are missing: {error.message}")
                    return
                if odd >= _ODD_REFUSALS:
                    notes.append(
                        "Details are missing: Snowflake refused several statements one after the other."
                    )
                    return

    def _due(
        self,
        session: SqlSession,
        identity: Identity,
        services: Mapping[QualifiedName, Service],
        pools: Mapping[str, Pool],
        watched: list[QualifiedName],
    ) -> list[_Question]:
        """What is overdue: first for pages that are open, then what is overdue most."""
        questions = [
            *self._about_services(session, identity, services, set(watched)),
            *self._about_pools(session, services, pools),
            *self._about_models(session, services),
            *(q for name in watched for q in self._closer(session, identity, services[name])),
        ]
        ranked = [(not q.urgent, -self._overdue(q), q) for q in questions]
        return [q for _, overdue, q in sorted(ranked, key=lambda one: one[:2]) if overdue <= -1]

    def _put(self, question: _Question) -> bool:
        """Asks a question, and keeps the answer. Returns whether it was refused for an odd reason."""
        at = self.clock()
        try:
            self._kept[question.key] = _Kept(question.ask(), at, question.about)
        except SqlError as error:
            is_odd = not error.is_about_rights
            seconds = max(question.seconds, _TELEMETRY if is_odd else _REFUSED)
            self._kept[question.key] = _Kept(question.refused(error), at, question.about, seconds)
            return is_odd
        return False

    def _overdue(self, question: _Question) -> float:
        kept = self._kept.get(question.key)
        if kept is None or kept.about != question.about:
            return _NEVER_ASKED
        return (self.clock() - kept.at) / (kept.seconds or question.seconds)

    def _about_services(
        self,
        session: SqlSession,
        identity: Identity,
        services: Mapping[QualifiedName, Service],
        watched: set[QualifiedName],
    ) -> Iterator[_Question]:
        for name, service in services.items():
            version = (service.created_on, service.updated_on)
            instances = (service.current_instances, service.target_instances)
            state = (service.status, instances, service.resumed_on, version)
            if not service.is_suspended:
                yield _Question(
                    ("containers", name),
                    _asking(session, partial(statements.show_containers, name), read_containers),
                    state,
                    _UNSETTLED if name in watched or not self._is_settled(service) else _SETTLED,
                    name in watched,
                    partial(_why_no_containers, name, identity),
                )
            endpoints = self._value("endpoints", name)
            provisioning = isinstance(endpoints, tuple) and any(e.is_provisioning for e in endpoints)
            yield _Question(
                ("endpoints", name),
                _asking(session, partial(statements.show_endpoints, name), read_endpoints),
                version,
                _TELEMETRY if provisioning else _LASTING,
                name in watched,
                _why_no_endpoints,
            )

    def _about_pools(
        self, session: SqlSession, services: Mapping[QualifiedName, Service], pools: Mapping[str, Pool]
    ) -> Iterator[_Question]:
        for name, pool in pools.items():
            if pool.nodes:
                nodes = self._value("nodes", name)
                # Another number was listed before or after a change of which the pool itself shows nothing any more.
                agrees = nodes is None or len(nodes) == pool.nodes
                yield _Question(
                    ("nodes", name),
                    _asking(session, partial(statements.show_nodes, name), read_nodes),
                    (pool.state, pool.nodes),
                    _SETTLED if agrees else _UNSETTLED,
                    refused=lambda error: (),
                )

    def _about_models(
        self, session: SqlSession, services: Mapping[QualifiedName, Service]
    ) -> Iterator[_Question]:
        if not services:
            return
        serving: dict[str, set[object]] = {}
        for service in services.values():
            if service.managing_model:
                model_name = service.managing_model.rpartition(".")[2].strip('"')
                serving.setdefault(model_name, set()).add((service.name, service.created_on))
        yield _Question(
            ("models",),
            _asking(session, partial(statements.show_models, statements.scope()), read_models),
            sorted(serving),
            _REFUSED,
            refused=lambda error: (),
        )
        for model in (self._value("models") or ())[:_MAX_MODELS]:
            yield _Question(
                ("versions", model),
                _asking(session, partial(statements.show_versions, model), partial(read_versions, model)),
                serving.get(model.name),
                2 * _LASTING,
                refused=lambda error: (),
            )

    def _closer(self, session: SqlSession, identity: Identity, service: Service) -> Iterator[_Question]:
        """What a page shows besides."""
        name = service.name
        containers = self._value("containers", name)
        if isinstance(containers, tuple) and not service.is_suspended:
            first = min((c.instance_id for c in containers), default="0")
            for container in [c for c in containers if c.instance_id == first][:_LOGGED_CONTAINERS]:
                yield _Question(
                    ("log", name, container.name),
                    _asking(
                        session, partial(statements.logs, name, container.name, _LOG_LINES, first), _read_log
                    ),
                    # The log of one that has ended is refused, and is not that of the next one, which looks the same.
                    (container, service.resumed_on),
                    _CLOSER,
                    True,
                    lambda error: error,
                )
        wanted: tuple[tuple[str, Callable[[], str], Callable[[Iterable[Row]], Any]], ...] = (
            ("events", partial(statements.events, name), read_events),
            ("metrics", partial(statements.metrics, name), read_series),
        )
        for what, statement, read in wanted:
            yield _Question(
                (what, name), _asking(session, statement, read), None, _TELEMETRY, True, lambda error: error
            )

    # -- what is known -------------------------------------------------------------------------------------

    def _value(self, *key: object) -> Any:
        kept = self._kept.get(key)
        return kept.value if kept is not None else None

    def _is_settled(self, service: Service) -> bool:
        containers = self._value("containers", service.name)
        if not isinstance(containers, tuple):
            return isinstance(containers, str)
        # Instances that came and went between two looks are among the containers, and not in the service's row.
        agrees = service.current_instances in (None, len({c.instance_id for c in containers}))
        return bool(containers) and agrees and all(c.is_ready for c in containers)

    def _forget(
        self,
        services: Mapping[QualifiedName, Service],
        pools: Mapping[str, Pool],
        watched: Iterable[QualifiedName],
    ) -> None:
        """What was dropped, and what nobody looks at any longer, takes no memory."""
        models, open_pages = set(self._value("models") or ()), set(watched)
        alive: dict[str, Callable[[Any], bool]] = {
            **dict.fromkeys(("containers", "endpoints"), services.__contains__),
            **dict.fromkeys(("log", "events", "metrics"), open_pages.__contains__),
            "nodes": pools.__contains__,
            "versions": models.__contains__,
        }
        for key in [key for key in self._kept if len(key) > 1 and not alive[str(key[0])](key[1])]:
            del self._kept[key]

    def _account(
        self,
        identity: Identity,
        services: Mapping[QualifiedName, Service],
        pools: Mapping[str, Pool],
        watched: Iterable[QualifiedName],
        notes: list[str],
    ) -> Account:
        models: dict[QualifiedName, ModelVersion] = {
            service: version
            for model in self._value("models") or ()
            for version in self._value("versions", model) or ()
            for service in version.services
        }
        unseen = sorted({s.pool for s in services.values() if s.pool} - pools.keys())
        told = list(notes)
        if unseen and pools:
            told.append(
                f"The role does not see {len(unseen)} of the compute pools, such as {unseen[0]}: a Snowflake"
                " administrator can grant it USAGE and MONITOR on them."
            )
        return Account(
            identity,
            {name: self._found(services[name]) for name in sorted(services)},
            dict(pools),
            {name: self._rate(pool, identity.region or "") for name, pool in pools.items()},
            models,
            {name: self._closer_known(name) for name in watched},
            tuple(told),
        )

    def _found(self, service: Service) -> FoundService:
        containers = None if service.is_suspended else self._value("containers", service.name)
        endpoints = self._value("endpoints", service.name)
        notes = tuple(text for text in (endpoints, containers) if isinstance(text, str))
        return FoundService(
            service,
            endpoints if isinstance(endpoints, tuple) else None,
            containers if isinstance(containers, tuple) else None,
            notes,
        )

    def _rate(self, pool: Pool, region: str) -> PoolRate:
        nodes = self._value("nodes", pool.name) if pool.nodes else None
        return rate_of(pool, list(nodes or ()), self.prices, region)

    def _closer_known(self, name: QualifiedName) -> Closer:
        closer, notes = Closer(), dict[str, str]()
        logs: dict[str, tuple[str, ...]] = {}
        for key, kept in self._kept.items():
            if key[0] == "log" and key[1] == name:
                if isinstance(kept.value, SqlError):
                    notes["logs"] = _told(kept.value)
                else:
                    logs[str(key[2])] = kept.value
        events, series = self._value("events", name), self._value("metrics", name)
        if isinstance(events, SqlError):
            notes["events"] = (
                f"{_told(events)} Events need an event table, and LOG_EVENT_LEVEL set on the service."
            )
        if isinstance(series, SqlError):
            notes["metrics"] = (
                f"{_told(series)} Metrics need an event table, and platformMonitor in the service's specification."
            )
        return replace(
            closer,
            logs=logs if logs or "logs" in notes else None,
            events=events if isinstance(events, tuple) else None,
            series=series if isinstance(series, tuple) else None,
            notes=notes,
        )


def _told(error: SqlError) -> str:
    return f"{error.message} {error.hint}".strip()


def _why_no_endpoints(error: SqlError) -> str:
    return f"Its endpoints cannot be listed: the role needs USAGE on the service. {error.message}"


def _why_no_containers(name: QualifiedName, identity: Identity, error: SqlError) -> str:
    if error.is_about_rights:
        grant = statements.grant_monitor(name, identity.role)
        return f"Its containers cannot be seen. Ask a Snowflake administrator: {grant}."
    return f"Its containers cannot be seen. {error.message}"


def _asking(
    session: SqlSession, statement: Callable[[], str], read: Callable[[Iterable[Row]], Any]
) -> Callable[[], Any]:
    """Asks when it is called. Lists are kept as tuples."""

    def ask() -> Any:
        found = read(session.rows(statement()))
        return tuple(found) if isinstance(found, list) else found

    return ask


def _read_log(rows: Iterable[Row]) -> tuple[str, ...]:
    text = next((cell or "" for row in rows for cell in row.values()), "")
    return tuple(shown_lines(text.splitlines()[-_LOG_LINES:]))
