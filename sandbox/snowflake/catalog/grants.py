"""Roles, what they inherit, and the privileges that they hold.

Snowflake docs, access control overview: a role has the privileges of the roles that are granted to it, everybody has
those of PUBLIC, the owner of an object has every privilege on it, and a role with MANAGE GRANTS sees every object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

SYSTEM_ROLES = ("ACCOUNTADMIN", "SECURITYADMIN", "USERADMIN", "SYSADMIN", "PUBLIC")


@dataclass(frozen=True)
class Securable:
    """An object that privileges are granted on. kind: as SHOW GRANTS prints it; name: qualified."""

    kind: str
    name: str


ACCOUNT = Securable("ACCOUNT", "")


@dataclass(frozen=True)
class Grant:
    """A privilege of a role; for a role that is granted, `on` is that role and the privilege is USAGE."""

    privilege: str
    on: Securable
    role: str
    granted_by: str = ""
    created_on: float = 0.0


class Grants:
    """All grants of an account. `clock` dates them."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        # By object and by role: thousands of services are created and looked at.
        self._on: dict[Securable, dict[tuple[str, str], Grant]] = {}
        self._of: dict[str, dict[tuple[str, Securable], Grant]] = {}
        self._views: dict[str, View] = {}
        self.roles: set[str] = set(SYSTEM_ROLES)
        for inner, outer in (
            ("SYSADMIN", "ACCOUNTADMIN"), ("SECURITYADMIN", "ACCOUNTADMIN"), ("USERADMIN", "SECURITYADMIN"),
        ):  # fmt: skip
            self.grant_role(inner, outer)
        self.grant("MANAGE GRANTS", ACCOUNT, "SECURITYADMIN")
        for view_role in DATABASE_ROLES:
            self.grant("USAGE", Securable("DATABASE_ROLE", f"SNOWFLAKE.{view_role}"), "ACCOUNTADMIN")

    # -- changing --------------------------------------------------------------------------------------

    def add_role(self, role: str, *, under: str | None = "SYSADMIN") -> str:
        """A new role, granted to `under`, as Snowflake recommends for every role that owns objects."""
        if role not in self.roles:
            self.roles.add(role)
            if under is not None:
                self.grant_role(role, under)
        return role

    def grant(self, privilege: str, on: Securable, role: str, by: str = "ACCOUNTADMIN") -> None:
        self._views.clear()
        held = self._of.setdefault(role, {})
        if (privilege, on) not in held:
            grant = Grant(privilege, on, role, by, self._clock())
            held[privilege, on] = grant
            self._on.setdefault(on, {})[privilege, role] = grant

    def revoke(self, privilege: str, on: Securable, role: str) -> None:
        self._views.clear()
        self._of.get(role, {}).pop((privilege, on), None)
        self._on.get(on, {}).pop((privilege, role), None)

    def revoke_all(self, on: Securable, role: str | None = None) -> None:
        """Take every privilege on an object away, from one role or from all."""
        for grant in self.on(on):
            if role in (None, grant.role):
                self.revoke(grant.privilege, on, grant.role)

    def grant_role(self, inner: str, outer: str) -> None:
        self.grant("USAGE", Securable("ROLE", inner), outer)

    def own(self, on: Securable, role: str) -> None:
        """Make `role` the owner, and nobody else."""
        for grant in self.on(on):
            if grant.privilege == "OWNERSHIP":
                self.revoke("OWNERSHIP", on, grant.role)
        self.grant("OWNERSHIP", on, role, role)

    # -- asking ----------------------------------------------------------------------------------------

    def on(self, securable: Securable) -> list[Grant]:
        return list(self._on.get(securable, {}).values())

    def of(self, role: str) -> list[Grant]:
        return list(self._of.get(role, {}).values())

    def inherited(self, role: str) -> set[str]:
        """The role, PUBLIC, and every role that is granted to them directly or by way of others."""
        known: set[str] = set()
        waiting = [role, "PUBLIC"]
        while waiting:
            current = waiting.pop()
            if current not in known:
                known.add(current)
                waiting += [grant.on.name for grant in self.of(current) if grant.on.kind == "ROLE"]
        return known

    def view(self, role: str) -> View:
        """What one role may do, worked out once until a grant changes."""
        if role not in self._views:
            self._views[role] = self._view(role)
        return self._views[role]

    def _view(self, role: str) -> View:
        roles = self.inherited(role)
        held: dict[Securable, set[str]] = {}
        for inherited in roles:
            for grant in self._of.get(inherited, {}).values():
                held.setdefault(grant.on, set()).add(grant.privilege)
        return View(role, roles, held)


class View:
    """The privileges of one role at one time."""

    def __init__(self, role: str, roles: set[str], held: dict[Securable, set[str]]) -> None:
        self.role = role
        self.roles = roles
        self._held = held
        self._sees_all = "MANAGE GRANTS" in held.get(ACCOUNT, ())

    def holds(self, on: Securable, *privileges: str) -> bool:
        """Whether the role has one of these privileges, or owns the object."""
        held: set[str] = self._held.get(on, set())
        return "OWNERSHIP" in held or not held.isdisjoint(privileges)

    def holds_any(self, on: Securable) -> bool:
        return bool(self._held.get(on))

    def sees(self, on: Securable, privileges: Iterable[str]) -> bool:
        return self._sees_all or self.holds(on, *privileges)

    @property
    def manages_grants(self) -> bool:
        return self._sees_all


DATABASE_ROLES = (
    "USAGE_VIEWER", "OBJECT_VIEWER", "GOVERNANCE_VIEWER", "ORGANIZATION_BILLING_VIEWER", "ORGANIZATION_USAGE_VIEWER",
)  # fmt: skip
