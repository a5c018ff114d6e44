"""The tables of an account are made when they are first needed, and only where duckdb is installed."""

from __future__ import annotations

import importlib.util
from typing import Any

from sandbox.snowflake.world import World


def open_tables(world: World) -> Any:
    """The tables of the account; None where duckdb is not installed: then no statement about tables compiles."""
    with world.lock:
        if world.tables is None and all(map(importlib.util.find_spec, ("duckdb", "sqlglot"))):
            from sandbox.snowflake.tables.tables import Tables  # duckdb is not installed everywhere

            world.tables = Tables(world)
        return world.tables
