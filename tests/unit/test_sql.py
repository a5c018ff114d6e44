"""The SQL that an administrator runs: it parses, grants little, and takes down what it set up."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

sqlglot = pytest.importorskip("sqlglot", reason="a development package")
from sqlglot import exp  # noqa: E402

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "resource" / "sql").glob("*.sql"))
# Statements that sqlglot passes through unread: its Snowflake dialect does not know them.
UNREAD = {
    "ALTER COMPUTE POOL",
    "ALTER SERVICE",
    "ALTER USER",
    "CREATE COMPUTE POOL",
    "CREATE EXTERNAL ACCESS INTEGRATION",
    "CREATE IMAGE REPOSITORY",
    "CREATE NETWORK POLICY",
    "CREATE NETWORK RULE",
    "CREATE ROLE",
    "CREATE SECURITY INTEGRATION",
    "CREATE SERVICE",
    "CREATE USER",
    "DROP COMPUTE POOL",
    "DROP NETWORK POLICY",
    "DROP SERVICE",
    "DROP USER",
    "GRANT ROLE",
    "GRANT USAGE, MONITOR ON COMPUTE POOL",
    "GRANT SERVICE ROLE",
    "SHOW COMPUTE POOL",
    "SHOW COMPUTE POOLS",
    "SHOW ENDPOINTS IN",
    "SHOW GRANTS",
    "SHOW IMAGE REPOSITORIES",
    "SHOW SERVICE CONTAINERS",
    "SHOW SERVICES IN",
}
_OBJECT = re.compile(
    r"^(?:CREATE|DROP) (COMPUTE POOL|IMAGE REPOSITORY|NETWORK RULE|NETWORK POLICY|EXTERNAL ACCESS INTEGRATION"
    r"|SECURITY INTEGRATION|INTEGRATION|DATABASE|SCHEMA|WAREHOUSE|ROLE|USER|SERVICE|STAGE) IF (?:NOT )?EXISTS ([\w.]+)"
)
_IN_THE_DATABASE = ("SCHEMA", "NETWORK RULE", "STAGE", "IMAGE REPOSITORY")


def statements(path: Path) -> list[str]:
    """Each without comments, on one line."""
    text = re.sub(r"--[^\n]*", "", path.read_text(encoding="utf-8"))
    return [" ".join(statement.split()) for statement in text.split(";") if statement.strip()]


ALL = [(path.name, statement) for path in FILES for statement in statements(path)]


def is_read(statement: str) -> bool:
    (parsed,) = sqlglot.parse(statement, dialect="snowflake")
    return parsed is not None and not isinstance(parsed, exp.Command)


@pytest.mark.parametrize(("name", "statement"), ALL)
def test_every_statement_is_one_that_snowflakes_dialect_reads_or_is_listed(name: str, statement: str) -> None:
    assert is_read(statement) or any(statement.startswith(unread) for unread in UNREAD)


def test_the_list_of_statements_that_are_not_read_holds_no_other() -> None:
    unread = [statement for _, statement in ALL if not is_read(statement)]
    assert {
        known for known in UNREAD if not any(statement.startswith(known) for statement in unread)
    } == set()


def test_every_statement_can_be_run_again() -> None:
    once = [s for _, s in ALL if s.startswith("CREATE ") and " IF NOT EXISTS " not in s]
    once += [s for _, s in ALL if s.startswith("DROP ") and " IF EXISTS " not in s]
    assert once == []


def made(name: str, verb: str) -> set[tuple[str, str]]:
    found = {
        match.groups()
        for statement in statements(ROOT / "resource" / "sql" / name)
        if statement.startswith(verb) and (match := _OBJECT.match(statement))
    }
    return {(re.sub(r".*INTEGRATION", "INTEGRATION", kind), object_name) for kind, object_name in found}


def test_teardown_removes_all_that_the_others_make() -> None:
    created = {
        (kind, name)
        for path in FILES
        for kind, name in made(path.name, "CREATE")
        if kind not in _IN_THE_DATABASE and not (kind == "SERVICE" and "." not in name)
    }
    services = {name for kind, name in made("create_openai_services.sql", "CREATE") if kind == "SERVICE"}
    dropped = made("teardown.sql", "DROP")
    assert created <= dropped
    assert {f"DATAIKU_SPCS.MODEL_REGISTRY.{name}" for name in services} <= {name for _, name in dropped}


def test_rights_are_narrow() -> None:
    for name, statement in ALL:
        assert "0.0.0.0" not in statement, name
        assert not re.search(r"GRANT (ALL|OWNERSHIP)\b", statement), name
        if statement.startswith("GRANT") and statement.endswith("TO ROLE DATAIKU_SPCS_ROLE"):
            assert re.match(r"GRANT (USAGE ON (DATABASE|SCHEMA)|SERVICE ROLE|ROLE DATAIKU)", statement), (
                statement
            )
    setup = " ".join(statements(ROOT / "resource" / "sql" / "setup.sql"))
    assert "ALLOWED_ROLES_LIST" in setup
    assert "NETWORK_POLICY" in setup
    assert "BLOCKED_ROLES_LIST" not in setup


def test_services_are_never_made_by_an_administrator() -> None:
    for path in FILES:
        role = ""
        for statement in statements(path):
            if statement.startswith("USE ROLE "):
                role = statement.split()[-1]
            if statement.startswith("CREATE SERVICE"):
                assert role == "DATAIKU_SPCS_DEPLOYER_ROLE"


def test_pools_suspend_themselves() -> None:
    pools = [statement for _, statement in ALL if statement.startswith("CREATE COMPUTE POOL")]
    assert pools
    assert all("AUTO_SUSPEND_SECS" in pool and "INITIALLY_SUSPENDED = TRUE" in pool for pool in pools)


def test_names_are_those_of_the_notebook() -> None:
    notebook = json.loads(
        (ROOT / "Deploy_LLMs_to_Snowpark_Container_Services.ipynb").read_text(encoding="utf-8")
    )
    (cell,) = [
        "".join(c["source"]) for c in notebook["cells"] if "".join(c["source"]).startswith("DSS_CONNECTION")
    ]
    values = {
        target.id: node.value.value
        for node in ast.parse(cell).body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    setup = " ".join(statements(ROOT / "resource" / "sql" / "setup.sql"))
    for parameter in ("DEPLOYER_ROLE", "CALLER_ROLE", "DATABASE", "SCHEMA", "CHAT_POOL", "EMBEDDING_POOL"):
        assert str(values[parameter]) in setup
