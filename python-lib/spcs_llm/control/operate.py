"""Suspends and resumes services by patterns of names. Nothing is dropped, and no pool is stopped.

`ALTER SERVICE … SUSPEND` and `RESUME` need OPERATE on the service (Snowflake documentation, "ALTER SERVICE").
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Callable

from spcs_llm.control import statements
from spcs_llm.control.families import PriceList
from spcs_llm.control.identifiers import QualifiedName
from spcs_llm.control.operated import Operated, Outcome, Verb
from spcs_llm.control.pool_effects import PoolEffect, pool_effects
from spcs_llm.control.service_patterns import Pattern, matching_services
from spcs_llm.control.services import GIVEN_UP, Service, named_service
from spcs_llm.control.session import Identity, SqlSession
from spcs_llm.control.settling import Settling
from spcs_llm.errors import SpcsError, SqlError


@dataclass(frozen=True)
class Operation:
    """What was done, or would be.

    Attributes:
        verb: What was to be done.
        dry_run: Whether nothing was changed.
        identity: Whose rights were used.
        services: One entry for each service, and each pattern that fits none.
        pools: What it means for the pools.
    """

    verb: Verb
    dry_run: bool
    identity: Identity
    services: tuple[Operated, ...]
    pools: tuple[PoolEffect, ...]

    @property
    def failures(self) -> list[Operated]:
        """What failed, or was not finished in time."""
        return [one for one in self.services if one.outcome in (Outcome.FAILED, Outcome.WAITING)]


def operate(
    session: SqlSession,
    verb: Verb,
    patterns: Sequence[Pattern],
    prices: PriceList,
    *,
    dry_run: bool = True,
    wait: float = 0.0,
    progress: Callable[[float], object] = lambda share: None,
    sleep: Callable[[float], Any] = time.sleep,  # noqa: TID251 - a person or a scenario waits here, no query does
    clock: Callable[[], float] = time.monotonic,
) -> Operation:
    """Suspends or resumes all services that fit one of the patterns.

    Args:
        session: Runs the statements.
        verb: What to do.
        patterns: Which services are meant.
        prices: What a node of each instance family costs.
        dry_run: Whether to change nothing.
        wait: Seconds to wait until the services are in their new state; 0 for not at all.
        progress: Is told the share that is done, from 0 to 1.
        sleep: Makes the pauses between two looks.
        clock: Seconds that never go back.

    Returns:
        What was done.

    Raises:
        SpcsError: If the services cannot be listed.
    """
    wanted = list(dict.fromkeys(patterns))
    identity = session.whose()
    services = matching_services(session, wanted)
    changing = [s for s in services if not verb.is_in_place(s.status) and not _is_beyond(verb, s.status)]
    effects = list(pool_effects(session, verb, changing, prices, identity.region or ""))
    progress(0.2)
    operated: dict[QualifiedName, Operated] = {}
    for service in services:
        operated[service.name] = _operated(session, verb, service, identity, dry_run)
        progress(0.2 + 0.4 * len(operated) / len(services))
    if wait > 0 and not dry_run:
        settling = Settling(session, verb, wait, sleep, clock)
        settling.wait(operated, lambda share: progress(0.6 + 0.4 * share))
    missing = [
        _missing(pattern, identity) for pattern in wanted if not any(pattern.fits(s.name) for s in services)
    ]
    failed = {one.pool for one in operated.values() if one.outcome in (Outcome.FAILED, Outcome.WAITING)}
    effects = [_uncertain(effect) if effect.pool in failed else effect for effect in effects]
    progress(1.0)
    return Operation(verb, dry_run, identity, (*operated.values(), *missing), tuple(effects))


def _uncertain(effect: PoolEffect) -> PoolEffect:
    return PoolEffect(effect.pool, None, f"Compute pool {effect.pool}: not all of its services were changed.")


def _missing(pattern: Pattern, identity: Identity) -> Operated:
    return Operated(
        pattern.text,
        "",
        "",
        "",
        Outcome.FAILED,
        f"Role {identity.role or 'of this session'} sees no service of this name. Correct the name, or ask a Snowflake"
        " administrator to grant the role USAGE on its database and schema, and OPERATE on the service.",
    )


def _is_beyond(verb: Verb, status: str) -> bool:
    """Whether nothing can be done in this state. A failed service still has its nodes: it can be suspended."""
    return status in (GIVEN_UP if verb is Verb.RESUME else ("DELETING", "DELETED"))


def _operated(
    session: SqlSession, verb: Verb, service: Service, identity: Identity, dry_run: bool
) -> Operated:
    before = service.status
    one = Operated(service.name.sql, service.pool, before, before, Outcome.UNCHANGED)
    if _is_beyond(verb, before):
        return replace(
            one,
            outcome=Outcome.FAILED,
            note=f"It is {before}: a service in this state cannot be {verb.done}. Read its logs, and create it again.",
        )
    if verb.is_in_place(before):
        note = f"It is {before} already." if verb is Verb.SUSPEND else f"It is not suspended: it is {before}."
        return replace(one, note=note)
    if dry_run:
        return replace(
            one, outcome=Outcome.WOULD_CHANGE, note=f"It would be {verb.done}; nothing has been done."
        )
    statement = statements.suspend if verb is Verb.SUSPEND else statements.resume
    try:
        session.rows(statement(service.name))
    except SqlError as error:
        return _after_refusal(session, verb, service, identity, one, error)
    except SpcsError as error:
        return replace(one, outcome=Outcome.FAILED, note=f"{error.message} {error.hint}".strip())
    after = "SUSPENDING" if verb is Verb.SUSPEND else "PENDING"
    return replace(one, after=after, outcome=Outcome.CHANGED)


def _after_refusal(
    session: SqlSession, verb: Verb, service: Service, identity: Identity, one: Operated, error: SqlError
) -> Operated:
    """Looks whether somebody else has done the same at the same time, which is not a failure, or has dropped it."""
    now: Service | None = service
    with contextlib.suppress(SpcsError):
        now = named_service(session, service.name)
    if now is None:
        return replace(one, outcome=Outcome.FAILED, note="It was dropped meanwhile.")
    if error.is_about_rights:
        grant = statements.grant_operate(service.name, identity.role)
        return replace(
            one, outcome=Outcome.FAILED, note=f"{error.message} Ask a Snowflake administrator: {grant}."
        )
    if verb.is_in_place(now.status):
        return replace(one, after=now.status, note=f"Somebody else {verb.done} it at the same time.")
    return replace(one, outcome=Outcome.FAILED, note=f"{error.message} {error.hint}".strip())
