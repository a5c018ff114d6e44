"""What a compute pool costs while it runs: its nodes now, by the list of instance families that the plugin ships.

Each node is billed by its own family, which may be a backup family of the pool (Snowflake documentation, "SHOW NODES"),
and while it is up, with or without a service.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import fsum

from spcs_llm.control import statements
from spcs_llm.control.families import PriceList
from spcs_llm.control.services import Node, Pool, read_nodes
from spcs_llm.control.session import SqlSession
from spcs_llm.errors import SqlError


@dataclass(frozen=True)
class PoolRate:
    """What a pool costs now.

    Attributes:
        credits_per_hour: Credits per hour of all nodes that run; None if a family is not in the price list.
        nodes: How many nodes run.
        node_credits: Credits per hour of one node of the pool's own family; None if it is not in the price list.
        gpu: The GPUs of a node of the pool's own family, such as "1 NVIDIA A10G (24 GB)"; empty for none.
        by_node: Whether the nodes were listed, so that backup families are counted as what they are.
        confirmed: Whether all prices were read in Snowflake's own table.
    """

    credits_per_hour: float | None
    nodes: int
    node_credits: float | None
    gpu: str
    by_node: bool
    confirmed: bool


def pool_rate(session: SqlSession, pool: Pool, prices: PriceList, region: str = "") -> PoolRate:
    """What a pool costs now.

    Args:
        session: Runs a statement, if the pool has nodes.
        pool: The pool.
        prices: What a node of each family costs.
        region: The account's region: some prices differ on Azure.

    Returns:
        The rate.

    Raises:
        SpcsError: If Snowflake cannot be asked. After a refusal, the pool's own family is taken for all nodes.
    """
    nodes: list[Node] = []
    if pool.nodes:
        try:
            nodes = read_nodes(session.rows(statements.show_nodes(pool.name)))
        except SqlError:
            nodes = []
    return rate_of(pool, nodes, prices, region)


def rate_of(pool: Pool, nodes: list[Node], prices: PriceList, region: str = "") -> PoolRate:
    """What a pool costs while these nodes run.

    Args:
        pool: The pool.
        nodes: Its nodes; empty if they cannot be listed.
        prices: What a node of each family costs.
        region: The account's region.

    Returns:
        The rate.
    """
    own = prices.family(pool.family, region)
    families = [prices.family(node.family, region) for node in nodes] or [own] * pool.nodes
    known = [family for family in families if family is not None]
    credits = fsum(family.credits_per_hour for family in known)
    gpu = ""
    if own is not None and own.gpus:
        gpu = f"{own.gpus} {own.gpu} ({own.gpu_memory} GB)"
    return PoolRate(
        credits if len(known) == len(families) else None,
        len(families),
        own.credits_per_hour if own is not None else None,
        gpu,
        bool(nodes),
        all(family.confirmed for family in known),
    )
