"""What DROP statements remove, and what stands in their way: an owner, a policy in use, a service on a pool."""

from __future__ import annotations

from .account import Account, Refused, Thing, effect
from .effects_on_accounts import services_on
from .grammar import Captures


@effect("drop service")
def drop_service(account: Account, captures: Captures, force: bool = False) -> None:
    name = droppable(account, captures)
    if ("SERVICE", name) not in account.things:
        return
    account.own("SERVICE", name)
    if account.things["SERVICE", name].settings["blocks"] and not force:
        raise Refused(f"SERVICE {name} has block volumes: say FORCE")
    account.forget("SERVICE", name)


@effect("drop service by force")
def drop_service_by_force(account: Account, captures: Captures) -> None:
    drop_service(account, captures, force=True)


def drop(account: Account, kind: str, name: str) -> None:
    if (kind, name) in account.things:
        account.own(kind, name)
        account.forget(kind, name)


@effect("drop pool")
def drop_pool(account: Account, captures: Captures) -> None:
    if services_on(account, captures["name"]):
        raise Refused(f"COMPUTE POOL {captures['name']} still has services")
    drop(account, "COMPUTE POOL", captures["name"])


@effect("drop integration")
def drop_integration(account: Account, captures: Captures) -> None:
    users = [
        name for (kind, name), thing in account.things.items() if uses_integration(kind, thing, captures)
    ]
    if users:
        raise Refused(
            f"INTEGRATION {captures['name']} is used by {', '.join(users)}, which would stop working"
        )
    drop(account, "INTEGRATION", captures["name"])


def uses_integration(kind: str, thing: Thing, captures: Captures) -> bool:
    return kind == "SERVICE" and captures["name"] in thing.settings.get("integrations", ())


@effect("drop policy")
def drop_policy(account: Account, captures: Captures) -> None:
    for (kind, name), thing in account.things.items():
        if kind in ("INTEGRATION", "USER") and thing.settings.get("policy") == captures["name"]:
            raise Refused(f"NETWORK POLICY {captures['name']} is assigned to {kind} {name}")
    drop(account, "NETWORK POLICY", captures["name"])


def droppable(account: Account, captures: Captures) -> str:
    """The full name. What IF EXISTS does when the database itself is missing is not documented: refused."""
    name = account.full(captures["name"])
    account.reach("DATABASE", name.split(".")[0])
    return name


@effect("drop rule")
def drop_rule(account: Account, captures: Captures) -> None:
    name = droppable(account, captures)
    rule_is_free(account, name)
    drop(account, "NETWORK RULE", name)


def rule_is_free(account: Account, name: str) -> None:
    for (kind, other), thing in account.things.items():
        if kind in ("INTEGRATION", "NETWORK POLICY") and name in thing.settings.get("rules", ()):
            raise Refused(f"NETWORK RULE {name} is used by {kind} {other}")


@effect("drop database")
def drop_database(account: Account, captures: Captures) -> None:
    name = captures["name"]
    if ("DATABASE", name) not in account.things:
        return
    inside = [key for key in account.things if key[1].startswith(name + ".")]
    for kind, other in inside:
        if kind == "NETWORK RULE":
            rule_is_free(account, other)
    drop(account, "DATABASE", name)
    for kind, other in inside:
        account.forget(kind, other)


@effect("drop warehouse")
def drop_warehouse(account: Account, captures: Captures) -> None:
    drop(account, "WAREHOUSE", captures["name"])
    account.warehouse = "" if account.warehouse == captures["name"] else account.warehouse


@effect("drop role")
def drop_role(account: Account, captures: Captures) -> None:
    drop(account, "ROLE", captures["name"])
    for roles in (*account.inherited.values(), *account.users.values()):
        roles.discard(captures["name"])
    account.inherited.pop(captures["name"], None)
    account.grants = {grant for grant in account.grants if grant[3] != captures["name"]}


@effect("drop user")
def drop_user(account: Account, captures: Captures) -> None:
    drop(account, "USER", captures["name"])
    account.users.pop(captures["name"], None)


@effect("drop model")
def drop_model(account: Account, captures: Captures) -> None:
    drop(account, "MODEL", droppable(account, captures))


@effect("drop table")
def drop_table(account: Account, captures: Captures) -> None:
    drop(account, "TABLE", droppable(account, captures))
