"""What a node of a compute pool costs: resource/instance_families.json, which carries its date and its source."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

_FILE = Path(__file__).parents[3] / "resource" / "instance_families.json"
HOURS_PER_MONTH = 730
GPU_FAMILIES = "GPU_"  # how the names of all families with GPUs begin, and of no others


@dataclass(frozen=True)
class Family:
    """An instance family of compute pools.

    Attributes:
        credits_per_hour: Credits per hour and node.
        credits_per_hour_azure: The same on Azure, where that price differs.
        gpus: GPUs per node.
        gpu: The type of GPU.
        gpu_memory: GB of each GPU.
        confirmed: Whether the price was read in Snowflake's own table.
    """

    name: str
    credits_per_hour: float
    credits_per_hour_azure: float | None = None
    gpus: int = 0
    gpu: str = ""
    gpu_memory: int = 0
    confirmed: bool = True


@dataclass(frozen=True)
class PriceList:
    """The instance families with their prices.

    Attributes:
        effective: The date of Snowflake's table.
        source: The name of that table.
        families: The families by name.
    """

    effective: str
    source: str
    families: dict[str, Family]

    def family(self, name: object, region: str = "") -> Family | None:
        """Looks up an instance family.

        Args:
            name: The family's name, in any case.
            region: CURRENT_REGION() of the account; some prices differ on Azure.

        Returns:
            The family with the price of the region's cloud, or None if it is not in the list.
        """
        family = self.families.get(str(name).upper())
        if family is None or family.credits_per_hour_azure is None or "AZURE_" not in region.upper():
            return family
        return replace(family, credits_per_hour=family.credits_per_hour_azure)


def price_list(path: Path = _FILE) -> PriceList:
    """Reads the price list that the plugin ships.

    Args:
        path: A JSON file.

    Returns:
        The price list.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is not JSON.
        KeyError: If it has another structure.
    """
    data = json.loads(path.read_text(encoding="utf-8"))
    families = _read(data["families"], confirmed=True)
    families.update(_read(data.get("unconfirmed", {}).get("families", {}), confirmed=False))
    return PriceList(data["effective"], data["source"], families)


def _read(entries: dict[str, dict[str, Any]], confirmed: bool) -> dict[str, Family]:
    return {name: Family(name, confirmed=confirmed, **figures) for name, figures in entries.items()}


def running_cost(family: Family | None, nodes: int, credit_cost: float) -> str:
    """What nodes cost while they run, as a part of a sentence.

    Args:
        family: The nodes' instance family; None if it is not in the price list.
        nodes: How many nodes run.
        credit_cost: USD per credit.

    Returns:
        Text without a full stop.
    """
    if family is None:
        return (
            "price not known to this notebook (see www.snowflake.com/legal-files/CreditConsumptionTable.pdf, "
            "or resource/sql/cost.sql)"
        )
    credits = family.credits_per_hour * nodes
    count = "1 node" if nodes == 1 else f"{nodes} nodes"
    note = "" if family.confirmed else ", price not confirmed"
    return (
        f"{credits:.2f} credits an hour ({count} of {family.name}{note}), USD {credits * credit_cost:,.2f} an hour, "
        f"USD {credits * credit_cost * HOURS_PER_MONTH:,.0f} a month without a pause"
    )
