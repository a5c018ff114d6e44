"""What the demo shows to those who run services: to find them, to find out why one does not answer, and their cost."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from sandbox.instance import Instance
from sandbox.models import CHAT_OPENAI
from sandbox.snowflake.catalog import CPU_POOL, GPU_POOL

CONNECTION = "snowflake-sql"
SERVICE = "DATAIKU_SPCS.PUBLIC.OPENAI"
DAYS, DAY, HOUR = 14, 86_400.0, 3_600.0
_STATEMENT = re.compile(r"ALTER SERVICE \S+ RESUME")
Tell = Callable[[str, str], None]


def prepare(instance: Instance) -> None:
    """A SQL connection for the macros, and two weeks for the cost report to look back on, which is made up."""
    instance.add_sql_connection(CONNECTION)
    world = instance.snowflake.world
    with world.lock:
        usage, gpu = world.catalog.usage, world.catalog.pools[GPU_POOL]
        service = world.catalog.add_service("SUMMARIES", pool=GPU_POOL, running=False)
        world.catalog.add_model("SUMMARIZER", services=[service.full_name])
        usage.seed(DAYS, gpu, services=[service])
        usage.seed(DAYS, world.catalog.pools[CPU_POOL], hours_of_day=(0, 24))
        midnight = world.clock() // DAY * DAY
        for back in (2, 3, 9):  # days with a second node
            usage.add_nodes(gpu, midnight - back * DAY + 9 * HOUR, midnight - back * DAY + 15 * HOUR)


def write_past_usage(folder: Path) -> None:
    """The usage log of the same two weeks. To be called when the plugin, whose format it is, is installed."""
    from spcs_llm.usage_log.lines import UsageLine
    from spcs_llm.usage_log.writer import UsageWriter

    writer = UsageWriter(folder)
    midnight = datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
    for back in range(DAYS, 0, -1):
        day = midnight - timedelta(days=back)
        if day.weekday() < 5:
            for hour in range(7, 20):
                busy = 600.0 + 300.0 * ((back + hour) % 5)
                line = UsageLine(
                    day + timedelta(hours=hour),
                    "chat",
                    model="smollm2",
                    busy_seconds=busy,
                    cost=busy * 1.71 / 3600,
                )
                writer.append(line.written())


def show(console: Console, instance: Instance, tell: Tell) -> None:
    """Discovers, breaks, diagnoses, follows the hint, and reports. `tell` prints a fact by its name."""
    _discover(console, instance)
    statement = _diagnose(console, instance, tell)
    _follow(instance, statement, tell)
    tell("report", f"{_write_report(instance)} (open it in a browser; its past is made up)\n")


def _discover(console: Console, instance: Instance) -> None:
    table = Table(box=None, padding=(0, 2), header_style="cyan")
    for label in ("service", "state", "ready", "family", "pool's credits per hour"):
        table.add_column(label, overflow="fold")
    for row in instance.run_macro("spcs-llm-discover", snowflakeConnection=CONNECTION):
        if row["service"]:
            table.add_row(*(row[name] for name in ("service", "state", "ready", "family", "poolCredits")))
    console.print(table)
    console.print()


def _diagnose(console: Console, instance: Instance, tell: Tell) -> str:
    """Suspends a service and asks what is wrong; returns the statement that the diagnosis hints at."""
    instance.client.sql_query(f"ALTER SERVICE {SERVICE} SUSPEND", connection=CONNECTION)
    tell("broken", f"{SERVICE} is suspended, and its AUTO_RESUME is off\n")
    endpoint = instance.snowflake.service("openai")
    rows = instance.run_macro(
        "spcs-llm-diagnose",
        oauth={"mode": "PRESET", "name": instance.login.name},
        snowflakeAccountUrl=instance.snowflake.account_url,
        llmEndpointUrl=endpoint.url,
        serviceProtocol="OPENAI",
        snowflakeConnection=CONNECTION,
        coldStartWaitSeconds=1,
    )
    steps = [row for row in rows if row["step"] != "Record"]
    tell("ok", ", ".join(row["step"] for row in steps if row["result"] == "ok"))
    for row in steps:
        if row["result"] in ("warning", "failed"):
            tell(row["result"], f"{row['step']}: {row['seen']}")
    (failed,) = (row for row in rows if row["result"] == "failed")
    tell("hint", failed["hint"])
    found = _STATEMENT.search(failed["hint"])
    assert found is not None, failed
    return found[0]


def _follow(instance: Instance, statement: str, tell: Tell) -> None:
    instance.client.sql_query(statement, connection=CONNECTION)
    tell("run", statement)
    completion = instance.llm(CHAT_OPENAI).new_completion().with_message("Say hello.")
    completion.settings.update(temperature=0, maxOutputTokens=16)
    tell("answer", _answer(completion.execute()))


def _answer(response: Any) -> str:
    if not response.success:
        raise SystemExit(f"the query failed: {response._raw.get('errorMessage')}")
    return str(response.text).strip()


def _write_report(instance: Instance) -> Path:
    html = instance.run_macro("spcs-llm-cost-report", snowflakeConnection=CONNECTION, days=DAYS)
    with tempfile.NamedTemporaryFile(
        "w", prefix="cost-report-", suffix=".html", encoding="utf-8", delete=False
    ) as file:
        file.write(f"<!DOCTYPE html><meta charset='utf-8'><title>Cost report</title>{html}")
    return Path(file.name)
