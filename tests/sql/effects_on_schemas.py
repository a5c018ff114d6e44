"""What statements about the objects of a schema do, and what they need: services, stages, images, tasks; SHOW."""

from __future__ import annotations

import re
from typing import Any

import yaml

from .account import Account, Refused, effect
from .effects_on_accounts import signature
from .grammar import Captures


def create_in_schema(account: Account, kind: str, captures: Captures) -> str:
    name = account.full(captures["name"])
    if (kind, name) not in account.things:
        account.need(f"CREATE {kind}", "SCHEMA", name.rpartition(".")[0])
    return name


@effect("create image repository")
def create_image_repository(account: Account, captures: Captures) -> None:
    account.make("IMAGE REPOSITORY", create_in_schema(account, "IMAGE REPOSITORY", captures), captures)


@effect("create secret")
def create_secret(account: Account, captures: Captures) -> None:
    account.make("SECRET", create_in_schema(account, "SECRET", captures), captures)


@effect("create stage")
def create_stage(account: Account, captures: Captures) -> None:
    account.make("STAGE", create_in_schema(account, "STAGE", captures), captures)


@effect("create service")
def create_service(account: Account, captures: Captures) -> None:
    name = create_in_schema(account, "SERVICE", captures)
    if ("SERVICE", name) in account.things:
        return
    if captures.get("min", 1) > captures.get("max", captures.get("min", 1)):
        raise Refused("MIN_INSTANCES is larger than MAX_INSTANCES")
    read = read_specification(account, captures)
    if "auto suspend" in captures and read["public"]:
        raise Refused("AUTO_SUSPEND_SECS is not for services with public endpoints")
    if read["blocks"] and captures.get("min", 1) != captures.get("max", captures.get("min", 1)):
        raise Refused("a service with block volumes needs MIN_INSTANCES = MAX_INSTANCES")
    add_service(account, name, {**captures, **read})


def add_service(account: Account, name: str, captures: Captures) -> None:
    if {"ACCOUNTADMIN", "SECURITYADMIN"} & {account.role}:
        raise Refused(f"{account.role} cannot own a service")
    account.need("USAGE", "COMPUTE POOL", captures["pool"])
    for integration in captures.get("integrations", ()):
        account.need("USAGE", "INTEGRATION", integration)
    if captures["public"]:
        account.need("BIND SERVICE ENDPOINT", "ACCOUNT")
    account.make("SERVICE", name, captures)


def read_specification(account: Account, captures: Captures) -> dict[str, Any]:
    stage = account.full(captures["stage"])
    account.need("READ", "STAGE", stage)
    text = account.files.get((stage, captures.get("file") or captures["template"]))
    if text is None:
        raise Refused(f"the specification is not on stage {stage}")
    if "variable" in captures:
        text = text.replace("{{ " + captures["variable"].lower() + " }}", captures["value"])
    if "{{" in text:
        raise Refused("the specification is a template, and a variable has no value")
    read = yaml.safe_load(text)
    for container in read["spec"]["containers"]:
        repository, _, image = container["image"].rpartition("/")
        name = repository.strip("/").replace("/", ".").upper()
        account.need("READ", "IMAGE REPOSITORY", name)
        if image not in account.images.get(name, set()):
            raise Refused(f"image {container['image']} is not in the repository")
    return {
        "roles": {"ALL_ENDPOINTS_USAGE"} | {role["name"].upper() for role in read.get("serviceRoles", ())},
        "endpoints": {endpoint["name"] for endpoint in read["spec"].get("endpoints", ())},
        "public": any(endpoint.get("public") for endpoint in read["spec"].get("endpoints", ())),
        "blocks": any(volume["source"] == "block" for volume in read["spec"].get("volumes", ())),
        "environment": read["spec"]["containers"][0].get("env", {}),
    }


@effect("create function")
def create_function(account: Account, captures: Captures) -> None:
    name = create_in_schema(account, "FUNCTION", captures) + signature(captures["types"])
    service = account.full(captures["service"])
    account.reach("SERVICE", service)
    thing = account.things["SERVICE", service]
    if thing.owner not in account.active_roles():
        account.need("ENDPOINTS", "SERVICE", service)
    if captures["endpoint"].lower() not in thing.settings["endpoints"]:
        raise Refused(f"{service} has no endpoint {captures['endpoint'].lower()}")
    account.make("FUNCTION", name, {**captures, "service": service})


@effect("suspend service")
@effect("resume service")
def suspend_service(account: Account, captures: Captures) -> None:
    account.need("OPERATE", "SERVICE", account.full(captures["name"]))


@effect("alter service")
def alter_service(account: Account, captures: Captures) -> None:
    name = account.full(captures["name"])
    account.own("SERVICE", name)
    if account.things["SERVICE", name].settings["blocks"] and {"min", "max"} & set(captures):
        raise Refused("the number of instances of a service with block volumes cannot be changed")
    account.alter("SERVICE", name, captures)


@effect("close service")
def close_service(account: Account, captures: Captures) -> None:
    name = account.full(captures["name"])
    account.own("SERVICE", name)
    account.alter("SERVICE", name, {"integrations": []})


@effect("upgrade service")
def upgrade_service(account: Account, captures: Captures) -> None:
    name = account.full(captures["name"])
    account.need("OPERATE", "SERVICE", name)
    account.alter("SERVICE", name, read_specification(account, captures))


@effect("create task")
def create_task(account: Account, captures: Captures) -> None:
    name = create_in_schema(account, "TASK", captures)
    account.need("USAGE", "WAREHOUSE", captures["warehouse"])
    account.execute(f"ALTER SERVICE {captures['service']} {captures['verb']}")
    account.make("TASK", name, captures)
    account.alter("TASK", name, captures)


@effect("resume task")
def resume_task(account: Account, captures: Captures) -> None:
    name = account.full(captures["name"])
    account.own("TASK", name)
    account.need("EXECUTE TASK", "ACCOUNT")
    account.alter("TASK", name, {"started": True})


@effect("block")
def block(account: Account, captures: Captures) -> None:
    """A guard: IF (…) THEN RAISE …. Its condition is made of literals, CONTAINS, OR and <>."""
    account.need_warehouse()
    match = re.search(r"IF \((?P<condition>.*?)\) THEN\s+RAISE (?P<name>\w+);", captures["body"], re.DOTALL)
    assert match, "a block that the model does not know"
    if any(_holds(part) for part in match["condition"].split(" OR ")):
        message = re.search(rf"{match['name']} EXCEPTION \(-20\d\d\d, '(?P<text>[^']+)'\)", captures["body"])
        assert message, "the guard raises an exception that it does not declare"
        raise Refused(message["text"])


@effect("list stage")
def list_stage(account: Account, captures: Captures) -> None:
    account.need("READ", "STAGE", account.full(captures["name"]))


@effect("show in service")
def show_in_service(account: Account, captures: Captures) -> None:
    account.need("MONITOR", "SERVICE", account.full(captures["name"]))


@effect("show endpoints")
def show_endpoints(account: Account, captures: Captures) -> None:
    account.need("USAGE", "SERVICE", account.full(captures["name"]))


@effect("show nodes")
def show_nodes(account: Account, captures: Captures) -> None:
    account.need("USAGE", "COMPUTE POOL", captures["name"])


@effect("service logs")
def service_logs(account: Account, captures: Captures) -> None:
    account.need("MONITOR", "SERVICE", captures["name"])


@effect("service table")
def service_table(account: Account, captures: Captures) -> None:
    account.need("MONITOR", "SERVICE", account.full(captures["name"]).partition("!")[0])


@effect("show images")
def show_images(account: Account, captures: Captures) -> None:
    account.need("READ", "IMAGE REPOSITORY", account.full(captures["name"]))


@effect("describe pool")
def describe_pool(account: Account, captures: Captures) -> None:
    account.need("MONITOR", "COMPUTE POOL", captures["name"])


@effect("show all")
def show_all(account: Account, captures: Captures) -> None:
    """Shows what the role may see; never refused."""


@effect("show in schema")
def show_in_schema(account: Account, captures: Captures) -> None:
    account.reach("SCHEMA", captures["name"])


@effect("show in database")
def show_in_database(account: Account, captures: Captures) -> None:
    account.reach("DATABASE", captures["name"])


@effect("show grants to role")
def show_grants_to_role(account: Account, captures: Captures) -> None:
    account.reach("ROLE", captures["name"])


@effect("show grants of service role")
def show_grants_of_service_role(account: Account, captures: Captures) -> None:
    account.reach("SERVICE", account.full(captures["name"]).partition("!")[0])


def _holds(condition: str) -> bool:
    condition = condition.strip()
    if match := re.fullmatch(r"CONTAINS\('([^']*)', '([^']*)'\)", condition):
        return match[2] in match[1]
    match = re.fullmatch(r"'([^']*)' <> '([^']*)'", condition)
    assert match, f"a condition that the model does not know: {condition}"
    return match[1] != match[2]
