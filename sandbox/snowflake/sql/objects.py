"""SHOW of databases, schemas, warehouses, roles and parameters.

Columns: Snowflake docs, the page of each statement; of the longer listings, the columns that they had in 2023.
"""

from __future__ import annotations

from collections.abc import Callable

from sandbox.snowflake.sql.filters import like_pattern, read_filters
from sandbox.snowflake.sql.reader import Reader
from sandbox.snowflake.sql.results import Result, columns, listing
from sandbox.snowflake.sql.run import Run, instant

DATABASES = columns(
    "created_on timestamp_ltz", "name", "is_default", "is_current", "origin", "owner", "comment", "options",
    "retention_time", "kind", "owner_role_type null",
)  # fmt: skip
SCHEMAS = columns(
    "created_on timestamp_ltz", "name", "is_default", "is_current", "database_name", "owner", "comment", "options",
    "retention_time", "owner_role_type null",
)  # fmt: skip
WAREHOUSES = columns(
    "name", "state", "type", "size", "min_cluster_count fixed", "max_cluster_count fixed", "started_clusters fixed",
    "running fixed", "queued fixed", "is_default", "is_current", "auto_suspend fixed", "auto_resume", "available",
    "provisioning", "quiescing", "other", "created_on timestamp_ltz", "resumed_on timestamp_ltz null",
    "updated_on timestamp_ltz", "owner", "comment",
)  # fmt: skip
ROLES = columns(
    "created_on timestamp_ltz", "name", "is_default", "is_current", "is_inherited", "assigned_to_users fixed",
    "granted_to_roles fixed", "granted_roles fixed", "owner", "comment",
)  # fmt: skip
PARAMETERS = columns("key", "value", "default", "level", "description", "type")
DEFAULTS = {"EVENT_TABLE": "", "TIMEZONE": "America/Los_Angeles", "STATEMENT_TIMEOUT_IN_SECONDS": "172800"}


def put_back(*words: str, then: Callable[[Reader, Run], Result]) -> Callable[[Reader, Run], Result]:
    """For a statement that is told from others by words that its reader expects as well."""

    def handle(reader: Reader, run: Run) -> Result:
        reader.go_back(len(words))
        return then(reader, run)

    return handle


def show_databases(reader: Reader, run: Run) -> Result:
    filters = read_filters(reader, run, scoped=False)
    reader.end()
    seen = [d for _, d in sorted(run.catalog.databases.items()) if run.may.sees(d.securable, ("USAGE",))]
    rows = [
        [
            instant(d.created_on), d.name, "N", _yes(d.name == run.session.database), "", d.owner, "", "", "1",
            "STANDARD" if d.owner else "APPLICATION", "ROLE" if d.owner else None,
        ]
        for d in filters.apply(seen, lambda d: d.name)
    ]  # fmt: skip
    return listing(DATABASES, rows)


def show_schemas(reader: Reader, run: Run) -> Result:
    filters = read_filters(reader, run)
    reader.end()
    seen = [
        schema
        for _, database in sorted(run.catalog.databases.items())
        for _, schema in sorted(database.schemas.items())
        if filters.scope.holds(database.name, schema.name)
        and run.may.sees(database.securable, ("USAGE",))
        and run.may.sees(schema.securable, ("USAGE",))
    ]
    current = (run.session.database, run.session.schema)
    rows = [
        [
            instant(s.created_on), s.name, "N", _yes((s.database, s.name) == current), s.database, s.owner, "", "",
            "1", "ROLE",
        ]
        for s in filters.apply(seen, lambda s: s.name)
    ]  # fmt: skip
    return listing(SCHEMAS, rows)


def show_warehouses(reader: Reader, run: Run) -> Result:
    filters = read_filters(reader, run, scoped=False)
    reader.end()
    privileges = ("USAGE", "OPERATE", "MONITOR")
    seen = [w for _, w in sorted(run.catalog.warehouses.items()) if run.may.sees(w.securable, privileges)]
    rows = [
        [
            w.name, "STARTED", "STANDARD", w.size, 1, 1, 1, 0, 0, "N", _yes(w.name == run.session.warehouse), 60,
            "true", "100", "0", "0", "0", instant(w.created_on), instant(w.created_on), instant(w.created_on), w.owner,
            "",
        ]
        for w in filters.apply(seen, lambda w: w.name)
    ]  # fmt: skip
    return listing(WAREHOUSES, rows)


def show_roles(reader: Reader, run: Run) -> Result:
    filters = read_filters(reader, run, scoped=False)
    reader.end()
    grants = run.catalog.grants
    rows = []
    for role in filters.apply(sorted(grants.roles), str):
        inner = sum(grant.on.kind == "ROLE" for grant in grants.of(role))
        outer = sum(
            grant.on.kind == "ROLE" and grant.on.name == role for r in grants.roles for grant in grants.of(r)
        )
        users = sum(role in user.roles for user in run.world.users.values())
        inherited = _yes(role in run.may.roles and role != run.may.role)
        rows.append(
            [
                instant(0.0),
                role,
                "N",
                _yes(role == run.session.role),
                inherited,
                users,
                outer,
                inner,
                "USERADMIN",
                "",
            ]
        )
    return listing(ROLES, rows)


def show_parameters(reader: Reader, run: Run) -> Result:
    """SHOW PARAMETERS [LIKE] [IN ACCOUNT | SESSION]: those that somebody here reads."""
    like = reader.string() if reader.take("LIKE") else "%"
    level = reader.one_of("ACCOUNT", "SESSION") if reader.take("IN") else "SESSION"
    reader.end()
    values = {**DEFAULTS, **run.catalog.parameters}
    if level == "SESSION":
        values.update({name: str(value) for name, value in run.session.parameters.items()})
    rows = []
    for name, value in sorted(values.items()):
        if like_pattern(like).fullmatch(name):
            default = DEFAULTS.get(name, "")
            rows.append([name, value, default, "" if value == default else level, "", "STRING"])
    return listing(PARAMETERS, rows)


def _yes(value: bool) -> str:
    return "Y" if value else "N"
