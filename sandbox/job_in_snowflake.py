"""What the demo shows last: a recipe that classifies a table of tickets inside Snowflake, into typed columns."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from rich.console import Console
from rich.table import Table

from sandbox.instance import PROJECT, Instance
from sandbox.operations import CONNECTION
from sandbox.snowflake import USER
from sandbox.snowflake.catalog import DATABASE, SCHEMA

RECIPE = "spcs-llm-in-snowflake"
TICKETS = (
    "My invoice shows the wrong amount.",
    "The parcel has not arrived yet.",
    "The app crashes when I sign in.",
    "I was charged twice this month.",
    "The package came with a broken lid.",
)
TEAMS = {
    "type": "object",
    "properties": {
        "team": {"type": "string", "enum": ["billing", "shipping", "technical"]}, "urgent": {"type": "boolean"},
    },
    "required": ["team", "urgent"],
}  # fmt: skip
EXAMPLES = (
    ("Please send me a copy of my bill.", "billing", False),
    ("The delivery is late, and I need it today!", "shipping", True),
    ("I cannot log in.", "technical", False),
)
Tell = Callable[[str, str], None]


def prepare(instance: Instance) -> None:
    """A service of the Model Registry, a table, and its datasets."""
    snowflake = instance.snowflake
    snowflake.create_service("tickets", "smollm2", "MODEL_SERVING")
    snowflake.tables.allow(DATABASE, SCHEMA)
    columns = {"id": "NUMBER", "text": "VARCHAR"}
    snowflake.tables.create("TICKETS", columns, list(enumerate(TICKETS, 1)), database=DATABASE, schema=SCHEMA)
    for name in ("tickets", "classified"):
        instance.dss.create_dataset(PROJECT, name, CONNECTION, name.upper(), catalog=DATABASE, schema=SCHEMA)


def show(console: Console, instance: Instance, tell: Tell) -> None:
    """Runs the recipe, and shows what is in its output and what its log says."""
    examples = [
        {"input": text, "output": json.dumps({"team": team, "urgent": urgent})}
        for text, team, urgent in EXAMPLES
    ]
    run = instance.dss.start_recipe(
        instance.plugin_id,
        RECIPE,
        {"input": ["tickets"], "output": ["classified"]},
        {
            "service": f"{DATABASE}.{SCHEMA}.TICKETS",
            "keyColumns": ["id"],
            "promptTemplate": "{{text}}",
            "systemPrompt": "Which team handles the ticket, and is it urgent?",
            "examples": examples,
            "jsonSchema": json.dumps(TEAMS),
            "temperature": 0,
            "maxOutputTokens": 48,
        },
        user=USER,
        project_key=PROJECT,
    )
    run.done.wait()
    if run.failure is not None:
        raise SystemExit(f"the recipe failed: {run.failure}")
    rows = instance.snowflake.run_sql(f"SELECT * FROM {DATABASE}.{SCHEMA}.CLASSIFIED ORDER BY 1")
    table = Table(box=None, padding=(0, 2))
    for column in ("text", "team", "urgent"):
        table.add_column(column)
    for row in rows:
        table.add_row(str(row["text"]), str(row["team"]), str(row["urgent"]).lower())
    console.print(table)
    summary = re.search(r"\d+ rows: .* rows a second\.", run.log)
    tell("log", f"{summary[0] if summary else 'no summary'}\n")
