"""Everything that SQL can name in an account, and the role that may see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sandbox.snowflake.catalog.agenda import Agenda
from sandbox.snowflake.catalog.durations import Durations
from sandbox.snowflake.catalog.grants import DATABASE_ROLES, Grants, Securable
from sandbox.snowflake.catalog.identifiers import sql_name
from sandbox.snowflake.catalog.objects import (
    CHAT_FUNCTION,
    Database,
    Function,
    Gateway,
    ImageRepository,
    Model,
    ModelVersion,
    Schema,
    Stage,
    Warehouse,
)  # fmt: skip
from sandbox.snowflake.catalog.pools import ComputePool, family_of
from sandbox.snowflake.catalog.services import MODEL_SERVING_CONTAINERS, Service, ServiceEndpoint
from sandbox.snowflake.catalog.usage import Usage
from sandbox.snowflake.clock import Clock

# The names that resource/sql/setup.sql creates.
OWNER, CALLER = "DATAIKU_SPCS_DEPLOYER_ROLE", "DATAIKU_SPCS_ROLE"
DATABASE, SCHEMA, WAREHOUSE = "DATAIKU_SPCS", "PUBLIC", "DATAIKU_SPCS_WAREHOUSE"
GPU_POOL, CPU_POOL = "DATAIKU_GPU_NV_S_MODEL_COMPUTE_POOL", "DATAIKU_CPU_X64_XS_EMBED_COMPUTE_POOL"

# What a role needs to watch services and to work them, without owning them (Snowflake docs, service privileges).
OPERATOR = ("USAGE", "MONITOR", "OPERATE")
Key = tuple[str, str, str]


@dataclass
class Identity:
    """What CURRENT_ACCOUNT_NAME() and its like return."""

    organization: str
    account: str
    locator: str = "XY12345"
    region: str = "AWS_EU_CENTRAL_1"
    version: str = "10.1.0"


@dataclass
class Catalog:
    """The objects of one account. Look at it only after `settle`, and with the world's lock held."""

    clock: Clock
    identity: Identity
    durations: Durations = field(default_factory=Durations)

    def __post_init__(self) -> None:
        self.agenda = Agenda()
        self.grants = Grants(self.clock)
        self.databases: dict[str, Database] = {}
        self.warehouses: dict[str, Warehouse] = {}
        self.pools: dict[str, ComputePool] = {}
        self.usage = Usage(self.clock, self.durations, self.pools)
        self.services: dict[Key, Service] = {}
        self.dropped: list[tuple[Service, float]] = []
        self.models: dict[Key, Model] = {}
        self.repositories: dict[Key, ImageRepository] = {}
        self.gateways: dict[Key, Gateway] = {}
        self.stages: dict[Key, Stage] = {}
        self.parameters: dict[str, str] = {
            "EVENT_TABLE": "snowflake.telemetry.events",
            "TIMEZONE": "America/Los_Angeles",
        }
        self.hints_at_privileges = True
        self._furnish()

    def _furnish(self) -> None:
        for role in (OWNER, CALLER):
            self.grants.add_role(role)
        self.add_database("SNOWFLAKE", schemas=("ACCOUNT_USAGE", "ORGANIZATION_USAGE"), owner="", usage=())
        self.add_database(DATABASE, owner=OWNER)
        self.add_warehouse(WAREHOUSE)
        self.add_pool(GPU_POOL, "GPU_NV_S")
        self.add_pool(CPU_POOL, "CPU_X64_XS")
        self.add_repository("IMAGES")
        for view_role in DATABASE_ROLES:
            self.grants.grant("USAGE", Securable("DATABASE_ROLE", f"SNOWFLAKE.{view_role}"), CALLER)

    def settle(self) -> float:
        """Let everything happen that is due; returns the time."""
        now = self.clock()
        self.agenda.settle(now)
        return now

    # -- creating --------------------------------------------------------------------------------------

    def add_database(
        self,
        name: str,
        *,
        schemas: Sequence[str] = (SCHEMA,),
        owner: str = OWNER,
        usage: Sequence[str] = (CALLER,),
    ) -> Database:
        """A database with its schemas; the roles of `usage` may use all of them."""
        database = self.databases.setdefault(name, Database(name, owner, self.clock()))
        self._grant(database.securable, owner, dict.fromkeys(usage, ("USAGE",)))
        for schema in schemas:
            self.add_schema(name, schema, owner=owner, usage=usage)
        return database

    def add_schema(
        self, database: str, name: str, *, owner: str = OWNER, usage: Sequence[str] = (CALLER,)
    ) -> Schema:
        schema = Schema(database, name, owner, self.clock())
        self.databases[database].schemas.setdefault(name, schema)
        self._grant(schema.securable, owner, dict.fromkeys(usage, ("USAGE",)))
        return schema

    def add_warehouse(self, name: str, *, owner: str = OWNER, usage: Sequence[str] = (CALLER,)) -> Warehouse:
        warehouse = self.warehouses[name] = Warehouse(name, owner, self.clock())
        self._grant(warehouse.securable, owner, dict.fromkeys(usage, ("USAGE",)))
        return warehouse

    def add_pool(
        self,
        name: str,
        family: str = "CPU_X64_XS",
        *,
        suspended: bool = False,
        owner: str = OWNER,
        granted: Mapping[str, Sequence[str]] | None = None,
        created_on: float | None = None,
        **settings: Any,
    ) -> ComputePool:
        """A compute pool whose nodes are there; `settings` are attributes of `ComputePool`."""
        now = self.clock() if created_on is None else created_on
        pool = ComputePool(name, family_of(family), self.agenda, self.durations, now, owner=owner, **settings)
        self.pools[name] = pool
        self._grant(pool.securable, owner, {CALLER: OPERATOR} if granted is None else granted)
        pool.suspended = suspended
        if not suspended:
            pool.settle(now)
            for node in pool.nodes:
                node.up_at = now
        return pool

    def add_service(
        self,
        name: str,
        *,
        database: str = DATABASE,
        schema: str = SCHEMA,
        pool: str = GPU_POOL,
        owner: str = OWNER,
        endpoints: Sequence[ServiceEndpoint] = (),
        granted: Mapping[str, Sequence[str]] | None = None,
        running: bool = True,
        created_on: float | None = None,
        **settings: Any,
    ) -> Service:
        """A service that runs and is ready, or is suspended; `settings` are attributes of `Service`.

        Without an ingress behind its endpoints it is only what the listings say.
        """
        if database not in self.databases:
            self.add_database(database, schemas=())
        if schema not in self.databases[database].schemas:
            self.add_schema(database, schema)
        now = self.settle()
        created = now if created_on is None else created_on
        service = Service(
            database, schema, name, owner, self.pools[pool], self.agenda, self.durations, created,
            endpoints=list(endpoints), **settings,
        )  # fmt: skip
        self.services[database, schema, name] = service
        self._grant(service.securable, owner, {CALLER: OPERATOR} if granted is None else granted)
        if running:
            service.start_at_once(now)
        elif service.status == "PENDING":
            service.status, service.suspended_on = "SUSPENDED", created
        return service

    def service_named(self, name: str) -> Service:
        """The service of this name, in whatever schema."""
        return next(service for key, service in self.services.items() if key[2] == name)

    def run_out_of_capacity(self, pool: ComputePool) -> None:
        """Every node of the pool is lost and the cloud provider has no other: 392507. `pool.trouble = ""` ends it."""
        now = self.settle()
        running = [s for s in self.services.values() if s.pool is pool and s.instances]
        pool.lose_nodes(now)
        for service in running:
            service.restart(now)

    def drop_service(self, service: Service) -> None:
        now = self.settle()
        service.status = "DELETED"
        service.empty(now)
        del self.services[service.database, service.schema, service.name]
        self.dropped.append((service, now))
        self.grants.revoke_all(service.securable)

    def add_model(
        self,
        name: str,
        *,
        database: str = DATABASE,
        schema: str = SCHEMA,
        version: str = "V1",
        functions: Sequence[Function] = (CHAT_FUNCTION,),
        services: Sequence[str] = (),
        owner: str = OWNER,
        granted: Mapping[str, Sequence[str]] | None = None,
        engine: str | None = None,
    ) -> Model:
        """A model of the registry, or another version of it. services: qualified names of those that serve it.

        engine: the URL of what runs it in jobs.
        """
        now = self.clock()
        key = (database, schema, name)
        model = self.models.setdefault(
            key, Model(database, schema, name, owner, now, default_version=version)
        )
        model.versions[version] = ModelVersion(version, now, tuple(functions), list(services), engine=engine)
        self._grant(model.securable, owner, {CALLER: ("USAGE",)} if granted is None else granted)
        return model

    def add_stage(self, key: Key, owner: str, **settings: Any) -> Stage:
        stage = self.stages[key] = Stage(*key, owner, self.clock(), **settings)
        self._grant(stage.securable, owner, {})
        return stage

    def add_repository(self, name: str, *, database: str = DATABASE, schema: str = SCHEMA) -> ImageRepository:
        repository = ImageRepository(database, schema, name, OWNER, self.clock())
        self.repositories[database, schema, name] = repository
        self._grant(repository.securable, OWNER, {CALLER: ("READ",)})
        return repository

    def add_gateway(
        self, name: str, ingress_url: str, *, database: str = DATABASE, schema: str = SCHEMA
    ) -> Gateway:
        gateway = Gateway(database, schema, name, OWNER, self.clock(), ingress_url)
        self.gateways[database, schema, name] = gateway
        self._grant(gateway.securable, OWNER, {CALLER: ("USAGE",)})
        return gateway

    def _grant(self, on: Securable, owner: str, granted: Mapping[str, Sequence[str]]) -> None:
        if owner:
            self.grants.add_role(owner)
            self.grants.own(on, owner)
        for role, privileges in granted.items():
            self.grants.add_role(role)
            for privilege in privileges:
                self.grants.grant(privilege, on, role, owner or "ACCOUNTADMIN")


def images_of(protocol: str, service: str) -> dict[str, str]:
    """The images of a service by container, with names that tell what it runs."""
    if protocol == "MODEL_SERVING":
        repository = "/snowflake/images/snowflake_images/inference-server:1.0"
        return dict.fromkeys(MODEL_SERVING_CONTAINERS, repository)
    return {"main": f"/{DATABASE.lower()}/{SCHEMA.lower()}/images/{sql_name(service).lower()}:latest"}
