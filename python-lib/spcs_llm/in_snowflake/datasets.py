"""Where the recipe's datasets are, as DSS describes them, and which of them a job inside Snowflake cannot use.

Keys: Dataiku's public plugins read `get_location_info()["info"]` (variables are expanded there) and `get_config()`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spcs_llm.control.identifiers import QualifiedName
from spcs_llm.control.session import SqlSession


@dataclass(frozen=True)
class Dataset:
    """A dataset that is a table of Snowflake.

    Attributes:
        name: The dataset's name.
        connection: The name of its connection in DSS.
        database: The database; None for the connection's own.
        schema: The schema; None for the connection's own.
        table: The table.
    """

    name: str
    connection: str
    database: str | None
    schema: str | None
    table: str

    def located(self, database: str, schema: str) -> QualifiedName:
        """The table's full name, with the connection's database and schema where the dataset has none."""
        return QualifiedName(self.database or database, self.schema or schema, self.table)


class UnfitDataset(ValueError):
    """A dataset that cannot be used; the message is a sentence."""


def read_dataset(name: str, location: Any, config: Any, role: str) -> Dataset:
    """Reads what DSS says of a dataset.

    Args:
        name: The dataset's name.
        location: What `get_location_info()` returns.
        config: What `get_config()` returns.
        role: What it is for, such as Input.

    Returns:
        The dataset.

    Raises:
        UnfitDataset: If it is not a table of Snowflake, or is partitioned.
    """
    info = _mapping(_mapping(location).get("info"))
    config = _mapping(config)
    params = _mapping(config.get("params"))
    of = f"{role} '{name}'"
    if str(info.get("databaseType") or config.get("type") or "").lower() != "snowflake":
        raise UnfitDataset(
            f"{of} is not on a Snowflake connection: select a dataset that is a table of Snowflake."
        )
    if str(params.get("mode") or "table").lower() != "table":
        raise UnfitDataset(
            f"{of} is an SQL query, which has no table to read or write: select a dataset that reads a table."
        )
    if _mapping(config.get("partitioning")).get("dimensions"):
        raise UnfitDataset(f"{of} is partitioned, which this recipe does not support.")
    connection = info.get("connectionName") or params.get("connection")
    table = info.get("table") or params.get("table")
    if not connection or not table:
        raise UnfitDataset(f"{of} has no table yet: open its settings, and select a connection and a table.")
    return Dataset(
        name,
        str(connection),
        _text(info.get("catalog") or params.get("catalog")),
        _text(info.get("schema") or params.get("schema")),
        str(table),
    )


def current_schema(session: SqlSession) -> tuple[str, str]:
    """The database and schema that the connection uses where a dataset names none; empty where there is none."""
    rows = session.rows('SELECT CURRENT_DATABASE() AS "database", CURRENT_SCHEMA() AS "schema"')
    row = rows[0] if rows else {}
    return row.get("database") or "", row.get("schema") or ""


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str | None:
    return str(value) if value else None
