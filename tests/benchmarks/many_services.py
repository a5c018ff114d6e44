"""An account with as many services as it is told: `python -m tests.benchmarks.many_services 1000`.

It prints its URL and a token, and serves until its standard input ends.
"""

from __future__ import annotations

import sys

from sandbox.snowflake import Snowflake
from sandbox.snowflake.catalog import ServiceEndpoint

POOLS, SCHEMAS = 10, 100


def main(count: int) -> None:
    with Snowflake() as account:
        catalog = account.world.catalog
        for number in range(POOLS):
            catalog.add_pool(f"POOL_{number}", "GPU_NV_S", max_nodes=count)
        for number in range(count):
            catalog.add_service(
                f"SERVICE_{number}",
                database=f"DB_{number % POOLS}",
                schema=f"SCHEMA_{number % SCHEMAS}",
                pool=f"POOL_{number % POOLS}",
                endpoints=[ServiceEndpoint("inference", 5000, host=f"h{number}-o-a.snowflakecomputing.app")],
            )
        print(account.account_url, account.create_pat(), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(int(sys.argv[1]))
