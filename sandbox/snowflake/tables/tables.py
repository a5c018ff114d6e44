"""Statements over tables: which they are, whether the role may run them, and their results."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlglot import exp

from sandbox.snowflake.catalog import CALLER, OWNER, qualified
from sandbox.snowflake.catalog.grants import Securable
from sandbox.snowflake.sql.errors import SqlError, does_not_exist, insufficient, unknown_function
from sandbox.snowflake.sql.results import Column, Result, done, listing
from sandbox.snowflake.sql.run import Run
from sandbox.snowflake.tables.dialect import (
    METHOD,
    duckdb_sql,
    parse,
    parse_to_read,
    text_of,
    translated,
    unknown,
)
from sandbox.snowflake.tables.functions import ServiceFunction, method
from sandbox.snowflake.tables.inference_jobs import InferenceJobs
from sandbox.snowflake.tables.service_calls import Batches, call_service
from sandbox.snowflake.tables.staged import is_staged, staged_rows
from sandbox.snowflake.tables.store import Store, insert_pairs
from sandbox.snowflake.world import Session, World

Key = tuple[str, str, str]
_STAGES = itertools.count(1)
INSERTED = 12544  # the kind of INSERT, which also stands for other changes here

_SHOWN_TYPES = {
    "VARCHAR": "TEXT", "JSON": "VARIANT", "DOUBLE": "FLOAT", "BOOLEAN": "BOOLEAN", "DATE": "DATE", "TIME": "TIME",
    "TIMESTAMP": "TIMESTAMP_NTZ", "TIMESTAMP WITH TIME ZONE": "TIMESTAMP_LTZ", "BLOB": "BINARY",
    "UUID": "UUID",
}  # fmt: skip
_WIRE_TYPES = {
    "VARCHAR": "text", "JSON": "variant", "DOUBLE": "real", "FLOAT": "real", "BOOLEAN": "boolean", "DATE": "date",
    "TIME": "time", "TIMESTAMP": "timestamp_ntz", "TIMESTAMP WITH TIME ZONE": "timestamp_ltz", "BLOB": "binary",
    "UUID": "text",
}  # fmt: skip


@dataclass
class Table:
    """A table. columns: Snowflake's types, by name."""

    database: str
    schema: str
    name: str
    owner: str
    columns: dict[str, str] = field(default_factory=dict)

    @property
    def securable(self) -> Securable:
        return Securable("TABLE", qualified(self.database, self.schema, self.name))


class Tables:
    """All tables of an account, and the functions over its services."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.store = Store()
        self.known: dict[Key, Table] = {}
        self.functions: dict[Key, ServiceFunction] = {}
        self.batches = Batches()
        self.jobs = InferenceJobs(world)

    # -- what a test or a demo does ----------------------------------------------------------------

    def create(
        self,
        name: str,
        columns: Mapping[str, str],
        rows: Sequence[Sequence[object]] = (),
        *,
        database: str,
        schema: str,
        owner: str = CALLER,
    ) -> Table:
        """A table with rows. columns: types of Snowflake by name; JSON cells are Python's lists and dicts."""
        self.store.ensure_schema(database, schema)
        admin = Session(0, "ADMIN", "ACCOUNTADMIN")
        described = ", ".join(f"{_quoted(column)} {kind}" for column, kind in columns.items())
        full = ".".join(map(_quoted, (database, schema, name)))
        made = duckdb_sql(parse(f"CREATE OR REPLACE TABLE {full} ({described})"))
        self.store.define(admin, lambda cursor: cursor.execute(made))
        if rows:
            places = ", ".join("?" for _ in columns)
            cells = [[_stored(cell) for cell in row] for row in rows]
            self.store.change(
                admin, lambda cursor: cursor.executemany(f"INSERT INTO {full} VALUES ({places})", cells)
            )
        table = self._register((database, schema, name), owner)
        table.columns = {column: _shown_type(kind) for column, kind in columns.items()}
        return table

    def allow(self, database: str, schema: str, role: str = CALLER) -> None:
        """GRANT CREATE TABLE, CREATE FUNCTION, CREATE STAGE, CREATE SERVICE ON SCHEMA."""
        self.store.ensure_schema(database, schema)
        with self._world.lock:
            found = self._world.catalog.databases[database].schemas[schema]
            for privilege in ("CREATE TABLE", "CREATE FUNCTION", "CREATE STAGE", "CREATE SERVICE"):
                self._world.catalog.grants.grant(privilege, found.securable, role)

    def load(self, statement: str) -> None:
        """Many rows at once, as the administrator. The statement is duckdb's."""
        self.store.change(Session(0, "ADMIN", "ACCOUNTADMIN"), lambda cursor: cursor.execute(statement))

    def rows(self, statement: str) -> list[dict[str, Any]]:
        """Rows as the administrator sees them, by column name. The statement is duckdb's."""
        with self.store.of(Session(0, "ADMIN", "ACCOUNTADMIN")).lock:
            cursor = self.store.of(Session(0, "ADMIN", "ACCOUNTADMIN")).cursor
            cursor.execute(statement)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row)) for row in cursor.fetchall()]

    # -- what statements do ------------------------------------------------------------------------

    def wants(self, text: str) -> bool:
        """Whether a SELECT is about tables or service functions, and not about views of the account."""
        upper = text.upper()
        if "INFORMATION_SCHEMA.COLUMNS" in upper:
            return True
        if " FROM " not in upper or "TABLE(" in upper or ("$1" in text and "@" not in text):
            return False
        try:
            tree = parse_to_read(text)
        except SqlError:
            return False
        tables = list(tree.find_all(exp.Table))
        return any(is_staged(found) or self._key_of(found, None) in self.known for found in tables)

    def select(self, run: Run, text: str, query_id: str) -> Result:
        tree = parse(text)
        self._prepare(tree, run)
        run.require_warehouse()

        def work(cursor: Any) -> Result:
            self._stage_calls(tree, cursor, run, query_id)
            cursor.execute(duckdb_sql(tree))
            return _result(cursor)

        return self.store.read(run.session, work)

    def change(self, run: Run, text: str, query_id: str) -> Result:
        """INSERT, UPDATE or DELETE."""
        tree = parse(text)
        if not isinstance(tree, (exp.Insert, exp.Update, exp.Delete)):
            raise unknown(type(tree).__name__)
        self._prepare(tree, run)
        run.require_warehouse()

        def work(cursor: Any) -> int:
            own = tree.copy()  # once more after a conflict, which undoes the tables that are made for it
            self._stage_calls(own, cursor, run, query_id)
            made = translated(own)
            self._check_types(made, cursor)
            cursor.execute(text_of(made))
            (count,) = cursor.fetchone()
            return int(count)

        count = self.store.change(run.session, work)
        verb = {exp.Insert: "inserted", exp.Update: "updated", exp.Delete: "deleted"}[type(tree)]
        return listing((Column(f"number of rows {verb}", "fixed", False),), [[count]], INSERTED)

    def _check_types(self, made: exp.Expression, cursor: Any) -> None:
        """Arrays, objects and vectors do not become text by themselves. (A VARIANT would; here it is one of them.)"""
        if not isinstance(made, exp.Insert) or not isinstance(made.this, exp.Schema):
            return
        target = made.find(exp.Table)
        assert target is not None
        kinds = self.known[self._key_of(target, None)].columns
        cursor.execute(f"DESCRIBE {text_of(made.expression)}")
        for column, (_, found, *_) in zip(made.this.expressions, cursor.fetchall()):
            if kinds.get(column.name) == "TEXT" and (found == "JSON" or found.endswith("]")):
                text = (
                    "Expression type does not match column data type, expecting VARCHAR(16777216) but got ARRAY for "
                    f"column {column.name}"
                )
                raise SqlError("002023", "22000", f"SQL compilation error:\n{text}")

    def create_table(self, run: Run, text: str, query_id: str) -> Result:
        tree = parse(text)
        if not isinstance(tree, exp.Create) or str(tree.args.get("kind")).upper() != "TABLE":
            raise unknown("this CREATE")
        target = tree.find(exp.Table)
        assert target is not None
        key = self._qualify(target, run)
        self._require_schema(run, key)
        exists = key in self.known
        if exists and not run.may.holds(self.known[key].securable):
            raise insufficient("TABLE", qualified(*key))
        if exists and tree.args.get("exists"):
            return done(f"{key[2]} already exists, statement succeeded.")
        if exists and not tree.args.get("replace"):
            raise SqlError(
                "002002", "42710", f"SQL compilation error:\nObject '{qualified(*key)}' already exists."
            )
        self._prepare(tree, run, without=target)
        if tree.expression is not None:
            run.require_warehouse()

        def work(cursor: Any) -> None:
            self._stage_calls(tree, cursor, run, query_id)
            cursor.execute(duckdb_sql(tree))

        # Before `work`, which changes them into duckdb's.
        kinds = {
            column.name: _shown_type(column.args["kind"].sql(dialect="snowflake"))
            for column in tree.find_all(exp.ColumnDef)
        }
        self.store.define(run.session, work)
        self._register(key, run.session.role).columns.update(kinds)
        return done(f"Table {key[2]} successfully created.")

    def drop_table(self, run: Run, text: str) -> Result:
        tree = parse(text)
        target = tree.find(exp.Table)
        if not isinstance(tree, exp.Drop) or target is None:
            raise unknown("this DROP")
        key = self._qualify(target, run)
        if key not in self.known:
            if tree.args.get("exists"):
                return done("Drop statement executed successfully.")
            raise run.missing("Table", qualified(*key), table=True)
        if not run.may.holds(self.known[key].securable):
            raise insufficient("TABLE", qualified(*key))
        self.store.define(run.session, lambda cursor: cursor.execute(duckdb_sql(tree)))
        table = self.known.pop(key)
        with self._world.lock:
            self._world.catalog.grants.revoke_all(table.securable)
        return done(f"{key[2]} successfully dropped.")

    # -- names and rights --------------------------------------------------------------------------

    def _register(self, key: Key, owner: str) -> Table:
        table = self.known[key] = Table(*key, owner)
        described = self.rows(f"DESCRIBE SELECT * FROM {'.'.join(map(_quoted, key))}")
        table.columns = {row["column_name"]: _shown_type(row["column_type"]) for row in described}
        with self._world.lock:
            self._world.catalog.grants.own(table.securable, owner or OWNER)
        return table

    def _key_of(self, table: exp.Table, run: Run | None) -> Key:
        parts = tuple(part for part in (table.catalog, table.db, table.name) if part)
        if run is not None:
            return run.full(parts, "SELECT")
        return ("", *parts)[-3:] if len(parts) == 3 else ("", "", table.name)

    def _qualify(self, table: exp.Table, run: Run) -> Key:
        key = self._key_of(table, run)
        for place, name in zip(("catalog", "db", "this"), key):
            table.set(place, exp.to_identifier(name, quoted=True))
        return key

    def _require_schema(self, run: Run, key: Key) -> None:
        database = run.catalog.databases.get(key[0])
        schema = database.schemas.get(key[1]) if database else None
        if schema is None or not run.may.holds(schema.securable, "USAGE", "CREATE TABLE"):
            raise does_not_exist("Schema", qualified(*key[:2]))
        if not run.may.holds(schema.securable, "CREATE TABLE"):
            raise insufficient("SCHEMA", qualified(*key[:2]))
        self.store.ensure_schema(*key[:2])

    def _prepare(self, tree: exp.Expression, run: Run, without: exp.Table | None = None) -> None:
        """Qualify all tables, and check that they are there and that the role may do this with them."""
        common = {cte.alias for cte in tree.find_all(exp.CTE)}
        written = tree.find(exp.Table) if isinstance(tree, (exp.Insert, exp.Update, exp.Delete)) else None
        for table in list(tree.find_all(exp.Table)):
            if table is without or (table.name in common and not table.db):
                continue
            if is_staged(table):
                table.replace(staged_rows(table, run))
                continue
            if table.db == "INFORMATION_SCHEMA" and table.name == "COLUMNS":
                table.replace(self._columns_view(run, table.catalog, table.alias))
                continue
            key = self._qualify(table, run)
            privilege = type(tree).__name__.upper() if table is written else "SELECT"
            self._require(run, key, privilege)

    def _require(self, run: Run, key: Key, privilege: str) -> None:
        table = self.known.get(key)
        privileges = ("SELECT", "INSERT", "UPDATE", "DELETE")
        if table is None or not run.sees_in_schema(table.securable, key, privileges):
            raise run.missing("Table", qualified(*key), table=True)
        if not run.may.holds(table.securable, privilege):
            raise insufficient("TABLE", qualified(*key))

    def _columns_view(self, run: Run, database: str, alias: str) -> exp.Expression:
        rows = [
            f"({_literal(t.schema)}, {_literal(t.name)}, {_literal(column)}, {_literal(kind)}, {position})"
            for key, t in self.known.items()
            if t.database == database and run.sees_in_schema(t.securable, key, ("SELECT", "INSERT"))
            for position, (column, kind) in enumerate(t.columns.items(), 1)
        ] or ["('', '', '', '', 0)"]
        names = "TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, DATA_TYPE, ORDINAL_POSITION"
        found = parse(f"SELECT * FROM (SELECT * FROM VALUES {', '.join(rows)} AS V({names})) AS C")
        subquery = found.find(exp.Subquery)
        assert subquery is not None
        subquery.set("alias", exp.TableAlias(this=exp.to_identifier(alias or "COLUMNS", quoted=True)))
        return subquery

    # -- calls of services -------------------------------------------------------------------------

    def _stage_calls(self, tree: exp.Expression, cursor: Any, run: Run, query_id: str) -> None:
        """Replace each SELECT with a call by its rows, and the answers that the service gave for them."""
        while (found := self._a_call(tree)) is not None:
            select = found.find_ancestor(exp.Select)
            if select is None or not any(_is_in(found, item) for item in select.expressions):
                raise unknown("a call of a service outside the columns of a SELECT")
            if select.args.get("group") or select.args.get("distinct") or select.args.get("order"):
                raise unknown("a call of a service with GROUP BY, DISTINCT or ORDER BY")
            self._staged(found, select, cursor, run, query_id)

    def _a_call(self, tree: exp.Expression) -> exp.Expression | None:
        for node in tree.find_all(exp.ModelAttribute, exp.Dot, exp.Anonymous):
            if isinstance(node, exp.ModelAttribute) or self._function_name(node) is not None:
                return node
        return None

    def _function_name(self, node: exp.Expression) -> Key | None:
        """The full name of a call that is written `DB.SCHEMA.FUNCTION(…)`."""
        if not isinstance(node, exp.Dot) or not isinstance(node.expression, exp.Anonymous):
            return None
        parts = _names(node.this)
        name = node.expression.this
        return (parts[0], parts[1], str(name)) if len(parts) == 2 else None

    def _staged(self, call: exp.Expression, select: exp.Select, cursor: Any, run: Run, query_id: str) -> None:
        function, written = self._resolved(call, run)
        plain, named = _arguments(written)
        number = next(_STAGES)
        stage, answers = f"sf_stage_{number}", f"sf_answers_{number}"
        source = select.copy()
        items = []
        for position, item in enumerate(select.expressions):
            if _is_in(call, item):
                call.replace(exp.column("r", table="sf_answer", quoted=True))
                items.append(item.copy())
                continue
            items.append(
                exp.alias_(
                    exp.column(f"c{position}", table="sf_row", quoted=True), item.alias_or_name, quoted=True
                )
            )
        kept = [
            exp.alias_(item.unalias().copy(), f"c{position}", quoted=True)
            for position, item in enumerate(source.expressions)
            if not any(True for _ in item.find_all(exp.ModelAttribute)) and self._a_call(item) is None
        ]
        arguments = function.in_order(plain, named)
        packed = exp.alias_(
            exp.Array(expressions=[exp.Null() if one is None else one.copy() for one in arguments]),
            "a",
            quoted=True,
        )
        source.set("expressions", [*kept, packed])
        cursor.execute(
            f"CREATE TEMP TABLE {stage} AS SELECT row_number() OVER () - 1 AS n, * FROM ({duckdb_sql(source)})"
        )
        cursor.execute(f"SELECT n, a FROM {stage} ORDER BY n")
        rows = [(int(n), json.loads(cells)) for n, cells in cursor.fetchall()]
        values = call_service(run, function, rows, query_id, self.batches) if rows else []
        cursor.execute(f"CREATE TEMP TABLE {answers} (n BIGINT, r JSON)")
        if rows:
            insert_pairs(cursor, answers, [n for n, _ in rows], values)
        joined = exp.select(*items).from_(exp.alias_(exp.to_table(stage), "sf_row", quoted=True, table=True))
        on = exp.EQ(
            this=exp.column("n", table="sf_row", quoted=True),
            expression=exp.column("n", table="sf_answer", quoted=True),
        )
        joined = joined.join(exp.alias_(exp.to_table(answers), "sf_answer", quoted=True, table=True), on=on)
        # In place: it may be the statement itself, which has nothing around it.
        for key in list(select.args):
            select.set(key, None)
        for key, part in joined.args.items():
            select.set(key, part)

    def _resolved(self, call: exp.Expression, run: Run) -> tuple[ServiceFunction, exp.Expression]:
        if isinstance(call, exp.ModelAttribute):
            parts = tuple(_names(call.this))
            written = call.expression
            return method(run, parts, _method_name(written)), written
        key = self._function_name(call)
        assert key is not None
        function = self.functions.get(key)
        if function is None or not run.may.holds(function.securable, "USAGE"):
            raise unknown_function(qualified(*key))
        return function, call.expression


def _is_in(node: exp.Expression, tree: exp.Expression) -> bool:
    return any(found is node for found in tree.walk())


def _names(node: exp.Expression) -> list[str]:
    """The parts of a dotted name, from left to right."""
    return [*_names(node.this), *_names(node.expression)] if isinstance(node, exp.Dot) else [node.name]


def _method_name(written: exp.Expression) -> str:
    name = written.this
    return name.name if isinstance(name, exp.Expression) else str(name).removeprefix(METHOD)


def _arguments(written: exp.Expression) -> tuple[list[Any], dict[str, Any]]:
    plain, named = [], {}
    for argument in written.expressions:
        if isinstance(argument, exp.Kwarg):
            named[argument.this.name.upper()] = argument.expression
        else:
            plain.append(argument)
    return plain, named


def _result(cursor: Any) -> Result:
    described = cursor.description
    columns = tuple(_column(name, str(kind)) for name, kind, *_ in described)
    rows = [tuple(_cell(cell) for cell in row) for row in cursor.fetchall()]
    return Result(columns, tuple(rows))


def _column(name: str, kind: str) -> Column:
    if kind.startswith("DECIMAL"):
        return Column(name, "fixed", True, int(kind.rstrip(")").split(",")[1]))
    if kind.endswith("]"):
        return Column(name, "vector")
    return Column(name, _WIRE_TYPES.get(kind, "fixed"), True, 3 if kind.startswith("TIME") else 0)


def _cell(cell: Any) -> Any:
    return list(cell) if isinstance(cell, tuple) else cell


def _stored(cell: object) -> object:
    return json.dumps(cell) if isinstance(cell, (dict, list)) else cell


def _shown_type(kind: str) -> str:
    """As INFORMATION_SCHEMA.COLUMNS has it."""
    name = kind.upper().partition("(")[0].strip()
    if kind.endswith("]"):
        return "VECTOR"
    if name in ("INT", "BIGINT", "HUGEINT", "UBIGINT", "DECIMAL", "INTEGER"):
        return "NUMBER"
    return {"STRING": "TEXT", "TIMESTAMPNTZ": "TIMESTAMP_NTZ", **_SHOWN_TYPES}.get(name, name)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
