"""Compute pools: is it there, what runs on it, what it costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from spcs_deployment.families import Family, PriceList
from spcs_deployment.problems import DeploymentError
from spcs_deployment.sql import Session, named, rows


@dataclass(frozen=True)
class Pool:
    name: str
    instance_family: str
    family: Family | None
    max_nodes: int
    auto_suspend_seconds: int


def pool(session: Session, name: str, prices: PriceList, region: str = "") -> Pool:
    """The pool with its price. Raises DeploymentError if it does not exist or the role may not see it."""
    row = named(session, "COMPUTE POOLS", name, f"looking for compute pool {name}")
    if row is None:
        raise DeploymentError(
            f"Compute pool {name} does not exist, or the session's role may not see it.",
            "Ask a Snowflake administrator to create it with resource/sql/setup.sql, or to grant the role USAGE and "
            "MONITOR on it. SHOW COMPUTE POOLS lists the pools that the role may see.",
        )
    family = str(row["instance_family"]).upper()
    return Pool(
        name,
        family,
        prices.family(family, region),
        _whole(row.get("max_nodes")),
        _whole(row.get("auto_suspend_secs")),
    )


def trouble(session: Session, name: str) -> str:
    """Why the pool does not start, in Snowflake's words and with its error code; empty if it has no problem.

    392507: no capacity in the region. 392508: the pool has reached MAX_NODES (DESCRIBE COMPUTE POOL).
    """
    for row in rows(session, f"DESCRIBE COMPUTE POOL {name}", f"describing compute pool {name}"):
        code, message = str(row.get("error_code") or ""), str(row.get("status_message") or "")
        if code:
            return f"{code}: {message}"
    return ""


def needs_gpu(found: Pool) -> None:
    """Raises DeploymentError when the pool's nodes are known to have no GPU."""
    if found.family is not None and found.family.gpus == 0:
        raise DeploymentError(
            f"The nodes of compute pool {found.name} ({found.instance_family}) have no GPU; chat models need one.",
            "Enter a pool of GPU nodes in CHAT_POOL (setup.sql creates one).",
        )


def _whole(value: Any) -> int:
    return int(value) if value not in (None, "") else 0
