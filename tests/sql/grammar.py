"""The documented clauses of the statements in resource/sql, in the notation of notation.py.

The pages are those of docs.snowflake.com/en/sql-reference/sql, read in copies of August to October 2026.
"""

from __future__ import annotations

from dataclasses import dataclass

from .notation import Captures, NotDocumented, compiled, tokenize

__all__ = ["RULES", "Captures", "NotDocumented", "Rule", "parse"]


@dataclass(frozen=True)
class Rule:
    """kind: what the account's model does with it. page: where its syntax is documented. syntax: the notation."""

    kind: str
    page: str
    syntax: str


def parse(text: str) -> tuple[Rule, Captures]:
    """The rule that covers the whole statement, and its captures. Raises NotDocumented."""
    tokens = tokenize(text)
    for rule in RULES:
        for end, captures in compiled(rule.syntax)(tokens, 0, {}):
            if end == len(tokens):
                return rule, captures
    raise NotDocumented(f"no documented syntax covers: {' '.join(text.split())}")


_OAUTH = (
    "{ ENABLED = <enabled:bool> | OAUTH_REDIRECT_URI = <redirect:string> | OAUTH_ENFORCE_PKCE = <pkce:bool>"
    " | ALLOWED_ROLES_LIST = <allowed:strings> | BLOCKED_ROLES_LIST = <blocked:strings>"
    " | OAUTH_ISSUE_REFRESH_TOKENS = <refresh:bool> | OAUTH_ACCESS_TOKEN_VALIDITY = <access seconds:int>"
    " | OAUTH_REFRESH_TOKEN_VALIDITY = <refresh seconds:int> | OAUTH_USE_SECONDARY_ROLES = <secondary:word>"
    " | NETWORK_POLICY = <policy:string> | USE_PRIVATELINK_FOR_AUTHORIZATION_ENDPOINT = <private:bool>"
    " | COMMENT = <comment:string> }..."
)
_SERVICE_SETTINGS = (
    "{ AUTO_SUSPEND_SECS = <auto suspend:int> | EXTERNAL_ACCESS_INTEGRATIONS = <integrations:names>"
    " | AUTO_RESUME = <auto resume:bool> | MIN_INSTANCES = <min:int> | MIN_READY_INSTANCES = <ready:int>"
    " | MAX_INSTANCES = <max:int> | QUERY_WAREHOUSE = <warehouse:name> | COMMENT = <comment:string> }..."
)
_SPECIFICATION = (
    "FROM @ <stage:name> { SPECIFICATION_FILE = <file:string>"
    " | SPECIFICATION_TEMPLATE_FILE = <template:string> USING ( <variable:word> => <value:string> ) }"
)
_NETWORK_RULE = (
    "NETWORK RULE <name> { TYPE = <type:word> | MODE = <mode:word> | VALUE_LIST = <values:strings>"
    " | COMMENT = <comment:string> }..."
)
_TASK = (
    "{ WAREHOUSE = <warehouse:name> | SCHEDULE = <schedule:string> | COMMENT = <comment:string>"
    " | SUSPEND_TASK_AFTER_NUM_FAILURES = <failures:int> }..."
)
# Kinds of objects that GRANT and REVOKE name; the longest first.
_KIND = (
    "{ COMPUTE POOL | IMAGE REPOSITORY | NETWORK RULE | DATABASE | SCHEMA | WAREHOUSE | INTEGRATION | SECRET"
    " | SERVICE | STAGE | MODEL | ROLE }"
)


def _kinds(prefix: str, suffix: str, kind: str, page: str) -> list[Rule]:
    """One rule for each kind of object, so that the kind is known."""
    words = [word.strip() for word in _KIND.strip("{} ").split("|")]
    return [Rule(f"{kind}|{word}", page, f"{prefix} {word} {suffix}") for word in words]


RULES = [
    Rule("use role", "use-role", "USE ROLE <name>"),
    Rule("use warehouse", "use-warehouse", "USE WAREHOUSE <name>"),
    Rule("use schema", "use-schema", "USE SCHEMA <name>"),
    Rule("create role", "create-role", "CREATE ROLE [IF NOT EXISTS] <name> [COMMENT = <comment:string>]"),
    Rule("grant role to role", "grant-role", "GRANT ROLE <name> TO ROLE <to:name>"),
    Rule("grant role to user", "grant-role", "GRANT ROLE <name> TO USER <to:name>"),
    Rule(
        "create database",
        "create-database",
        "CREATE DATABASE [IF NOT EXISTS] <name> [COMMENT = <comment:string>]",
    ),
    Rule(
        "create schema", "create-schema", "CREATE SCHEMA [IF NOT EXISTS] <name> [COMMENT = <comment:string>]"
    ),
    Rule(
        "create warehouse",
        "create-warehouse",
        "CREATE WAREHOUSE [IF NOT EXISTS] <name> [WITH] { WAREHOUSE_SIZE = <size:word>"
        " | AUTO_SUSPEND = <auto suspend:int> | AUTO_RESUME = <auto resume:bool>"
        " | INITIALLY_SUSPENDED = <suspended:bool> }...",
    ),
    Rule(
        "alter warehouse",
        "alter-warehouse",
        "ALTER WAREHOUSE [IF EXISTS] <name> SET { AUTO_SUSPEND = <auto suspend:int>"
        " | AUTO_RESUME = <auto resume:bool> }...",
    ),
    Rule("block", "execute-immediate", "EXECUTE IMMEDIATE <body>"),
    *_kinds(
        "GRANT OWNERSHIP ON",
        "<name> TO ROLE <to:name> [ <current:word> CURRENT GRANTS ]",
        "grant ownership",
        "grant-ownership",
    ),
    Rule("grant database role", "grant-database-role", "GRANT DATABASE ROLE <name> TO ROLE <to:name>"),
    Rule(
        "grant service role",
        "grant-service-role",
        "GRANT SERVICE ROLE <name> TO ROLE <to:name>",
    ),
    Rule(
        "create compute pool",
        "create-compute-pool",
        "CREATE COMPUTE POOL [IF NOT EXISTS] <name> { MIN_NODES = <min:int> | MAX_NODES = <max:int>"
        " | INSTANCE_FAMILY = <family:word> | AUTO_RESUME = <auto resume:bool>"
        " | INITIALLY_SUSPENDED = <suspended:bool> | AUTO_SUSPEND_SECS = <auto suspend:int>"
        " | COMMENT = <comment:string> | BACKUP_INSTANCE_FAMILIES = <backup:strings> }...",
    ),
    Rule(
        "alter compute pool",
        "alter-compute-pool",
        "ALTER COMPUTE POOL [IF EXISTS] <name> SET { MIN_NODES = <min:int> | MAX_NODES = <max:int>"
        " | AUTO_RESUME = <auto resume:bool> | AUTO_SUSPEND_SECS = <auto suspend:int>"
        " | COMMENT = <comment:string> }...",
    ),
    Rule("stop all", "alter-compute-pool", "ALTER COMPUTE POOL [IF EXISTS] <name> STOP ALL"),
    Rule("create or alter network rule", "create-network-rule", f"CREATE OR ALTER {_NETWORK_RULE}"),
    Rule("create network rule", "create-network-rule", f"CREATE [OR REPLACE] {_NETWORK_RULE}"),
    Rule(
        "alter network rule",
        "alter-network-rule",
        "ALTER NETWORK RULE [IF EXISTS] <name> SET VALUE_LIST = <values:strings>",
    ),
    # IF NOT EXISTS is not in the reference page's syntax; the Openflow pages of the documentation use it.
    Rule(
        "create external access integration",
        "create-external-access-integration",
        "CREATE EXTERNAL ACCESS INTEGRATION [IF NOT EXISTS] <name> ALLOWED_NETWORK_RULES = <rules:names>"
        " ENABLED = <enabled:bool> [COMMENT = <comment:string>]",
    ),
    Rule(
        "create network policy",
        "create-network-policy",
        "CREATE NETWORK POLICY [IF NOT EXISTS] <name> ALLOWED_NETWORK_RULE_LIST = <rules:strings>",
    ),
    Rule(
        "create security integration",
        "create-security-integration-oauth-snowflake",
        "CREATE SECURITY INTEGRATION [IF NOT EXISTS] <name> TYPE = OAUTH OAUTH_CLIENT = CUSTOM"
        f" OAUTH_CLIENT_TYPE = <client:string> {_OAUTH}",
    ),
    Rule(
        "alter security integration",
        "alter-security-integration-oauth-snowflake",
        f"ALTER [SECURITY] INTEGRATION [IF EXISTS] <name> SET {_OAUTH}",
    ),
    Rule(
        "show secret",
        "../functions/system_show_oauth_client_secrets",
        "SELECT SYSTEM$SHOW_OAUTH_CLIENT_SECRETS ( <name:string> )",
    ),
    Rule(
        "service logs",
        "../functions/system_get_service_logs",
        "SELECT SYSTEM$GET_SERVICE_LOGS ( <name:string> , <instance:string> , <container:string>"
        " [, <lines:int> [, TRUE]] )",
    ),
    Rule(
        "service table",
        "../../developer-guide/snowpark-container-services/monitoring-services",
        "SELECT * FROM TABLE ( <name> ( ) )",
    ),
    Rule(
        "create user",
        "create-user",
        "CREATE USER [IF NOT EXISTS] <name> { TYPE = <type:word> | DEFAULT_ROLE = <role:name>"
        " | DEFAULT_SECONDARY_ROLES = <secondary:strings> | COMMENT = <comment:string> }...",
    ),
    Rule(
        "alter user",
        "alter-user",
        "ALTER USER [IF EXISTS] <name> SET { DEFAULT_ROLE = <role:name>"
        " | DEFAULT_SECONDARY_ROLES = <secondary:strings> | NETWORK_POLICY = <policy:name>"
        " | RSA_PUBLIC_KEY = <key:string> }...",
    ),
    Rule("unset user", "alter-user", "ALTER USER [IF EXISTS] <name> UNSET NETWORK_POLICY"),
    Rule(
        "add token",
        "alter-user-add-programmatic-access-token",
        "ALTER USER [IF EXISTS] <name> ADD PROGRAMMATIC ACCESS TOKEN [IF NOT EXISTS] <token:name>"
        " { ROLE_RESTRICTION = <role:string> | DAYS_TO_EXPIRY = <days:int> | COMMENT = <comment:string> }...",
    ),
    Rule(
        "create image repository", "create-image-repository", "CREATE IMAGE REPOSITORY [IF NOT EXISTS] <name>"
    ),
    Rule("create stage", "create-stage", "CREATE STAGE [IF NOT EXISTS] <name>"),
    Rule(
        "create secret",
        "create-secret",
        "CREATE SECRET [IF NOT EXISTS] <name> TYPE = <type:word> SECRET_STRING = <value:string>",
    ),
    Rule(
        "create service",
        "create-service",
        f"CREATE SERVICE [IF NOT EXISTS] <name> IN COMPUTE POOL <pool:name> {_SPECIFICATION} [{_SERVICE_SETTINGS}]",
    ),
    # The clauses have this order; CREATE OR ALTER changes those from SERVICE to BATCH_TIMEOUT_SECS.
    Rule(
        "create function",
        "create-function-spcs",
        "CREATE OR ALTER FUNCTION <name> <types:arguments> RETURNS <returns:word>"
        " [ { CALLED ON NULL INPUT | RETURNS NULL ON NULL INPUT | STRICT } ] [ { VOLATILE | IMMUTABLE } ]"
        " SERVICE = <service:name> ENDPOINT = <endpoint:word> [ COMMENT = <comment:string> ]"
        " [ MAX_BATCH_ROWS = <rows:int> ] [ MAX_BATCH_RETRIES = <retries:int> ]"
        " [ ON_BATCH_FAILURE = { ABORT | RETURN_NULL } ] [ BATCH_TIMEOUT_SECS = <timeout:int> ] AS <path:string>",
    ),
    Rule("suspend service", "alter-service", "ALTER SERVICE [IF EXISTS] <name> SUSPEND"),
    Rule("resume service", "alter-service", "ALTER SERVICE [IF EXISTS] <name> RESUME"),
    Rule("alter service", "alter-service", f"ALTER SERVICE [IF EXISTS] <name> SET {_SERVICE_SETTINGS}"),
    Rule(
        "close service",
        "alter-service",
        "ALTER SERVICE [IF EXISTS] <name> UNSET EXTERNAL_ACCESS_INTEGRATIONS",
    ),
    Rule("upgrade service", "alter-service", f"ALTER SERVICE [IF EXISTS] <name> {_SPECIFICATION}"),
    Rule(
        "create task",
        "create-task",
        f"CREATE OR ALTER TASK <name> {_TASK} AS ALTER SERVICE [IF EXISTS] <service:name> <verb:word>",
    ),
    Rule("resume task", "alter-task", "ALTER TASK [IF EXISTS] <name> RESUME"),
    Rule("list stage", "list", "LIST @ <name>"),
    Rule(
        "show in service",
        "show-endpoints",
        "SHOW { SERVICE CONTAINERS | SERVICE INSTANCES } IN SERVICE <name>",
    ),
    Rule("show endpoints", "show-endpoints", "SHOW ENDPOINTS IN SERVICE <name>"),
    Rule("show nodes", "show-nodes", "SHOW NODES IN COMPUTE POOL <name>"),
    Rule("show all", "show-services", "SHOW SERVICES [EXCLUDE JOBS] IN ACCOUNT"),
    Rule("show images", "show-images-in-image-repository", "SHOW IMAGES IN IMAGE REPOSITORY <name>"),
    Rule("describe pool", "desc-compute-pool", "DESCRIBE COMPUTE POOL <name>"),
    Rule("show all", "show-compute-pools", "SHOW COMPUTE POOLS [LIKE <like:string>]"),
    Rule("show all", "show-compute-pool-instance-families", "SHOW COMPUTE POOL INSTANCE FAMILIES"),
    Rule(
        "show in schema",
        "show-services",
        "SHOW { SERVICES | MODELS | OBJECTS | TASKS | IMAGE REPOSITORIES } [LIKE <like:string>] IN SCHEMA <name>",
    ),
    Rule("show in database", "show-objects", "SHOW OBJECTS IN DATABASE <name>"),
    Rule("show grants to role", "show-grants", "SHOW GRANTS TO ROLE <name>"),
    Rule("show grants of service role", "show-grants", "SHOW GRANTS OF SERVICE ROLE <name>"),
    Rule("drop service", "drop-service", "DROP SERVICE [IF EXISTS] <name>"),
    Rule("drop service by force", "drop-service", "DROP SERVICE [IF EXISTS] <name> FORCE"),
    Rule("drop pool", "drop-compute-pool", "DROP COMPUTE POOL [IF EXISTS] <name>"),
    Rule("drop integration", "drop-integration", "DROP INTEGRATION [IF EXISTS] <name>"),
    Rule("drop policy", "drop-network-policy", "DROP NETWORK POLICY [IF EXISTS] <name>"),
    Rule("drop rule", "drop-network-rule", "DROP NETWORK RULE [IF EXISTS] <name>"),
    Rule("drop database", "drop-database", "DROP DATABASE [IF EXISTS] <name>"),
    Rule("drop warehouse", "drop-warehouse", "DROP WAREHOUSE [IF EXISTS] <name>"),
    Rule("drop role", "drop-role", "DROP ROLE [IF EXISTS] <name>"),
    Rule("drop user", "drop-user", "DROP USER [IF EXISTS] <name>"),
    Rule("drop model", "drop-model", "DROP MODEL [IF EXISTS] <name>"),
    Rule("drop table", "drop-table", "DROP TABLE [IF EXISTS] <name>"),
    # Several words make a privilege (CREATE SERVICE), several privileges a list.
    *_kinds("GRANT <privileges:privileges> ON", "<name> TO [ROLE] <to:name>", "grant", "grant-privilege"),
    Rule(
        "grant|FUNCTION",
        "grant-privilege",
        "GRANT <privileges:privileges> ON FUNCTION <name> <types:words> TO [ROLE] <to:name>",
    ),
    Rule("grant|ACCOUNT", "grant-privilege", "GRANT <privileges:privileges> ON ACCOUNT TO [ROLE] <to:name>"),
    *_kinds("REVOKE <privileges:privileges> ON", "<name> FROM ROLE <to:name>", "revoke", "revoke-privilege"),
    Rule(
        "revoke|ACCOUNT", "revoke-privilege", "REVOKE <privileges:privileges> ON ACCOUNT FROM ROLE <to:name>"
    ),
]
