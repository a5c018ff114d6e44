"""Statements over tables, for accounts whose tables are in duckdb; without it they do not compile."""

from __future__ import annotations

from typing import Any

from sandbox.snowflake.sql import stages
from sandbox.snowflake.sql.reader import Reader
from sandbox.snowflake.sql.results import Result
from sandbox.snowflake.sql.run import Run
from sandbox.snowflake.sql.select import select
from sandbox.snowflake.tables.opening import open_tables


def _tables(reader: Reader, run: Run) -> Any:
    tables = open_tables(run.world)
    if tables is None:
        reader.go_back(reader.position)
        raise reader.error()
    return tables


def create(reader: Reader, run: Run) -> Result:
    """CREATE TABLE, CREATE FUNCTION … SERVICE and CREATE STAGE."""
    replace = reader.take("OR", "REPLACE")
    if reader.take("STAGE"):
        with run.world.lock:
            return stages.create_stage(reader, run, replace=replace)
    tables = _tables(reader, run)
    if reader.take("FUNCTION"):
        from sandbox.snowflake.tables import functions

        with run.world.lock:
            return functions.create(reader, run, tables.functions)
    if not (reader.take("TABLE") or reader.take("TRANSIENT", "TABLE")):
        reader.fail()
    found: Result = tables.create_table(run, run.text, run.query_id)
    return found


def drop_table(reader: Reader, run: Run) -> Result:
    found: Result = _tables(reader, run).drop_table(run, run.text)
    return found


def change(reader: Reader, run: Run) -> Result:
    """INSERT, UPDATE and DELETE."""
    found: Result = _tables(reader, run).change(run, run.text, run.query_id)
    return found


def select_anything(reader: Reader, run: Run) -> Result:
    """SELECT of tables by duckdb, of all else by the plain evaluator."""
    tables = run.world.tables
    if tables is not None and not run.piped and tables.wants(run.text):
        found: Result = tables.select(run, run.text, run.query_id)
        return found
    return select(reader, run)


def show_user_functions(reader: Reader, run: Run) -> Result:
    from sandbox.snowflake.tables import functions

    return functions.show(reader, run, list(_tables(reader, run).functions.values()))
