"""Instance families of compute pools: what a node has and what it costs.

Columns: Snowflake docs, SHOW COMPUTE POOL INSTANCE FAMILIES; types: frostlake's recordings of an account
(`ComputePoolTest`). Credits for each hour of a node: Snowflake Service Consumption Table of 2026-04-01.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True)
class Family:
    """An instance family. storage_gib is text in the listing; gpu is "" without one."""

    name: str
    vcpu: int
    memory_gib: int
    storage_gib: str
    credits: Decimal
    gpu: str = ""
    gpu_count: int = 0
    gpu_memory_gib: int = 0
    message: str = ""

    @property
    def instances_per_node(self) -> int:
        """How many service instances a node holds here: one for each GPU, or eight that ask for little CPU."""
        return self.gpu_count or 8

    @property
    def description(self) -> str:
        if self.gpu:
            return f"{self.gpu_count} {self.gpu} GPU{'s' if self.gpu_count > 1 else ''}"
        return f"{self.vcpu} vCPU, {self.memory_gib} GiB of memory"


_A10G, _A100 = "NVIDIA A10G", "NVIDIA A100"

FAMILIES = {
    family.name: family
    for family in (
        Family("CPU_X64_XS", 1, 6, "93.13", Decimal("0.06")),
        Family("CPU_X64_S", 3, 13, "93.13", Decimal("0.11")),
        Family("CPU_X64_M", 6, 28, "93.13", Decimal("0.22")),
        Family("CPU_X64_SL", 14, 54, "93.13", Decimal("0.41")),
        Family("CPU_X64_L", 28, 116, "93.13", Decimal("0.83")),
        Family("HIGHMEM_X64_S", 6, 58, "93.13", Decimal("0.28")),
        Family("HIGHMEM_X64_M", 28, 240, "93.13", Decimal("1.11")),
        Family("HIGHMEM_X64_L", 124, 984, "93.13", Decimal("4.44")),
        Family("GPU_NV_S", 6, 27, "279.40", Decimal("0.57"), _A10G, 1, 24),
        Family("GPU_NV_M", 44, 178, "3492.46", Decimal("2.68"), _A10G, 4, 24),
        Family(
            "GPU_NV_L", 92, 1112, "7450.58", Decimal("14.12"), _A100, 8, 40,
            "Instance family available by reservation only.",
        ),
    )
}  # fmt: skip
