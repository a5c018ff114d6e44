"""The page of cost: stacked bars by pool or by service, a table, and the same as CSV."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterator
from datetime import date
from typing import Any

from spcs_llm.monitor.cost import Cost, stacked

POOL, SERVICE = "pool", "service"
_FORMULA = ("=", "+", "-", "@")


def cost_page(cost: Cost, by: str) -> dict[str, Any]:
    """What the page of cost shows.

    Args:
        cost: What is known of cost.
        by: POOL or SERVICE.

    Returns:
        Plain data. All texts are to be escaped by whoever shows them.
    """
    report = cost.report
    entries = list(_entries(cost, by))
    series = stacked(entries)
    month, now = report.month_credits, report.credits_per_hour_now
    idle, nodes = report.idle_nodes_now
    attributed = sum(report.attributed.values())
    return {
        "by": by,
        "days": [day.isoformat() for day in report.days],
        "series": [
            {"name": name, "credits": [values.get(day, 0.0) for day in report.days]}
            for name, values in series.items()
        ],
        "credits": report.credits,
        "cost": report.cost(report.credits),
        "attributed": attributed if report.services_known else None,
        "monthCredits": month,
        "monthCost": None if month is None else report.cost(month),
        "creditsPerHour": now,
        "costPerHour": None if now is None else report.cost(now),
        "idleNodes": idle,
        "nodes": nodes,
        "knownUntil": report.known_until.isoformat() if report.known_until else None,
        "price": {
            "amount": report.price.amount,
            "currency": report.price.currency,
            "source": report.price.source,
        },
        "missing": [{"what": m.what, "why": m.why, "hint": m.hint} for m in report.missing],
    }


def cost_csv(cost: Cost) -> str:
    """The credits by day, for spreadsheets: no cell begins a formula.

    Args:
        cost: What is known of cost.

    Returns:
        CSV with a header. The lines of services are parts of those of pools, and not to be added to them.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    price = cost.report.price
    writer.writerow(("day_utc", "kind", "name", "credits", "cost", "currency"))
    for kind in (POOL, SERVICE):
        for day, name, credits in _entries(cost, kind):
            amount = round(credits * price.amount, 6)
            writer.writerow(
                (day.isoformat(), kind, _cell(name), round(credits, 9), amount, _cell(price.currency))
            )
    return text.getvalue()


def _entries(cost: Cost, by: str) -> Iterator[tuple[date, str, float]]:
    if by == POOL:
        yield from ((entry.day, entry.pool, entry.credits) for entry in cost.report.pool_days)
    else:
        for day in cost.service_days or ():
            yield day.day, ".".join(filter(None, (day.database, day.schema, day.service))), day.credits


def _cell(text: str) -> str:
    """A text that no program for spreadsheets takes for a formula, blanks and wide signs before it included."""
    seen = unicodedata.normalize("NFKC", text).lstrip()
    is_formula = seen.startswith(_FORMULA) or text[:1].isspace() or not text[:1].isprintable()
    return f"'{text}" if is_formula else text
