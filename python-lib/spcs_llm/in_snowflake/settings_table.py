"""The table of one row that carries users' texts into the job's statements, which never hold any of them.

It also says whose turn it is: a run that finds another run's id there has been superseded, and stops.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from spcs_llm.in_snowflake.answer_fields import names_json
from spcs_llm.in_snowflake.form import JobSettings
from spcs_llm.in_snowflake.texts import fill_statements

FIXED_COLUMNS = ("HEAD", "HEAD_PARTS", "HEAD_TEXT", "STOP", "RESPONSE_FORMAT", "FIELDS")


def part_column(position: int) -> str:
    """The column of a prompt's text between two placeholders."""
    return f"PART_{position}"


def create_statements(table: str, settings: JobSettings, run_id: str) -> Iterator[str]:
    """The statements that make the table and fill it.

    Args:
        table: The table, as a statement has it.
        settings: The settings.
        run_id: The run whose turn it is: hexadecimal digits.

    Yields:
        Statements to run in this order. No user's text is in any of them.
    """
    texts = _texts(settings)
    columns = ", ".join(f"{name} VARCHAR" for name in ("RUN_ID", *texts))
    yield f"CREATE OR REPLACE TRANSIENT TABLE {table} ({columns})"
    values = ", ".join([f"'{run_id}'", *("''" for _ in texts)])
    yield f"INSERT INTO {table} SELECT {values}"
    yield from fill_statements(table, texts)


def whose_turn(table: str) -> str:
    """The query for the run whose turn it is."""
    return f'SELECT RUN_ID AS "run" FROM {table}'


def _texts(settings: JobSettings) -> Mapping[str, str]:
    parts = settings.template.texts if settings.template else ()
    return {
        "HEAD": json.dumps(_messages(settings, parts=False)),
        "HEAD_PARTS": json.dumps(_messages(settings, parts=True)),
        "HEAD_TEXT": _as_text(settings),
        "STOP": json.dumps(list(settings.stops)),
        "RESPONSE_FORMAT": response_format(settings),
        "FIELDS": names_json(settings.fields),
        **{part_column(i): text for i, text in enumerate(parts)},
    }


def _messages(settings: JobSettings, *, parts: bool) -> list[dict[str, object]]:
    """The messages before the prompt."""
    said = [("system", settings.system)] if settings.system else []
    for example in settings.examples:
        said += [("user", example.input), ("assistant", example.output)]
    return [
        {"role": role, "content": [{"type": "text", "text": text}] if parts else text} for role, text in said
    ]


def _as_text(settings: JobSettings) -> str:
    """The same for a model that takes one text."""
    said = [settings.system] if settings.system else []
    for example in settings.examples:
        said += [f"Input: {example.input}\nOutput: {example.output}"]
    return "".join(f"{text}\n\n" for text in said)


def response_format(settings: JobSettings) -> str:
    """What makes a model keep to the JSON schema, as JSON; empty without one."""
    if settings.schema is None:
        return ""
    schema = {"name": "answer", "strict": True, "schema": json.loads(settings.schema)}
    return json.dumps({"type": "json_schema", "json_schema": schema})
