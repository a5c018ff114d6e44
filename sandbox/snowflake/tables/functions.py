"""Functions of services: methods of registry models, and CREATE FUNCTION … SERVICE.

Syntax and defaults: Snowflake documentation, "CREATE FUNCTION (Snowpark Container Services)".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sandbox.snowflake.catalog import Service, qualified
from sandbox.snowflake.catalog.grants import Securable
from sandbox.snowflake.sql.errors import SqlError, compilation, unknown_function
from sandbox.snowflake.sql.filters import read_filters
from sandbox.snowflake.sql.reader import Reader
from sandbox.snowflake.sql.results import Result, columns, done, listing
from sandbox.snowflake.sql.run import Run, instant

USER_FUNCTIONS = columns(
    "created_on timestamp_ltz", "name", "schema_name", "is_builtin", "is_aggregate", "is_ansi",
    "min_num_arguments fixed", "max_num_arguments fixed", "arguments", "description", "catalog_name",
    "is_table_function", "valid_for_clustering", "is_secure null", "language",
)  # fmt: skip


@dataclass(frozen=True)
class ServiceFunction:
    """What a call of a function sends where. arguments: names and types; path: on the service's endpoint."""

    name: str
    service: Service
    path: str
    arguments: tuple[tuple[str, str], ...]
    returns: str = "OBJECT"
    max_batch_rows: int | None = None
    max_batch_retries: int = 3
    returns_null: bool = False
    batch_seconds: float = 3600.0
    database: str = ""
    schema: str = ""
    owner: str = ""
    created_on: float = 0.0

    @property
    def signature(self) -> str:
        return f"{self.name}({', '.join(kind for _, kind in self.arguments)})"

    @property
    def securable(self) -> Securable:
        return Securable("FUNCTION", f"{qualified(self.database, self.schema, self.name)}")

    def in_order(self, plain: list[Any], named: dict[str, Any]) -> list[Any]:
        """The arguments as the function has them: all positional or all named, the rest left out."""
        if plain and named:
            raise compilation("001090", "42601", "positional and named arguments cannot be mixed")
        names = [name for name, _ in self.arguments]
        if unknown := set(named) - set(names):
            raise compilation("001090", "42601", f"invalid argument name {sorted(unknown)[0]}")
        if len(plain) > len(names):
            raise compilation("001044", "42P13", f"too many arguments for {self.signature}")
        return [*plain, *[None] * (len(names) - len(plain))] if not named else [named.get(n) for n in names]


def method(run: Run, parts: tuple[str, ...], name: str) -> ServiceFunction:
    """`service!METHOD`. Raises 002003 for a service that the role does not see, and 002140."""
    service = run.service(parts)
    for model in run.catalog.models.values():
        for version in model.versions.values():
            if service.full_name not in version.services:
                continue
            for function in version.functions:
                if function.name == name:
                    path = f"/{function.target_method}"
                    return ServiceFunction(name, service, path, function.arguments, function.returns)
    raise unknown_function(f"{service.full_name}!{name}")


def create(reader: Reader, run: Run, functions: dict[tuple[str, str, str], ServiceFunction]) -> Result:
    """CREATE [OR REPLACE] FUNCTION, read after those words."""
    key = run.full(reader.qualified(), "CREATE FUNCTION")
    reader.expect("(")
    arguments: list[tuple[str, str]] = []
    while not reader.take(")"):
        if arguments:
            reader.expect(",")
        arguments.append((reader.identifier(), reader.identifier()))
    reader.expect("RETURNS")
    returns = reader.identifier()
    reader.expect("SERVICE")
    reader.take("=")
    service = run.service(reader.qualified(), "CREATE FUNCTION")
    reader.expect("ENDPOINT")
    reader.take("=")
    endpoint = reader.string() if reader.next.kind == "string" else reader.identifier()
    if endpoint.lower() not in {known.name.lower() for known in service.endpoints}:
        raise compilation("002003", "02000", f"Endpoint '{endpoint}' does not exist in {service.full_name}.")
    options = _options(reader)
    path = reader.string()
    reader.end()
    functions[key] = ServiceFunction(
        key[2], service, path, tuple(arguments), returns, owner=run.session.role, database=key[0], schema=key[1],
        created_on=run.now, **options,
    )  # fmt: skip
    run.catalog.grants.own(functions[key].securable, run.session.role)
    return done(f"Function {key[2]} successfully created.")


def _options(reader: Reader) -> dict[str, Any]:
    found: dict[str, Any] = {}
    while not reader.take("AS"):
        word = reader.identifier()
        reader.expect("=")
        if word == "MAX_BATCH_ROWS":
            found["max_batch_rows"] = reader.integer()
        elif word == "MAX_BATCH_RETRIES":
            found["max_batch_retries"] = reader.integer()
        elif word == "BATCH_TIMEOUT_SECS":
            found["batch_seconds"] = float(reader.integer())
        elif word == "ON_BATCH_FAILURE":
            found["returns_null"] = reader.one_of("ABORT", "RETURN_NULL") == "RETURN_NULL"
        else:
            reader.fail()
    return found


def show(reader: Reader, run: Run, functions: Iterable[ServiceFunction]) -> Result:
    """SHOW USER FUNCTIONS, read after those words."""
    filters = read_filters(reader, run)
    reader.end()
    seen = [
        function
        for function in functions
        if filters.scope.holds(function.database, function.schema)
        and run.may.holds(function.securable, "USAGE")
    ]
    rows = [
        [
            instant(f.created_on), f.name, f.schema, "N", "N", "N", len(f.arguments), len(f.arguments),
            f"{f.signature} RETURN {f.returns}", "user-defined function", f.database, "N", "N", "N", "EXTERNAL",
        ]
        for f in filters.apply(seen, lambda function: function.name)
    ]  # fmt: skip
    return listing(USER_FUNCTIONS, rows)


def missing(name: str) -> SqlError:
    return unknown_function(name)
