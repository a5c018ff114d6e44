"""Suspends and resumes services for operators, in two steps: what it would mean, and then the word to do it."""

from __future__ import annotations

import secrets
import threading
import time
from dataclasses import dataclass
from typing import Any, Callable

from spcs_llm.control.families import PriceList
from spcs_llm.control.identifiers import QualifiedName
from spcs_llm.control.operate import Operation, operate
from spcs_llm.control.operated import Outcome, Verb
from spcs_llm.control.service_patterns import Pattern
from spcs_llm.control.session import SqlSession
from spcs_llm.errors import SettingsError, SpcsError
from spcs_llm.monitor.overview import Price
from spcs_llm.server_text.log_lines import one_line_logger

logger = one_line_logger(__name__)

_MINUTES_TO_CONFIRM = 3
_KEPT = 200


@dataclass(frozen=True)
class _Asked:
    user: str
    verb: Verb
    service: QualifiedName
    at: float


class Operations:
    """What operators asked for and have not confirmed yet. Thread-safe.

    Args:
        open_session: Opens a session.
        prices: What a node of each instance family costs.
        clock: Seconds that never go back.
    """

    def __init__(
        self,
        open_session: Callable[[], SqlSession],
        prices: PriceList,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open_session = open_session
        self._prices = prices
        self._clock = clock
        self._lock = threading.Lock()
        self._asked: dict[str, _Asked] = {}

    def preview(self, user: str, verb: Verb, service: QualifiedName, price: Price) -> dict[str, Any]:
        """What suspending or resuming a service would mean. Nothing is changed.

        Args:
            user: The operator.
            verb: What to do.
            service: The service.
            price: What a credit costs.

        Returns:
            Plain data, with the text that confirms it. It is good once, for this operator, for three minutes.

        Raises:
            SpcsError: If Snowflake cannot be asked, or the service cannot be changed.
        """
        done = self._operated(verb, service, dry_run=True)
        one = done.services[0]
        if one.outcome is not Outcome.WOULD_CHANGE:
            raise SpcsError(f"{service.sql} is left as it is. {one.note}", place="webapp")
        confirmation = secrets.token_urlsafe(24)
        with self._lock:
            now = self._clock()
            fresh = {k: a for k, a in self._asked.items() if now - a.at < 60 * _MINUTES_TO_CONFIRM}
            self._asked = dict(list(fresh.items())[-_KEPT:])
            self._asked[confirmation] = _Asked(user, verb, service, now)
        effects = [
            {
                "text": effect.text,
                "credits": effect.credits_per_hour,
                "cost": None if effect.credits_per_hour is None else effect.credits_per_hour * price.amount,
            }
            for effect in done.pools
        ]
        return {
            "verb": verb.value,
            "service": service.sql,
            "before": one.before,
            "effects": effects,
            "currency": price.currency,
            "identity": str(done.identity),
            "confirmation": confirmation,
        }

    def confirm(self, user: str, confirmation: object) -> dict[str, Any]:
        """Does what was asked for.

        Args:
            user: The operator.
            confirmation: What `preview` gave.

        Returns:
            Plain data: what became of the service.

        Raises:
            SpcsError: If there is nothing to confirm, or it failed.
        """
        with self._lock:
            asked = self._asked.pop(confirmation, None) if isinstance(confirmation, str) else None
        late = asked is not None and self._clock() - asked.at >= 60 * _MINUTES_TO_CONFIRM
        if asked is None or asked.user != user or late:
            raise SettingsError(
                "There is nothing to confirm: it has been confirmed already, or too much time has passed.",
                "Start again: the page shows what the change would mean now.",
            )
        done = self._operated(asked.verb, asked.service, dry_run=False)
        one = done.services[0]
        logger.info(
            "%s was asked to be %s by user %s of DSS: %s. Rights used: %s.",
            asked.service.sql,
            asked.verb.done,
            user,
            one.outcome.value,
            done.identity,
        )
        if one.outcome is Outcome.FAILED:
            raise SpcsError(f"{asked.service.sql} could not be {asked.verb.done}. {one.note}", place="webapp")
        return {
            "verb": asked.verb.value,
            "service": asked.service.sql,
            "outcome": one.outcome.value,
            "after": one.after,
            "note": one.note,
        }

    def _operated(self, verb: Verb, service: QualifiedName, *, dry_run: bool) -> Operation:
        return operate(self._open_session(), verb, [Pattern.of(service)], self._prices, dry_run=dry_run)
