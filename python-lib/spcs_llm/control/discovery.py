"""Finds the services of an account, with what one must know to connect them: endpoints, pools, models and cost.

SHOW lists all services of a scope at once; endpoints and containers are asked for service by service, at the same time
where the session allows it. What cannot be had is left open with a note, never an error: a lost connection or missing
rights keep what was found so far.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Callable, TypeVar

from spcs_llm.control import statements
from spcs_llm.control.families import PriceList
from spcs_llm.control.identifiers import QualifiedName
from spcs_llm.control.rates import PoolRate, pool_rate
from spcs_llm.control.services import (
    Container,
    Endpoint,
    ModelVersion,
    Pool,
    Service,
    listed_services,
    read_containers,
    read_endpoints,
    read_models,
    read_pools,
    read_versions,
    ready_instances,
)
from spcs_llm.control.session import Identity, SqlSession
from spcs_llm.errors import SpcsError, SqlError

Progress = Callable[[float], object]
_SECONDS = 480.0
_MAX_MODELS = 500
_ODD_REFUSALS = 3

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class FoundService:
    """A service with what belongs to it.

    Attributes:
        service: The service.
        endpoints: Its endpoints; None if they could not be listed.
        containers: Its containers; None if they could not be listed, or were not asked for.
        notes: What is missing, and what to do about it.
    """

    service: Service
    endpoints: tuple[Endpoint, ...] | None = None
    containers: tuple[Container, ...] | None = None
    notes: tuple[str, ...] = ()

    @property
    def ready(self) -> int | None:
        """How many instances are ready: all their containers are. None if that is not known."""
        if self.containers is None:
            return 0 if self.service.is_suspended else None
        return ready_instances(self.containers)


@dataclass(frozen=True)
class Discovery:
    """What was found in a scope.

    Attributes:
        identity: Whose rights were used.
        services: The services, in the order of their names.
        pools: The compute pools that the role may see, by name.
        rates: What each of them costs now, by name.
        models: The model version behind a service, by the service's name.
        notes: What is missing on the whole, and why.
    """

    identity: Identity
    services: tuple[FoundService, ...]
    pools: dict[str, Pool] = field(default_factory=dict)
    rates: dict[str, PoolRate] = field(default_factory=dict)
    models: dict[QualifiedName, ModelVersion] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def discover(
    session: SqlSession,
    prices: PriceList,
    *,
    database: str | None = None,
    schema: str | None = None,
    seconds: float = _SECONDS,
    workers: int = 1,
    progress: Progress = lambda share: None,
    clock: Callable[[], float] = time.monotonic,
) -> Discovery:
    """Finds the services of a scope.

    Args:
        session: Runs the statements.
        prices: What a node of each instance family costs.
        database: The only database to look into; None for all of the account.
        schema: The only schema to look into; None for all of the database.
        seconds: After this time no further statement is sent.
        workers: How many statements may run at the same time.
        progress: Is told the share that is done, from 0 to 1.
        clock: Seconds that never go back.

    Returns:
        What was found.

    Raises:
        SpcsError: If the services themselves cannot be listed.
    """
    asking = _Asking(clock() + seconds, workers, clock)
    identity = session.whose()
    within = statements.scope(database, schema)
    listed, shown = listed_services(session, database, schema)
    if shown >= statements.MAX_SHOWN:
        asking.note(
            f"Snowflake lists at most {statements.MAX_SHOWN:,} services: there may be more. Look into one database or"
            " schema."
        )
    progress(0.1)
    pools = {
        pool.name: pool
        for pool in asking.all_or_none(lambda: read_pools(session.rows(statements.SHOW_POOLS)))
    }
    used = [pool for name, pool in pools.items() if any(s.pool == name for s in listed)]
    rates = asking.each(used, lambda pool: pool_rate(session, pool, prices, identity.region or ""))
    progress(0.2)
    models = _models(session, within, asking) if listed else {}
    progress(0.3)
    found = asking.each(
        listed,
        lambda service: _found(session, service, identity),
        lambda done: progress(0.3 + 0.7 * done / max(1, len(listed))),
    )
    if len(found) < len(listed):
        asking.note(
            f"Endpoints and containers are missing for {len(listed) - len(found)} of {len(listed)} services:"
            f" {asking.why_stopped or 'the time was up'}. Look into one database or schema."
        )
    unseen = {s.pool for s in listed if s.pool} - pools.keys()
    if unseen:
        asking.note(
            f"The role does not see {_listed(unseen)}: a Snowflake administrator can grant it USAGE and MONITOR on the"
            " compute pools."
        )
    return Discovery(
        identity,
        tuple(found.get(index, FoundService(service)) for index, service in enumerate(listed)),
        pools,
        {pool.name: rates[index] for index, pool in enumerate(used) if index in rates},
        models,
        tuple(asking.notes),
    )


def _found(session: SqlSession, service: Service, identity: Identity) -> FoundService:
    notes: list[str] = []
    endpoints = containers = None
    try:
        endpoints = tuple(read_endpoints(session.rows(statements.show_endpoints(service.name))))
    except SqlError as error:
        if not error.is_about_rights:
            raise
        notes.append(f"Its endpoints cannot be listed: the role needs USAGE on the service. {error.message}")
    if not service.is_suspended:
        try:
            containers = tuple(read_containers(session.rows(statements.show_containers(service.name))))
        except SqlError as error:
            if not error.is_about_rights:
                raise
            grant = statements.grant_monitor(service.name, identity.role)
            notes.append(f"Its containers cannot be seen. Ask a Snowflake administrator: {grant}.")
    notes += [str(container) for container in containers or () if not container.is_ready]
    return FoundService(service, endpoints, containers, tuple(notes))


def _models(session: SqlSession, within: str, asking: _Asking) -> dict[QualifiedName, ModelVersion]:
    """The model version behind each service: SHOW VERSIONS lists the services of each."""
    models = asking.all_or_none(lambda: read_models(session.rows(statements.show_models(within))))
    if len(models) > _MAX_MODELS:
        asking.note(f"Of {len(models):,} models of the registry, {_MAX_MODELS} were looked at.")
    versions = asking.each(
        models[:_MAX_MODELS],
        lambda model: read_versions(model, session.rows(statements.show_versions(model))),
    )
    return {
        service: version for found in versions.values() for version in found for service in version.services
    }


class _Asking:
    """Asks as long as there is time and the session works, and notes what was not asked."""

    def __init__(self, until: float, workers: int, clock: Callable[[], float]) -> None:
        self._until = until
        self._workers = workers
        self._clock = clock
        self._lock = threading.Lock()
        self.notes: list[str] = []
        self.why_stopped = ""
        self._odd = 0

    def note(self, text: str) -> None:
        self.notes.append(text)

    def all_or_none(self, ask: Callable[[], list[T]]) -> list[T]:
        """What `ask` gives; nothing, with a note, if Snowflake refuses it or cannot be asked."""
        if not self._may_go_on():
            return []
        try:
            return ask()
        except SqlError as error:
            self.note(f"{error.message} {error.hint}".strip())
        except SpcsError as error:
            self._stop(error)
        return []

    def each(
        self, items: Sequence[T], ask: Callable[[T], R], done: Callable[[int], object] = lambda count: None
    ) -> dict[int, R]:
        """What `ask` gives for each item, by its index, as far as it was asked and not refused."""
        results: dict[int, R] = {}

        def one(index: int) -> None:
            if not self._may_go_on():
                return
            try:
                results[index] = ask(items[index])
            except SqlError as error:
                self._count(error)
            except SpcsError as error:
                self._stop(error)
            with self._lock:
                done(len(results))

        if self._workers <= 1 or len(items) <= 1:
            for index in range(len(items)):
                one(index)
        else:
            with ThreadPoolExecutor(min(self._workers, len(items))) as threads:
                list(threads.map(one, range(len(items))))
        return results

    def _count(self, error: SqlError) -> None:
        """One item may be odd. Through DSS, a lost connection looks like a refusal, too: it comes again and again."""
        if error.is_about_rights:
            return
        with self._lock:
            self._odd += 1
        if self._odd >= _ODD_REFUSALS:
            self._stop(error)

    def _may_go_on(self) -> bool:
        return not self.why_stopped and self._clock() < self._until

    def _stop(self, error: SpcsError) -> None:
        with self._lock:
            if not self.why_stopped:
                self.why_stopped = f"{error.message.rstrip('.')}"


def _listed(names: Iterable[str]) -> str:
    found = sorted(names)
    return ", ".join(found[:5]) + (f" and {len(found) - 5} more pools" if len(found) > 5 else "")
