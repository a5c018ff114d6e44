"""A model of a Snowflake account: its roles, privileges and objects, and who may do what with them.

It refuses what Snowflake's documentation says a role may not do ("Access control requirements" of each statement's
page). What each statement does is in the modules effects_on_*.py, which register their functions here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import sqlglot
from sqlglot import exp

from . import script
from .grammar import Captures, NotDocumented, parse

# The kind of a grammar rule -> what such a statement does: (account, captures) or (account, captures, kind of object).
EFFECTS: dict[str, Callable[..., None]] = {}
ADMINISTRATORS = ("ACCOUNTADMIN", "SECURITYADMIN", "USERADMIN", "SYSADMIN")


# Which usage views the database roles of SNOWFLAKE may read, of those that this project reads (sql-reference/
# snowflake-db-roles).
DATABASE_ROLES = {
    "SNOWFLAKE.USAGE_VIEWER": {"SNOWPARK_CONTAINER_SERVICES_HISTORY", "MODEL_SERVING_USAGE_HISTORY"},
    "SNOWFLAKE.ORGANIZATION_BILLING_VIEWER": {"RATE_SHEET_DAILY"},
}


class Refused(Exception):
    """What Snowflake would answer with an error."""


def effect(kind: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register what the statements of a grammar rule's kind do."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        EFFECTS[kind] = function
        return function

    return register


@dataclass
class Thing:
    """An object. owner: a role. settings: the captured clauses of its CREATE and ALTER statements."""

    owner: str
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass
class Account:
    """One account, with one session in it. `files` are on stages: (stage, file name) -> the specification's text.

    pools_allowed: False in a trial account. families: those that the region has.
    """

    pools_allowed: bool = True
    families: tuple[str, ...] = ("GPU_NV_S", "CPU_X64_XS")
    things: dict[tuple[str, str], Thing] = field(default_factory=dict)
    grants: set[tuple[str, str, str, str]] = field(default_factory=set)
    inherited: dict[str, set[str]] = field(default_factory=dict)
    users: dict[str, set[str]] = field(default_factory=dict)
    files: dict[tuple[str, str], str] = field(default_factory=dict)
    images: dict[str, set[str]] = field(default_factory=dict)
    user: str = ""
    role: str = "PUBLIC"
    schema: str = ""
    warehouse: str = ""

    def __post_init__(self) -> None:
        for role in (*ADMINISTRATORS, "PUBLIC"):
            self.things["ROLE", role] = Thing("")
            self.inherited[role] = {"PUBLIC"} - {role}
        self.inherited["ACCOUNTADMIN"] |= {"SECURITYADMIN", "SYSADMIN"}
        self.inherited["SECURITYADMIN"] |= {"USERADMIN"}
        for role, privileges in {
            "ACCOUNTADMIN": ("CREATE COMPUTE POOL", "CREATE INTEGRATION", "OWNERSHIP"),
            "SECURITYADMIN": ("MANAGE GRANTS", "CREATE NETWORK POLICY"),
            "USERADMIN": ("CREATE ROLE", "CREATE USER"),
            "SYSADMIN": ("CREATE DATABASE", "CREATE WAREHOUSE"),
        }.items():
            self.grants |= {(privilege, "ACCOUNT", "", role) for privilege in privileges}
        self.things["COMPUTE POOL", "SYSTEM_COMPUTE_POOL_CPU"] = Thing("", {"family": "CPU_X64_S"})
        self.grants.add(("USAGE", "COMPUTE POOL", "SYSTEM_COMPUTE_POOL_CPU", "PUBLIC"))

    def sign_in_as(self, user: str, role: str = "PUBLIC") -> None:
        """A new session: no schema, no warehouse."""
        self.user, self.role, self.schema, self.warehouse = user, "PUBLIC", "", ""
        self.users.setdefault(user, set())
        self.use_role(role)

    def run(self, text: str, name: str = "") -> None:
        """Run a whole file, as "Run all" does. Raises Refused at the first statement that fails, with its line."""
        for statement in script.statements(text, name):
            try:
                self.execute(statement.text)
            except (Refused, NotDocumented) as error:
                raise Refused(f"{statement}: {error}") from error

    def execute(self, text: str) -> None:
        try:
            rule, captures = parse(text)
        except NotDocumented:
            if not self.is_query(text):
                raise
            return
        kind, _, what = rule.kind.partition("|")
        EFFECTS[kind](self, captures, *([what] if what else []))

    def is_query(self, text: str) -> bool:
        try:
            parsed = sqlglot.parse_one(text, dialect="snowflake")
        except sqlglot.errors.ParseError:
            return False
        if not isinstance(parsed, exp.Select):
            return False
        for table in parsed.find_all(exp.Table):
            self.need_warehouse()
            if table.catalog.upper() == "SNOWFLAKE" and not self._may_read(table.name.upper()):
                raise Refused(f"{self.role} has no access to {table.sql()}")
        return True

    def _may_read(self, view: str) -> bool:
        """Whether the role may read a usage view: as account administrator, or by the view's database role."""
        readers = [role for role, views in DATABASE_ROLES.items() if view in views]
        return "ACCOUNTADMIN" in self.active_roles() or any(
            self.may("USAGE", "DATABASE ROLE", role) for role in readers
        )

    def roles_of(self, role: str) -> set[str]:
        """The role and all that it inherits."""
        found, waiting = set(), [role]
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting += self.inherited.get(name, set())
        return found

    def active_roles(self) -> set[str]:
        return self.roles_of(self.role)

    def may(self, privilege: str, kind: str, name: str = "", role: str = "") -> bool:
        """Whether the role (the session's, if none is given) has the privilege, or owns the object."""
        roles = self.roles_of(role or self.role)
        thing = self.things.get((kind, name))
        if thing is not None and thing.owner in roles and privilege != "ENDPOINTS":
            return True
        return any((privilege, kind, name, each) in self.grants for each in roles)

    def need(self, privilege: str, kind: str, name: str = "") -> None:
        """Raises Refused if the session's role may not, or may not even see the object."""
        if name:
            self.reach(kind, name)
        if not self.may(privilege, kind, name):
            raise Refused(f"{self.role} lacks {privilege} on {kind} {name or 'of the account'}".rstrip())

    def reach(self, kind: str, name: str) -> None:
        if (kind, name) not in self.things:
            raise Refused(f"{kind} {name} does not exist or not authorized")
        parts = name.split(".")
        if len(parts) >= 2 and not self.any_privilege("DATABASE", parts[0]):
            raise Refused(f"DATABASE {parts[0]} does not exist or not authorized for {self.role}")
        if len(parts) == 3 and not self.any_privilege("SCHEMA", ".".join(parts[:2])):
            raise Refused(f"SCHEMA {'.'.join(parts[:2])} does not exist or not authorized for {self.role}")

    def any_privilege(self, kind: str, name: str) -> bool:
        roles = self.active_roles()
        if self.manages_grants() or self.things.get((kind, name), Thing("?")).owner in roles:
            return True
        return any(grant[1:3] == (kind, name) and grant[3] in roles for grant in self.grants)

    def manages_grants(self) -> bool:
        return self.may("MANAGE GRANTS", "ACCOUNT")

    def own(self, kind: str, name: str) -> None:
        self.reach(kind, name)
        if self.things[kind, name].owner not in self.active_roles():
            raise Refused(f"{self.role} does not own {kind} {name}: {self.things[kind, name].owner} does")

    def need_warehouse(self) -> None:
        if not self.warehouse:
            raise Refused("000606: no active warehouse selected")

    def full(self, name: str) -> str:
        """The name with the session's database and schema in front."""
        count = name.partition("!")[0].count(".")
        if count == 2:
            return name
        if count == 0 and self.schema:
            return f"{self.schema}.{name}"
        raise Refused(f"{name}: this session does not have a current schema")

    def make(self, kind: str, name: str, captures: Captures) -> None:
        """Add the object unless it exists (every CREATE here says IF NOT EXISTS or OR ALTER).

        A new database, schema or warehouse becomes the session's.
        """
        if (kind, name) in self.things:
            return
        settings = {key: value for key, value in captures.items() if key != "name"}
        self.things[kind, name] = Thing(self.role, settings)
        if kind in ("DATABASE", "SCHEMA"):
            self.schema = name if kind == "SCHEMA" else f"{name}.PUBLIC"
        if kind == "WAREHOUSE":
            self.warehouse = name

    def alter(self, kind: str, name: str, captures: Captures) -> None:
        self.things[kind, name].settings.update(
            {key: value for key, value in captures.items() if key != "name"}
        )

    def forget(self, kind: str, name: str) -> None:
        del self.things[kind, name]
        self.grants = {grant for grant in self.grants if grant[1:3] != (kind, name)}

    def use_role(self, name: str) -> None:
        granted = set().union({"PUBLIC"}, *(self.roles_of(role) for role in self.users[self.user]))
        if name not in granted:
            raise Refused(f"Requested role '{name}' is not assigned to the executing user")
        self.role = name
