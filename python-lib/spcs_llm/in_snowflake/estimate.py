"""What a job costs: its rows, the seconds of a row, and what nodes and warehouse cost while it runs, multiplied.

Credits of warehouses: Snowflake documentation, "Understanding compute cost", by size and type; and for generation 2,
Snowflake's Credit Consumption Table. Nodes: `control.rates`.
"""

from __future__ import annotations

from dataclasses import dataclass

from spcs_llm.control import cells
from spcs_llm.control.families import PriceList
from spcs_llm.control.identifiers import literal
from spcs_llm.control.rates import pool_rate
from spcs_llm.control.services import named_pool
from spcs_llm.control.session import Row, SqlSession
from spcs_llm.errors import SettingsError, SqlError
from spcs_llm.in_snowflake.figures import counted, usd

_SIZES = ("X-SMALL", "SMALL", "MEDIUM", "LARGE", "X-LARGE", *(f"{n}X-LARGE" for n in range(2, 7)))
_GENERATION_2, _GENERATION_2_ON_AZURE = 1.35, 1.25  # times the credits of generation 1
_SNOWPARK_OPTIMIZED = 1.5


@dataclass(frozen=True)
class Rate:
    """What runs while a job runs.

    Attributes:
        pool_credits: Credits per hour of the compute pool's nodes; None if they cannot be seen.
        warehouse_credits: Credits per hour of the warehouse; None if its size cannot be seen.
        credit_price: USD per credit.
    """

    pool_credits: float | None
    warehouse_credits: float | None
    credit_price: float

    @property
    def usd_per_hour(self) -> float | None:
        """USD per hour; None if a part cannot be seen."""
        if self.pool_credits is None or self.warehouse_credits is None:
            return None
        return (self.pool_credits + self.warehouse_credits) * self.credit_price

    def cost(self, seconds: float) -> float | None:
        """USD for a number of seconds; None if a part cannot be seen."""
        hourly = self.usd_per_hour
        return None if hourly is None else hourly * seconds / 3600

    @property
    def sentence(self) -> str:
        """The same as `str`, as the beginning of a sentence."""
        said = str(self)
        return said[0].upper() + said[1:]

    def __str__(self) -> str:
        if self.usd_per_hour is None:
            missing = "compute pool" if self.pool_credits is None else "warehouse"
            return f"the cost per hour is not known, as what the {missing} costs cannot be seen"
        return (
            f"{self.pool_credits:.2f} credits an hour for the compute pool's nodes and {self.warehouse_credits:.2f} "
            f"for the warehouse, {usd(self.usd_per_hour)} an hour"
        )


def read_rate(
    session: SqlSession, pool: str, prices: PriceList, credit_price: float, nodes: int | None = None
) -> Rate:
    """Looks at what runs while the job runs.

    Args:
        session: Runs the statements.
        pool: The compute pool; empty if it is not known.
        prices: What a node of each instance family costs.
        credit_price: USD per credit.
        nodes: How many nodes the job takes; None for all that run now.

    Returns:
        The rate. What the role may not see is None.
    """
    return Rate(_pool_credits(session, pool, prices, nodes), _warehouse_credits(session), credit_price)


def _pool_credits(session: SqlSession, name: str, prices: PriceList, nodes: int | None) -> float | None:
    try:
        pool = named_pool(session, name) if name else None
        if pool is None:
            return None
        rate = pool_rate(session, pool, prices, session.whose().region or "")
    except SqlError:
        return None
    if nodes is None:
        return rate.credits_per_hour
    return None if rate.node_credits is None else rate.node_credits * nodes


def _warehouse_credits(session: SqlSession) -> float | None:
    whose = session.whose()
    name = whose.warehouse
    if name is None:
        return None
    try:
        rows = session.rows(f"SHOW WAREHOUSES LIKE {literal(name)}")
    except SqlError:
        return None
    row = next((row for row in rows if row.get("name") == name), {})
    size, factor = (cells.text(row, "size") or "").upper(), _factor(row, whose.region or "")
    return None if size not in _SIZES or factor is None else 2.0 ** _SIZES.index(size) * factor


def _factor(row: Row, region: str) -> float | None:
    """What a warehouse costs, times what a standard one of its size and of generation 1 does; None if not known."""
    kind = (cells.text(row, "type") or "STANDARD").upper()
    constraint = (cells.text(row, "resource_constraint") or "").upper()
    if kind == "SNOWPARK-OPTIMIZED":
        return _SNOWPARK_OPTIMIZED if constraint in ("", "MEMORY_16X", "MEMORY_16X_X86") else None
    if kind != "STANDARD":
        return None
    if cells.text(row, "generation") == "2" or constraint == "STANDARD_GEN_2":
        return _GENERATION_2_ON_AZURE if "AZURE_" in region.upper() else _GENERATION_2
    return 1.0


def check_limit(limit: float | None, cost: float | None, rows: int, rate: Rate) -> None:
    """Refuses a job that would cost more than the limit.

    Args:
        limit: USD; None for no limit.
        cost: The estimate in USD; None if it is not known.
        rows: The rows that are left.
        rate: What it was calculated with.

    Raises:
        SettingsError: If the job costs more, or nobody can say.
    """
    if limit is None:
        return
    if cost is None:
        raise SettingsError(
            f"'Cost limit' cannot be kept: {rate}.",
            "Ask a Snowflake administrator to grant the role MONITOR on the compute pool and the warehouse, or empty "
            "'Cost limit'.",
        )
    if cost > limit:
        raise SettingsError(
            f"'Cost limit' is {usd(limit)}, and the rest, {counted(rows, 'row')}, would cost about {usd(cost)}.",
            "Raise 'Cost limit', set 'Row limit', or use fewer tokens. The rows of the sample are kept.",
        )
