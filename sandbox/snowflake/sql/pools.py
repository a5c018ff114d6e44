"""SHOW, DESCRIBE and ALTER of compute pools.

Columns: Snowflake docs, the page of each statement. Types, the order of DESCRIBE and what an empty value looks like:
frostlake's recordings of an account (`ComputePoolTest`).
"""

from __future__ import annotations

from sandbox.snowflake.catalog.families import FAMILIES
from sandbox.snowflake.catalog.pools import ComputePool
from sandbox.snowflake.sql.errors import SqlError, invalid_argument
from sandbox.snowflake.sql.filters import read_filters
from sandbox.snowflake.sql.reader import Reader
from sandbox.snowflake.sql.results import DESCRIBE, Result, columns, done, listing
from sandbox.snowflake.sql.run import POOL_PRIVILEGES, Run, flag, instant

POOLS = columns(
    "name", "state", "min_nodes fixed", "max_nodes fixed", "instance_family", "num_services fixed", "num_jobs fixed",
    "auto_suspend_secs fixed", "auto_resume", "active_nodes fixed", "idle_nodes fixed", "target_nodes fixed",
    "created_on timestamp_ltz", "resumed_on timestamp_ltz", "updated_on timestamp_ltz", "owner", "comment null",
    "is_exclusive", "application null", "placement_group null", "backup_instance_families",
)  # fmt: skip
PROBLEM = columns("error_code", "status_message")
FAMILY_COLUMNS = columns(
    "name", "description", "vcpu fixed", "memory_gib fixed", "storage_gib", "gpu", "gpu_count fixed",
    "gpu_memory_gib fixed", "current_node_usage fixed", "message",
)  # fmt: skip
NODES = columns(
    "node_id", "instance_family", "created_on timestamp_ltz", "placement_group null", "vcpu fixed", "memory_gib fixed",
    "storage_gib", "gpu", "gpu_count fixed", "gpu_memory_gib fixed",
)  # fmt: skip


def show_pools(reader: Reader, run: Run) -> Result:
    filters = read_filters(reader, run, scoped=False)
    reader.end()
    seen = [p for _, p in sorted(run.catalog.pools.items()) if run.may.sees(p.securable, POOL_PRIVILEGES)]
    return listing(POOLS, [_row(pool, run) for pool in filters.apply(seen, lambda pool: pool.name)])


def describe_pool(reader: Reader, run: Run) -> Result:
    """As SHOW, with error_code and status_message between application and placement_group."""
    pool = run.pool(reader.qualified())
    reader.end()
    run.require(pool.securable, "compute pool", pool.name, "MONITOR")
    row = _row(pool, run)
    described = (*POOLS[:-2], *PROBLEM, *POOLS[-2:])
    return listing(described, [[*row[:-2], *pool.problem(run.now), *row[-2:]]], DESCRIBE)


def _row(pool: ComputePool, run: Run) -> list[object]:
    """Services and jobs that run: Snowflake documentation, "DESCRIBE COMPUTE POOL"."""
    here = [s for s in run.catalog.services.values() if s.pool is pool and s.status != "SUSPENDED"]
    jobs = sum(service.is_job for service in here)
    return [
        pool.name, pool.state, pool.min_nodes, pool.max_nodes, pool.family.name, len(here) - jobs, jobs,
        pool.auto_suspend_secs, flag(pool.auto_resume), pool.active_nodes, pool.idle_nodes, pool.target_nodes,
        instant(pool.created_on), instant(pool.resumed_on or 0.0), instant(pool.updated_on), pool.owner, pool.comment,
        flag(False), None, pool.placement_group, ",".join(pool.backup_families),
    ]  # fmt: skip


def show_families(reader: Reader, run: Run) -> Result:
    reader.end()
    nodes = [node for pool in run.catalog.pools.values() for node in pool.nodes]
    rows = [
        [
            f.name, f.description, f.vcpu, f.memory_gib, f.storage_gib, f.gpu, f.gpu_count, f.gpu_memory_gib,
            sum(node.family is f for node in nodes), f.message,
        ]
        for f in FAMILIES.values()
    ]  # fmt: skip
    return listing(FAMILY_COLUMNS, rows)


def show_nodes(reader: Reader, run: Run) -> Result:
    reader.expect("IN", "COMPUTE", "POOL")
    pool = run.pool(reader.qualified())
    filters = read_filters(reader, run, scoped=False)
    reader.end()
    run.require(pool.securable, "compute pool", pool.name, "USAGE")
    up = filters.apply([node for node in pool.nodes if node.up], lambda node: f"node-{node.number}")
    rows = [
        [
            f"node-{node.number}", node.family.name, instant(node.up_at), pool.placement_group, node.family.vcpu,
            node.family.memory_gib, node.family.storage_gib, node.family.gpu, node.family.gpu_count,
            node.family.gpu_memory_gib,
        ]
        for node in up
    ]  # fmt: skip
    return listing(NODES, rows)


def alter_pool(reader: Reader, run: Run) -> Result:
    if_exists = reader.take("IF", "EXISTS")
    parts = reader.qualified()
    verb = reader.one_of("SUSPEND", "RESUME", "STOP ALL", "SET")
    changes = _settings(reader) if verb == "SET" else {}
    reader.end()
    if if_exists and parts[-1] not in run.catalog.pools:
        return done()
    pool = run.pool(parts)
    run.require(pool.securable, "compute pool", pool.name, "MODIFY" if verb == "SET" else "OPERATE")
    if verb == "RESUME":
        pool.resume(run.now)
    elif verb == "SET":
        _change(pool, changes, run.now)
    else:
        _empty(pool, run, drop=verb == "STOP ALL")
        if verb == "SUSPEND":
            pool.suspend(run.now)
    return done()


def _empty(pool: ComputePool, run: Run, *, drop: bool) -> None:
    """Suspending a pool suspends its services; STOP ALL drops them (Snowflake docs, ALTER COMPUTE POOL)."""
    for service in [s for s in run.catalog.services.values() if s.pool is pool]:
        if drop:
            run.catalog.drop_service(service)
        else:
            service.suspend(run.now)


def _settings(reader: Reader) -> dict[str, object]:
    changes: dict[str, object] = {}
    while reader.next.kind == "word":
        name = reader.identifier()
        reader.expect("=")
        if name in ("MIN_NODES", "MAX_NODES", "AUTO_SUSPEND_SECS"):
            changes[name.lower()] = reader.integer()
        elif name == "AUTO_RESUME":
            changes["auto_resume"] = reader.boolean()
        elif name == "COMMENT":
            changes["comment"] = reader.string()
        elif name == "INSTANCE_FAMILY":
            changes["family"] = FAMILIES.get(reader.identifier())
        else:
            reader.fail()
        reader.take(",")
    if not changes:
        reader.fail()
    return changes


def _change(pool: ComputePool, changes: dict[str, object], now: float) -> None:
    if "family" in changes:
        if changes["family"] is None:
            raise invalid_argument("Invalid instance family.")
        if pool.state != "SUSPENDED":
            raise SqlError(
                "392503", "55000", f"Compute pool {pool.name} must be suspended to change INSTANCE_FAMILY."
            )
    least, most = (changes.get(name, getattr(pool, name)) for name in ("min_nodes", "max_nodes"))
    if not 1 <= int(str(least)) <= int(str(most)):
        raise invalid_argument(f"Invalid value for MIN_NODES: {least} is not between 1 and MAX_NODES {most}.")
    pool.change(now, **changes)
