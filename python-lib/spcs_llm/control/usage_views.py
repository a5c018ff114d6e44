"""What Snowflake's usage views say of cost: credits of pools and of registry services, and the contract's price.

Columns, delays and grants: Snowflake documentation of SNOWPARK_CONTAINER_SERVICES_HISTORY (up to 3 hours late, pools
only), MODEL_SERVING_USAGE_HISTORY (up to 8 hours late, an estimate that overlaps the pools' credits, complete since
2026-08-25) and RATE_SHEET_DAILY (up to 24 hours late; customers of resellers have no rows in it).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from spcs_llm.control import cells
from spcs_llm.control.session import Row

USAGE_VIEWER, BILLING_VIEWER = "USAGE_VIEWER", "ORGANIZATION_BILLING_VIEWER"


@dataclass(frozen=True)
class View:
    """A usage view.

    Attributes:
        name: What a report calls it.
        database_role: The database role of SNOWFLAKE that may read it.
        without: What a report lacks without it.
    """

    name: str
    database_role: str
    without: str


POOLS = View("SNOWPARK_CONTAINER_SERVICES_HISTORY", USAGE_VIEWER, "the credits of compute pools by day")
SERVING = View("MODEL_SERVING_USAGE_HISTORY", USAGE_VIEWER, "the credits of registry services")
PRICES = View("RATE_SHEET_DAILY", BILLING_VIEWER, "the price of a credit in your contract")
POOLS_LATE = timedelta(hours=3)


@dataclass(frozen=True)
class PoolDay:
    """A compute pool's credits on one day, in UTC."""

    day: date
    pool: str
    credits: float


@dataclass(frozen=True)
class ServiceCredits:
    """The credits that Snowflake attributes to a service of the registry, for the time that it was up, called or not.

    They are part of its pool's, and not added.
    """

    service: str
    model: str
    pool: str
    workload: str
    credits: float


@dataclass(frozen=True)
class ServiceDay:
    """The credits that Snowflake attributes to a registry service on one day, in UTC.

    Attributes:
        database: The database of its model, as the view has it.
        schema: The schema of its model.
        service: The service's name.
    """

    day: date
    database: str
    schema: str
    service: str
    credits: float


@dataclass(frozen=True)
class CreditPrice:
    """The price of a credit.

    Attributes:
        amount: How much a credit costs.
        currency: Such as USD.
        source: Where it comes from, for the reader.
    """

    amount: float
    currency: str
    source: str


def pool_days(days: int) -> str:
    """The credits of each pool by day, with the end of the last hour that the view has."""
    return _looking_back(
        'SELECT CAST(START_TIME AS DATE) AS "day", COMPUTE_POOL_NAME AS "pool", SUM(CREDITS_USED) AS "credits", '
        'MAX(END_TIME) AS "until" FROM SNOWFLAKE.ACCOUNT_USAGE.SNOWPARK_CONTAINER_SERVICES_HISTORY '
        "WHERE START_TIME >= DATEADD('day', :days, CURRENT_DATE()) GROUP BY 1, 2 ORDER BY 1, 2",
        days,
    )


def service_credits(days: int) -> str:
    """The credits that are attributed to registry services."""
    return _looking_back(
        'SELECT SERVICE_NAME AS "service", MODEL_NAME AS "model", COMPUTE_POOL_NAME AS "pool", '
        'WORKLOAD_TYPE AS "workload", SUM(CREDITS) AS "credits" '
        "FROM SNOWFLAKE.ACCOUNT_USAGE.MODEL_SERVING_USAGE_HISTORY "
        "WHERE START_TIME >= DATEADD('day', :days, CURRENT_DATE()) AND INVOCATION_TYPE = 'SPCS' "
        'GROUP BY 1, 2, 3, 4 ORDER BY "credits" DESC LIMIT 500',
        days,
    )


def service_days(days: int) -> str:
    """The credits that are attributed to each registry service, by day. Of too many, the oldest are left out."""
    return _looking_back(
        'SELECT CAST(START_TIME AS DATE) AS "day", DATABASE_NAME AS "database", SCHEMA_NAME AS "schema", '
        'SERVICE_NAME AS "service", SUM(CREDITS) AS "credits" '
        "FROM SNOWFLAKE.ACCOUNT_USAGE.MODEL_SERVING_USAGE_HISTORY "
        "WHERE START_TIME >= DATEADD('day', :days, CURRENT_DATE()) AND INVOCATION_TYPE = 'SPCS' "
        "GROUP BY 1, 2, 3, 4 ORDER BY 1 DESC LIMIT 10000",
        days,
    )


def contract_prices() -> str:
    """The prices of the account's contract in the last two weeks, the newest first."""
    return (
        'SELECT DATE AS "day", SERVICE_TYPE AS "service_type", CURRENCY AS "currency", EFFECTIVE_RATE AS "rate" '
        "FROM SNOWFLAKE.ORGANIZATION_USAGE.RATE_SHEET_DAILY "
        "WHERE ACCOUNT_NAME = CURRENT_ACCOUNT_NAME() AND UPPER(RATING_TYPE) = 'COMPUTE' "
        "AND UPPER(BILLING_TYPE) = 'CONSUMPTION' AND NOT IS_ADJUSTMENT "
        "AND DATE >= DATEADD('day', -14, CURRENT_DATE()) ORDER BY DATE DESC LIMIT 1000"
    )


def _looking_back(statement: str, days: int) -> str:
    return statement.replace(":days", str(-days))


def read_pool_days(rows: Iterable[Row]) -> list[PoolDay]:
    """Reads the rows of `pool_days`."""
    found = []
    for row in rows:
        when, pool, credits = cells.moment(row, "day"), cells.text(row, "pool"), cells.number(row, "credits")
        if when is not None and pool is not None and credits is not None:
            found.append(PoolDay(when.date(), pool, credits))
    return found


def latest_hour(rows: Iterable[Row]) -> datetime | None:
    """Until when the rows of `pool_days` tell; None if there are none."""
    return max((when for row in rows if (when := cells.moment(row, "until")) is not None), default=None)


def read_service_credits(rows: Iterable[Row]) -> list[ServiceCredits]:
    """Reads the rows of `service_credits`."""
    return [
        ServiceCredits(
            cells.text(row, "service") or "",
            cells.text(row, "model") or "",
            cells.text(row, "pool") or "",
            cells.text(row, "workload") or "",
            credits,
        )
        for row in rows
        if (credits := cells.number(row, "credits")) is not None
    ]


def read_service_days(rows: Iterable[Row]) -> list[ServiceDay]:
    """Reads the rows of `service_days`, the oldest first."""
    found = []
    for row in rows:
        when, credits = cells.moment(row, "day"), cells.number(row, "credits")
        service = cells.text(row, "service")
        if when is not None and credits is not None and service is not None:
            database, schema = cells.text(row, "database") or "", cells.text(row, "schema") or ""
            found.append(ServiceDay(when.date(), database, schema, service, credits))
    return sorted(found, key=lambda entry: entry.day)


def read_price(rows: Iterable[Row]) -> CreditPrice | None:
    """Reads the rows of `contract_prices`: the price of Snowpark Container Services, or else that of warehouses."""
    newest: dict[str, Row] = {}
    valid: str | None = None  # the newest row's currency: a contract may have been renewed in another one
    for row in rows:
        currency = cells.text(row, "currency") or "USD"
        valid = valid or currency
        if currency == valid:
            newest.setdefault((cells.text(row, "service_type") or "").upper(), row)
    for wanted in ("SNOWPARK_CONTAINER_SERVICES", "WAREHOUSE_METERING"):
        rate = cells.number(newest[wanted], "rate") if wanted in newest else None
        if rate:
            currency = cells.text(newest[wanted], "currency") or "USD"
            day = (cells.text(newest[wanted], "day") or "")[:10]
            return CreditPrice(rate, currency, f"your contract, {day}")
    return None
