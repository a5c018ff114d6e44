"""Compute pools: their nodes, which come and go with what runs on them, and the record of both.

States and columns: Snowflake docs, working with compute pools, SHOW and DESCRIBE COMPUTE POOL, ALTER COMPUTE POOL.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from sandbox.snowflake.catalog.agenda import Agenda
from sandbox.snowflake.catalog.durations import Durations
from sandbox.snowflake.catalog.families import FAMILIES, Family
from sandbox.snowflake.catalog.grants import Securable

NO_CAPACITY, NODE_LIMIT = "392507", "392508"
_NODE_IDS = itertools.count(1)
_POOL_IDS = itertools.count(1001)


@dataclass(eq=False)
class Node:
    """A node: billed from when it is up until it ends. Times in seconds since the epoch; taken: its tenants."""

    family: Family
    requested_at: float
    up_at: float | None = None
    ended_at: float | None = None
    taken: int = 0
    number: int = field(default_factory=lambda: next(_NODE_IDS))

    @property
    def up(self) -> bool:
        return self.up_at is not None and self.ended_at is None

    @property
    def free(self) -> bool:
        return self.up and self.taken < self.family.instances_per_node


class Tenant(Protocol):
    """What asks a pool for a place: an instance of a service."""

    node: Node | None

    @property
    def placed(self) -> Callable[[float], None]: ...


@dataclass(eq=False)
class ComputePool:
    """A compute pool. trouble: "capacity" if the cloud provider has no node to give."""

    name: str
    family: Family
    agenda: Agenda
    durations: Durations
    created_on: float
    min_nodes: int = 1
    max_nodes: int = 1
    auto_resume: bool = True
    auto_suspend_secs: int = 3600
    owner: str = "ACCOUNTADMIN"
    comment: str | None = None
    backup_families: tuple[str, ...] = ()
    placement_group: str | None = None
    trouble: str = ""
    suspended: bool = False
    stopping: bool = False
    resumed_on: float | None = None
    updated_on: float = 0.0
    nodes: list[Node] = field(default_factory=list)
    ended: list[Node] = field(default_factory=list)
    tenants: list[Tenant] = field(default_factory=list)
    number: int = field(default_factory=lambda: next(_POOL_IDS))

    def __post_init__(self) -> None:
        self.updated_on = self.updated_on or self.created_on
        self._quiet_since: float | None = None
        self._short_since: float | None = None

    @property
    def securable(self) -> Securable:
        return Securable("COMPUTE_POOL", self.name)

    # -- what listings print ---------------------------------------------------------------------------

    @property
    def state(self) -> str:
        if self.suspended:
            return "STOPPING" if self.stopping else "SUSPENDED"
        up = sum(node.up for node in self.nodes)
        if up < len(self.nodes) or not self.nodes:
            return "RESIZING" if up else "STARTING"
        return "ACTIVE" if self.tenants else "IDLE"

    @property
    def active_nodes(self) -> int:
        return sum(node.up and node.taken > 0 for node in self.nodes)

    @property
    def idle_nodes(self) -> int:
        return sum(node.up for node in self.nodes) - self.active_nodes

    @property
    def target_nodes(self) -> int:
        return 0 if self.suspended else self._wanted_nodes()

    def problem(self, now: float) -> tuple[str, str]:
        """error_code and status_message, as DESCRIBE COMPUTE POOL prints them: "" and "" when healthy."""
        if self._short_since is not None and self.trouble == "capacity":
            minutes = max(1, int((now - self._short_since) // 60))
            return NO_CAPACITY, (
                f"Compute pool is starting for the last {minutes} minutes. We have observed CAPACITY_ERROR."
            )
        waiting = any(tenant.node is None for tenant in self.tenants)
        if (
            waiting
            and not self.suspended
            and len(self.nodes) >= self.max_nodes
            and all(n.up for n in self.nodes)
        ):
            return NODE_LIMIT, (
                "Compute pool has reached the maximum node limit. Consider increasing max_nodes of the compute pool."
            )
        return "", ""

    # -- what happens ----------------------------------------------------------------------------------

    def resume(self, now: float) -> None:
        if self.suspended and not self.stopping:
            self.suspended = False
            self.resumed_on = self.updated_on = now
            self._quiet_since = None
        self.settle(now)

    def suspend(self, now: float) -> None:
        """Stop the nodes; whoever calls has suspended the services."""
        if self.suspended:
            return
        self.suspended = self.stopping = True
        self.updated_on = now
        self._stop(now + self.durations.pool_stopping)

    def _stop(self, when: float) -> None:
        def stop(now: float) -> None:
            if self.tenants:
                self._stop(now + max(self.durations.pool_stopping, 0.05))
                return
            for node in list(self.nodes):
                self._end(node, now)
            self.stopping = False

        self.agenda.at(when, stop)

    def lose_nodes(self, now: float) -> None:
        """End all nodes, and get no other until `trouble` is "" again."""
        self.trouble = "capacity"
        self._short_since = now
        for tenant in self.tenants:
            self._place(tenant, None)
        for node in list(self.nodes):
            self._end(node, now)

    def join(self, tenant: Tenant, now: float) -> None:
        """Give the tenant a place, now or when a node is up; a suspended pool resumes if AUTO_RESUME is true."""
        self.tenants.append(tenant)
        self._quiet_since = None
        if self.suspended and self.auto_resume:
            self.resume(now)
        self.settle(now)

    def leave(self, tenant: Tenant, now: float) -> None:
        if tenant in self.tenants:
            self.tenants.remove(tenant)
            self._place(tenant, None)
        self.settle(now)

    def change(self, now: float, **settings: object) -> None:
        """ALTER COMPUTE POOL ... SET."""
        for name, value in settings.items():
            if not hasattr(self, name):
                raise ValueError(f"a compute pool has no {name}")
            setattr(self, name, value)
        self.updated_on = now
        self.settle(now)

    def make_room(self, tenant: Tenant, now: float) -> None:
        """Place the tenant on a node that is up at once, whatever the bounds: for what is there from the start."""
        if self.suspended:
            self.suspended = self.stopping = False
            self.resumed_on = now
        for node in reversed(self.nodes):
            if node.free:
                break
        else:
            node = Node(self.family, now, now)
            self.nodes.append(node)
        self.max_nodes = max(self.max_nodes, len(self.nodes))
        self._place(tenant, node)
        self.tenants.append(tenant)
        self._quiet_since = None

    def settle(self, now: float) -> None:
        """Bring as many nodes as are wanted, and place whoever waits."""
        if self.suspended:
            return
        self._place_waiting(now)
        wanted = self._wanted_nodes()
        idle = [node for node in reversed(self.nodes) if not node.taken]
        for node in idle[: max(0, len(self.nodes) - wanted)]:
            self._end(node, now)
        while len(self.nodes) < wanted:
            self._request_node(now)
        self._watch_quiet(now)

    def _wanted_nodes(self) -> int:
        needed = math.ceil(len(self.tenants) / self.family.instances_per_node)
        return min(max(needed, self.min_nodes), self.max_nodes)

    def _request_node(self, now: float) -> None:
        node = Node(self.family, now)
        self.nodes.append(node)
        self._provision(node, now + self.durations.node_start)

    def _provision(self, node: Node, when: float) -> None:
        def arrive(now: float) -> None:
            if node.ended_at is not None:
                return
            if self.trouble == "capacity":
                self._short_since = self._short_since or node.requested_at
                self._provision(node, now + max(self.durations.node_start, 0.05))
                return
            self._short_since = None
            node.up_at = now
            self._place_waiting(now)

        self.agenda.at(when, arrive)

    def _place_waiting(self, now: float) -> None:
        for tenant in self.tenants:
            if tenant.node is None:
                free = next((node for node in self.nodes if node.free), None)
                if free is None:
                    return
                self._place(tenant, free)
                tenant.placed(now)

    @staticmethod
    def _place(tenant: Tenant, node: Node | None) -> None:
        if tenant.node is not None:
            tenant.node.taken -= 1
        if node is not None:
            node.taken += 1
        tenant.node = node

    def _end(self, node: Node, now: float) -> None:
        node.ended_at = now
        self.nodes.remove(node)
        if node.up_at is not None:
            self.ended.append(node)

    def _watch_quiet(self, now: float) -> None:
        """Suspend when nothing has run for AUTO_SUSPEND_SECS (0: never)."""
        if self.tenants or not self.auto_suspend_secs or self._quiet_since is not None:
            return
        self._quiet_since = since = now

        def suspend(when: float) -> None:
            if self._quiet_since == since and not self.suspended:
                self.suspend(when)

        self.agenda.at(now + self.auto_suspend_secs, suspend)


def family_of(name: str) -> Family:
    """The family of that name; ValueError if there is none."""
    if name not in FAMILIES:
        raise ValueError(f"instance family {name!r} is none of {', '.join(FAMILIES)}")
    return FAMILIES[name]
