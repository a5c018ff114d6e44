"""What statements about roles, grants and the objects of an account do, and what they need."""

from __future__ import annotations

import ipaddress
import re

from .account import DATABASE_ROLES, Account, Refused, effect
from .grammar import Captures

# What a role may be granted on an object, of what this project grants (user-guide/security-access-control-privileges).
PRIVILEGES = {
    "ACCOUNT": {"BIND SERVICE ENDPOINT", "EXECUTE TASK"},
    "COMPUTE POOL": {"USAGE", "MONITOR", "OPERATE", "MODIFY"},
    "DATABASE": {"USAGE"},
    "IMAGE REPOSITORY": {"READ", "WRITE", "SERVICE READ", "SERVICE WRITE"},
    "INTEGRATION": {"USAGE"},
    "SCHEMA": {
        "USAGE",
        "CREATE MODEL",
        "CREATE SERVICE",
        "CREATE STAGE",
        "CREATE TASK",
        "CREATE IMAGE REPOSITORY",
        "CREATE FUNCTION",
    },
    "FUNCTION": {"USAGE"},
    "SECRET": {"USAGE", "READ"},
    "SERVICE": {"USAGE", "MONITOR", "OPERATE"},
    "WAREHOUSE": {"USAGE", "OPERATE", "MONITOR", "MODIFY"},
}
# Ownership of these cannot be transferred (sql-reference/sql/grant-ownership, usage notes).
_NOT_TRANSFERABLE = {"SERVICE", "MODEL"}


@effect("use role")
def use_role(account: Account, captures: Captures) -> None:
    account.use_role(captures["name"])


@effect("use warehouse")
def use_warehouse(account: Account, captures: Captures) -> None:
    account.need("USAGE", "WAREHOUSE", captures["name"])
    account.warehouse = captures["name"]


@effect("use schema")
def use_schema(account: Account, captures: Captures) -> None:
    account.reach("SCHEMA", captures["name"])
    if not account.any_privilege("SCHEMA", captures["name"]):
        raise Refused(f"SCHEMA {captures['name']} does not exist or not authorized for {account.role}")
    account.schema = captures["name"]


@effect("create role")
def create_role(account: Account, captures: Captures) -> None:
    account.need("CREATE ROLE", "ACCOUNT")
    account.make("ROLE", captures["name"], captures)
    account.inherited.setdefault(captures["name"], {"PUBLIC"})


@effect("grant role to role")
def grant_role_to_role(account: Account, captures: Captures) -> None:
    may_grant(account, "ROLE", captures["name"])
    account.reach("ROLE", captures["to"])
    account.inherited[captures["to"]].add(captures["name"])


@effect("grant role to user")
def grant_role_to_user(account: Account, captures: Captures) -> None:
    may_grant(account, "ROLE", captures["name"])
    if captures["to"] not in account.users:
        raise Refused(f"USER {captures['to']} does not exist or not authorized")
    account.users[captures["to"]].add(captures["name"])


@effect("grant database role")
def grant_database_role(account: Account, captures: Captures) -> None:
    if captures["name"] not in DATABASE_ROLES:
        raise Refused(f"Database role {captures['name']} does not exist or not authorized")
    if "ACCOUNTADMIN" not in account.active_roles():
        raise Refused(f"{account.role} cannot grant the database roles of SNOWFLAKE")
    account.reach("ROLE", captures["to"])
    account.grants.add(("USAGE", "DATABASE ROLE", captures["name"], captures["to"]))


def may_grant(account: Account, kind: str, name: str) -> None:
    if kind == "ACCOUNT":
        if not account.manages_grants():
            raise Refused(f"{account.role} cannot grant privileges on the account")
        return
    if (kind, name) not in account.things:
        raise Refused(f"{kind} {name} does not exist or not authorized")
    if not account.manages_grants():
        account.own(kind, name)


def named(account: Account, kind: str, captures: Captures) -> str:
    if kind == "ACCOUNT":
        return ""
    if kind == "FUNCTION":
        return account.full(captures["name"]) + signature(captures["types"])
    in_schema = kind in ("IMAGE REPOSITORY", "SECRET", "SERVICE", "STAGE", "MODEL", "NETWORK RULE")
    return account.full(captures["name"]) if in_schema else captures["name"]


def signature(types: list[str]) -> str:
    """What tells a function from others of its name."""
    return f"({', '.join(types)})"


@effect("grant")
def grant(account: Account, captures: Captures, kind: str) -> None:
    name = named(account, kind, captures)
    may_grant(account, kind, name)
    account.reach("ROLE", captures["to"])
    for privilege in expand(captures["privileges"], kind):
        account.grants.add((privilege, kind, name, captures["to"]))


@effect("revoke")
def revoke(account: Account, captures: Captures, kind: str) -> None:
    name = named(account, kind, captures)
    may_grant(account, kind, name)
    for privilege in expand(captures["privileges"], kind):
        account.grants.discard((privilege, kind, name, captures["to"]))


def expand(privileges: list[str], kind: str) -> set[str]:
    if privileges in (["ALL"], ["ALL PRIVILEGES"]):
        return set(PRIVILEGES[kind])
    unknown = set(privileges) - PRIVILEGES.get(kind, set())
    if unknown:
        raise Refused(f"{', '.join(sorted(unknown))} is not a privilege on {kind}")
    return set(privileges)


@effect("grant ownership")
def grant_ownership(account: Account, captures: Captures, kind: str) -> None:
    name = named(account, kind, captures)
    if kind in _NOT_TRANSFERABLE:
        raise Refused(f"the ownership of a {kind} cannot be transferred")
    may_grant(account, kind, name)
    account.reach("ROLE", captures["to"])
    current = captures.get("current")
    outbound = {grant for grant in account.grants if grant[1:3] == (kind, name)}
    if outbound and current not in ("COPY", "REVOKE") and kind != "ROLE":
        raise Refused(f"{kind} {name} has dependent grants: say COPY or REVOKE CURRENT GRANTS")
    if current == "COPY" and not (account.manages_grants() or captures["to"] in account.active_roles()):
        raise Refused("COPY CURRENT GRANTS needs MANAGE GRANTS")
    if current == "REVOKE":
        account.grants -= outbound
    account.things[kind, name].owner = captures["to"]


@effect("grant service role")
def grant_service_role(account: Account, captures: Captures) -> None:
    service, service_role = account.full(captures["name"]).split("!")
    account.own("SERVICE", service)
    if service_role not in account.things["SERVICE", service].settings["roles"]:
        raise Refused(f"service role {captures['name']} does not exist or not authorized")
    account.reach("ROLE", captures["to"])
    account.grants.add(("ENDPOINTS", "SERVICE", service, captures["to"]))


@effect("create database")
def create_database(account: Account, captures: Captures) -> None:
    if ("DATABASE", captures["name"]) not in account.things:
        account.need("CREATE DATABASE", "ACCOUNT")
    account.make("DATABASE", captures["name"], captures)


@effect("create schema")
def create_schema(account: Account, captures: Captures) -> None:
    name = captures["name"] if "." in captures["name"] else current_database(account) + captures["name"]
    if ("SCHEMA", name) not in account.things:
        account.need("CREATE SCHEMA", "DATABASE", name.split(".")[0])
    account.make("SCHEMA", name, captures)


def current_database(account: Account) -> str:
    if not account.schema:
        raise Refused("this session does not have a current database")
    return account.schema.split(".")[0] + "."


@effect("create warehouse")
def create_warehouse(account: Account, captures: Captures) -> None:
    if ("WAREHOUSE", captures["name"]) not in account.things:
        account.need("CREATE WAREHOUSE", "ACCOUNT")
    account.make("WAREHOUSE", captures["name"], {"auto suspend": 600, **captures})


@effect("alter warehouse")
def alter_warehouse(account: Account, captures: Captures) -> None:
    account.need("MODIFY", "WAREHOUSE", captures["name"])
    account.alter("WAREHOUSE", captures["name"], captures)


@effect("create compute pool")
def create_compute_pool(account: Account, captures: Captures) -> None:
    account.need("CREATE COMPUTE POOL", "ACCOUNT")
    if not account.pools_allowed:
        raise Refused("Snowpark Container Services: trial accounts are not supported")
    if captures["family"] not in account.families:
        raise Refused(f"instance family {captures['family']} is not available in this region")
    account.make("COMPUTE POOL", captures["name"], {"auto suspend": 3600, **captures})


@effect("alter compute pool")
def alter_compute_pool(account: Account, captures: Captures) -> None:
    account.need("MODIFY", "COMPUTE POOL", captures["name"])
    account.alter("COMPUTE POOL", captures["name"], captures)


@effect("stop all")
def stop_all(account: Account, captures: Captures) -> None:
    if ("COMPUTE POOL", captures["name"]) not in account.things:
        return
    account.need("OPERATE", "COMPUTE POOL", captures["name"])
    for kind, name in services_on(account, captures["name"]):
        account.forget(kind, name)


def services_on(account: Account, pool: str) -> list[tuple[str, str]]:
    return [
        key for key, thing in account.things.items() if key[0] == "SERVICE" and thing.settings["pool"] == pool
    ]


@effect("create network rule")
@effect("create or alter network rule")
def create_network_rule(account: Account, captures: Captures) -> None:
    name = account.full(captures["name"])
    schema = name.rpartition(".")[0]
    if ("NETWORK RULE", name) in account.things:
        account.own("NETWORK RULE", name)
    elif not {"ACCOUNTADMIN", "SECURITYADMIN"} & account.active_roles():
        account.own("SCHEMA", schema)
    if ("SCHEMA", schema) not in account.things:
        raise Refused(f"SCHEMA {schema} does not exist or not authorized")
    if captures["type"] == "IPV4":
        for value in captures["values"]:
            try:
                ipaddress.ip_network(value, strict=False)
            except ValueError as error:
                raise Refused(f"network rule {name}: {error}") from error
    account.make("NETWORK RULE", name, captures)
    account.alter("NETWORK RULE", name, captures)


@effect("alter network rule")
def alter_network_rule(account: Account, captures: Captures) -> None:
    name = account.full(captures["name"])
    account.own("NETWORK RULE", name)
    account.alter("NETWORK RULE", name, captures)


@effect("create external access integration")
def create_external_access_integration(account: Account, captures: Captures) -> None:
    account.need("CREATE INTEGRATION", "ACCOUNT")
    rules = [account.full(rule) for rule in captures["rules"]]
    rules_exist(account, rules, "EGRESS")
    account.make("INTEGRATION", captures["name"], {**captures, "rules": rules, "sort": "egress"})


@effect("create network policy")
def create_network_policy(account: Account, captures: Captures) -> None:
    account.need("CREATE NETWORK POLICY", "ACCOUNT")
    rules = [rule.upper() for rule in captures["rules"]]
    rules_exist(account, rules, "INGRESS")
    account.make("NETWORK POLICY", captures["name"], {**captures, "rules": rules})


def rules_exist(account: Account, rules: list[str], mode: str) -> None:
    for rule in rules:
        account.reach("NETWORK RULE", rule)
        if account.things["NETWORK RULE", rule].settings["mode"] != mode:
            raise Refused(f"network rule {rule} is not of mode {mode}")


@effect("create security integration")
def create_security_integration(account: Account, captures: Captures) -> None:
    account.need("CREATE INTEGRATION", "ACCOUNT")
    check_oauth(account, captures)
    account.make("INTEGRATION", captures["name"], {"sort": "oauth", **captures})


@effect("alter security integration")
def alter_security_integration(account: Account, captures: Captures) -> None:
    account.own("INTEGRATION", captures["name"])
    check_oauth(account, captures)
    account.alter("INTEGRATION", captures["name"], captures)


def check_oauth(account: Account, captures: Captures) -> None:
    for role in captures.get("allowed", ()):
        account.reach("ROLE", role)
    if "policy" in captures:
        account.reach("NETWORK POLICY", captures["policy"])
    if not captures.get("redirect", "https://").startswith("https://"):
        raise Refused("OAUTH_REDIRECT_URI must be protected by TLS")
    if not 3600 <= captures.get("refresh seconds", 3600) <= 7776000:
        raise Refused("OAUTH_REFRESH_TOKEN_VALIDITY is out of its range")


@effect("show secret")
def show_secret(account: Account, captures: Captures) -> None:
    if captures["name"] != captures["name"].upper():
        raise Refused("the name of the integration must be in upper case")
    account.own("INTEGRATION", captures["name"])


@effect("create user")
def create_user(account: Account, captures: Captures) -> None:
    account.need("CREATE USER", "ACCOUNT")
    account.make("USER", captures["name"], captures)
    account.users.setdefault(captures["name"], set())


@effect("alter user")
def alter_user(account: Account, captures: Captures) -> None:
    account.own("USER", captures["name"])
    if "policy" in captures:
        account.reach("NETWORK POLICY", captures["policy"])
    if not re.fullmatch(r"[A-Za-z0-9+/=\s]*", captures.get("key", "")):
        raise Refused("RSA_PUBLIC_KEY is not a public key")
    account.alter("USER", captures["name"], captures)


@effect("unset user")
def unset_user(account: Account, captures: Captures) -> None:
    account.own("USER", captures["name"])
    account.things["USER", captures["name"]].settings.pop("policy", None)


@effect("add token")
def add_token(account: Account, captures: Captures) -> None:
    account.own("USER", captures["name"])
    if captures.get("role") not in account.users[captures["name"]]:
        raise Refused("ROLE_RESTRICTION names a role that the user does not have")
    if not 1 <= captures.get("days", 15) <= 365:
        raise Refused("DAYS_TO_EXPIRY is out of its range")
    account.alter("USER", captures["name"], {"token role": captures["role"]})
