"""What an administrator can do over HTTP, call by call; see the README for their bodies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from sandbox.services.scripted import Stats
from sandbox.snowflake.catalog import Catalog, Service, qualified
from sandbox.snowflake.clock import Clock
from sandbox.snowflake.faults import Faults
from sandbox.snowflake.sql.executor import Executor
from sandbox.snowflake.sql.statement_faults import StatementFaults
from sandbox.snowflake.world import World

Action = Callable[["Sandbox", str, Any], dict[str, Any]]
ARMABLE = ("where", "on", "times", "skip", "chance", "reused")


class Served(Protocol):
    """A service behind its ingress; one that counts its batches has `stats`."""

    @property
    def stats(self) -> Stats: ...

    @property
    def in_sql(self) -> Service: ...

    def set_state(self, state: str, *, refusals: int | None = ..., seconds: float | None = ...) -> None: ...

    def fall_into(self, condition: str | None) -> None: ...


class Sandbox(Protocol):
    """What these calls work: `snowflake.Snowflake`."""

    faults: Faults
    world: World
    executor: Executor

    @property
    def clock(self) -> Clock: ...

    @property
    def catalog(self) -> Catalog: ...

    @property
    def counters(self) -> dict[str, dict[str, int]]: ...

    @property
    def issue_oauth_token(self) -> Callable[..., str]: ...

    @property
    def create_pat(self) -> Callable[..., str]: ...

    @property
    def statement_faults(self) -> StatementFaults: ...

    def service(self, name: str) -> Served: ...

    def run_sql(self, statement: str, *, role: str = ...) -> list[dict[str, object]]: ...

    def seed_usage(self, days: int = ...) -> int: ...


# -- requests --------------------------------------------------------------------------------------


def arm(sandbox: Sandbox, name: str, body: Any) -> dict[str, Any]:
    """`where` is this listener unless said; everything that is not about when to strike is a parameter."""
    for fault in body if isinstance(body, list) else [body]:
        when = {key: fault[key] for key in ARMABLE if key in fault}
        params = {k: v for k, v in fault.items() if k not in ARMABLE and k not in ("kind", "params")}
        params.update(fault.get("params", {}))
        when.setdefault("where", name)
        sandbox.faults.arm(fault["kind"], **when, **params)
    return armed(sandbox, name, body)


def armed(sandbox: Sandbox, name: str, body: Any) -> dict[str, Any]:
    return {"faults": sandbox.faults.listed()}


def disarm(sandbox: Sandbox, name: str, body: Any) -> dict[str, Any]:
    sandbox.faults.clear()
    return armed(sandbox, name, body)


def advance_clock(sandbox: Sandbox, name: str, body: Any) -> dict[str, Any]:
    sandbox.clock.advance(float(body["advance"]))
    return read_clock(sandbox, name, body)


def read_clock(sandbox: Sandbox, name: str, body: Any) -> dict[str, Any]:
    return {"now": sandbox.clock()}


def issue_token(sandbox: Sandbox, name: str, body: Any) -> dict[str, Any]:
    issue = {"oauth": sandbox.issue_oauth_token, "pat": sandbox.create_pat}[body.pop("kind")]
    return {"token": issue(**body)}


def read_counters(sandbox: Sandbox, name: str, body: Any) -> dict[str, Any]:
    return sandbox.counters


def read_batches(sandbox: Sandbox, name: str, body: Any) -> dict[str, Any]:
    return {"batch_sizes": sandbox.service(name).stats.batch_sizes}


# -- SQL -------------------------------------------------------------------------------------------


def run_sql(sandbox: Sandbox, name: str, body: Any) -> dict[str, Any]:
    return {"rows": sandbox.run_sql(**body)}


def read_statements(sandbox: Sandbox, name: str, body: Any) -> dict[str, Any]:
    return {"statements": sandbox.executor.statements}


def arm_statements(sandbox: Sandbox, name: str, body: Any) -> dict[str, Any]:
    for fault in body if isinstance(body, list) else [body]:
        sandbox.statement_faults.arm(**fault)
    return armed_statements(sandbox, name, body)


def armed_statements(sandbox: Sandbox, name: str, body: Any) -> dict[str, Any]:
    return {"faults": sandbox.statement_faults.listed()}


def disarm_statements(sandbox: Sandbox, name: str, body: Any) -> dict[str, Any]:
    sandbox.statement_faults.clear()
    return armed_statements(sandbox, name, body)


def change_service(sandbox: Sandbox, name: str, body: Any) -> dict[str, Any]:
    """Arm a `condition` (null: recover), set a `state` of the ingress, or both; the row of DESCRIBE SERVICE."""
    service = sandbox.service(body.pop("name"))
    if "condition" in body:
        service.fall_into(body.pop("condition"))
    if "state" in body:
        service.set_state(**body)
    return sandbox.run_sql(f"DESCRIBE SERVICE {service.in_sql.full_name}")[0]


def change_pool(sandbox: Sandbox, name: str, body: Any) -> dict[str, Any]:
    """Lose or regain its `capacity`, or change settings such as max_nodes; the row of DESCRIBE COMPUTE POOL."""
    pool_name = body.pop("name")
    with sandbox.world.lock:
        pool = sandbox.catalog.pools[pool_name]
        capacity = body.pop("capacity", None)
        if capacity is False:
            sandbox.catalog.run_out_of_capacity(pool)
        elif capacity:
            pool.trouble = ""
        pool.change(sandbox.catalog.settle(), **body)
    return sandbox.run_sql(f"DESCRIBE COMPUTE POOL {qualified(pool_name)}")[0]


def seed_usage(sandbox: Sandbox, name: str, body: Any) -> dict[str, Any]:
    return {"hours": sandbox.seed_usage(**body)}


ACTIONS: dict[str, Action] = {
    "POST faults": arm,
    "GET faults": armed,
    "DELETE faults": disarm,
    "POST clock": advance_clock,
    "GET clock": read_clock,
    "POST tokens": issue_token,
    "GET counters": read_counters,
    "GET batches": read_batches,
    "POST sql": run_sql,
    "GET statements": read_statements,
    "POST statement-faults": arm_statements,
    "GET statement-faults": armed_statements,
    "DELETE statement-faults": disarm_statements,
    "POST services": change_service,
    "POST pools": change_pool,
    "POST usage": seed_usage,
}
