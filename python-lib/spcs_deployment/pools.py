"""Compute pools: is it there, what runs on it, what it costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from spcs_deployment.families import Family, PriceList
from spcs_deployment.problems import DeploymentError
from spcs_deployment.sql import Session, named


@dataclass(frozen=True)
class Pool:
    name: str
    instance_family: str
    family: Family | None
    max_nodes: int
    auto_suspend_seconds: int


def pool(session: Session, name: str, prices: PriceList) -> Pool:
    """Raises DeploymentError when the pool does not exist or is out of the role's sight."""
    row = named(session, "COMPUTE POOLS", name, f"looking for compute pool {name}")
    if row is None:
        raise DeploymentError(
            f"Compute pool {name} does not exist, or the session's role may not see it.",
            "Create it with resource/sql/setup.sql, or grant the role USAGE and MONITOR on it; "
            "SHOW COMPUTE POOLS lists what the role sees.",
        )
    family = str(row["instance_family"]).upper()
    return Pool(
        name,
        family,
        prices.family(family),
        _whole(row.get("max_nodes")),
        _whole(row.get("auto_suspend_secs")),
    )


def needs_gpu(found: Pool) -> None:
    """Raises DeploymentError when the pool's nodes are known to have no GPU."""
    if found.family is not None and found.family.gpus == 0:
        raise DeploymentError(
            f"Compute pool {found.name} has nodes of {found.instance_family}, which have no GPU; "
            "chat models need one.",
            "Put a pool of GPU nodes into CHAT_POOL (setup.sql creates one of GPU_NV_S).",
        )


def _whole(value: Any) -> int:
    return int(value) if value not in (None, "") else 0
