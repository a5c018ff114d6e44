"""USE, ALTER SESSION and transactions: what a session remembers from one statement to the next."""

from __future__ import annotations

from sandbox.snowflake.sql.errors import SqlError, no_such_scope
from sandbox.snowflake.sql.reader import Reader
from sandbox.snowflake.sql.results import DDL, TRANSACTION, USE, Result, done
from sandbox.snowflake.sql.run import Run
from sandbox.snowflake.world import Session, World


def enter(
    world: World, session: Session, warehouse: str | None, database: str | None, schema: str | None
) -> None:
    """What a login names, or else the user's defaults; what the role cannot use is left out, without an error."""
    user = world.users[session.user]
    with world.lock:
        may = world.catalog.grants.view(session.role)
        found = world.catalog.warehouses.get(_identifier(warehouse) or user.default_warehouse or "")
        if found is not None and may.holds(found.securable, "USAGE", "OPERATE"):
            session.warehouse = found.name
        held = world.catalog.databases.get(_identifier(database) or user.default_database or "")
        if held is None or not may.holds(held.securable, "USAGE"):
            return
        session.database = held.name
        inner = held.schemas.get(_identifier(schema) or user.default_schema or "PUBLIC")
        if inner is not None and may.holds(inner.securable, "USAGE"):
            session.schema = inner.name


def _identifier(text: str | None) -> str | None:
    if not text:
        return None
    return text[1:-1].replace('""', '"') if text.startswith('"') and text.endswith('"') else text.upper()


def use(reader: Reader, run: Run) -> Result:
    kind = next(
        (k for k in ("ROLE", "WAREHOUSE", "DATABASE", "SCHEMA", "SECONDARY") if reader.take(k)), "DATABASE"
    )
    if kind == "SECONDARY":
        reader.expect("ROLES")
        reader.one_of("ALL", "NONE")
        reader.end()
        return done(kind=USE)
    parts = reader.qualified()
    reader.end()
    if kind == "ROLE":
        _use_role(run, parts[-1])
    elif kind == "WAREHOUSE":
        _use_warehouse(run, parts[-1])
    else:
        _use_schema(run, parts, is_schema=kind == "SCHEMA" or len(parts) == 2)
    return done(kind=USE)


def _use_role(run: Run, role: str) -> None:
    user = run.world.users[run.session.user]
    if role not in usable_roles(run, user.roles):
        text = (
            f"SQL execution error: Requested role '{role}' is not assigned to the executing user. Specify another "
            "role to activate."
        )
        raise SqlError("003013", "42501", text)
    run.session.role = role


def usable_roles(run: Run, granted: set[str]) -> set[str]:
    """The roles of a user and those that they inherit."""
    return set().union(*(run.catalog.grants.inherited(role) for role in granted))


def _use_warehouse(run: Run, name: str) -> None:
    warehouse = run.catalog.warehouses.get(name)
    if warehouse is None or not run.may.holds(warehouse.securable, "USAGE", "OPERATE"):
        raise no_such_scope()
    run.session.warehouse = name


def _use_schema(run: Run, parts: tuple[str, ...], *, is_schema: bool) -> None:
    database_name = parts[0] if len(parts) == 2 or not is_schema else run.session.database
    database = run.catalog.databases.get(database_name or "")
    if database is None or not run.may.holds(database.securable, "USAGE"):
        raise no_such_scope()
    schema = parts[-1] if is_schema else "PUBLIC"
    found = database.schemas.get(schema)
    if is_schema and (found is None or not run.may.holds(found.securable, "USAGE")):
        raise no_such_scope()
    run.session.database = database.name
    run.session.schema = schema if found is not None else None


def transaction(reader: Reader, run: Run) -> Result:
    """BEGIN, COMMIT and ROLLBACK: connectors commit when they close. Only changes of tables are held together."""
    word = reader.peek(-1).value
    reader.take("TRANSACTION")
    reader.end()
    if run.world.tables is not None and word == "COMMIT":
        run.world.tables.store.commit(run.session)
    elif run.world.tables is not None and word == "ROLLBACK":
        run.world.tables.store.roll_back(run.session)
    return done(kind=TRANSACTION)


def alter_session(reader: Reader, run: Run) -> Result:
    verb = reader.one_of("SET", "UNSET")
    while reader.next.kind == "word":
        name = reader.identifier()
        if verb == "UNSET":
            run.session.parameters.pop(name, None)
        else:
            reader.expect("=")
            run.session.parameters[name] = _value(reader)
        reader.take(",")
    reader.end()
    return done(kind=DDL)


def _value(reader: Reader) -> object:
    if reader.take("TRUE"):
        return True
    if reader.take("FALSE"):
        return False
    return reader.literal()
