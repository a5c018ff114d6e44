"""Views of the SNOWFLAKE database about usage, from the account's record of what ran.

Columns, latency and the database role of each view: Snowflake docs, the page of each view, and "SNOWFLAKE database
roles". A role without it gets 002003. Views that are not listed here do not exist in the sandbox.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from sandbox.snowflake.catalog.grants import Securable
from sandbox.snowflake.catalog.services import Service
from sandbox.snowflake.catalog.usage import DAY, HOUR
from sandbox.snowflake.sql.results import SELECT, Column, Result, columns, listing
from sandbox.snowflake.sql.run import Run, instant

Rows = list[list[object]]
SPCS = "SNOWPARK_CONTAINER_SERVICES"


@dataclass(frozen=True)
class View:
    """A view: who may read it, and how it looks now."""

    role: str
    columns: tuple[Column, ...]
    rows: Callable[[Run], Rows]


def view(run: Run, parts: tuple[str, ...]) -> Result:
    """The rows of a view; raises 002003 for any other table, and without the view's database role."""
    database, schema, name = run.full(parts, "SELECT")
    found = VIEWS.get(f"{schema}.{name}") if database == "SNOWFLAKE" else None
    granted = found is not None and run.may.holds(
        Securable("DATABASE_ROLE", f"SNOWFLAKE.{found.role}"), "USAGE"
    )
    if found is None or not granted:
        raise run.missing("Object", ".".join((database, schema, name)), table=True)
    return listing(found.columns, found.rows(run), SELECT)


# -- credits ---------------------------------------------------------------------------------------


def _pool_history(run: Run) -> Rows:
    return [
        [
            instant(hour.start), instant(hour.start + HOUR), hour.pool.name, hour.pool.number, False, None, None,
            hour.credits,
        ]
        for hour in run.catalog.usage.hours()
    ]  # fmt: skip


def _metering_history(run: Run) -> Rows:
    return [
        [SPCS, instant(hour.start), instant(hour.start + HOUR), hour.pool.number, hour.pool.name, hour.credits,
         Decimal(0), hour.credits]
        for hour in run.catalog.usage.hours()
    ]  # fmt: skip


def _metering_daily(run: Run) -> Rows:
    return [
        [SPCS, _date(day), credits, Decimal(0), credits, Decimal(0), credits]
        for day, credits in sorted(run.catalog.usage.days().items())
    ]


def _date(seconds: float) -> object:
    moment = instant(seconds)
    assert moment is not None
    return moment.date()


def _model_serving(run: Run) -> Rows:
    """Seconds in which a call was being answered, at the price of the service's nodes; see `Usage`."""
    until = run.catalog.usage.visible_until()
    rows: Rows = []
    for call in run.catalog.usage.invocations:
        if call.end <= until:
            service = call.service
            credits = Decimal(str(call.busy_seconds / HOUR)) * service.pool.family.credits
            model = _model_of(run, service)
            rows.append(
                [
                    "SPCS", instant(call.start), instant(call.end), 1, service.database, 2, service.schema, 3, model[0],
                    4, model[1], call.user, credits.quantize(Decimal("1e-9")), service.pool.number, service.pool.name,
                    service.number, service.name, "SERVICE", "__CALL__", None, None, None,
                ]
            )  # fmt: skip
    return rows


def _model_of(run: Run, service: Service) -> tuple[str, str]:
    for model in run.catalog.models.values():
        for version in model.versions.values():
            if service.full_name in version.services:
                return model.name, version.name
    return service.name, "V1"


# -- objects ---------------------------------------------------------------------------------------


def _services(run: Run) -> Rows:
    kept = [(service, None) for service in run.catalog.services.values()]
    until = run.now - run.catalog.durations.usage_latency
    return [
        [
            s.number, s.name, s.database, s.schema, s.owner, s.pool.name, s.dns_name, s.min_instances, s.max_instances,
            s.auto_resume, instant(s.created_on), instant(s.updated_on), instant(s.resumed_on), instant(s.suspended_on),
            instant(dropped), s.comment, "ROLE", s.query_warehouse, s.is_job, s.is_async_job, s.spec_digest,
        ]
        for s, dropped in [*kept, *run.catalog.dropped]
        if s.created_on <= until
    ]  # fmt: skip


def _pools(run: Run) -> Rows:
    return [
        [
            p.number, p.name, p.suspended, p.min_nodes, p.max_nodes, p.family.name, p.auto_suspend_secs, p.auto_resume,
            instant(p.created_on), instant(p.resumed_on), instant(p.updated_on), None, p.owner, p.comment, False,
        ]
        for p in run.catalog.pools.values()
        if p.created_on <= run.now - run.catalog.durations.usage_latency
    ]  # fmt: skip


# -- money -----------------------------------------------------------------------------------------


def _identity(run: Run) -> list[object]:
    identity = run.catalog.identity
    return [identity.organization, "C-1", identity.account, identity.locator, identity.region, "ENTERPRISE"]


def _rate_sheet(run: Run) -> Rows:
    usage = run.catalog.usage
    if not usage.has_contract_prices:
        return []
    last = run.now // DAY * DAY
    return [
        [
            _date(last - back * DAY), *_identity(run), "snowpark container services", usage.currency,
            usage.price_per_credit, SPCS, "COMPUTE", "CONSUMPTION", False,
        ]
        for back in range(60)
    ]  # fmt: skip


def _in_currency(run: Run) -> Rows:
    usage = run.catalog.usage
    if not usage.has_contract_prices:
        return []
    return [
        [
            *_identity(run), _date(day), "snowpark container services", credits.quantize(Decimal("0.001")),
            usage.currency, (credits * usage.price_per_credit).quantize(Decimal("0.01")), "capacity", "CONSUMPTION",
            "COMPUTE", SPCS, False,
        ]
        for day, credits in sorted(usage.days().items())
    ]  # fmt: skip


def _organization_metering(run: Run) -> Rows:
    identity = run.catalog.identity
    names = [identity.organization, identity.account, identity.locator, identity.region]
    return [[SPCS, *names, *row[1:]] for row in _metering_daily(run)]


VIEWS = {
    "ACCOUNT_USAGE.SNOWPARK_CONTAINER_SERVICES_HISTORY": View(
        "USAGE_VIEWER",
        columns(
            "START_TIME timestamp_ltz null", "END_TIME timestamp_ltz null", "COMPUTE_POOL_NAME null",
            "COMPUTE_POOL_ID fixed null", "IS_EXCLUSIVE boolean null", "APPLICATION_NAME null",
            "APPLICATION_ID fixed null", "CREDITS_USED fixed:9 null",
        ),
        _pool_history,
    ),
    "ACCOUNT_USAGE.METERING_HISTORY": View(
        "USAGE_VIEWER",
        columns(
            "SERVICE_TYPE null", "START_TIME timestamp_ltz null", "END_TIME timestamp_ltz null", "ENTITY_ID fixed null",
            "NAME null", "CREDITS_USED_COMPUTE fixed:9 null", "CREDITS_USED_CLOUD_SERVICES fixed:9 null",
            "CREDITS_USED fixed:9 null",
        ),
        _metering_history,
    ),
    "ACCOUNT_USAGE.METERING_DAILY_HISTORY": View(
        "USAGE_VIEWER",
        columns(
            "SERVICE_TYPE null", "USAGE_DATE date null", "CREDITS_USED_COMPUTE fixed:9 null",
            "CREDITS_USED_CLOUD_SERVICES fixed:9 null", "CREDITS_USED fixed:9 null",
            "CREDITS_ADJUSTMENT_CLOUD_SERVICES fixed:10 null", "CREDITS_BILLED fixed:10 null",
        ),
        _metering_daily,
    ),
    "ACCOUNT_USAGE.MODEL_SERVING_USAGE_HISTORY": View(
        "USAGE_VIEWER",
        columns(
            "INVOCATION_TYPE null", "START_TIME timestamp_ltz null", "END_TIME timestamp_ltz null",
            "DATABASE_ID fixed null", "DATABASE_NAME null", "SCHEMA_ID fixed null", "SCHEMA_NAME null",
            "MODEL_ID fixed null", "MODEL_NAME null", "MODEL_VERSION_ID fixed null", "MODEL_VERSION_NAME null",
            "USER_NAME null", "CREDITS fixed:9 null", "COMPUTE_POOL_ID fixed null", "COMPUTE_POOL_NAME null",
            "SERVICE_ID fixed null", "SERVICE_NAME null", "WORKLOAD_TYPE null", "FUNCTION_NAME null", "QUERY_ID null",
            "WAREHOUSE_ID fixed null", "QUERY_TAG null",
        ),
        _model_serving,
    ),
    "ACCOUNT_USAGE.SERVICES": View(
        "OBJECT_VIEWER",
        columns(
            "SERVICE_ID fixed", "SERVICE_NAME", "SERVICE_DATABASE_NAME null", "SERVICE_SCHEMA_NAME null",
            "SERVICE_OWNER null", "COMPUTE_POOL_NAME null", "DNS_NAME null", "MIN_INSTANCES fixed null",
            "MAX_INSTANCES fixed null", "AUTO_RESUME boolean null", "CREATED timestamp_ltz null",
            "LAST_ALTERED timestamp_ltz null", "LAST_RESUMED timestamp_ltz null", "LAST_SUSPENDED timestamp_ltz null",
            "DELETED timestamp_ltz null", "COMMENT null", "OWNER_ROLE_TYPE null", "QUERY_WAREHOUSE null",
            "IS_JOB boolean null", "IS_ASYNC_JOB boolean null", "SPEC_DIGEST null",
        ),
        _services,
    ),
    "ACCOUNT_USAGE.COMPUTE_POOLS": View(
        "OBJECT_VIEWER",
        columns(
            "ID fixed", "NAME", "IS_SUSPENDED boolean null", "MIN_NODES fixed null", "MAX_NODES fixed null",
            "INSTANCE_FAMILY null", "AUTO_SUSPEND_SECS fixed null", "AUTO_RESUME boolean null",
            "CREATED timestamp_ltz null", "LAST_RESUMED timestamp_ltz null", "LAST_ALTERED timestamp_ltz null",
            "DELETED timestamp_ltz null", "OWNER null", "COMMENT null", "IS_EXCLUSIVE boolean null",
        ),
        _pools,
    ),
    "ACCOUNT_USAGE.BLOCK_STORAGE_HISTORY": View(
        "USAGE_VIEWER",
        columns(
            "USAGE_DATE date null", "STORAGE_TYPE null", "COMPUTE_POOL_NAME null", "COMPUTE_POOL_ID fixed null",
            "BYTES fixed null", "ADDITIONAL_IOPS fixed null", "ADDITIONAL_THROUGHPUT fixed null",
        ),
        lambda run: [],
    ),
    "ACCOUNT_USAGE.INTERNAL_DATA_TRANSFER_HISTORY": View(
        "USAGE_VIEWER",
        columns(
            "START_TIME timestamp_ltz null", "END_TIME timestamp_ltz null", "TRANSFER_TYPE null",
            "COMPUTE_POOL_NAME null", "BYTES_TRANSFERRED fixed null",
        ),
        lambda run: [],
    ),
    "ORGANIZATION_USAGE.RATE_SHEET_DAILY": View(
        "ORGANIZATION_BILLING_VIEWER",
        columns(
            "DATE date null", "ORGANIZATION_NAME null", "CONTRACT_NUMBER null", "ACCOUNT_NAME null",
            "ACCOUNT_LOCATOR null", "REGION null", "SERVICE_LEVEL null", "USAGE_TYPE null", "CURRENCY null",
            "EFFECTIVE_RATE fixed:2 null", "SERVICE_TYPE null", "RATING_TYPE null", "BILLING_TYPE null",
            "IS_ADJUSTMENT boolean null",
        ),
        _rate_sheet,
    ),
    "ORGANIZATION_USAGE.USAGE_IN_CURRENCY_DAILY": View(
        "ORGANIZATION_BILLING_VIEWER",
        columns(
            "ORGANIZATION_NAME null", "CONTRACT_NUMBER null", "ACCOUNT_NAME null", "ACCOUNT_LOCATOR null",
            "REGION null", "SERVICE_LEVEL null", "USAGE_DATE date null", "USAGE_TYPE null", "USAGE fixed:3 null",
            "CURRENCY null", "USAGE_IN_CURRENCY fixed:2 null", "BALANCE_SOURCE null", "BILLING_TYPE null",
            "RATING_TYPE null", "SERVICE_TYPE null", "IS_ADJUSTMENT boolean null",
        ),
        _in_currency,
    ),
    "ORGANIZATION_USAGE.METERING_DAILY_HISTORY": View(
        "ORGANIZATION_USAGE_VIEWER",
        columns(
            "SERVICE_TYPE null", "ORGANIZATION_NAME null", "ACCOUNT_NAME null", "ACCOUNT_LOCATOR null", "REGION null",
            "USAGE_DATE date null", "CREDITS_USED_COMPUTE fixed:9 null", "CREDITS_USED_CLOUD_SERVICES fixed:9 null",
            "CREDITS_USED fixed:9 null", "CREDITS_ADJUSTMENT_CLOUD_SERVICES fixed:10 null",
            "CREDITS_BILLED fixed:10 null",
        ),
        _organization_metering,
    ),
}  # fmt: skip
