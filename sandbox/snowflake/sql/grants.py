"""GRANT, REVOKE and SHOW GRANTS.

Columns: Snowflake docs, SHOW GRANTS; for service roles, snowflake-rest-api-specs `service.yaml`. Who may grant: the
owner of the object, and a role with MANAGE GRANTS (Snowflake docs, GRANT).
"""

from __future__ import annotations

from sandbox.snowflake.catalog import Service, qualified
from sandbox.snowflake.catalog.grants import DATABASE_ROLES, Grant, Securable
from sandbox.snowflake.sql.errors import insufficient, invalid_argument
from sandbox.snowflake.sql.reader import Reader
from sandbox.snowflake.sql.results import Result, columns, done, listing
from sandbox.snowflake.sql.run import Run, instant
from sandbox.snowflake.sql.services import service_roles

ON = columns(
    "created_on timestamp_ltz", "privilege", "granted_on", "name", "granted_to", "grantee_name", "grant_option",
    "granted_by_role_type", "granted_by",
)  # fmt: skip
TO = columns(
    "created_on timestamp_ltz", "privilege", "granted_on", "name", "granted_to", "grantee_name", "grant_option",
    "granted_by",
)  # fmt: skip
OF = columns("created_on timestamp_ltz", "role", "granted_to", "grantee_name", "granted_by")
TO_SERVICE_ROLE = columns(
    "created_on timestamp_ltz", "privilege", "granted_on", "name", "granted_to", "grantee_name"
)  # fmt: skip

KINDS = {
    "SERVICE": "SERVICE", "COMPUTE POOL": "COMPUTE_POOL", "DATABASE": "DATABASE", "SCHEMA": "SCHEMA",
    "WAREHOUSE": "WAREHOUSE", "MODEL": "MODEL", "IMAGE REPOSITORY": "IMAGE_REPOSITORY", "GATEWAY": "GATEWAY",
    "STAGE": "STAGE",
}  # fmt: skip
PRIVILEGES = {
    "SERVICE": {"USAGE", "MONITOR", "OPERATE"},
    "COMPUTE_POOL": {"USAGE", "MONITOR", "OPERATE", "MODIFY"},
    "DATABASE": {"USAGE", "MONITOR", "CREATE SCHEMA"},
    "SCHEMA": {"USAGE", "MONITOR", "CREATE SERVICE", "CREATE FUNCTION", "CREATE TABLE", "CREATE STAGE"},
    "WAREHOUSE": {"USAGE", "OPERATE", "MONITOR", "MODIFY"},
    "MODEL": {"USAGE", "READ"},
    "IMAGE_REPOSITORY": {"READ", "WRITE"},
    "GATEWAY": {"USAGE", "MODIFY"},
    "STAGE": {"READ", "WRITE"},
}
Name = tuple[str, ...]


# -- objects by kind and name ----------------------------------------------------------------------


def _object(reader: Reader, run: Run) -> Securable:
    """The object of ON <kind> <name>; raises 002003 if it is not there, or the role holds nothing on it."""
    kind = reader.one_of(*KINDS)
    parts = reader.qualified()
    on = _securable(run, kind, parts)
    if on is None or not run.may.sees(on, PRIVILEGES[on.kind]):
        raise run.missing(kind.capitalize(), qualified(*parts))
    return on


def _securable(run: Run, kind: str, parts: Name) -> Securable | None:
    catalog = run.catalog
    if kind == "COMPUTE POOL":
        return _of(catalog.pools.get(parts[-1]))
    if kind == "WAREHOUSE":
        return _of(catalog.warehouses.get(parts[-1]))
    if kind == "DATABASE":
        return _of(catalog.databases.get(parts[-1]))
    if kind == "SCHEMA":
        database = catalog.databases.get(parts[0] if len(parts) == 2 else run.session.database or "")
        return _of(database.schemas.get(parts[-1])) if database else None
    key = run.full(parts, "GRANT")
    if kind == "SERVICE":
        return _of(catalog.services.get(key))
    if kind == "STAGE":
        return _of(catalog.stages.get(key))
    if kind == "MODEL":
        return _of(catalog.models.get(key))
    return _of(catalog.gateways.get(key) if kind == "GATEWAY" else catalog.repositories.get(key))


def _of(found: object) -> Securable | None:
    return getattr(found, "securable", None)


def _privileges(reader: Reader) -> list[str]:
    found = [_privilege(reader)]
    while reader.take(","):
        found.append(_privilege(reader))
    return found


def _privilege(reader: Reader) -> str:
    words = [reader.identifier()]
    while (
        reader.next.kind == "word"
        and not reader.sees("ON")
        and not reader.sees("TO")
        and not reader.sees("FROM")
    ):
        words.append(reader.identifier())
    return " ".join(words).removesuffix(" PRIVILEGES")


def _service_role(reader: Reader, run: Run) -> tuple[Service, str]:
    """service!role, which the role must see."""
    service = run.service(reader.qualified(), "GRANT")
    reader.expect("!")
    role = reader.identifier()
    if role not in service_roles(service):
        raise run.missing("Service role", f"{service.full_name}!{role}")
    return service, role


# -- granting --------------------------------------------------------------------------------------


def grant(reader: Reader, run: Run) -> Result:
    return _change(reader, run, giving=True)


def revoke(reader: Reader, run: Run) -> Result:
    return _change(reader, run, giving=False)


def _change(reader: Reader, run: Run, *, giving: bool) -> Result:
    towards = "TO" if giving else "FROM"
    if reader.take("SERVICE", "ROLE"):
        service, _ = _service_role(reader, run)
        role = _grantee(reader, run, towards)
        _require_grantor(run, service.securable)
        _change_callers(service, role, giving=giving)
        return done()
    if reader.take("DATABASE", "ROLE"):
        return _database_role(reader, run, towards, giving=giving)
    if reader.take("ROLE"):
        return _role(reader, run, towards, giving=giving)
    privileges = _privileges(reader)
    reader.expect("ON")
    on = _object(reader, run)
    role = _grantee(reader, run, towards)
    _require_grantor(run, on)
    known = PRIVILEGES[on.kind]
    wanted = sorted(known) if privileges == ["ALL"] else privileges
    for privilege in wanted:
        if privilege not in known:
            raise invalid_argument(f"Invalid object privilege {privilege} for {on.kind}.")
        if giving:
            run.catalog.grants.grant(privilege, on, role, run.may.role)
        else:
            run.catalog.grants.revoke(privilege, on, role)
    return done()


def _grantee(reader: Reader, run: Run, towards: str) -> str:
    reader.expect(towards)
    reader.take("ROLE")
    role = reader.identifier()
    reader.end()
    if role not in run.catalog.grants.roles:
        raise run.missing("Role", role)
    return role


def _require_grantor(run: Run, on: Securable) -> None:
    if not (run.may.holds(on) or run.may.manages_grants):
        raise insufficient(on.kind.replace("_", " "), on.name)


def _change_callers(service: Service, role: str, *, giving: bool) -> None:
    """Who may call the endpoints, which is what the ingress checks."""
    for endpoint in service.endpoints:
        if endpoint.ingress is not None and endpoint.ingress.roles is not None:
            held = endpoint.ingress.roles
            endpoint.ingress.roles = held | {role} if giving else held - {role}


def _database_role(reader: Reader, run: Run, towards: str, *, giving: bool) -> Result:
    parts = reader.qualified()
    role = _grantee(reader, run, towards)
    if parts[0] != "SNOWFLAKE" or parts[-1] not in DATABASE_ROLES:
        raise run.missing("Database role", ".".join(parts))
    on = Securable("DATABASE_ROLE", ".".join(parts))
    if "ACCOUNTADMIN" not in run.may.roles:
        raise insufficient("DATABASE ROLE", on.name)
    if giving:
        run.catalog.grants.grant("USAGE", on, role, run.may.role)
    else:
        run.catalog.grants.revoke("USAGE", on, role)
    return done()


def _role(reader: Reader, run: Run, towards: str, *, giving: bool) -> Result:
    inner = reader.identifier()
    reader.expect(towards)
    to_user = reader.one_of("ROLE", "USER") == "USER"
    outer = reader.identifier()
    reader.end()
    if inner not in run.catalog.grants.roles:
        raise run.missing("Role", inner)
    if not run.may.manages_grants:
        raise insufficient("ROLE", inner)
    if to_user:
        user = run.world.users.get(outer)
        if user is None:
            raise run.missing("User", outer)
        (user.roles.add if giving else user.roles.discard)(inner)
    elif outer not in run.catalog.grants.roles:
        raise run.missing("Role", outer)
    elif giving:
        run.catalog.grants.grant_role(inner, outer)
    else:
        run.catalog.grants.revoke("USAGE", Securable("ROLE", inner), outer)
    return done()


# -- showing ---------------------------------------------------------------------------------------


def show_grants(reader: Reader, run: Run) -> Result:
    if reader.take("ON"):
        on = _object(reader, run)
        reader.end()
        rows = [_on_row(grant) for grant in run.catalog.grants.on(on)]
        return listing(ON, rows)
    if reader.take("TO", "SERVICE", "ROLE"):
        return _to_service_role(reader, run)
    if reader.take("OF", "SERVICE", "ROLE"):
        return _of_service_role(reader, run)
    if reader.take("TO", "ROLE"):
        return _to_role(reader, run)
    if reader.take("OF", "ROLE"):
        return _of_role(reader, run)
    name = run.session.user
    if reader.take("TO", "USER"):
        name = reader.identifier()
    reader.end()
    return _to_user(run, name)


def _on_row(grant: Grant) -> list[object]:
    owned = "true" if grant.privilege == "OWNERSHIP" else "false"
    name = grant.on.name
    return [
        instant(grant.created_on), grant.privilege, grant.on.kind, name, "ROLE", grant.role, owned, "ROLE",
        grant.granted_by,
    ]  # fmt: skip


def _to_role(reader: Reader, run: Run) -> Result:
    role = _shown_role(reader, run)
    rows = [_on_row(grant) for grant in run.catalog.grants.of(role) if grant.on.kind != "ACCOUNT"]
    return listing(TO, [[*row[:7], row[8]] for row in rows])


def _shown_role(reader: Reader, run: Run) -> str:
    role = reader.identifier()
    reader.end()
    if role not in run.catalog.grants.roles:
        raise run.missing("Role", role)
    return role


def _of_role(reader: Reader, run: Run) -> Result:
    role = _shown_role(reader, run)
    on = Securable("ROLE", role)
    rows: list[list[object]] = [
        [instant(grant.created_on), role, "ROLE", grant.role, grant.granted_by]
        for grant in run.catalog.grants.on(on)
    ]
    users = sorted(user.name for user in run.world.users.values() if role in user.roles)
    return listing(OF, [*rows, *([instant(0.0), role, "USER", user, "USERADMIN"] for user in users)])


def _to_user(run: Run, name: str) -> Result:
    user = run.world.users.get(name)
    if user is None or (name != run.session.user and not run.may.manages_grants):
        raise run.missing("User", name)
    rows = [[instant(0.0), role, "USER", name, "USERADMIN"] for role in sorted(user.roles - {"PUBLIC"})]
    return listing(OF, rows)


def _to_service_role(reader: Reader, run: Run) -> Result:
    service, role = _service_role(reader, run)
    reader.end()
    full = f"{service.full_name}!{role}"
    made = instant(service.created_on)
    rows = [
        [made, "USAGE", "SERVICE_ENDPOINT", f"{service.full_name}!{endpoint.name}", "SERVICE_ROLE", full]
        for endpoint in service.endpoints
    ]
    return listing(TO_SERVICE_ROLE, rows)


def _of_service_role(reader: Reader, run: Run) -> Result:
    service, role = _service_role(reader, run)
    reader.end()
    holders: set[str] = set()
    for endpoint in service.endpoints:
        if endpoint.ingress is not None:
            holders |= {"PUBLIC"} if endpoint.ingress.roles is None else endpoint.ingress.roles
    made = instant(service.created_on)
    return listing(OF, [[made, role, "ROLE", holder, service.owner] for holder in sorted(holders)])
