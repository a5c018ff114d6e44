"""A Snowflake account with its service ingresses on loopback, for tests and demos.

with Snowflake() as sf:
    chat = sf.create_service("chat", service="smollm2", protocol="PREDICT")
    token = sf.issue_oauth_token()
    ...  # sf.account_url, chat.url
"""

from __future__ import annotations

import contextlib
import functools
import ssl
from collections.abc import Callable, Collection, Mapping, Sequence
from types import TracebackType
from typing import Any

import httpx

from sandbox.services import Service, start_service
from sandbox.services.scripted import Stats
from sandbox.snowflake.account import account_app, operation
from sandbox.snowflake.admin import elsewhere_app, with_admin
from sandbox.snowflake.catalog import (
    CALLER,
    WAREHOUSE,
    Catalog,
    ServiceEndpoint,
    images_of,
    qualified,
    sql_name,
)
from sandbox.snowflake.catalog import Service as SqlService
from sandbox.snowflake.catalog.objects import CHAT_FUNCTION, ENCODE_FUNCTION, Function
from sandbox.snowflake.clock import Clock
from sandbox.snowflake.counters import Counters
from sandbox.snowflake.endpoint import (
    IDLE_SECONDS,
    MODEL_SERVING_BODY_LIMIT,
    PROTOCOLS,
    TOKEN_KINDS,
    UNAUTHENTICATED,
    Endpoint,
    Received,
)
from sandbox.snowflake.fault_kinds import Site
from sandbox.snowflake.faults import Faults, with_faults
from sandbox.snowflake.ingress import ingress_app
from sandbox.snowflake.sql.executor import Executor
from sandbox.snowflake.sql.statement_faults import StatementFaults
from sandbox.snowflake.tables.opening import open_tables
from sandbox.snowflake.wire import App, Listener, Loop
from sandbox.snowflake.world import Session, World

USER, ROLE = "ALICE", CALLER
ADMIN = "ADMIN"


class PublicEndpoint:
    """A service behind its ingress."""

    def __init__(
        self,
        endpoint: Endpoint,
        listener: Listener,
        loop: Loop,
        service: Service,
        scheme: str,
        in_sql: SqlService,
    ) -> None:
        self.endpoint = endpoint
        self.service = service
        self.in_sql = in_sql
        self.url = f"{scheme}://{endpoint.host}"
        self._listener = listener
        self._loop = loop

    @property
    def counters(self) -> Counters:
        return self.endpoint.counters

    @property
    def stats(self) -> Stats:
        """Of a scripted service; AttributeError for any other."""
        stats: Stats = self.service.stats  # type: ignore[attr-defined]
        return stats

    @property
    def received(self) -> list[Received]:
        """The last requests, with the headers the container got."""
        return list(self.endpoint.received)

    def set_state(self, state: str, *, refusals: int | None = None, seconds: float | None = None) -> None:
        """running, suspended, no_hosts, connect_error or loading: see `Endpoint.set_state`."""
        self.endpoint.set_state(state, refusals=refusals, seconds=seconds)

    def fall_into(self, condition: str | None) -> None:
        """Arm a trouble of `catalog.CONDITIONS`, such as "out_of_memory": SQL shows it, the ingress follows it."""
        self.in_sql.fall_into(condition)

    def close_idle_connections(self) -> int:
        """Returns how many connections are busy, and stay."""
        return self._loop.run(self._listener.close_idle())


class Snowflake:
    def __init__(
        self,
        *,
        account: str = "MYORG-MYACCT",
        clock: Clock | None = None,
        seed: int = 0,
        tls: ssl.SSLContext | None = None,
        port: int = 0,
    ) -> None:
        self.world = World(account, clock)
        self.faults = Faults(seed)
        self.world.add_user(USER, ROLE)
        self.world.add_user(ADMIN, "ACCOUNTADMIN")
        self.executor = Executor(self.world)
        self._tls = tls
        self._port = port
        self._closing = contextlib.ExitStack()
        self._services: dict[str, PublicEndpoint] = {}
        self._sql_services: dict[str, SqlService] = {}

    # -- life --------------------------------------------------------------------------------------

    def __enter__(self) -> Snowflake:
        with contextlib.ExitStack() as undo:
            self._loop = Loop()
            undo.callback(self._loop.stop)
            self._client = self._loop.run(_proxy_client())
            undo.callback(lambda: self._loop.run(self._client.aclose()))
            self.elsewhere = Counters()
            away = self._loop.listen(lambda port: elsewhere_app(self.elsewhere))
            undo.callback(lambda: self._loop.run(away.close()))
            self.elsewhere_url = f"http://localhost:{away.port}/"
            self._account = self._listen(
                "account",
                self.world.counters,
                lambda _: account_app(self.world, self.executor),
                operation,
                self._port,
                self._tls,
            )
            undo.callback(lambda: self._loop.run(self._account.close()))
            self._closing = undo.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Cuts off whoever is still being answered. Closing twice does nothing."""
        self.executor.close()
        if self.world.tables is not None:
            self.world.tables.jobs.close()
        self._closing.close()
        for stage in self.world.catalog.stages.values():
            stage.remove()
        if self.world.tables is not None:
            self.world.tables.store.close()
            self.world.tables = None

    # -- what a caller needs -----------------------------------------------------------------------

    @property
    def account_url(self) -> str:
        return f"{_scheme(self._tls)}://127.0.0.1:{self._account.port}"

    @property
    def catalog(self) -> Catalog:
        """What SQL can name; change it with `world.lock` held while statements run."""
        return self.world.catalog

    def run_sql(
        self, statement: str, *, role: str = "ACCOUNTADMIN", warehouse: str | None = WAREHOUSE
    ) -> list[dict[str, object]]:
        """Run a statement as the administrator, without a protocol between; rows by column name, or `SqlError`."""
        session = Session(0, ADMIN, role, warehouse=warehouse)
        return self.executor.run(session, statement).table()

    def seed_usage(self, days: int = 30) -> int:
        """Add usage of the last `days` days to every pool with a service; returns how many hours the views have."""
        with self.world.lock:
            services = [s for s in self.catalog.services.values() if s.workload == "MODEL_SERVING"]
            for pool in {
                service.pool.name: service.pool for service in self.catalog.services.values()
            }.values():
                self.catalog.usage.seed(days, pool, services=[s for s in services if s.pool is pool])
            return len(self.catalog.usage.hours())

    @property
    def tables(self) -> Any:
        """The tables of the account (`tables.Tables`), which need duckdb."""
        tables = open_tables(self.world)
        if tables is None:
            raise RuntimeError("tables need the packages duckdb and sqlglot")
        return tables

    @property
    def statement_faults(self) -> StatementFaults:
        return self.executor.faults

    @property
    def clock(self) -> Clock:
        return self.world.clock

    @property
    def counters(self) -> dict[str, dict[str, int]]:
        """Counts of the account, of each endpoint by its name, and of the host that is not ours."""
        named = {name: service.counters.snapshot() for name, service in self._services.items()}
        return {"account": self.world.counters.snapshot(), **named, "elsewhere": self.elsewhere.snapshot()}

    def issue_oauth_token(self, user: str = USER, role: str | None = None) -> str:
        return self.world.issue_oauth(user, role).text

    def issue_refresh_token(self, user: str = USER, role: str | None = None) -> str:
        role = role or self.world.user(user).default_role
        return self.world.issue("oauth_refresh", user, role, self.world.lifetimes.oauth_refresh).text

    def create_pat(
        self,
        user: str = USER,
        role: str | None = None,
        *,
        seconds: float | None = None,
        network_allowed: bool = True,
    ) -> str:
        return self.world.issue_pat(user, role, seconds=seconds, network_allowed=network_allowed).text

    def register_public_key(self, user: str, pem: str | bytes) -> str:
        return self.world.register_public_key(user, pem)

    # -- services ----------------------------------------------------------------------------------

    def create_service(
        self,
        name: str,
        service: str | Service = "scripted",
        protocol: str = "PREDICT",
        *,
        accepts: Collection[str] = TOKEN_KINDS,
        roles: Collection[str] | None = (ROLE,),
        unauthenticated: str | None = None,
        body_limit: int | None = None,
        idle_seconds: float = IDLE_SECONDS,
        idle_answer: str = "504",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        placed: Mapping[str, Any] | None = None,
        provisioning: bool = False,
        **options: Any,
    ) -> PublicEndpoint:
        """CREATE SERVICE with one public endpoint; returns when it answers.

        `service`: "smollm2", "e5", "scripted", the URL of a running server, or a started `Service`;
        `options` go to the service. `roles` hold the service role (None: every role); `tls` is this
        endpoint's own, instead of the account's. `placed` are arguments of `Catalog.add_service`: database, schema,
        pool, owner, granted, min_instances and so on. With `provisioning` SHOW ENDPOINTS has no host until
        `durations.endpoint_provisioning` have passed, although the endpoint answers.
        """
        if protocol not in PROTOCOLS:
            raise ValueError(f"protocol {protocol!r} is none of {PROTOCOLS}")
        serving = protocol == "MODEL_SERVING"
        unauthenticated = unauthenticated or ("404" if serving else "redirect")
        if unauthenticated not in UNAUTHENTICATED:
            raise ValueError(f"unauthenticated {unauthenticated!r} is none of {UNAUTHENTICATED}")
        running = start_service(service, protocol, options)
        self._closing.callback(running.stop)
        endpoint = Endpoint(
            name,
            running.url,
            protocol,
            frozenset(accepts),
            None if roles is None else frozenset(roles),
            unauthenticated,
            MODEL_SERVING_BODY_LIMIT if serving and body_limit is None else body_limit,
            idle_seconds,
            idle_answer,
        )

        def app(port: int) -> App:
            endpoint.host = f"127.0.0.1:{port}"
            return ingress_app(self.world, endpoint, self._client, self._sign_in_url)

        tls = tls or self._tls
        listener = self._listen(name, endpoint.counters, app, lambda path: path, port, tls)
        self._closing.callback(lambda: self._loop.run(listener.close()))
        self.world.services[name] = endpoint
        embeds = service == "e5" or options.get("signature") == "embedding"
        function = ENCODE_FUNCTION if embeds else CHAT_FUNCTION
        self._register(name, endpoint, placed, function, provisioning=provisioning)
        public = PublicEndpoint(
            endpoint, listener, self._loop, running, _scheme(tls), self._sql_services[name]
        )
        self._services[name] = public
        return public

    def create_model(
        self,
        name: str,
        service: str | Service = "scripted",
        *,
        functions: Sequence[Function] | None = None,
        version: str = "V1",
        granted: Mapping[str, Sequence[str]] | None = None,
        **options: Any,
    ) -> Service:
        """A model of the registry that no service serves; jobs run it. `options` go to what runs it."""
        running = start_service(service, "MODEL_SERVING", options)
        self._closing.callback(running.stop)
        embeds = service == "e5" or options.get("signature") == "embedding"
        with self.world.lock:
            self.world.catalog.add_model(
                sql_name(name), version=version, functions=functions or [ENCODE_FUNCTION if embeds else CHAT_FUNCTION],
                granted=granted, engine=running.url,
            )  # fmt: skip
        return running

    def _register(
        self,
        name: str,
        endpoint: Endpoint,
        placed: Mapping[str, Any] | None,
        function: Function,
        *,
        provisioning: bool,
    ) -> None:
        """Let SQL know the service, and the ingress its state; a model server's model is in the registry as well."""
        serving = endpoint.protocol == "MODEL_SERVING"
        public_name = {"PREDICT": "predict", "MODEL_SERVING": "inference"}.get(endpoint.protocol, "api")
        provisioned_at = self.clock() + self.world.durations.endpoint_provisioning if provisioning else 0.0
        known: dict[str, Any] = {
            "endpoints": [
                ServiceEndpoint(public_name, 5000, ingress=endpoint, provisioned_at=provisioned_at)
            ],
            "images": images_of(endpoint.protocol, name),
            "workload": "MODEL_SERVING" if serving else "USER",
            **(placed or {}),
        }
        with self.world.lock:
            service = self.world.catalog.add_service(sql_name(name), **known)
            if serving:
                model = f"{service.name}_MODEL"
                service.managing_object = ("MODEL", qualified(service.database, service.schema, model))
                self.world.catalog.add_model(
                    model, database=service.database, schema=service.schema, functions=[function],
                    services=[service.full_name], engine=endpoint.upstream,
                )  # fmt: skip

        def state() -> str:
            with self.world.lock:
                return service.ingress_state(self.world.catalog.settle())

        def served(user: str, start: float, end: float) -> None:
            if serving:
                with self.world.lock:
                    self.world.catalog.usage.record(service, user, start, end)

        endpoint.service_state = state
        endpoint.served = served
        self._sql_services[name] = service

    def service(self, name: str) -> PublicEndpoint:
        return self._services[name]

    # -- listeners ---------------------------------------------------------------------------------

    @property
    def _sign_in_url(self) -> str:
        return f"{self.account_url}/spcs/sign-in"

    def _listen(
        self,
        name: str,
        counters: Counters,
        make_app: Callable[[int], App],
        operation_of: Callable[[str], str],
        port: int,
        tls: ssl.SSLContext | None,
    ) -> Listener:
        def app(port: int) -> App:
            account_port = port if name == "account" else self._account.port
            sign_in = f"{_scheme(self._tls)}://127.0.0.1:{account_port}/spcs/sign-in"
            site = Site(name, sign_in, self.elsewhere_url)
            faulty = with_faults(make_app(port), self.faults, site, operation_of, counters)
            return with_admin(faulty, self, name)

        def refused() -> bool:
            return self.faults.take(name, "", reused=False, at_connect=True) is not None

        return self._loop.listen(app, counters=counters, on_connect=refused, tls=tls, port=port)


def _scheme(tls: ssl.SSLContext | None) -> str:
    return "https" if tls else "http"


@functools.cache
def _authorities() -> ssl.SSLContext:
    """Those of the machine. To read them is most of what starting an account takes, so they are read once."""
    return httpx.create_ssl_context(trust_env=False)


async def _proxy_client() -> httpx.AsyncClient:
    # A connection for each request: llama.cpp announces "Keep-Alive: timeout=5", yet closes the connection just
    # after a streamed answer, and a request sent in between would fail. On loopback a connection costs 0.1 ms.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    return httpx.AsyncClient(timeout=None, limits=limits, trust_env=False, verify=_authorities())
