"""A model of a Snowflake account: roles, privileges, objects and services, and what each statement needs of them.

It refuses what Snowflake's documentation says a role may not do ("Access control requirements" of each statement's
page), and what the documented dependencies forbid (a policy in use, a pool with services, a service with block volumes
dropped without FORCE). It does not run queries, and it knows the statements of grammar.py only.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlglot
import yaml
from sqlglot import exp

from . import script
from .grammar import Captures, NotDocumented, parse

SPECIFICATIONS = script.FOLDER.parent / "service_specs"
ADMINISTRATORS = ("ACCOUNTADMIN", "SECURITYADMIN", "USERADMIN", "SYSADMIN")
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
    },
    "SECRET": {"USAGE", "READ"},
    "SERVICE": {"USAGE", "MONITOR", "OPERATE"},
    "WAREHOUSE": {"USAGE", "OPERATE", "MONITOR", "MODIFY"},
}
# Ownership of these cannot be transferred (sql-reference/sql/grant-ownership, usage notes).
_NOT_TRANSFERABLE = {"SERVICE", "MODEL"}
_OAUTH_REFUSES = {"ACCOUNTADMIN", "ORGADMIN", "GLOBALORGADMIN", "SECURITYADMIN"}


class Refused(Exception):
    """What Snowflake would answer with an error."""


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

    # Sessions

    def sign_in_as(self, user: str, role: str = "PUBLIC") -> None:
        """A new session: no schema, no warehouse."""
        self.user, self.role, self.schema, self.warehouse = user, "PUBLIC", "", ""
        self.users.setdefault(user, set())
        self._use_role(role)

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
            if not self._is_query(text):
                raise
            return
        kind, _, what = rule.kind.partition("|")
        method = getattr(self, "_" + kind.replace(" ", "_"))
        if what:
            method(captures, what)
        else:
            method(captures)

    def _is_query(self, text: str) -> bool:
        try:
            parsed = sqlglot.parse_one(text, dialect="snowflake")
        except sqlglot.errors.ParseError:
            return False
        if not isinstance(parsed, exp.Select):
            return False
        self._need_warehouse()
        for table in parsed.find_all(exp.Table):
            if table.catalog.upper() == "SNOWFLAKE" and "ACCOUNTADMIN" not in self._roles():
                raise Refused(f"{self.role} has no access to {table.sql()}")
        return True

    # Rights

    def roles_of(self, role: str) -> set[str]:
        """The role and all that it inherits."""
        found, waiting = set(), [role]
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting += self.inherited.get(name, set())
        return found

    def _roles(self) -> set[str]:
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
            self._reach(kind, name)
        if not self.may(privilege, kind, name):
            raise Refused(f"{self.role} lacks {privilege} on {kind} {name or 'of the account'}".rstrip())

    def _reach(self, kind: str, name: str) -> None:
        if (kind, name) not in self.things:
            raise Refused(f"{kind} {name} does not exist or not authorized")
        parts = name.split(".")
        if len(parts) >= 2 and not self._any_privilege("DATABASE", parts[0]):
            raise Refused(f"DATABASE {parts[0]} does not exist or not authorized for {self.role}")
        if len(parts) == 3 and not self._any_privilege("SCHEMA", ".".join(parts[:2])):
            raise Refused(f"SCHEMA {'.'.join(parts[:2])} does not exist or not authorized for {self.role}")

    def _any_privilege(self, kind: str, name: str) -> bool:
        roles = self._roles()
        if self._manages_grants() or self.things.get((kind, name), Thing("?")).owner in roles:
            return True
        return any(grant[1:3] == (kind, name) and grant[3] in roles for grant in self.grants)

    def _manages_grants(self) -> bool:
        return self.may("MANAGE GRANTS", "ACCOUNT")

    def _owner(self, kind: str, name: str) -> None:
        self._reach(kind, name)
        if self.things[kind, name].owner not in self._roles():
            raise Refused(f"{self.role} does not own {kind} {name}: {self.things[kind, name].owner} does")

    def _need_warehouse(self) -> None:
        if not self.warehouse:
            raise Refused("000606: no active warehouse selected")

    def _full(self, name: str) -> str:
        """The name with the session's database and schema in front."""
        count = name.partition("!")[0].count(".")
        if count == 2:
            return name
        if count == 0 and self.schema:
            return f"{self.schema}.{name}"
        raise Refused(f"{name}: this session does not have a current schema")

    def _make(self, kind: str, name: str, captures: Captures) -> None:
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

    def _alter(self, kind: str, name: str, captures: Captures) -> None:
        self.things[kind, name].settings.update(
            {key: value for key, value in captures.items() if key != "name"}
        )

    def _forget(self, kind: str, name: str) -> None:
        del self.things[kind, name]
        self.grants = {grant for grant in self.grants if grant[1:3] != (kind, name)}

    # USE

    def _use_role(self, captures: Captures | str) -> None:
        name = captures if isinstance(captures, str) else captures["name"]
        granted = set().union({"PUBLIC"}, *(self.roles_of(role) for role in self.users[self.user]))
        if name not in granted:
            raise Refused(f"Requested role '{name}' is not assigned to the executing user")
        self.role = name

    def _use_warehouse(self, captures: Captures) -> None:
        self.need("USAGE", "WAREHOUSE", captures["name"])
        self.warehouse = captures["name"]

    def _use_schema(self, captures: Captures) -> None:
        self._reach("SCHEMA", captures["name"])
        if not self._any_privilege("SCHEMA", captures["name"]):
            raise Refused(f"SCHEMA {captures['name']} does not exist or not authorized for {self.role}")
        self.schema = captures["name"]

    # Roles and grants

    def _create_role(self, captures: Captures) -> None:
        self.need("CREATE ROLE", "ACCOUNT")
        self._make("ROLE", captures["name"], captures)
        self.inherited.setdefault(captures["name"], {"PUBLIC"})

    def _grant_role_to_role(self, captures: Captures) -> None:
        self._may_grant("ROLE", captures["name"])
        self._reach("ROLE", captures["to"])
        self.inherited[captures["to"]].add(captures["name"])

    def _grant_role_to_user(self, captures: Captures) -> None:
        self._may_grant("ROLE", captures["name"])
        if captures["to"] not in self.users:
            raise Refused(f"USER {captures['to']} does not exist or not authorized")
        self.users[captures["to"]].add(captures["name"])

    def _may_grant(self, kind: str, name: str) -> None:
        if kind == "ACCOUNT":
            if not self._manages_grants():
                raise Refused(f"{self.role} cannot grant privileges on the account")
            return
        if (kind, name) not in self.things:
            raise Refused(f"{kind} {name} does not exist or not authorized")
        if not self._manages_grants():
            self._owner(kind, name)

    def _named(self, kind: str, captures: Captures) -> str:
        if kind == "ACCOUNT":
            return ""
        in_schema = kind in ("IMAGE REPOSITORY", "SECRET", "SERVICE", "STAGE", "MODEL", "NETWORK RULE")
        return self._full(captures["name"]) if in_schema else captures["name"]

    def _grant(self, captures: Captures, kind: str) -> None:
        name = self._named(kind, captures)
        self._may_grant(kind, name)
        self._reach("ROLE", captures["to"])
        for privilege in self._expand(captures["privileges"], kind):
            self.grants.add((privilege, kind, name, captures["to"]))

    def _revoke(self, captures: Captures, kind: str) -> None:
        name = self._named(kind, captures)
        self._may_grant(kind, name)
        for privilege in self._expand(captures["privileges"], kind):
            self.grants.discard((privilege, kind, name, captures["to"]))

    @staticmethod
    def _expand(privileges: list[str], kind: str) -> set[str]:
        if privileges in (["ALL"], ["ALL PRIVILEGES"]):
            return set(PRIVILEGES[kind])
        unknown = set(privileges) - PRIVILEGES.get(kind, set())
        if unknown:
            raise Refused(f"{', '.join(sorted(unknown))} is not a privilege on {kind}")
        return set(privileges)

    def _grant_ownership(self, captures: Captures, kind: str) -> None:
        name = self._named(kind, captures)
        if kind in _NOT_TRANSFERABLE:
            raise Refused(f"the ownership of a {kind} cannot be transferred")
        self._may_grant(kind, name)
        self._reach("ROLE", captures["to"])
        current = captures.get("current")
        outbound = {grant for grant in self.grants if grant[1:3] == (kind, name)}
        if outbound and current not in ("COPY", "REVOKE") and kind != "ROLE":
            raise Refused(f"{kind} {name} has dependent grants: say COPY or REVOKE CURRENT GRANTS")
        if current == "COPY" and not (self._manages_grants() or captures["to"] in self._roles()):
            raise Refused("COPY CURRENT GRANTS needs MANAGE GRANTS")
        if current == "REVOKE":
            self.grants -= outbound
        self.things[kind, name].owner = captures["to"]

    def _grant_service_role(self, captures: Captures) -> None:
        service, service_role = self._full(captures["name"]).split("!")
        self._owner("SERVICE", service)
        if service_role not in self.things["SERVICE", service].settings["roles"]:
            raise Refused(f"service role {captures['name']} does not exist or not authorized")
        self._reach("ROLE", captures["to"])
        self.grants.add(("ENDPOINTS", "SERVICE", service, captures["to"]))

    # Account objects

    def _create_database(self, captures: Captures) -> None:
        if ("DATABASE", captures["name"]) not in self.things:
            self.need("CREATE DATABASE", "ACCOUNT")
        self._make("DATABASE", captures["name"], captures)

    def _create_schema(self, captures: Captures) -> None:
        name = captures["name"] if "." in captures["name"] else self._current_database() + captures["name"]
        if ("SCHEMA", name) not in self.things:
            self.need("CREATE SCHEMA", "DATABASE", name.split(".")[0])
        self._make("SCHEMA", name, captures)

    def _current_database(self) -> str:
        if not self.schema:
            raise Refused("this session does not have a current database")
        return self.schema.split(".")[0] + "."

    def _create_warehouse(self, captures: Captures) -> None:
        if ("WAREHOUSE", captures["name"]) not in self.things:
            self.need("CREATE WAREHOUSE", "ACCOUNT")
        self._make("WAREHOUSE", captures["name"], {"auto suspend": 600, **captures})

    def _alter_warehouse(self, captures: Captures) -> None:
        self.need("MODIFY", "WAREHOUSE", captures["name"])
        self._alter("WAREHOUSE", captures["name"], captures)

    def _create_compute_pool(self, captures: Captures) -> None:
        self.need("CREATE COMPUTE POOL", "ACCOUNT")
        if not self.pools_allowed:
            raise Refused("Snowpark Container Services: trial accounts are not supported")
        if captures["family"] not in self.families:
            raise Refused(f"instance family {captures['family']} is not available in this region")
        self._make("COMPUTE POOL", captures["name"], {"auto suspend": 3600, **captures})

    def _alter_compute_pool(self, captures: Captures) -> None:
        self.need("MODIFY", "COMPUTE POOL", captures["name"])
        self._alter("COMPUTE POOL", captures["name"], captures)

    def _stop_all(self, captures: Captures) -> None:
        if ("COMPUTE POOL", captures["name"]) not in self.things:
            return
        self.need("OPERATE", "COMPUTE POOL", captures["name"])
        for kind, name in self._services_on(captures["name"]):
            self._forget(kind, name)

    def _services_on(self, pool: str) -> list[tuple[str, str]]:
        return [
            key
            for key, thing in self.things.items()
            if key[0] == "SERVICE" and thing.settings["pool"] == pool
        ]

    def _create_network_rule(self, captures: Captures) -> None:
        name = self._full(captures["name"])
        schema = name.rpartition(".")[0]
        if ("NETWORK RULE", name) in self.things:
            self._owner("NETWORK RULE", name)
        elif not {"ACCOUNTADMIN", "SECURITYADMIN"} & self._roles():
            self._owner("SCHEMA", schema)
        if ("SCHEMA", schema) not in self.things:
            raise Refused(f"SCHEMA {schema} does not exist or not authorized")
        if captures["type"] == "IPV4":
            for value in captures["values"]:
                try:
                    ipaddress.ip_network(value, strict=False)
                except ValueError as error:
                    raise Refused(f"network rule {name}: {error}") from error
        self._make("NETWORK RULE", name, captures)
        self._alter("NETWORK RULE", name, captures)

    _create_or_alter_network_rule = _create_network_rule

    def _create_external_access_integration(self, captures: Captures) -> None:
        self.need("CREATE INTEGRATION", "ACCOUNT")
        rules = [self._full(rule) for rule in captures["rules"]]
        self._rules_exist(rules, "EGRESS")
        self._make("INTEGRATION", captures["name"], {**captures, "rules": rules, "sort": "egress"})

    def _create_network_policy(self, captures: Captures) -> None:
        self.need("CREATE NETWORK POLICY", "ACCOUNT")
        rules = [rule.upper() for rule in captures["rules"]]
        self._rules_exist(rules, "INGRESS")
        self._make("NETWORK POLICY", captures["name"], {**captures, "rules": rules})

    def _rules_exist(self, rules: list[str], mode: str) -> None:
        for rule in rules:
            self._reach("NETWORK RULE", rule)
            if self.things["NETWORK RULE", rule].settings["mode"] != mode:
                raise Refused(f"network rule {rule} is not of mode {mode}")

    def _create_security_integration(self, captures: Captures) -> None:
        self.need("CREATE INTEGRATION", "ACCOUNT")
        self._check_oauth(captures)
        self._make("INTEGRATION", captures["name"], {"sort": "oauth", **captures})

    def _alter_security_integration(self, captures: Captures) -> None:
        self._owner("INTEGRATION", captures["name"])
        self._check_oauth(captures)
        self._alter("INTEGRATION", captures["name"], captures)

    def _check_oauth(self, captures: Captures) -> None:
        for role in captures.get("allowed", ()):
            self._reach("ROLE", role)
        if "policy" in captures:
            self._reach("NETWORK POLICY", captures["policy"])
        if not captures.get("redirect", "https://").startswith("https://"):
            raise Refused("OAUTH_REDIRECT_URI must be protected by TLS")
        if not 3600 <= captures.get("refresh seconds", 3600) <= 7776000:
            raise Refused("OAUTH_REFRESH_TOKEN_VALIDITY is out of its range")

    def _show_secret(self, captures: Captures) -> None:
        if captures["name"] != captures["name"].upper():
            raise Refused("the name of the integration must be in upper case")
        self._owner("INTEGRATION", captures["name"])

    def _create_user(self, captures: Captures) -> None:
        self.need("CREATE USER", "ACCOUNT")
        self._make("USER", captures["name"], captures)
        self.users.setdefault(captures["name"], set())

    def _alter_user(self, captures: Captures) -> None:
        self._owner("USER", captures["name"])
        if "policy" in captures:
            self._reach("NETWORK POLICY", captures["policy"])
        if not re.fullmatch(r"[A-Za-z0-9+/=\s]*", captures.get("key", "")):
            raise Refused("RSA_PUBLIC_KEY is not a public key")
        self._alter("USER", captures["name"], captures)

    def _unset_user(self, captures: Captures) -> None:
        self._owner("USER", captures["name"])
        self.things["USER", captures["name"]].settings.pop("policy", None)

    def _add_token(self, captures: Captures) -> None:
        self._owner("USER", captures["name"])
        if captures.get("role") not in self.users[captures["name"]]:
            raise Refused("ROLE_RESTRICTION names a role that the user does not have")
        if not 1 <= captures.get("days", 15) <= 365:
            raise Refused("DAYS_TO_EXPIRY is out of its range")
        self._alter("USER", captures["name"], {"token role": captures["role"]})

    # Objects of a schema

    def _create_in_schema(self, kind: str, captures: Captures) -> str:
        name = self._full(captures["name"])
        if (kind, name) not in self.things:
            self.need(f"CREATE {kind}", "SCHEMA", name.rpartition(".")[0])
        return name

    def _create_image_repository(self, captures: Captures) -> None:
        self._make("IMAGE REPOSITORY", self._create_in_schema("IMAGE REPOSITORY", captures), captures)

    def _create_stage(self, captures: Captures) -> None:
        self._make("STAGE", self._create_in_schema("STAGE", captures), captures)

    def create_model(self, name: str) -> None:
        """`Registry.log_model`: CREATE MODEL and CREATE STAGE on the schema, and an active warehouse."""
        self._need_warehouse()
        self.need("CREATE STAGE", "SCHEMA", name.rpartition(".")[0])
        captures = {"name": name}
        created = self._create_in_schema("MODEL", captures)
        if (("MODEL", created) in self.things) and self.things["MODEL", created].owner not in self._roles():
            raise Refused(f"{self.role} does not own MODEL {created}: a version cannot be added")
        self._make("MODEL", created, captures)

    def create_registry_service(self, name: str, pool: str, integrations: list[str] | None = None) -> None:
        """`ModelVersion.create_service(ingress_enabled=True)`: a service without a specification of ours."""
        specification = {"roles": {"ALL_ENDPOINTS_USAGE"}, "public": True, "blocks": False}
        captures = {"pool": pool, "integrations": integrations or [], **specification}
        self._add_service(self._create_in_schema("SERVICE", {"name": name}), captures)

    def _create_service(self, captures: Captures) -> None:
        name = self._create_in_schema("SERVICE", captures)
        if ("SERVICE", name) in self.things:
            return
        if captures.get("min", 1) > captures.get("max", captures.get("min", 1)):
            raise Refused("MIN_INSTANCES is larger than MAX_INSTANCES")
        read = self._read_specification(captures)
        if read["blocks"] and captures.get("min", 1) != captures.get("max", captures.get("min", 1)):
            raise Refused("a service with block volumes needs MIN_INSTANCES = MAX_INSTANCES")
        self._add_service(name, {**captures, **read})

    def _add_service(self, name: str, captures: Captures) -> None:
        if {"ACCOUNTADMIN", "SECURITYADMIN"} & {self.role}:
            raise Refused(f"{self.role} cannot own a service")
        self.need("USAGE", "COMPUTE POOL", captures["pool"])
        for integration in captures.get("integrations", ()):
            self.need("USAGE", "INTEGRATION", integration)
        if captures["public"]:
            self.need("BIND SERVICE ENDPOINT", "ACCOUNT")
        self._make("SERVICE", name, captures)

    def _read_specification(self, captures: Captures) -> dict[str, Any]:
        stage = self._full(captures["stage"])
        self.need("READ", "STAGE", stage)
        text = self.files.get((stage, captures.get("file") or captures["template"]))
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
            self.need("READ", "IMAGE REPOSITORY", name)
            if image not in self.images.get(name, set()):
                raise Refused(f"image {container['image']} is not in the repository")
        return {
            "roles": {"ALL_ENDPOINTS_USAGE"}
            | {role["name"].upper() for role in read.get("serviceRoles", ())},
            "public": any(endpoint.get("public") for endpoint in read["spec"].get("endpoints", ())),
            "blocks": any(volume["source"] == "block" for volume in read["spec"].get("volumes", ())),
            "environment": read["spec"]["containers"][0].get("env", {}),
        }

    def _suspend_service(self, captures: Captures) -> None:
        self.need("OPERATE", "SERVICE", self._full(captures["name"]))

    _resume_service = _suspend_service

    def _alter_service(self, captures: Captures) -> None:
        name = self._full(captures["name"])
        self._owner("SERVICE", name)
        if self.things["SERVICE", name].settings["blocks"] and {"min", "max"} & set(captures):
            raise Refused("the number of instances of a service with block volumes cannot be changed")
        self._alter("SERVICE", name, captures)

    def _close_service(self, captures: Captures) -> None:
        name = self._full(captures["name"])
        self._owner("SERVICE", name)
        self._alter("SERVICE", name, {"integrations": []})

    def _upgrade_service(self, captures: Captures) -> None:
        name = self._full(captures["name"])
        self.need("OPERATE", "SERVICE", name)
        self._alter("SERVICE", name, self._read_specification(captures))

    def _create_task(self, captures: Captures) -> None:
        name = self._create_in_schema("TASK", captures)
        self.need("USAGE", "WAREHOUSE", captures["warehouse"])
        for inner in script.statements(captures["body"].strip().removeprefix("BEGIN").removesuffix("END;")):
            self.execute(inner.text)
        self._make("TASK", name, captures)
        self._alter("TASK", name, captures)

    def _resume_task(self, captures: Captures) -> None:
        name = self._full(captures["name"])
        self._owner("TASK", name)
        self.need("EXECUTE TASK", "ACCOUNT")
        self._alter("TASK", name, {"started": True})

    def _block(self, captures: Captures) -> None:
        """A guard: IF (…) THEN RAISE …. Its condition is made of literals, CONTAINS, OR and <>."""
        self._need_warehouse()
        match = re.search(
            r"IF \((?P<condition>.*?)\) THEN\s+RAISE (?P<name>\w+);", captures["body"], re.DOTALL
        )
        assert match, "a block that the model does not know"
        if any(_holds(part) for part in match["condition"].split(" OR ")):
            message = re.search(
                rf"{match['name']} EXCEPTION \(-20\d\d\d, '(?P<text>[^']+)'\)", captures["body"]
            )
            assert message, "the guard raises an exception that it does not declare"
            raise Refused(message["text"])

    # Reading

    def _list_stage(self, captures: Captures) -> None:
        self.need("READ", "STAGE", self._full(captures["name"]))

    def _show_in_service(self, captures: Captures) -> None:
        self.need("MONITOR", "SERVICE", self._full(captures["name"]))

    def _service_logs(self, captures: Captures) -> None:
        self.need("MONITOR", "SERVICE", captures["name"])

    def _service_table(self, captures: Captures) -> None:
        self.need("MONITOR", "SERVICE", self._full(captures["name"]).partition("!")[0])

    def _show_images(self, captures: Captures) -> None:
        self.need("READ", "IMAGE REPOSITORY", self._full(captures["name"]))

    def _describe_pool(self, captures: Captures) -> None:
        self.need("MONITOR", "COMPUTE POOL", captures["name"])

    def _show_all(self, captures: Captures) -> None:
        """Shows what the role may see; never refused."""

    def _show_in_schema(self, captures: Captures) -> None:
        self._reach("SCHEMA", captures["name"])

    def _show_in_database(self, captures: Captures) -> None:
        self._reach("DATABASE", captures["name"])

    def _show_grants_to_role(self, captures: Captures) -> None:
        self._reach("ROLE", captures["name"])

    def _show_grants_of_service_role(self, captures: Captures) -> None:
        self._reach("SERVICE", self._full(captures["name"]).partition("!")[0])

    # DROP

    def _drop_service(self, captures: Captures, force: bool = False) -> None:
        name = self._droppable(captures)
        if ("SERVICE", name) not in self.things:
            return
        self._owner("SERVICE", name)
        if self.things["SERVICE", name].settings["blocks"] and not force:
            raise Refused(f"SERVICE {name} has block volumes: say FORCE")
        self._forget("SERVICE", name)

    def _drop_service_by_force(self, captures: Captures) -> None:
        self._drop_service(captures, force=True)

    def _drop(self, kind: str, name: str) -> None:
        if (kind, name) in self.things:
            self._owner(kind, name)
            self._forget(kind, name)

    def _drop_pool(self, captures: Captures) -> None:
        if self._services_on(captures["name"]):
            raise Refused(f"COMPUTE POOL {captures['name']} still has services")
        self._drop("COMPUTE POOL", captures["name"])

    def _drop_integration(self, captures: Captures) -> None:
        users = [
            name
            for (kind, name), thing in self.things.items()
            if self._uses_integration(kind, thing, captures)
        ]
        if users:
            raise Refused(
                f"INTEGRATION {captures['name']} is used by {', '.join(users)}, which would stop working"
            )
        self._drop("INTEGRATION", captures["name"])

    @staticmethod
    def _uses_integration(kind: str, thing: Thing, captures: Captures) -> bool:
        return kind == "SERVICE" and captures["name"] in thing.settings.get("integrations", ())

    def _drop_policy(self, captures: Captures) -> None:
        for (kind, name), thing in self.things.items():
            if kind in ("INTEGRATION", "USER") and thing.settings.get("policy") == captures["name"]:
                raise Refused(f"NETWORK POLICY {captures['name']} is assigned to {kind} {name}")
        self._drop("NETWORK POLICY", captures["name"])

    def _droppable(self, captures: Captures) -> str:
        """The full name. What IF EXISTS does when the database itself is missing is not documented: refused."""
        name = self._full(captures["name"])
        self._reach("DATABASE", name.split(".")[0])
        return name

    def _drop_rule(self, captures: Captures) -> None:
        name = self._droppable(captures)
        self._rule_is_free(name)
        self._drop("NETWORK RULE", name)

    def _rule_is_free(self, name: str) -> None:
        for (kind, other), thing in self.things.items():
            if kind in ("INTEGRATION", "NETWORK POLICY") and name in thing.settings.get("rules", ()):
                raise Refused(f"NETWORK RULE {name} is used by {kind} {other}")

    def _drop_database(self, captures: Captures) -> None:
        name = captures["name"]
        if ("DATABASE", name) not in self.things:
            return
        inside = [key for key in self.things if key[1].startswith(name + ".")]
        for kind, other in inside:
            if kind == "NETWORK RULE":
                self._rule_is_free(other)
        self._drop("DATABASE", name)
        for kind, other in inside:
            self._forget(kind, other)

    def _drop_warehouse(self, captures: Captures) -> None:
        self._drop("WAREHOUSE", captures["name"])
        self.warehouse = "" if self.warehouse == captures["name"] else self.warehouse

    def _drop_role(self, captures: Captures) -> None:
        self._drop("ROLE", captures["name"])
        for roles in (*self.inherited.values(), *self.users.values()):
            roles.discard(captures["name"])
        self.inherited.pop(captures["name"], None)
        self.grants = {grant for grant in self.grants if grant[3] != captures["name"]}

    def _drop_user(self, captures: Captures) -> None:
        self._drop("USER", captures["name"])
        self.users.pop(captures["name"], None)

    def _drop_model(self, captures: Captures) -> None:
        self._drop("MODEL", self._droppable(captures))

    def _drop_table(self, captures: Captures) -> None:
        self._drop("TABLE", self._droppable(captures))

    # What people and DSS do with the account

    def oauth_role(self, user: str, integration: str, role: str, redirect: str, address: str) -> str:
        """Sign in with OAuth; the session's role. Raises Refused with Snowflake's error number."""
        thing = self.things.get(("INTEGRATION", integration))
        if thing is None or not thing.settings.get("enabled", True):
            raise Refused("390306: the client is not known")
        settings = thing.settings
        if settings.get("redirect") != redirect:
            raise Refused("390307: the redirect URI differs from that of the integration")
        allowed, blocked = settings.get("allowed"), settings.get("blocked", ())
        if role in _OAUTH_REFUSES or role in blocked or (allowed is not None and role not in allowed):
            raise Refused("390308: the scope is not valid")
        if role not in set().union(*(self.roles_of(each) for each in self.users[user])):
            raise Refused("390308: the role is not granted to the user")
        self._check_address(settings.get("policy"), address)
        return role

    def _check_address(self, policy: str | None, address: str) -> None:
        if policy is None:
            return
        rules = self.things["NETWORK POLICY", policy].settings["rules"]
        values = [value for rule in rules for value in self.things["NETWORK RULE", rule].settings["values"]]
        if not any(ipaddress.ip_address(address) in ipaddress.ip_network(value) for value in values):
            raise Refused(f"invalid_client: address {address} is not allowed by policy {policy}")

    def call(self, service: str, role: str) -> None:
        """A request from outside. Raises Refused as the ingress would answer 404 or 503."""
        thing = self.things.get(("SERVICE", service))
        if thing is None:
            raise Refused(f"404: {service} does not exist")
        database, schema, _ = service.split(".")
        for caller in (role, thing.owner):
            for kind, name in (("DATABASE", database), ("SCHEMA", f"{database}.{schema}")):
                if not self.may("USAGE", kind, name, caller):
                    raise Refused(f"404: {caller} lacks USAGE on {kind} {name}")
        if thing.owner not in self.roles_of(role) and not self.may("ENDPOINTS", "SERVICE", service, role):
            raise Refused(f"404: {role} has no service role of {service}")
        if not self.may("BIND SERVICE ENDPOINT", "ACCOUNT", role=thing.owner):
            raise Refused(f"404: {thing.owner} lost BIND SERVICE ENDPOINT")
        if not self.may("USAGE", "COMPUTE POOL", thing.settings["pool"], thing.owner):
            raise Refused(f"503: {thing.owner} lost USAGE on the pool")

    def upload(self, stage: str, path: Path) -> None:
        """Put a file on a stage, uncompressed, as Snowsight does."""
        self.need("WRITE", "STAGE", stage)
        self.files[stage, path.name] = path.read_text(encoding="utf-8")

    def push(self, repository: str, image: str) -> None:
        self.need("WRITE", "IMAGE REPOSITORY", repository)
        self.images.setdefault(repository, set()).add(image)

    def held_by(self, role: str) -> set[tuple[str, str, str]]:
        """(privilege, kind, name) granted to the role, and OWNERSHIP of what it owns."""
        granted = {grant[:3] for grant in self.grants if grant[3] == role}
        return granted | {("OWNERSHIP", *key) for key, thing in self.things.items() if thing.owner == role}


def _holds(condition: str) -> bool:
    condition = condition.strip()
    if match := re.fullmatch(r"CONTAINS\('([^']*)', '([^']*)'\)", condition):
        return match[2] in match[1]
    match = re.fullmatch(r"'([^']*)' <> '([^']*)'", condition)
    assert match, f"a condition that the model does not know: {condition}"
    return match[1] != match[2]
