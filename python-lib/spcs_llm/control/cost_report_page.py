"""The cost report as HTML that DSS can show and a person can save: inline styles, no script, nothing from elsewhere.

Every text comes from Snowflake or a form, and is escaped. Bars are boxes with a width in percent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from html import escape
from math import fsum

from spcs_llm.control.cost_report import CostReport, PoolNow
from spcs_llm.control.families import HOURS_PER_MONTH

# Of pools, in the order of their cost; told apart with any common colour blindness (Okabe and Ito, 2008).
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#666666")
_FONT = (
    "font-family:-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif;color:#1b1f24;line-height:1.45"
)
_LINE = "padding:6px 12px 6px 0;border-bottom:1px solid #e4e7eb;vertical-align:top"
_CELL = f"{_LINE};overflow-wrap:break-word"
_NUMBER = f"{_LINE};text-align:right;white-space:nowrap"
_SMALL = "color:#57606a;font-size:13px"
_MAX_BARS = 92


def cost_report_page(report: CostReport) -> str:
    """Writes the report.

    Args:
        report: The figures.

    Returns:
        HTML to be shown within a page of DSS, or by itself: it is ASCII, as it cannot say how it is encoded.
    """
    parts = [
        f'<div style="{_FONT};max-width:900px;print-color-adjust:exact;-webkit-print-color-adjust:exact">',
        '<h2 style="margin:0 0 4px">Snowpark Container Services: what they cost</h2>',
        _paragraph(
            f"{report.first_day:%d %B %Y} to {report.last_day:%d %B %Y}, in UTC. {_until(report)} Made with the rights"
            f" of {report.identity}."
        ),
        _headlines(report),
        _missing(report),
        _by_day(report),
        _by_pool(report),
        _by_service(report),
        _now(report),
        _estimates(report),
        "</div>",
    ]
    return "\n".join(part for part in parts if part).encode("ascii", "xmlcharrefreplace").decode("ascii")


def _until(report: CostReport) -> str:
    if report.known_until is None:
        return "Snowflake's usage view shows no credits in this time; it may be three hours late."
    late = (report.made_at - report.known_until).total_seconds() / 3600
    if report.known_until != report.covered_until:
        return (
            f"At {report.made_at:%d %B, %H:%M}, the last credits in Snowflake's usage view are of"
            f" {report.known_until:%d %B, %H:%M}; it may be three hours late, and the last day is not complete."
        )
    return (
        f"Snowflake's usage view ends at {report.known_until:%d %B, %H:%M}, {max(0.0, late):.0f} hours before this"
        " report was made; the last day is not complete."
    )


def _headlines(report: CostReport) -> str:
    month, now = report.month_credits, report.credits_per_hour_now
    boxes = [
        _box("Billed so far", _money(report, report.credits), f"{report.credits:,.1f} credits"),
        _box(
            "A month like this",
            "not known yet" if month is None else _money(report, month),
            f"from {len(report.complete_days)} complete days",
        ),
        _box(
            "Running now",
            "not known" if now is None else f"{_money(report, now)} per hour",
            "" if now is None else f"{_money(report, now * HOURS_PER_MONTH)} a month without a pause",
        ),
    ]
    price = f"{report.price.amount:g} {report.price.currency} per credit ({report.price.source})"
    return f'<div style="margin:16px 0">{"".join(boxes)}</div>{_paragraph(f"At {price}.")}'


def _box(label: str, value: str, below: str) -> str:
    return (
        '<div style="display:inline-block;vertical-align:top;min-width:180px;margin:0 12px 12px 0;padding:12px 16px;'
        'border:1px solid #d0d7de;border-radius:6px">'
        f'<div style="{_SMALL}">{escape(label)}</div>'
        f'<div style="font-size:22px;font-weight:600">{escape(value)}</div>'
        f'<div style="{_SMALL}">{escape(below)}&nbsp;</div></div>'
    )


def _missing(report: CostReport) -> str:
    if not report.missing:
        return ""
    items = "".join(
        f"<li><b>{escape(entry.what)}</b>: {escape(entry.why)} {escape(entry.hint)}</li>"
        for entry in report.missing
    )
    return (
        '<div style="margin:12px 0;padding:8px 16px;background:#fff8e1;border-left:4px solid #E69F00">'
        f'<b>Not in this report</b><ul style="margin:4px 0 4px -16px">{items}</ul></div>'
    )


def _by_day(report: CostReport) -> str:
    """A bar for each day, in parts for the pools."""
    if not report.pool_days:
        return ""
    colours = _colours(report)
    credits: dict[date, dict[str, float]] = {}
    for entry in report.pool_days:
        of_day = credits.setdefault(entry.day, {})
        of_day[entry.pool] = of_day.get(entry.pool, 0.0) + max(0.0, entry.credits)
    most = max(fsum(of_day.values()) for of_day in credits.values()) or 1.0
    days = report.days[-_MAX_BARS:]
    rows = "".join(_bar(report, day, credits.get(day, {}), most, colours) for day in days)
    return (
        f"{_title('Credits by day')}{_legend(colours, report)}"
        f'<table style="border-collapse:collapse;width:100%;font-size:13px"><tbody>{rows}</tbody></table>'
    )


def _bar(
    report: CostReport, day: date, credits: dict[str, float], most: float, colours: dict[str, str]
) -> str:
    pieces = "".join(
        f'<div title="{escape(pool)}: {value:,.2f} credits" style="float:left;height:14px;'
        f'width:{100 * value / most:.3f}%;background:{colours[pool]}"></div>'
        for pool, value in sorted(credits.items(), key=lambda item: list(colours).index(item[0]))
    )
    weekend = ";color:#6e7781" if day.weekday() >= 5 else ""
    total = fsum(credits.values())
    name = f"{day:%a %d %b}{_still_open(report, day)}"
    return (
        f'<tr><td style="padding:1px 12px 1px 0;white-space:nowrap{weekend}">{name}</td>'
        f'<td style="width:70%;padding:1px 0">{pieces}</td>'
        f'<td style="padding:1px 0 1px 12px;text-align:right;white-space:nowrap{weekend}">'
        f"{f'{total:,.2f} credits, {escape(_money(report, total))}' if total else '-'}</td></tr>"
    )


def _still_open(report: CostReport, day: date) -> str:
    """A mark for a day that the view does not cover to its end."""
    return "" if report.covered_until is None or day < report.covered_until.date() else " (so far)"


def _legend(colours: dict[str, str], report: CostReport) -> str:
    shown = list(report.by_pool)[: len(_COLOURS) - 1]
    items = [(pool, colours[pool]) for pool in shown]
    if len(report.by_pool) > len(shown):
        items.append(("other pools", _COLOURS[-1]))
    return _paragraph_of(
        "".join(
            '<span style="white-space:nowrap;margin-right:16px">'
            f'<span style="display:inline-block;width:10px;height:10px;background:{colour};margin-right:6px"></span>'
            f"{escape(pool)}</span> "
            for pool, colour in items
        )
    )


def _colours(report: CostReport) -> dict[str, str]:
    return {pool: _COLOURS[min(index, len(_COLOURS) - 1)] for index, pool in enumerate(report.by_pool)}


def _by_pool(report: CostReport) -> str:
    if not report.pool_days:
        return ""
    rows = []
    for pool, credits in report.by_pool.items():
        attributed = report.attributed.get(pool)
        known = attributed is not None and credits > 0
        rest = f"{100 * max(0.0, 1 - (attributed or 0.0) / credits):.0f} %" if known else "-"
        rows.append(
            [
                pool,
                f"{credits:,.2f}",
                _money(report, credits),
                f"{attributed or 0.0:,.2f}" if known else "-",
                rest,
            ]
        )
    table = _table(
        ["Compute pool", "Credits", "Cost", "Of which attributed to registry services", "Not attributed"],
        rows,
    )
    note = (
        "Registry services and inference jobs are attributed what they were up for, whether they were called or not."
        " What is not attributed is idle time of nodes, services with your own containers, and other jobs. Attributed"
        " credits are Snowflake's estimate; they are part of the pool's and not added to them."
    )
    return f"{_title('By compute pool')}{table}{_paragraph(note)}"


def _by_service(report: CostReport) -> str:
    if not report.services:
        if not report.services_known:
            return ""
        text = "Snowflake attributes no credits to a service of the Model Registry in this time (up to 8 hours late)."
        return f"{_title('By registry service')}{_paragraph(text)}"
    rows = [
        [
            entry.service or "(no name)",
            entry.model,
            entry.pool,
            entry.workload.lower().replace("_", " "),
            f"{entry.credits:,.2f}",
            _money(report, entry.credits),
        ]
        for entry in report.services
    ]
    table = _table(["Service", "Model", "Compute pool", "Kind", "Credits", "Cost"], rows, numbers=2)
    note = "MODEL_SERVING_USAGE_HISTORY: up to 8 hours late, complete since 25 August 2026."
    return f"{_title('By registry service')}{table}{_paragraph(note)}"


def _now(report: CostReport) -> str:
    if not report.running:
        return ""
    rows = [_pool_row(report, one) for one in sorted(report.running, key=lambda one: one.pool.name)]
    table = _table(
        [
            "Compute pool",
            "State",
            "Nodes",
            "Of which idle",
            "Credits per hour",
            "Cost per hour",
            "Cost per month without a pause",
        ],
        rows,
        numbers=5,
    )
    idle, nodes = report.idle_nodes_now
    note = f"{idle} of {nodes} nodes run without a service, and are billed." if idle else ""
    unconfirmed = [one.pool.name for one in report.running if one.rate.nodes and not one.rate.confirmed]
    if unconfirmed:
        note += f" The prices of {', '.join(unconfirmed)} are not confirmed by Snowflake's own table."
    return f"{_title('What runs now')}{table}{_paragraph(note.strip()) if note else ''}"


def _pool_row(report: CostReport, one: PoolNow) -> list[str]:
    credits = one.rate.credits_per_hour
    known = credits is not None
    return [
        one.pool.name,
        f"{one.pool.state}, {one.pool.family}",
        str(one.rate.nodes),
        str(one.pool.idle_nodes),
        f"{credits:,.2f}" if known else "price not in the list",
        _money(report, credits or 0.0) if known else "-",
        _money(report, (credits or 0.0) * HOURS_PER_MONTH) if known else "-",
    ]


def _estimates(report: CostReport) -> str:
    """What the plugin itself estimated for queries: the part of the bill in which somebody waited for an answer."""
    if report.estimates is None:
        return ""
    total = fsum(
        value for day, value in report.estimates.items() if report.first_day <= day <= report.last_day
    )
    text = (
        f"Over the same days, this plugin's usage log estimates USD {total:,.2f} for its queries: their share of the"
        " time in which services were busy."
    )
    billed = report.cost(report.credits)
    if report.price.currency == "USD" and billed > 0:
        text += f" That is {100 * total / billed:.0f} % of what the pools were billed."
    return f"{_title('What queries from DSS were estimated at')}{_paragraph(text)}"


def _money(report: CostReport, credits: float) -> str:
    cost = report.cost(credits)
    return f"{report.price.currency} {cost:,.0f}" if cost >= 1000 else f"{report.price.currency} {cost:,.2f}"


def _title(text: str) -> str:
    return f'<h3 style="margin:24px 0 8px">{escape(text)}</h3>'


def _paragraph(text: str) -> str:
    return _paragraph_of(escape(text))


def _paragraph_of(html: str) -> str:
    return f'<p style="{_SMALL};margin:4px 0 8px">{html}</p>'


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], numbers: int = 4) -> str:
    """A table whose last `numbers` columns are numbers."""
    first = len(heads) - numbers
    head = "".join(
        f'<th style="{_NUMBER if index >= first else _CELL};font-weight:600;white-space:normal">{escape(text)}</th>'
        for index, text in enumerate(heads)
    ).replace("<th", '<th scope="col"')
    body = "".join(
        "<tr>"
        + "".join(
            f'<td style="{_NUMBER if index >= first else _CELL}">{_breakable(text)}</td>'
            for index, text in enumerate(row)
        )
        + "</tr>"
        for row in rows
    )
    return (
        '<table style="border-collapse:collapse;font-size:14px;text-align:left">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def _breakable(text: str) -> str:
    """Long names of Snowflake's break at their underscores, and not in the middle of a word."""
    return escape(text).replace("_", "_<wbr>")
