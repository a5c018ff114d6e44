"""What a compute pool's node costs: resource/instance_families.json, dated; your own figures go before."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

_FILE = Path(__file__).parents[2] / "resource" / "instance_families.json"


@dataclass(frozen=True)
class Family:
    """credits_per_hour: per node. gpus: per node; gpu_memory: GB of each."""

    name: str
    credits_per_hour: float
    gpus: int = 0
    gpu: str = ""
    gpu_memory: int = 0


@dataclass(frozen=True)
class PriceList:
    effective: str
    source: str
    families: dict[str, Family]

    def family(self, name: object) -> Family | None:
        return self.families.get(str(name).upper())


def price_list(path: Path = _FILE) -> PriceList:
    """Raises OSError, or ValueError and KeyError for a file of another shape."""
    data = json.loads(path.read_text(encoding="utf-8"))
    families = {name: Family(name, **figures) for name, figures in data["families"].items()}
    return PriceList(data["effective"], data["source"], families)


def running_cost(family: Family | None, nodes: int, credit_cost: float) -> str:
    """One sentence; credit_cost in USD per credit."""
    if family is None:
        return "its family is not in instance_families.json: see SHOW COMPUTE POOL INSTANCE FAMILIES"
    credits = family.credits_per_hour * nodes
    count = "1 node" if nodes == 1 else f"{nodes} nodes"
    return (
        f"{credits:.2f} credits an hour ({count} of {family.name}), USD {credits * credit_cost:.2f} an hour"
    )
