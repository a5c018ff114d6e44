"""The SQL that an administrator runs: documented clauses, sufficient rights, nothing missing and nothing left over."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

pytest.importorskip("sqlglot", reason="a development package")
pytest.importorskip("yaml", reason="a development package")

from . import scenarios, script
from .account import EFFECTS, Account, Refused
from .grammar import RULES, NotDocumented, parse
from .scenarios import Missing

ROOT = Path(__file__).parents[2]
SHIPPED = scenarios.shipped()
# What changes nothing: leaving it out cannot be noticed.
READS = ("SHOW", "SELECT", "DESCRIBE", "LIST")


def all_statements(name: str) -> list[script.Statement]:
    """Those that run and those that are comments."""
    return script.statements(script.uncommented(SHIPPED[name]), name)


def filled_in(text: str) -> str:
    return re.sub(r"<[a-z ]+>", "FILLED_IN", scenarios.for_dss(text))


def test_every_rule_of_the_grammar_has_an_effect_in_the_model() -> None:
    assert {rule.kind.partition("|")[0] for rule in RULES} == set(EFFECTS)


@pytest.mark.parametrize("name", SHIPPED)
def test_every_statement_has_a_documented_syntax(name: str) -> None:
    account = Account()
    account.warehouse, account.role = "W", "ACCOUNTADMIN"
    for statement in all_statements(name):
        text = filled_in(statement.text)
        if not (text.startswith("SELECT") and account.is_query(text)):
            parse(text)


@pytest.mark.parametrize(
    "wrong",
    [
        "CREATE COMPUTE POOL P MIN_NODES = 1 MAX_NODES = 1 FAMILY = GPU_NV_S",
        "CREATE COMPUTE POOL P MIN_NODES = 1 MIN_NODES = 1",
        "ALTER COMPUTE POOL P SET INITIALLY_SUSPENDED = TRUE",
        "CREATE NETWORK RULE IF NOT EXISTS R TYPE = IPV4 MODE = INGRESS VALUE_LIST = ('10.0.0.1')",
        "CREATE SERVICE S FROM @T SPECIFICATION_FILE = 'a.yaml' IN COMPUTE POOL P",
        "CREATE OR ALTER FUNCTION F(A VARCHAR) RETURNS VARIANT ENDPOINT = e SERVICE = S AS '/'",
        "CREATE OR ALTER FUNCTION F(A VARCHAR) RETURNS VARIANT SERVICE = S ENDPOINT = e"
        " MAX_BATCH_RETRIES = 1 MAX_BATCH_ROWS = 1 AS '/'",
        "ALTER SERVICE S SET SCALE = 2",
        "DROP SERVICE IF EXISTS",
        "GRANT ROLE <role> TO USER ALICE",
        "ALTER USER U ADD PROGRAMMATIC ACCESS TOKEN T DAYS_TO_EXPIRY = '90'",
        "CREATE SECURITY INTEGRATION I TYPE = OAUTH OAUTH_CLIENT = CUSTOM OAUTH_REDIRECT_URI = 'https://a'",
    ],
)
def test_the_grammar_refuses_what_is_not_documented(wrong: str) -> None:
    with pytest.raises(NotDocumented):
        parse(wrong)


def test_an_empty_account_gets_to_the_first_answer_and_back() -> None:
    scenarios.from_an_empty_account(SHIPPED)


def test_an_account_of_version_1_is_upgraded_without_an_interruption() -> None:
    account = scenarios.from_version_1(SHIPPED)
    scenarios.take_down(account, SHIPPED, version_1=False)


def test_an_account_of_version_1_is_taken_down_after_upgrade_sql() -> None:
    account = scenarios.version_1_account()
    account.sign_in_as("ADMIN")
    account.run(SHIPPED["upgrade.sql"], "upgrade.sql")
    scenarios.set_up(account, SHIPPED)
    scenarios.take_down(account, SHIPPED, version_1=True)


def test_setup_stops_in_an_account_of_version_1_that_was_not_upgraded() -> None:
    account = scenarios.version_1_account()
    account.sign_in_as("ADMIN")
    with pytest.raises(Refused, match="DATAIKU_SPCS_ROLE"):
        account.run(scenarios.for_dss(SHIPPED["setup.sql"]), "setup.sql")


def test_the_services_of_version_1_outlive_everything_but_the_cleanup() -> None:
    # Revoking first would stop them: the order inside upgrade_cleanup.sql matters.
    account = scenarios.version_1_account()
    account.sign_in_as("ADMIN")
    account.run(SHIPPED["upgrade.sql"], "upgrade.sql")
    scenarios.set_up(account, SHIPPED)
    account.sign_in_as("ADMIN")
    with pytest.raises(Refused, match="no token starts at: <name of the service>"):
        account.run(scenarios.confirmed(SHIPPED["upgrade_cleanup.sql"]), "upgrade_cleanup.sql")
    scenarios.call(
        account, "ALICE", scenarios.CALLER, *scenarios.VERSION_1_SERVICES, integration="OAUTH_DATAIKU_SPCS"
    )


@pytest.mark.parametrize(
    ("account", "message"),
    [
        (Account(pools_allowed=False), "trial accounts are not supported"),
        (Account(families=("GPU_NV_SM", "CPU_X64_XS")), "GPU_NV_S is not available in this region"),
    ],
)
def test_a_trial_account_and_a_region_without_the_family_are_refused_at_the_pools(
    account: Account, message: str
) -> None:
    account.users["ADMIN"] = {"ACCOUNTADMIN"}
    account.sign_in_as("ADMIN")
    with pytest.raises(Refused, match=message):
        account.run(scenarios.for_dss(SHIPPED["setup.sql"]), "setup.sql")


def test_other_families_can_be_written_in_place() -> None:
    account = scenarios.empty_account()
    account.families = ("GPU_NV_SM", "CPU_X64_XS")
    text = SHIPPED["setup.sql"].replace("INSTANCE_FAMILY = GPU_NV_S ", "INSTANCE_FAMILY = GPU_NV_SM ")
    scenarios.set_up(account, {**SHIPPED, "setup.sql": text})


# Each statement is needed: without it, something is refused or missing.


def without_one(name: str, within: Callable[[str], str] = script.uncommented) -> Iterator[tuple[str, str]]:
    """(what is left out, the rest of the file), for each statement, and for each privilege of a list."""
    whole = script.statements(within(SHIPPED[name]), name)
    for number, statement in enumerate(whole):
        if statement.text.startswith(READS):
            continue
        rest = [other.text for other in whole[:number] + whole[number + 1 :]]
        yield str(statement), ";\n".join(rest) + ";"
        for privilege, fewer in fewer_privileges(statement.text):
            texts = [other.text for other in whole[:number]] + [fewer]
            texts += [other.text for other in whole[number + 1 :]]
            yield f"{statement} without {privilege}", ";\n".join(texts) + ";"


def fewer_privileges(text: str) -> Iterator[tuple[str, str]]:
    match = re.match(r"GRANT (?P<list>[A-Z ]+(?:, [A-Z ]+)+) ON ", text)
    if match:
        privileges = match["list"].split(", ")
        for privilege in privileges:
            kept = ", ".join(other for other in privileges if other != privilege)
            yield privilege, text.replace(match["list"], kept, 1)


def as_is(text: str) -> str:
    return text


FROM_EMPTY = [
    ("setup.sql", as_is),
    ("create_image_repository.sql", as_is),
    ("create_openai_services.sql", as_is),
    ("create_batch_functions.sql", as_is),
    ("grant_batch_functions.sql", script.uncommented),
    ("close_egress.sql", as_is),
    ("grant_caller.sql", script.uncommented),
    ("grant_operator.sql", script.uncommented),
    ("setup_service_user.sql", script.uncommented),
    ("schedule.sql", script.uncommented),
    ("teardown.sql", as_is),
]
# In teardown.sql: what only an account of version 1 has.
ONLY_VERSION_1 = ("OAUTH_DATAIKU_SPCS", "SNOWFLAKE_EGRESS_ACCESS_INTEGRATION")


def left_out(files: Sequence[tuple[str, Callable[[str], str]]]) -> list[pytest.param]:  # type: ignore[valid-type]
    return [
        pytest.param(name, rest, id=what)
        for name, within in files
        for what, rest in without_one(name, within)
        if "EXECUTE IMMEDIATE" not in what and not any(word in what for word in ONLY_VERSION_1)
    ]


@pytest.mark.sample(8)
@pytest.mark.parametrize(("name", "rest"), left_out(FROM_EMPTY))
def test_no_statement_can_be_left_out(name: str, rest: str) -> None:
    with pytest.raises((Refused, Missing)):
        scenarios.from_an_empty_account({**SHIPPED, name: rest})


@pytest.mark.parametrize(
    ("name", "rest"), [*left_out([("upgrade.sql", as_is)]), *left_out([("upgrade_cleanup.sql", as_is)])]
)
def test_no_statement_of_the_upgrade_can_be_left_out(name: str, rest: str) -> None:
    with pytest.raises((Refused, Missing)):
        scenarios.from_version_1({**SHIPPED, name: rest})


# "Run all" is harmless.


def test_setup_stops_while_a_placeholder_is_left() -> None:
    for host, address in (("<host of DSS>", scenarios.ADDRESS), ("dss.acme.com", "<address of DSS>")):
        account = scenarios.empty_account()
        account.sign_in_as("ADMIN")
        with pytest.raises(Refused, match="Replace the two placeholders"):
            account.run(scenarios.for_dss(SHIPPED["setup.sql"], host, address), "setup.sql")
        assert not any(
            kind in ("INTEGRATION", "NETWORK RULE", "COMPUTE POOL")
            for kind, name in account.things
            if name not in ("SYSTEM_COMPUTE_POOL_CPU",)
        )


@pytest.mark.parametrize(
    "name",
    [
        "grant_caller.sql",
        "grant_operator.sql",
        "grant_batch_functions.sql",
        "setup_service_user.sql",
        "upgrade_cleanup.sql",
    ],
)
def test_other_placeholders_are_refused(name: str) -> None:
    account = ready_account()
    account.sign_in_as("ADMIN")
    text = scenarios.confirmed(script.uncommented(SHIPPED[name]))
    with pytest.raises(Refused, match=r"<|public key"):
        account.run(text, name)


def ready_account() -> Account:
    account = scenarios.empty_account()
    scenarios.set_up(account, SHIPPED)
    scenarios.deploy_with_the_notebook(account)
    return account


@pytest.mark.parametrize("name", ["teardown.sql", "upgrade_cleanup.sql"])
def test_what_removes_asks_first(name: str) -> None:
    account = ready_account()
    before = (dict(account.things), set(account.grants))
    account.sign_in_as("ADMIN")
    with pytest.raises(Refused, match=f"Nothing was removed. Type YES in {name}"):
        account.run(SHIPPED[name], name)
    assert (account.things, account.grants) == before


@pytest.mark.parametrize(
    "name", [name for name in SHIPPED if name not in ("teardown.sql", "upgrade_cleanup.sql")]
)
def test_running_all_drops_suspends_and_scales_nothing(name: str) -> None:
    for statement in script.statements(SHIPPED[name], name):
        text = statement.text
        assert not re.match(r"DROP |REVOKE |ALTER \w+(?: \w+)? \S+ (SUSPEND|RESUME|STOP)", text), statement
        assert not re.match(r"ALTER .*\b(M(IN|AX)_(NODES|INSTANCES))\b", text, re.DOTALL), statement


@pytest.mark.parametrize("name", SHIPPED)
def test_every_statement_can_be_run_again(name: str) -> None:
    for statement in all_statements(name):
        if statement.text.startswith("CREATE "):
            assert re.match(r"CREATE (OR ALTER )?.*?(IF NOT EXISTS|OR ALTER|TASK)", statement.text), statement
        if statement.text.startswith("DROP "):
            assert " IF EXISTS " in statement.text, statement


def test_what_exists_gets_the_settings_all_the_same() -> None:
    # CREATE … IF NOT EXISTS keeps an existing object's settings: those that matter are in an ALTER beside it.
    settings = {
        "AUTO_SUSPEND",
        "AUTO_SUSPEND_SECS",
        "OAUTH_REFRESH_TOKEN_VALIDITY",
        "ALLOWED_ROLES_LIST",
        "NETWORK_POLICY",
    }
    for statement in script.statements(SHIPPED["setup.sql"]):
        if statement.text.startswith("CREATE ") and "IF NOT EXISTS" in statement.text:
            assert not settings & set(re.findall(r"[A-Z_]+(?= =)", statement.text)), statement


# Least privilege


def test_rights_are_narrow() -> None:
    for name in SHIPPED:
        for statement in all_statements(name):
            assert "0.0.0.0" not in statement.text, statement
            assert not re.match(r"GRANT ALL\b", statement.text), statement
            if name != "upgrade.sql":
                assert not re.match(r"GRANT OWNERSHIP\b", statement.text), statement


def test_the_egress_rule_names_hosts_of_hugging_face_only() -> None:
    account = ready_account()
    values = account.things["NETWORK RULE", "DATAIKU_SPCS.NETWORK.HUGGING_FACE"].settings["values"]
    assert all(
        re.fullmatch(r"[a-z0-9.-]+\.(hf|huggingface)\.co:443|huggingface\.co:443", host) for host in values
    )
    # Hugging Face's own list of 2026-08-22 (hub documentation, "Downloading models").
    assert {"us.aws.cdn.hf.co:443", "us.gcp.cdn.hf.co:443", "transfer.xethub-eu.hf.co:443"} <= set(values)


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
    for parameter in ("DEPLOYER_ROLE", "CALLER_ROLE", "DATABASE", "SCHEMA", "CHAT_POOL", "EMBEDDING_POOL"):
        assert str(values[parameter]) in SHIPPED["setup.sql"]
    for service in ("QWEN3_4B_SERVICE", "GRANITE_EMBEDDING_SERVICE"):
        assert f"ALTER SERVICE {service} SUSPEND" in SHIPPED["operate.sql"]


def test_the_documents_name_every_script() -> None:
    documents = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md"))
    assert {name for name in SHIPPED if name not in documents} == set()


def test_scripts_are_plain_english() -> None:
    for name, text in SHIPPED.items():
        assert not re.search(r"\b(shall|mend|alone|of its own|of your own|the like)\b", text), name
