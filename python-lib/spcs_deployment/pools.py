"""Compute pools: is it there, what runs on it, what it costs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from spcs_deployment.catalogue import CatalogueModel
from spcs_deployment.problems import DeploymentError
from spcs_deployment.sql import Session, bare, rows
from spcs_llm.control import cells, statements
from spcs_llm.control.families import GPU_FAMILIES, Family, PriceList
from spcs_llm.control.services import read_pools

_SHARE_FOR_WEIGHTS = 0.75  # of a GPU's memory; vLLM takes 0.9 for weights, caches and its own needs


@dataclass(frozen=True)
class Pool:
    """A compute pool with its price.

    Attributes:
        instance_family: The name of the nodes' family.
        family: The family in the price list; None if it is not there.
        max_nodes: The pool's MAX_NODES.
        auto_suspend_seconds: How long the pool stays without work; 0 if it never suspends itself.
    """

    name: str
    instance_family: str
    family: Family | None
    max_nodes: int
    auto_suspend_seconds: int


def pool(session: Session, name: str, prices: PriceList, region: str = "") -> Pool:
    """Finds a compute pool.

    Args:
        session: Runs the statement.
        name: The pool's name.
        prices: Where to look up the price.
        region: CURRENT_REGION() of the account.

    Returns:
        The pool with its price.

    Raises:
        DeploymentError: If it does not exist, or the session's role may not see it.
    """
    shown = rows(session, statements.show_named_pool(bare(name)), f"looking for compute pool {name}")
    found = next((candidate for candidate in read_pools(shown) if candidate.name == bare(name)), None)
    if found is None:
        raise DeploymentError(
            f"Compute pool {name} does not exist, or the session's role may not see it.",
            "Ask a Snowflake administrator to create it with resource/sql/setup.sql, or to grant the role USAGE and "
            "MONITOR on it. SHOW COMPUTE POOLS lists the pools that the role may see.",
        )
    return Pool(
        name,
        found.family,
        prices.family(found.family, region),
        found.max_nodes,
        found.auto_suspend_seconds,
    )


def trouble(session: Session, name: str) -> str:
    """Why the pool does not start, in Snowflake's words and with its error code.

    Codes that DESCRIBE COMPUTE POOL gives: 392507, no capacity in the region; 392508, the pool has reached MAX_NODES.

    Args:
        session: Runs the statement.
        name: The pool's name.

    Returns:
        The reason; empty if the pool has no problem.
    """
    described = rows(session, statements.describe_pool(bare(name)), f"describing compute pool {name}")
    for row in described:
        if code := cells.text(row, "error_code"):
            return f"{code}: {cells.text(row, 'status_message') or ''}"
    return ""


def lacks_bfloat16(found: Pool) -> bool:
    """Whether vLLM refuses weights in bfloat16 there: a T4 is of compute capability 7.5, and they need 8.0."""
    return found.family is not None and found.family.gpu.endswith("T4")


def has_gpu(found: Pool) -> bool:
    """Whether its nodes have a GPU, also where their family is newer than the price list."""
    if found.family is None:
        return found.instance_family.upper().startswith(GPU_FAMILIES)
    return found.family.gpus > 0


def doubts(found: Pool, models: Iterable[CatalogueModel]) -> list[str]:
    """Warns about chat models that may not run well on a pool.

    Args:
        found: The pool.
        models: The chat models.

    Returns:
        The sentences.
    """
    family = found.family
    if family is None or not family.gpus:
        return []
    told = []
    if family.gpus > 1:
        told.append(
            f"Each node of pool {found.name} has {family.gpus} GPUs, of which a service uses one. All of them are"
            " billed."
        )
    if lacks_bfloat16(found):
        told.append(
            f"The GPUs of pool {found.name} ({family.gpu}) cannot use weights in bfloat16, so vLLM is started with"
            " --dtype=half."
        )
    for model in models:
        weights = model.parameters * 2
        if weights > _SHARE_FOR_WEIGHTS * family.gpu_memory:
            told.append(
                f"{model.key} may not fit: in 16 bits its weights have {weights:g} GB, and a GPU of pool {found.name}"
                f" has {family.gpu_memory} GB, of which vLLM uses nine tenths for weights and texts. Choose a larger"
                " GPU, a smaller model or quantized weights."
            )
    return told


def needs_gpu(found: Pool) -> None:
    """Checks that the pool's nodes may have a GPU.

    Raises:
        DeploymentError: If they are known to have none.
    """
    if found.family is not None and found.family.gpus == 0:
        raise DeploymentError(
            f"The nodes of compute pool {found.name} ({found.instance_family}) have no GPU; chat models need one.",
            "Enter a pool of GPU nodes in CHAT_POOL (setup.sql creates one).",
        )
