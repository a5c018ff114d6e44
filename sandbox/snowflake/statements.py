"""The statements that clients run around a session; anything else gives one row with the number 1."""

from __future__ import annotations

import re
import uuid

from sandbox.snowflake.world import Session, World

SET_PARAMETER = re.compile(r"alter\s+session\s+set\s+(\w+)\s*=\s*'?([^'\s]+)'?", re.IGNORECASE)


def run_statement(world: World, session: Session, text: str) -> dict[str, object]:
    """The `data` of a query reply, in the JSON result format."""
    for name, value in SET_PARAMETER.findall(text):
        session.parameters[name.upper()] = value
    return rows_reply(session, ["1"], [["1"]])


def rows_reply(session: Session, columns: list[str], rows: list[list[str | None]]) -> dict[str, object]:
    return {
        "parameters": [{"name": "CLIENT_SESSION_KEEP_ALIVE", "value": False}],
        "rowtype": [_column(name) for name in columns],
        "rowset": rows,
        "total": len(rows),
        "returned": len(rows),
        "queryId": str(uuid.uuid4()),
        "databaseProvider": None,
        "finalDatabaseName": None,
        "finalSchemaName": None,
        "finalWarehouseName": None,
        "finalRoleName": session.role,
        "numberOfBinds": 0,
        "arrayBindSupported": False,
        "statementTypeId": 4096,
        "version": 1,
        "sendResultTime": 0,
        "queryResultFormat": "json",
    }


def _column(name: str) -> dict[str, object]:
    return {
        "name": name,
        "database": "",
        "schema": "",
        "table": "",
        "nullable": True,
        "type": "text",
        "byteLength": 16_777_216,
        "length": 16_777_216,
        "scale": None,
        "precision": None,
        "collation": None,
    }
