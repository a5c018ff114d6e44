"""The page of all services: rows and sums, searched, sorted and cut into pages here, so that a page stays small."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from spcs_llm.control.container_messages import hint_for_message
from spcs_llm.control.discovery import FoundService
from spcs_llm.control.services import GIVEN_UP, Endpoint, Service
from spcs_llm.monitor.account import Account

RUNNING, STARTING, FAILED, SUSPENDED = "running", "starting", "failed", "suspended"
KINDS = (FAILED, STARTING, RUNNING, SUSPENDED)
SORTS = ("service", "state", "ready", "pool", "credits", "since", "owner")
MAX_PAGE = 100
_NEVER = datetime.min.replace(tzinfo=timezone.utc)


@dataclass(frozen=True)
class Price:
    """What a credit costs."""

    amount: float
    currency: str
    source: str


@dataclass(frozen=True)
class Selection:
    """Which rows a viewer asks for.

    Attributes:
        search: Words that a row must have.
        kind: One of `KINDS`; empty for all.
        sort: One of `SORTS`.
        descending: Whether the largest comes first.
        page: The number of the page, from 1.
        size: Rows of a page.
    """

    search: str = ""
    kind: str = ""
    sort: str = "state"
    descending: bool = False
    page: int = 1
    size: int = 25


def kind_of(found: FoundService) -> str:
    """How a service is, as the page groups it."""
    service = found.service
    if service.is_suspended:
        return SUSPENDED
    containers = found.containers or ()
    if service.status in GIVEN_UP or any(c.has_given_up for c in containers):
        return FAILED
    wanted = service.min_ready_instances or service.target_instances or 1
    if service.status == "RUNNING" and (found.ready is None or found.ready >= wanted):
        return RUNNING
    return STARTING


def rows_of(account: Account, price: Price) -> list[dict[str, Any]]:
    """A row for each service, in the order of their names.

    Args:
        account: What is known of the account.
        price: What a credit costs.

    Returns:
        Plain data. All texts are to be escaped by whoever shows them.
    """
    instances = _instances_by_pool(account)
    return [_row(account, found, price, instances) for found in account.services.values()]


def _row(account: Account, found: FoundService, price: Price, instances: Mapping[str, int]) -> dict[str, Any]:
    service, pool = found.service, account.pools.get(found.service.pool)
    rate, model = account.rates.get(service.pool), account.models.get(service.name)
    credits = share_of_pool(account, service, instances)
    return {
        "id": service.name.sql,
        "name": service.name.name,
        "place": f"{service.name.database}.{service.name.schema}",
        "kind": kind_of(found),
        "state": service.status,
        "ready": found.ready,
        "wanted": service.target_instances,
        "pool": service.pool,
        "poolState": pool.state if pool else None,
        "family": pool.family if pool else None,
        "gpu": rate.gpu if rate else None,
        "credits": credits,
        "cost": None if credits is None else credits * price.amount,
        "since": _iso(_since(service)),
        "endpoint": _endpoint(found.endpoints),
        "owner": service.owner,
        "model": f"{model.model.name} {model.version}" if model else None,
        "trouble": _trouble(found),
    }


def _instances_by_pool(account: Account) -> dict[str, int]:
    """How many instances share the nodes of each pool; 0 where the role does not see all of its services."""
    counts: dict[str, int] = {}
    seen: dict[str, int] = {}
    for found in account.services.values():
        service = found.service
        if not service.is_suspended:
            seen[service.pool] = seen.get(service.pool, 0) + 1
            counts[service.pool] = counts.get(service.pool, 0) + (service.current_instances or 0)
    for name, pool in account.pools.items():
        if (pool.services or 0) > seen.get(name, 0) or pool.jobs:
            counts[name] = 0
    return counts


def share_of_pool(account: Account, service: Service, instances: Mapping[str, int]) -> float | None:
    """The credits per hour of a service: what its pool costs, by its share of the pool's instances.

    Args:
        account: What is known of the account.
        service: The service.
        instances: The instances on each pool; 0 where they are not known.

    Returns:
        Credits per hour; None where the share, or the price of the pool's nodes, is not known.
    """
    if service.is_suspended:
        return 0.0
    rate, all_of_them = account.rates.get(service.pool), instances.get(service.pool, 0)
    if rate is None or rate.credits_per_hour is None or service.current_instances is None:
        return None
    if not rate.nodes:
        return 0.0
    return rate.credits_per_hour * service.current_instances / all_of_them if all_of_them else None


def _since(service: Service) -> datetime | None:
    if service.is_suspended:
        return service.suspended_on
    return service.resumed_on or service.created_on


def _endpoint(endpoints: Sequence[Endpoint] | None) -> str | None:
    """The first public host; "" while Snowflake creates its name, or if there is none; None if that is not known."""
    if endpoints is None:
        return None
    return next((e.host or e.private_host or "" for e in endpoints if e.is_public), "")


def _trouble(found: FoundService) -> str | None:
    """The first thing that is wrong, in Snowflake's words, with what to do about it."""
    for container in found.containers or ():
        if not container.is_ready and (container.message or container.has_given_up):
            hint = hint_for_message(container.message, container.status)
            return f"{container}. {hint}".strip()
    return next(iter(found.notes), None)


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment is not None else None


def sums_of(account: Account, rows: Sequence[Mapping[str, Any]], price: Price) -> dict[str, Any]:
    """What stands above the rows: how many there are of each kind, and what runs now costs.

    Args:
        account: What is known of the account.
        rows: All rows.
        price: What a credit costs.

    Returns:
        Plain data. Pools are counted once, whatever runs on them.
    """
    rates = [rate for rate in account.rates.values() if rate.nodes]
    known = bool(account.pools) and all(rate.credits_per_hour is not None for rate in rates)
    credits = sum(rate.credits_per_hour or 0.0 for rate in rates) if known else None
    return {
        "services": len(rows),
        **{kind: sum(row["kind"] == kind for row in rows) for kind in KINDS},
        "credits": credits,
        "cost": None if credits is None else credits * price.amount,
        "nodes": sum(pool.nodes for pool in account.pools.values()),
        "idleNodes": sum(pool.idle_nodes for pool in account.pools.values()),
        "price": {"amount": price.amount, "currency": price.currency, "source": price.source},
    }


def selected(rows: Sequence[dict[str, Any]], wanted: Selection) -> dict[str, Any]:
    """The rows of one page.

    Args:
        rows: All rows.
        wanted: Which of them.

    Returns:
        The rows, with the number of the page, of all pages, and of all rows that fit.
    """
    words = wanted.search.lower().split()
    fit = [
        row
        for row in rows
        if (not wanted.kind or row["kind"] == wanted.kind) and all(w in _searched(row) for w in words)
    ]
    keys = {
        "service": lambda row: row["id"].lower(),
        "state": lambda row: KINDS.index(row["kind"]),
        "ready": lambda row: -1 if row["ready"] is None else row["ready"],
        "pool": lambda row: row["pool"].lower(),
        "credits": lambda row: -1.0 if row["credits"] is None else row["credits"],
        "since": lambda row: datetime.fromisoformat(row["since"]) if row["since"] else _NEVER,
        "owner": lambda row: (row["owner"] or "").lower(),
    }
    fit.sort(key=keys.get(wanted.sort, keys["state"]), reverse=wanted.descending)
    size = max(1, min(wanted.size, MAX_PAGE))
    pages = max(1, -(-len(fit) // size))
    page = max(1, min(wanted.page, pages))
    return {"rows": fit[(page - 1) * size : page * size], "page": page, "pages": pages, "found": len(fit)}


def _searched(row: Mapping[str, Any]) -> str:
    told: Iterable[Any] = (
        row[key] for key in ("id", "state", "pool", "family", "owner", "model", "endpoint")
    )
    return " ".join(str(text) for text in told if text).lower()
