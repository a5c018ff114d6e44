"""What suspending or resuming services means for the bill of their compute pools.

A pool is billed until it suspends itself, AUTO_SUSPEND_SECS after its last service has stopped (Snowflake
documentation, "Compute pool lifecycle").
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from spcs_llm.control import statements
from spcs_llm.control.container_messages import hint_for_pool
from spcs_llm.control.families import PriceList
from spcs_llm.control.identifiers import quoted
from spcs_llm.control.operated import Verb
from spcs_llm.control.rates import PoolRate, pool_rate
from spcs_llm.control.services import Pool, Service, listed_services, read_pools
from spcs_llm.control.session import SqlSession
from spcs_llm.errors import SpcsError, SqlError


@dataclass(frozen=True)
class PoolEffect:
    """What a change means for a compute pool's bill.

    Attributes:
        pool: The pool's name.
        credits_per_hour: Credits per hour that end, or begin; None if that is not known.
        text: A sentence that says when, and on what it depends.
    """

    pool: str
    credits_per_hour: float | None
    text: str


def pool_effects(
    session: SqlSession, verb: Verb, services: Sequence[Service], prices: PriceList, region: str = ""
) -> Iterator[PoolEffect]:
    """What a change will mean for the bill of each pool. It has to be asked for before the change.

    Args:
        session: Runs the statements.
        verb: What is to be done.
        services: The services that will be changed.
        prices: What a node of each instance family costs.
        region: The account's region.

    Yields:
        One effect for each pool, by name.
    """
    by_pool: dict[str, list[Service]] = {}
    for service in services:
        if service.pool:
            by_pool.setdefault(service.pool, []).append(service)
    if not by_pool:
        return
    try:
        pools = {pool.name: pool for pool in read_pools(session.rows(statements.SHOW_POOLS))}
    except SpcsError:
        pools = {}
    for name, changed in sorted(by_pool.items()):
        if name not in pools:
            yield PoolEffect(
                name, None, f"Compute pool {name} cannot be seen: the role needs USAGE or MONITOR on it."
            )
            continue
        try:
            rate = pool_rate(session, pools[name], prices, region)
            others = _others(session, pools[name], changed)
        except SpcsError as error:
            yield PoolEffect(name, None, f"Compute pool {name}: {error.message}")
            continue
        effect = _saved if verb is Verb.SUSPEND else _begun
        yield effect(pools[name], rate, others, changed)


def _others(session: SqlSession, pool: Pool, changed: Sequence[Service]) -> int:
    """How many other services and jobs keep the pool up, those that the role may not see included."""
    try:
        on_pool, _ = listed_services(session, pool=pool.name)
    except SqlError:
        on_pool = list(changed)
    names = {service.name for service in changed}
    running = {service.name for service in on_pool if not service.is_suspended}
    # Snowflake documentation, "DESCRIBE COMPUTE POOL": num_services are those that run.
    hidden = max(0, (pool.services or 0) - len(running))
    return len(running - names) + hidden + (pool.jobs or 0)


def _saved(pool: Pool, rate: PoolRate, others: int, changed: Sequence[Service]) -> PoolEffect:
    if others:
        count = "1 other service or job" if others == 1 else f"{others} other services or jobs"
        text = f"Compute pool {pool.name} stays up for {count}, and is billed by its nodes."
        return PoolEffect(pool.name, 0.0, text)
    if not pool.auto_suspend_seconds:
        return PoolEffect(
            pool.name,
            0.0,
            f"Compute pool {pool.name} never suspends itself, so its nodes are still billed: ask a Snowflake"
            " administrator to set AUTO_SUSPEND_SECS on it.",
        )
    if rate.credits_per_hour is None:
        return _unknown(pool)
    return PoolEffect(
        pool.name,
        rate.credits_per_hour,
        f"{rate.credits_per_hour:.2f} credits per hour end when compute pool {pool.name} ({_nodes(rate.nodes)} of"
        f" {pool.family}) has been idle for {pool.auto_suspend_seconds} s and suspends itself.",
    )


def _begun(pool: Pool, rate: PoolRate, others: int, changed: Sequence[Service]) -> PoolEffect:
    if pool.stays_down:
        text = f"Compute pool {pool.name} is {pool.state} and does not resume by itself: its services wait for it."
        return PoolEffect(pool.name, None, f"{text} {hint_for_pool(quoted(pool.name), pool.state)}")
    if rate.node_credits is None:
        return _unknown(pool)
    instances = sum(max(1, service.min_instances or 1) for service in changed)
    fewest = 0 if rate.nodes else max(1, pool.min_nodes)
    most = max(fewest, min(instances, max(pool.max_nodes, 1) - rate.nodes))
    if fewest:
        text = f"{fewest * rate.node_credits:.2f} credits per hour begin with compute pool {pool.name}"
        text += f" ({_nodes(fewest)} of {pool.family})"
    else:
        text = f"Compute pool {pool.name} is up already, with {_nodes(rate.nodes)} of {pool.family}"
    if most > fewest:
        text += f"; up to {most * rate.node_credits:.2f} if each instance needs its own node"
    return PoolEffect(pool.name, fewest * rate.node_credits, f"{text}.")


def _unknown(pool: Pool) -> PoolEffect:
    return PoolEffect(
        pool.name,
        None,
        f"Compute pool {pool.name}: the price of {pool.family or 'its nodes'} is not in the plugin's list.",
    )


def _nodes(count: int) -> str:
    return "1 node" if count == 1 else f"{count} nodes"
