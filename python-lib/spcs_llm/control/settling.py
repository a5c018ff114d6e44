"""Waits until services are in the state that they were put in."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Callable

from spcs_llm.control import statements
from spcs_llm.control.container_messages import hint_for_pool
from spcs_llm.control.identifiers import QualifiedName, quoted
from spcs_llm.control.operated import Operated, Outcome, Verb
from spcs_llm.control.services import (
    GIVEN_UP,
    Container,
    Service,
    named_service,
    read_containers,
    read_pools,
)
from spcs_llm.control.session import SqlSession
from spcs_llm.control.start_failures import start_failures
from spcs_llm.errors import SpcsError, SqlError

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 15.0


class Settling:
    """Looks at services until they are in their new state, or the time is up.

    Args:
        session: Runs the statements.
        verb: What was done to the services.
        seconds: How long to wait at most.
        sleep: Makes the pauses between two looks.
        clock: Seconds that never go back.
    """

    def __init__(
        self,
        session: SqlSession,
        verb: Verb,
        seconds: float,
        sleep: Callable[[float], Any] = time.sleep,  # noqa: TID251 - a person or a scenario waits here, no query does
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session = session
        self._verb = verb
        self._seconds = seconds
        self._sleep = sleep
        self._clock = clock
        self._seen_up: set[QualifiedName] = set()

    def wait(self, operated: dict[QualifiedName, Operated], progress: Callable[[float], object]) -> None:
        """Replaces entries by what became of their services.

        Those that somebody else had changed before are waited for as well: a scenario that goes on needs them ready.

        Args:
            operated: The entries, which are replaced.
            progress: Is told the share of the time that has passed, from 0 to 1.
        """
        began = self._clock()
        left = [name for name, one in operated.items() if one.outcome in (Outcome.CHANGED, Outcome.UNCHANGED)]
        pause = _FIRST_PAUSE
        while left:
            for name in list(left):
                operated[name], settled = self._looked_at(name, operated[name])
                if settled:
                    left.remove(name)
            taken = self._clock() - began
            progress(min(1.0, taken / self._seconds))
            if left and taken + pause > self._seconds:
                for name in left:
                    operated[name] = self._late(operated[name])
                return
            if left:
                self._sleep(pause)
                pause = min(_LONGEST_PAUSE, pause * 1.5)

    def _looked_at(self, name: QualifiedName, one: Operated) -> tuple[Operated, bool]:
        """The entry as it is now, and whether there is nothing more to wait for."""
        try:
            service = named_service(self._session, name)
            if service is None:
                return replace(one, outcome=Outcome.FAILED, note="It was dropped meanwhile."), True
            note = one.note if one.outcome is Outcome.UNCHANGED and service.status == one.after else ""
            one = replace(one, after=service.status, note=note)
            if self._verb is Verb.SUSPEND:
                return one, service.status == "SUSPENDED"
            if service.status in GIVEN_UP:
                return replace(one, outcome=Outcome.FAILED, note=self._why_failed(name)), True
            if not service.is_suspended:
                self._seen_up.add(name)
                return self._resumed(name, one, service)
            if name in self._seen_up:
                return replace(one, outcome=Outcome.FAILED, note="Somebody suspended it again."), True
            return one, False  # a listing may be older than the statement before it
        except SqlError as error:
            return replace(one, note=error.message), error.is_about_rights
        except SpcsError as error:
            return replace(one, note=error.message), False  # may pass: it is looked at again

    def _resumed(self, name: QualifiedName, one: Operated, service: Service) -> tuple[Operated, bool]:
        """RUNNING says nothing of the containers; who may not see them can only go by it."""
        try:
            containers = read_containers(self._session.rows(statements.show_containers(name)))
        except SqlError as error:
            if not error.is_about_rights:
                raise
            note = "Whether its containers are ready cannot be seen: the role needs MONITOR on the service."
            return replace(one, note=note), service.status == "RUNNING"
        waiting = [container for container in containers if not container.is_ready]
        if service.has_enough(containers):
            return replace(one, note="; ".join(map(str, waiting))) if waiting else one, True
        if any(container.has_given_up for container in waiting):
            return replace(one, outcome=Outcome.FAILED, note=self._told_by(name, waiting)), True
        ready = bool(containers) and not waiting and service.status == "RUNNING"
        return (one if ready else replace(one, note="; ".join(map(str, waiting)))), ready

    def _why_failed(self, name: QualifiedName) -> str:
        try:
            containers = read_containers(self._session.rows(statements.show_containers(name)))
        except SpcsError:
            return "Read its logs."
        return self._told_by(name, containers) or "Read its logs."

    def _told_by(self, name: QualifiedName, containers: Sequence[Container]) -> str:
        """What containers say, and the reasons that only their logs have."""
        told = [*map(str, containers)]
        for failure in start_failures(self._session, name, containers):
            told.append(f"{failure}. {failure.hint}")
        return "; ".join(told)

    def _late(self, one: Operated) -> Operated:
        text = f"It is {one.after} after {self._seconds:g} s"
        if one.note:
            text += f": {one.note.rstrip('.')}"
        reason = self._why_the_pool_does_not_start(one.pool) if self._verb is Verb.RESUME else ""
        return replace(one, outcome=Outcome.WAITING, note=f"{text}. {reason}".strip())

    def _why_the_pool_does_not_start(self, pool: str) -> str:
        if not pool:
            return ""
        try:
            for found in read_pools(self._session.rows(statements.describe_pool(pool))):
                hint = hint_for_pool(quoted(pool), found.state, found.error_code)
                if found.error_code:
                    return f"Compute pool {pool}: {found.error_code} {found.message} {hint}".strip()
                if found.state != "ACTIVE":
                    return f"Compute pool {pool} is {found.state}. {hint}".strip()
        except SpcsError:
            pass
        return ""
