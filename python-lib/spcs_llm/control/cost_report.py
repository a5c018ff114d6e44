"""What compute pools and registry services have cost, and what runs now: figures, without any layout.

Only the pools' credits are the bill. What Snowflake attributes to registry services is part of them and never added.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from math import fsum
from typing import Callable, TypeVar

from spcs_llm.control import statements, usage_views
from spcs_llm.control.families import HOURS_PER_MONTH, PriceList
from spcs_llm.control.rates import PoolRate, pool_rate
from spcs_llm.control.services import Pool, read_pools
from spcs_llm.control.session import Identity, Row, SqlSession
from spcs_llm.control.usage_views import CreditPrice, PoolDay, ServiceCredits, View
from spcs_llm.errors import SpcsError, SqlError

DAYS_PER_MONTH = HOURS_PER_MONTH / 24
_ASSUMED = "an assumption: enter 'Cost of a credit', or see the grants below"

T = TypeVar("T")


@dataclass(frozen=True)
class Missing:
    """A part of the report that could not be had.

    Attributes:
        what: What the report lacks.
        why: Snowflake's reason.
        hint: What to do about it, with a GRANT where one helps.
    """

    what: str
    why: str
    hint: str


@dataclass(frozen=True)
class PoolNow:
    """A compute pool as it is now."""

    pool: Pool
    rate: PoolRate


@dataclass(frozen=True)
class CostReport:
    """The figures of a cost report.

    Attributes:
        identity: Whose rights were used.
        made_at: When it was made, in UTC.
        first_day: The first day that it looks at.
        last_day: The day on which it was made.
        price: The price of a credit.
        pool_days: Each pool's credits by day.
        known_until: The end of the last hour with credits; None if the view of pools has no rows.
        services: The credits that are attributed to registry services.
        services_known: Whether that view could be read.
        running: The pools that the role may see, as they are now.
        missing: What could not be had.
        estimates: What the plugin itself estimated for its queries, in USD by day; None without its usage log.
    """

    identity: Identity
    made_at: datetime
    first_day: date
    last_day: date
    price: CreditPrice
    pool_days: tuple[PoolDay, ...] = ()
    known_until: datetime | None = None
    services: tuple[ServiceCredits, ...] = ()
    services_known: bool = False
    running: tuple[PoolNow, ...] = ()
    missing: tuple[Missing, ...] = ()
    estimates: Mapping[date, float] | None = field(default=None)

    @property
    def days(self) -> list[date]:
        """All days that it looks at, those without cost as well."""
        return [self.first_day + timedelta(n) for n in range((self.last_day - self.first_day).days + 1)]

    @property
    def credits(self) -> float:
        """The credits of all pools."""
        return fsum(entry.credits for entry in self.pool_days)

    @property
    def by_pool(self) -> dict[str, float]:
        """The credits of each pool, the dearest first."""
        return dict(sorted(_by_pool(self.pool_days).items(), key=lambda item: (-item[1], item[0])))

    @property
    def attributed(self) -> dict[str, float]:
        """The credits that are attributed to registry services, by pool."""
        return _by_pool(self.services)

    @property
    def covered_until(self) -> datetime | None:
        """Until when the view must have all credits: hours in which no pool was up have no rows."""
        if self.known_until is None:
            return None
        return max(self.known_until, self.made_at - usage_views.POOLS_LATE).astimezone(timezone.utc)

    @property
    def complete_days(self) -> list[date]:
        """The days that the view covers to their end, from the first one with a cost."""
        if self.covered_until is None or not self.pool_days:
            return []
        begin, end = min(entry.day for entry in self.pool_days), self.covered_until.date()
        return [day for day in self.days if begin <= day < end]

    @property
    def month_credits(self) -> float | None:
        """The credits of a month like the complete days; None without any."""
        days = set(self.complete_days)
        if not days:
            return None
        return fsum(e.credits for e in self.pool_days if e.day in days) / len(days) * DAYS_PER_MONTH

    @property
    def credits_per_hour_now(self) -> float | None:
        """The credits per hour of all pools now; None if the price of one is not known, or none can be seen."""
        rates = [one.rate.credits_per_hour for one in self.running if one.rate.nodes]
        if not self.running or any(rate is None for rate in rates):
            return None
        return fsum(rate for rate in rates if rate is not None)

    @property
    def idle_nodes_now(self) -> tuple[int, int]:
        """How many nodes run without a service, and how many run."""
        return sum(one.pool.idle_nodes for one in self.running), sum(one.pool.nodes for one in self.running)

    def cost(self, credits: float) -> float:
        """The price of credits."""
        return credits * self.price.amount


def _by_pool(entries: Iterable[PoolDay | ServiceCredits]) -> dict[str, float]:
    credits: dict[str, list[float]] = {}
    for entry in entries:
        credits.setdefault(entry.pool, []).append(entry.credits)
    # A plain sum drifts: fifteen days of 7.41 credits would not be 111.15.
    return {pool: fsum(parts) for pool, parts in credits.items()}


def make_report(
    session: SqlSession,
    prices: PriceList,
    *,
    days: int,
    credit_price: float | None,
    default_price: float,
    now: datetime,
    estimates: Mapping[date, float] | None = None,
    progress: Callable[[float], object] = lambda share: None,
) -> CostReport:
    """Collects the figures. What a view does not tell is left out, and named.

    Args:
        session: Runs the statements. The views need a warehouse.
        prices: What a node of each instance family costs.
        days: How many days to look back.
        credit_price: The price of a credit in USD; None for that of the contract.
        default_price: The price of a credit in USD where neither is there.
        now: The time, with its zone.
        estimates: What the plugin itself estimated, in USD by day.
        progress: Is told the share that is done, from 0 to 1.

    Returns:
        The figures.

    Raises:
        SpcsError: If the session does not work at all.
    """
    identity = session.whose()
    asking = _Asking(session, identity)
    progress(0.1)
    pool_rows = asking.view(usage_views.POOLS, usage_views.pool_days(days)) or []
    progress(0.4)
    service_rows = asking.view(usage_views.SERVING, usage_views.service_credits(days))
    progress(0.6)
    price = CreditPrice(credit_price, "USD", "as entered") if credit_price is not None else None
    if price is None:
        price_rows = asking.view(usage_views.PRICES, usage_views.contract_prices())
        price = usage_views.read_price(price_rows or [])
        if price is None and price_rows is not None:
            asking.missing.append(
                Missing(
                    usage_views.PRICES.without,
                    "The view has no price for this account, as for customers of a reseller.",
                    "Enter 'Cost of a credit'.",
                )
            )
    progress(0.8)
    running = asking.running(prices)
    today = now.astimezone(timezone.utc).date()
    progress(1.0)
    return CostReport(
        identity,
        now,
        today - timedelta(days),
        today,
        price or CreditPrice(default_price, "USD", _ASSUMED),
        tuple(usage_views.read_pool_days(pool_rows)),
        usage_views.latest_hour(pool_rows),
        tuple(usage_views.read_service_credits(service_rows or [])),
        service_rows is not None,
        tuple(running),
        tuple(asking.missing),
        estimates,
    )


class _Asking:
    """Asks for one part after the other, and notes what is missing."""

    def __init__(self, session: SqlSession, identity: Identity) -> None:
        self._session = session
        self._identity = identity
        self.missing: list[Missing] = []

    def view(self, view: View, statement: str) -> list[Row] | None:
        """The rows of a view; None if it cannot be read."""
        try:
            return self._session.rows(statement)
        except SqlError as error:
            self.missing.append(Missing(view.without, error.message, self._hint(view, error)))
        except SpcsError as error:
            self.missing.append(Missing(view.without, error.message, error.hint))
        return None

    def running(self, prices: PriceList) -> list[PoolNow]:
        """The pools that are up, with what they cost; those that are not as well."""
        try:
            pools = read_pools(self._session.rows(statements.SHOW_POOLS))
            region = self._identity.region or ""
            return [PoolNow(pool, pool_rate(self._session, pool, prices, region)) for pool in pools]
        except SpcsError as error:
            self.missing.append(Missing("what runs now", error.message, error.hint))
            return []

    def _hint(self, view: View, error: SqlError) -> str:
        if error.is_about_rights:
            grant = statements.grant_database_role(view.database_role, self._identity.role)
            return f"Ask a user with the ACCOUNTADMIN role: {grant}"
        return error.hint
