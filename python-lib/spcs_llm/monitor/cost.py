"""What the webapp knows of cost: the report of the macro, and what Snowflake attributes to registry services by day."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from typing import Callable

from spcs_llm.control import usage_views
from spcs_llm.control.cost_report import CostReport, make_report
from spcs_llm.control.families import PriceList
from spcs_llm.control.identifiers import QualifiedName
from spcs_llm.control.session import SqlSession
from spcs_llm.control.usage_views import ServiceDay
from spcs_llm.errors import SpcsError, SqlError
from spcs_llm.settings import FIELDS

_PROVIDED = ("SNOWFLAKE", "MODELS")  # the schema of Snowflake's own models, where nobody may create a service


@dataclass(frozen=True)
class Cost:
    """What is known of cost.

    Attributes:
        report: The figures of the macro *Cost report*.
        service_days: What Snowflake attributes to registry services, by day; None if that cannot be read.
    """

    report: CostReport
    service_days: tuple[ServiceDay, ...] | None

    def days_of(self, service: QualifiedName, model: QualifiedName | None = None) -> dict[date, float] | None:
        """The credits that Snowflake attributes to a service, by day.

        Args:
            service: The service.
            model: Its model, if that is known.

        Returns:
            Credits by day; None if there are none.
        """
        found: dict[date, float] = {}
        for entry in self._by_service.get(service.name, ()):
            if _may_be(entry, service, model):
                found[entry.day] = found.get(entry.day, 0.0) + entry.credits
        return found or None

    @cached_property
    def _by_service(self) -> dict[str, list[ServiceDay]]:
        found: dict[str, list[ServiceDay]] = {}
        for entry in self.service_days or ():
            found.setdefault(entry.service, []).append(entry)
        return found


def _may_be(day: ServiceDay, service: QualifiedName, model: QualifiedName | None) -> bool:
    """The view names the schema of the model; services are created in it unless another is asked for."""
    place = day.database, day.schema
    if not day.database or place == (service.database, service.schema):
        return True
    return place == (_PROVIDED if model is None else (model.database, model.schema))


def look_at_cost(
    session: SqlSession, prices: PriceList, days: int, credit_price: float | None, now: datetime
) -> Cost:
    """Reads the usage views.

    Args:
        session: Runs the statements.
        prices: What a node of each instance family costs.
        days: How many days to look back.
        credit_price: USD for a credit; None for the contract's.
        now: The time, with its zone.

    Returns:
        What is known.

    Raises:
        SpcsError: If the session does not work at all.
    """
    report = make_report(
        session,
        prices,
        days=days,
        credit_price=credit_price,
        default_price=FIELDS.credit_price.absent,
        now=now,
    )
    by_day: tuple[ServiceDay, ...] | None = None
    if report.services_known:
        try:
            by_day = tuple(usage_views.read_service_days(session.rows(usage_views.service_days(days))))
        except SqlError:
            by_day = None
    return Cost(report, by_day)


def cost_work(
    open_session: Callable[[], SqlSession],
    prices: PriceList,
    days: int,
    credit_price: float | None,
    now: Callable[[], datetime],
) -> Callable[[Callable[[Cost], None]], Cost]:
    """The work of the thread that knows the cost.

    Args:
        open_session: Opens a session.
        prices: What a node of each instance family costs.
        days: How many days to look back.
        credit_price: USD for a credit; None for the contract's.
        now: The time, with its zone.

    Returns:
        The work, for `Background`.
    """

    def work(publish: Callable[[Cost], None]) -> Cost:
        cost = look_at_cost(open_session(), prices, days, credit_price, now())
        nothing = not cost.report.pool_days and not cost.report.running and cost.report.missing
        if nothing:
            first = cost.report.missing[0]
            raise SpcsError(first.why, first.hint)
        return cost

    return work


def stacked(entries: Iterable[tuple[date, str, float]], most: int = 8) -> dict[str, dict[date, float]]:
    """Credits by name and day. The names with the most credits come first; the rest are one entry named "".

    Args:
        entries: Days, names and credits.
        most: The most names to tell apart.

    Returns:
        Credits by day, by name.
    """
    totals: dict[str, dict[date, float]] = {}
    for day, name, credits in entries:
        days = totals.setdefault(name, {})
        days[day] = days.get(day, 0.0) + credits
    ranked = sorted(totals, key=lambda name: (-sum(totals[name].values()), name))
    kept = {name: totals[name] for name in ranked[:most]}
    rest: dict[date, float] = {}
    for name in ranked[most:]:
        for day, credits in totals[name].items():
            rest[day] = rest.get(day, 0.0) + credits
    return {**kept, **({"": rest} if rest else {})}
