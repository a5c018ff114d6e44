"""What people, DSS and the notebook do with an account, without SQL of ours: sign in, call, push, log a model."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from .account import Account, Refused
from .effects_on_schemas import add_service, create_in_schema

# Roles that cannot sign in with OAuth (user-guide/oauth-snowflake-overview).
_OAUTH_REFUSES = {"ACCOUNTADMIN", "ORGADMIN", "GLOBALORGADMIN", "SECURITYADMIN"}


def oauth_role(account: Account, user: str, integration: str, role: str, redirect: str, address: str) -> str:
    """Sign in with OAuth; the session's role. Raises Refused with Snowflake's error number."""
    thing = account.things.get(("INTEGRATION", integration))
    if thing is None or not thing.settings.get("enabled", True):
        raise Refused("390306: the client is not known")
    settings = thing.settings
    if settings.get("redirect") != redirect:
        raise Refused("390307: the redirect URI differs from that of the integration")
    allowed, blocked = settings.get("allowed"), settings.get("blocked", ())
    if role in _OAUTH_REFUSES or role in blocked or (allowed is not None and role not in allowed):
        raise Refused("390308: the scope is not valid")
    if role not in set().union(*(account.roles_of(each) for each in account.users[user])):
        raise Refused("390308: the role is not granted to the user")
    check_address(account, settings.get("policy"), address)
    return role


def check_address(account: Account, policy: str | None, address: str) -> None:
    if policy is None:
        return
    rules = account.things["NETWORK POLICY", policy].settings["rules"]
    values = [value for rule in rules for value in account.things["NETWORK RULE", rule].settings["values"]]
    if not any(ipaddress.ip_address(address) in ipaddress.ip_network(value) for value in values):
        raise Refused(f"invalid_client: address {address} is not allowed by policy {policy}")


def call(account: Account, service: str, role: str) -> None:
    """A request from outside. Raises Refused as the ingress would answer 404 or 503."""
    thing = account.things.get(("SERVICE", service))
    if thing is None:
        raise Refused(f"404: {service} does not exist")
    database, schema, _ = service.split(".")
    for caller in (role, thing.owner):
        for kind, name in (("DATABASE", database), ("SCHEMA", f"{database}.{schema}")):
            if not account.may("USAGE", kind, name, caller):
                raise Refused(f"404: {caller} lacks USAGE on {kind} {name}")
    if thing.owner not in account.roles_of(role) and not account.may("ENDPOINTS", "SERVICE", service, role):
        raise Refused(f"404: {role} has no service role of {service}")
    if not account.may("BIND SERVICE ENDPOINT", "ACCOUNT", role=thing.owner):
        raise Refused(f"404: {thing.owner} lost BIND SERVICE ENDPOINT")
    if not account.may("USAGE", "COMPUTE POOL", thing.settings["pool"], thing.owner):
        raise Refused(f"503: {thing.owner} lost USAGE on the pool")


def call_function(account: Account, function: str, role: str) -> None:
    """A function in a query of a role. Its service is called with the rights of the function's owner."""
    thing = account.things.get(("FUNCTION", function))
    if thing is None or not account.may("USAGE", "FUNCTION", function, role):
        raise Refused(f"Unknown function {function}")
    database, schema, _ = function.split(".")
    for kind, name in (("DATABASE", database), ("SCHEMA", f"{database}.{schema}")):
        if not account.may("USAGE", kind, name, role):
            raise Refused(f"{role} lacks USAGE on {kind} {name}")
    service = account.things["SERVICE", thing.settings["service"]]
    if service.owner != thing.owner:
        raise Refused(f"{thing.owner} may not use {thing.settings['service']}")


def upload(account: Account, stage: str, path: Path) -> None:
    """Put a file on a stage, uncompressed, as Snowsight does."""
    account.need("WRITE", "STAGE", stage)
    account.files[stage, path.name] = path.read_text(encoding="utf-8")


def push(account: Account, repository: str, image: str) -> None:
    account.need("WRITE", "IMAGE REPOSITORY", repository)
    account.images.setdefault(repository, set()).add(image)


def held_by(account: Account, role: str) -> set[tuple[str, str, str]]:
    """(privilege, kind, name) granted to the role, and OWNERSHIP of what it owns."""
    granted = {grant[:3] for grant in account.grants if grant[3] == role}
    return granted | {("OWNERSHIP", *key) for key, thing in account.things.items() if thing.owner == role}


def create_model(account: Account, name: str) -> None:
    """`Registry.log_model`: CREATE MODEL and CREATE STAGE on the schema, and an active warehouse."""
    account.need_warehouse()
    account.need("CREATE STAGE", "SCHEMA", name.rpartition(".")[0])
    captures = {"name": name}
    created = create_in_schema(account, "MODEL", captures)
    if (("MODEL", created) in account.things) and account.things[
        "MODEL", created
    ].owner not in account.active_roles():
        raise Refused(f"{account.role} does not own MODEL {created}: a version cannot be added")
    account.make("MODEL", created, captures)


def create_registry_service(
    account: Account, name: str, pool: str, integrations: list[str] | None = None
) -> None:
    """`ModelVersion.create_service(ingress_enabled=True)`: a service without a specification of ours."""
    specification = {"roles": {"ALL_ENDPOINTS_USAGE"}, "public": True, "blocks": False}
    captures = {"pool": pool, "integrations": integrations or [], **specification}
    add_service(account, create_in_schema(account, "SERVICE", {"name": name}), captures)
