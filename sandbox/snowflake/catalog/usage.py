"""What ran and what it cost: the record behind the usage views."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from sandbox.snowflake.catalog.durations import Durations
from sandbox.snowflake.catalog.families import Family
from sandbox.snowflake.catalog.pools import ComputePool, Node
from sandbox.snowflake.clock import Clock

if TYPE_CHECKING:
    from sandbox.snowflake.catalog.services import Service

HOUR, DAY = 3600.0, 86_400.0
# Snowflake Service Consumption Table of 2026-04-01: a node is billed for five minutes at least.
MINIMUM_SECONDS = 300.0


@dataclass(frozen=True)
class Invocation:
    """A call of a registry model's service, or several of them as one."""

    service: Service
    user: str
    start: float
    end: float
    busy_seconds: float


@dataclass(frozen=True)
class HourOfPool:
    pool: ComputePool
    start: float
    credits: Decimal


class Usage:
    """Hours of nodes, from the pools' own records, and the calls that reached registry models."""

    def __init__(self, clock: Clock, durations: Durations, pools: Mapping[str, ComputePool]) -> None:
        self._clock = clock
        self._durations = durations
        self._pools = pools
        self.invocations: list[Invocation] = []
        self.price_per_credit = Decimal("3.00")
        self.currency = "USD"
        self.has_contract_prices = True

    def add_nodes(self, pool: ComputePool, start: float, end: float, count: int = 1) -> None:
        """Record nodes that ran in the past."""
        for _ in range(count):
            pool.ended.append(Node(pool.family, start, start, end))

    def record(self, service: Service, user: str, start: float, end: float) -> None:
        """A call that was answered."""
        self.invocations.append(Invocation(service, user, start, end, end - start))

    def visible_until(self) -> float:
        """The views are late by hours; only whole hours are in them."""
        return (self._clock() - self._durations.usage_latency) // HOUR * HOUR

    def hours(self) -> list[HourOfPool]:
        """The credits of each pool in each hour that the views show already, oldest first."""
        until = self.visible_until()
        found = []
        for pool in self._pools.values():
            seconds: dict[float, dict[Family, float]] = defaultdict(lambda: defaultdict(float))
            for node in [*pool.ended, *pool.nodes]:
                for hour, share in _hours_of(node, until):
                    seconds[hour][node.family] += share
            for hour, families in seconds.items():
                credits = sum(Decimal(str(s / HOUR)) * family.credits for family, s in families.items())
                found.append(HourOfPool(pool, hour, Decimal(credits).quantize(Decimal("1e-9"))))
        return sorted(found, key=lambda hour: (hour.start, hour.pool.name))

    def days(self) -> dict[float, Decimal]:
        """The credits of all pools, by UTC day."""
        sums: dict[float, Decimal] = defaultdict(Decimal)
        for hour in self.hours():
            sums[hour.start // DAY * DAY] += hour.credits
        return dict(sums)

    def seed(
        self,
        days: int,
        pool: ComputePool,
        *,
        hours_of_day: tuple[int, int] = (7, 20),
        services: Sequence[Service] = (),
        user: str = "ALICE",
    ) -> None:
        """A past in which a node of the pool ran on working days, between two hours of the day (UTC).

        Each of the services, which registry models must have, was busy for half of each hour.
        """
        today = self._clock() // DAY * DAY
        first, last = hours_of_day
        for back in range(days, 0, -1):
            day = today - back * DAY
            if int(day // DAY + 3) % 7 < 5:  # 1970-01-01 was a Thursday
                self.add_nodes(pool, day + first * HOUR, day + last * HOUR)
                for hour in range(first, last):
                    start = day + hour * HOUR
                    past = [Invocation(service, user, start, start + HOUR, HOUR / 2) for service in services]
                    self.invocations += past


def _hours_of(node: Node, until: float) -> Iterator[tuple[float, float]]:
    """The seconds that a node is billed in each hour."""
    if node.up_at is None:
        return
    end = until if node.ended_at is None else max(node.ended_at, node.up_at + MINIMUM_SECONDS)
    start, end = node.up_at, min(end, until)
    while start < end:
        hour = start // HOUR * HOUR
        stop = min(end, hour + HOUR)
        yield hour, stop - start
        start = stop
