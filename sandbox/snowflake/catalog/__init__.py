"""What an account holds, apart from sessions and tokens: objects, roles, and the record of what ran."""

from sandbox.snowflake.catalog.catalog import (
    CALLER,
    CPU_POOL,
    DATABASE,
    GPU_POOL,
    OPERATOR,
    OWNER,
    SCHEMA,
    WAREHOUSE,
    Catalog,
    Identity,
    images_of,
)  # fmt: skip
from sandbox.snowflake.catalog.conditions import CONDITIONS
from sandbox.snowflake.catalog.durations import Durations
from sandbox.snowflake.catalog.identifiers import qualified, quoted, sql_name
from sandbox.snowflake.catalog.services import PROVISIONING, Service, ServiceEndpoint

__all__ = [
    "CALLER", "CONDITIONS", "CPU_POOL", "DATABASE", "GPU_POOL", "OPERATOR", "OWNER", "PROVISIONING", "SCHEMA",
    "WAREHOUSE", "Catalog", "Durations", "Identity", "Service", "ServiceEndpoint", "images_of", "qualified", "quoted",
    "sql_name",
]  # fmt: skip
