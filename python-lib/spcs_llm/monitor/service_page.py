"""The page of one service."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from spcs_llm.control.container_messages import hint_for_message, hint_for_pool
from spcs_llm.control.discovery import FoundService
from spcs_llm.control.discovery_table import form_values
from spcs_llm.control.identifiers import QualifiedName, quoted
from spcs_llm.control.services import Endpoint, ModelVersion
from spcs_llm.monitor.account import Account, Closer, Series
from spcs_llm.monitor.cost import Cost
from spcs_llm.monitor.overview import Price, kind_of
from spcs_llm.settings import LABELS
from spcs_llm.urls import UrlError


def service_page(
    account: Account, name: QualifiedName, row: dict[str, Any], cost: Cost | None, price: Price
) -> dict[str, Any]:
    """What the page of a service shows.

    Args:
        account: What is known of the account.
        name: The service, which is one of the account's.
        row: Its row in the overview.
        cost: What is known of cost.
        price: What a credit costs.

    Returns:
        Plain data. All texts are to be escaped by whoever shows them.
    """
    found = account.services[name]
    service, closer = found.service, account.closer.get(name, Closer())
    return {
        "row": row,
        "service": {
            "minInstances": service.min_instances,
            "maxInstances": service.max_instances,
            "autoResume": service.auto_resume,
            "autoSuspendSeconds": service.auto_suspend_seconds,
            "createdOn": _iso(service.created_on),
            "resumedOn": _iso(service.resumed_on),
            "suspendedOn": _iso(service.suspended_on),
        },
        "containers": _containers(found),
        "pool": _pool(account, service.pool),
        "endpoints": [_endpoint(e) for e in found.endpoints] if found.endpoints is not None else None,
        "form": _forms(account, found),
        "notes": list(found.notes),
        "logs": [{"container": c, "lines": list(lines)} for c, lines in (closer.logs or {}).items()]
        if closer.logs is not None
        else None,
        "events": [
            {
                "at": _iso(event.at),
                "severity": event.severity,
                "event": event.name,
                "message": event.message,
                "status": event.status,
                "container": event.container,
            }
            for event in closer.events
        ]
        if closer.events is not None
        else None,
        "metrics": [_series(series) for series in closer.series] if closer.series is not None else None,
        "missing": dict(closer.notes),
        "cost": _cost(cost, name, account.models.get(name), service.pool, price),
        "kind": kind_of(found),
    }


def _containers(found: FoundService) -> list[dict[str, Any]] | None:
    if found.containers is None:
        return None
    return [
        {
            "instance": c.instance_id,
            "name": c.name,
            "state": c.status,
            "ready": c.is_ready,
            "message": c.message,
            "hint": "" if c.is_ready and not c.restarts else hint_for_message(c.message, c.status),
            "restarts": c.restarts,
            "exitCode": c.last_exit_code,
            "image": c.image,
        }
        for c in found.containers
    ]


def _pool(account: Account, name: str) -> dict[str, Any] | None:
    pool, rate = account.pools.get(name), account.rates.get(name)
    if pool is None:
        return None
    return {
        "name": pool.name,
        "state": pool.state,
        "family": pool.family,
        "gpu": rate.gpu if rate else "",
        "nodes": pool.nodes,
        "idleNodes": pool.idle_nodes,
        "maxNodes": pool.max_nodes,
        "credits": rate.credits_per_hour if rate else None,
        "confirmed": rate.confirmed if rate else True,
        "autoSuspendSeconds": pool.auto_suspend_seconds,
        "hint": hint_for_pool(quoted(pool.name), pool.state, pool.error_code),
    }


def _endpoint(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "name": endpoint.name,
        "port": endpoint.port,
        "public": endpoint.is_public,
        "host": endpoint.host or endpoint.private_host,
        "provisioning": endpoint.is_provisioning,
    }


def _forms(account: Account, found: FoundService) -> list[dict[str, Any]]:
    """The values to copy into the form of a model, for each endpoint that DSS can reach."""
    service, known = found.service, account.identity.account
    url = f"https://{known.lower().replace('_', '-')}.snowflakecomputing.com" if known else ""
    forms = []
    for endpoint in found.endpoints or ():
        if not endpoint.is_public or not (endpoint.host or endpoint.private_host):
            continue
        try:
            values = form_values(
                endpoint,
                account.models.get(service.name),
                url,
                account.rates.get(service.pool),
                account.pools.get(service.pool),
            )
        except UrlError:
            continue
        shown = [{"label": LABELS.get(k, k), "name": k, "value": v} for k, v in values.items() if v]
        forms.append({"endpoint": endpoint.name, "values": shown})
    return forms


def _series(series: Series) -> dict[str, Any]:
    return {
        "name": series.name,
        "unit": series.unit,
        "container": series.container,
        "points": [[_iso(at), value] for at, value in series.points],
    }


def _cost(
    cost: Cost | None, name: QualifiedName, version: ModelVersion | None, pool: str, price: Price
) -> dict[str, Any] | None:
    """By day: what Snowflake attributes to the service, or else what its pool costs."""
    if cost is None:
        return None
    own = cost.days_of(name, version.model if version is not None else None)
    days = dict(own or {})
    if own is None:
        for entry in cost.report.pool_days:
            if entry.pool == pool:
                days[entry.day] = days.get(entry.day, 0.0) + entry.credits
    return {
        "of": "service" if own is not None else "pool",
        "name": name.sql if own is not None else pool,
        "currency": price.currency,
        "days": [
            {"day": day.isoformat(), "credits": days.get(day, 0.0), "cost": days.get(day, 0.0) * price.amount}
            for day in cost.report.days
        ],
        "knownUntil": _iso(cost.report.known_until),
    }


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment is not None else None
