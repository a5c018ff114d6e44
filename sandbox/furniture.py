"""A past and some neighbours for the account, so that the webapp has something to show."""

from __future__ import annotations

from sandbox.instance import Instance
from sandbox.snowflake.catalog import CPU_POOL, GPU_POOL

BIG_POOL = "LARGE_MODELS_GPU_NV_M_COMPUTE_POOL"


def furnish(instance: Instance) -> None:
    """Services that exist in listings only: one that is suspended, one that runs out of memory, and their past cost."""
    with instance.snowflake.world.lock:
        catalog = instance.snowflake.catalog
        catalog.add_pool(BIG_POOL, "GPU_NV_M", max_nodes=2)
        catalog.add_service("MISTRAL_24B", schema="PROD", pool=BIG_POOL, running=False)
        broken = catalog.add_service("LLAMA_70B", schema="PROD", pool=BIG_POOL)
        broken.fall_into("out_of_memory")
        catalog.add_service("RERANKER", schema="PROD", pool=CPU_POOL, min_instances=2, max_instances=3)
        for pool, hours in ((GPU_POOL, (6, 20)), (BIG_POOL, (9, 13)), (CPU_POOL, (0, 24))):
            catalog.usage.seed(30, catalog.pools[pool], hours_of_day=hours)
        for service in catalog.services.values():
            service.metrics = tuple(
                (300.0 * n, "container.cpu.usage", 0.4 + (n * n % 7) / 10, "cpu") for n in range(60)
            )
