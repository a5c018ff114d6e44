"""Which function answers which statement. What is not listed here does not compile: 001003, never an invented row."""

from __future__ import annotations

from collections.abc import Callable

from sandbox.snowflake.sql import (
    grants,
    inference_jobs,
    models,
    objects,
    pools,
    services,
    sessions,
    stages,
    table_statements,
)
from sandbox.snowflake.sql.call import call
from sandbox.snowflake.sql.reader import Reader
from sandbox.snowflake.sql.results import Result
from sandbox.snowflake.sql.run import Run

Handler = Callable[[Reader, Run], Result]

HANDLERS: dict[str, Handler] = {
    "SHOW SERVICES": services.show_services,
    "SHOW JOB SERVICES": services.show_job_services,
    "SHOW SERVICE INSTANCES": services.show_instances,
    "SHOW SERVICE CONTAINERS": services.show_containers,
    "SHOW ENDPOINTS": services.show_endpoints,
    "SHOW ROLES IN SERVICE": objects.put_back("IN", "SERVICE", then=services.show_roles),
    "SHOW FUNCTIONS IN SERVICE": objects.put_back("IN", "SERVICE", then=services.show_functions),
    "SHOW FUNCTIONS IN MODEL": objects.put_back("IN", "MODEL", then=models.show_functions),
    "DESCRIBE SERVICE": services.describe_service,
    "DESC SERVICE": services.describe_service,
    "ALTER SERVICE": services.alter_service,
    "DROP SERVICE": services.drop_service,
    "SHOW COMPUTE POOLS": pools.show_pools,
    "SHOW COMPUTE POOL INSTANCE FAMILIES": pools.show_families,
    "SHOW NODES": pools.show_nodes,
    "DESCRIBE COMPUTE POOL": pools.describe_pool,
    "DESC COMPUTE POOL": pools.describe_pool,
    "ALTER COMPUTE POOL": pools.alter_pool,
    "SHOW MODELS": models.show_models,
    "SHOW VERSIONS": models.show_versions,
    "SHOW IMAGE REPOSITORIES": models.show_repositories,
    "SHOW GATEWAYS": models.show_gateways,
    "DESCRIBE GATEWAY": models.describe_gateway,
    "DESC GATEWAY": models.describe_gateway,
    "SHOW DATABASES": objects.show_databases,
    "SHOW SCHEMAS": objects.show_schemas,
    "SHOW WAREHOUSES": objects.show_warehouses,
    "SHOW ROLES": objects.show_roles,
    "SHOW PARAMETERS": objects.show_parameters,
    "SHOW GRANTS": grants.show_grants,
    "GRANT": grants.grant,
    "REVOKE": grants.revoke,
    "USE": sessions.use,
    "ALTER SESSION": sessions.alter_session,
    "BEGIN": sessions.transaction,
    "COMMIT": sessions.transaction,
    "ROLLBACK": sessions.transaction,
    "SELECT": table_statements.select_anything,
    "WITH": table_statements.select_anything,
    "CREATE": table_statements.create,
    "DROP TABLE": table_statements.drop_table,
    "INSERT": table_statements.change,
    "UPDATE": table_statements.change,
    "DELETE": table_statements.change,
    "SHOW STAGES": stages.show_stages,
    "DROP STAGE": stages.drop_stage,
    "LIST": stages.list_files,
    "LS": stages.list_files,
    "REMOVE": stages.remove_files,
    "RM": stages.remove_files,
    "EXECUTE INFERENCE JOB SERVICE": inference_jobs.execute,
    "SHOW USER FUNCTIONS": table_statements.show_user_functions,
    "CALL": call,
}
# These let go of the account while they wait, and take it for each look.
WAITING = frozenset(
    {
        "SELECT",
        "WITH",
        "CALL",
        "CREATE",
        "DROP TABLE",
        "INSERT",
        "UPDATE",
        "DELETE",
        "EXECUTE INFERENCE JOB SERVICE",
    }
)
# Not allowed in a single statement of the SQL API (Snowflake docs, SQL API, limitations).
SESSION_STATEMENTS = frozenset({"USE", "ALTER SESSION", "BEGIN", "COMMIT", "ROLLBACK"})
_BY_LENGTH = sorted(HANDLERS, key=lambda words: -len(words.split()))


def statement_of(reader: Reader) -> str:
    """The beginning that names the statement, read; raises `SqlError` for one that nobody answers."""
    for words in _BY_LENGTH:
        if reader.take(*words.split()):
            return words
    raise reader.error_after({words.split()[0] for words in HANDLERS})
