"""The ways from an account to the first answer and back, run statement by statement against the account's model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from spcs_llm.control import statements, usage_views
from spcs_llm.control.identifiers import qualified

from . import effects_of_drops, effects_on_accounts, effects_on_schemas, script, visits  # noqa: F401 - they register statements
from .account import Account, Refused, Thing

SPECIFICATIONS = script.FOLDER.parent / "service_specs"
SCHEMA = "DATAIKU_SPCS.MODEL_REGISTRY"
GPU, CPU = "DATAIKU_GPU_NV_S_MODEL_COMPUTE_POOL", "DATAIKU_CPU_X64_XS_EMBED_COMPUTE_POOL"
CALLER, DEPLOYER = "DATAIKU_SPCS_ROLE", "DATAIKU_SPCS_DEPLOYER_ROLE"
REDIRECT, ADDRESS = "https://dss.acme.com/dip/api/oauth2-callback", "198.51.100.7"
REGISTRY_SERVICES = {"QWEN3_4B": GPU, "GRANITE_EMBEDDING": CPU}
VERSION_1_SERVICES = {"ZEPHYR_SERVICE": GPU, "MINILM_SERVICE": CPU}
KEY = "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA"

Scripts = Mapping[str, str]


class Missing(AssertionError):
    """The scripts ran, and what they should have brought about is not there."""


def shipped() -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(script.FOLDER.glob("*.sql"))}


def for_dss(text: str, host: str = "dss.acme.com", address: str = ADDRESS) -> str:
    return text.replace("<host of DSS>", host).replace("<address of DSS>", address)


def confirmed(text: str) -> str:
    return text.replace("'NO' <>", "'YES' <>")


def account_with(people: Mapping[str, str]) -> Account:
    """An account with nothing in it but these users, each with a role (or none)."""
    account = Account()
    for person, role in people.items():
        account.things["USER", person] = Thing("USERADMIN")
        account.users[person] = {role} - {""}
    return account


def empty_account() -> Account:
    return account_with({"ADMIN": "ACCOUNTADMIN", "DIANA": "", "CARL": ""})


def version_1_account() -> Account:
    account = account_with({"ADMIN": "ACCOUNTADMIN", "ALICE": "", "DIANA": "", "CARL": ""})
    account.sign_in_as("ADMIN")
    path = Path(__file__).parent / "version_1_account.sql"
    account.run(path.read_text(encoding="utf-8"), path.name)
    account.sign_in_as("ALICE", CALLER)
    account.execute("USE WAREHOUSE DATAIKU_SPCS_WAREHOUSE")
    account.execute(f"CREATE SCHEMA {SCHEMA}")
    for name, pool in VERSION_1_SERVICES.items():
        visits.create_registry_service(
            account, f"{SCHEMA}.{name}", pool, ["SNOWFLAKE_EGRESS_ACCESS_INTEGRATION"]
        )
    return account


def set_up(account: Account, scripts: Scripts) -> None:
    """setup.sql with wrong values first, then with the right ones; then roles for people."""
    for host, address in (("dss.typo.com", "203.0.113.9"), ("dss.acme.com", ADDRESS)):
        account.sign_in_as("ADMIN")
        account.run(for_dss(scripts["setup.sql"], host, address), "setup.sql")
    account.sign_in_as("ADMIN", "USERADMIN")
    account.execute(f"GRANT ROLE {DEPLOYER} TO USER DIANA")
    account.execute(f"GRANT ROLE {CALLER} TO USER CARL")


def deploy_with_the_notebook(account: Account) -> None:
    """What the notebook's cells ask of Snowflake, in a session that DSS opened by OAuth."""
    sign_in_by_oauth(account, "DIANA", "DATAIKU_SPCS_DEPLOYER_OAUTH", DEPLOYER)
    account.execute("USE WAREHOUSE DATAIKU_SPCS_WAREHOUSE")
    for model, pool in REGISTRY_SERVICES.items():
        account.execute(f"DESCRIBE COMPUTE POOL {pool}")
        account.need("USAGE", "COMPUTE POOL", "SYSTEM_COMPUTE_POOL_CPU")
        visits.create_model(account, f"{SCHEMA}.{model}")
        visits.create_registry_service(account, f"{SCHEMA}.{model}_SERVICE", pool)
        account.execute(f"SHOW ENDPOINTS IN SERVICE {SCHEMA}.{model}_SERVICE")
        account.execute(f"GRANT SERVICE ROLE {SCHEMA}.{model}_SERVICE!ALL_ENDPOINTS_USAGE TO ROLE {CALLER}")


def deploy_containers(account: Account, scripts: Scripts) -> None:
    account.sign_in_as("ADMIN")
    account.run(scripts["create_image_repository.sql"], "create_image_repository.sql")
    for image in ("vllm-openai:v0.30.0-cu129", "text-embeddings-inference:cpu-1.9.3", "batch-gateway:2.0.0"):
        visits.push(account, f"{SCHEMA}.IMAGES", image)
    for path in SPECIFICATIONS.glob("*.yaml"):
        visits.upload(account, f"{SCHEMA}.SPECIFICATIONS", path)
    account.sign_in_as("DIANA")
    account.run(scripts["create_openai_services.sql"], "create_openai_services.sql")
    call(account, "CARL", CALLER, "CHAT_SERVICE", "EMBEDDING_SERVICE")
    account.sign_in_as("DIANA")
    account.run(scripts["close_egress.sql"], "close_egress.sql")
    for name in ("CHAT_SERVICE", "EMBEDDING_SERVICE"):
        settings = account.things["SERVICE", f"{SCHEMA}.{name}"].settings
        _expect(not settings["integrations"], f"{name} still reaches the internet")
    chat = account.things["SERVICE", f"{SCHEMA}.CHAT_SERVICE"].settings["environment"]
    _expect(chat["HF_HUB_OFFLINE"] == "1", "the chat service still asks Hugging Face")


def deploy_batch_functions(account: Account, scripts: Scripts) -> None:
    account.sign_in_as("DIANA")
    for _ in range(2):
        account.run(scripts["create_batch_functions.sql"], "create_batch_functions.sql")
    for name in ("CHAT_BATCH_SERVICE", "EMBEDDING_BATCH_SERVICE"):
        settings = account.things["SERVICE", f"{SCHEMA}.{name}"].settings
        _expect(settings["auto suspend"] == 1800, f"{name} is never suspended")
        _expect(settings["max"] == 1, f"{name} has instances that do not know each other's batches")
    account.sign_in_as("ADMIN", "USERADMIN")
    account.execute("CREATE ROLE PIPELINE")
    account.sign_in_as("ADMIN")
    text = script.uncommented(scripts["grant_batch_functions.sql"]).replace("<role>", "PIPELINE")
    account.run(text, "grant_batch_functions.sql")
    for function in (
        "LLM_COMPLETE(VARCHAR, VARCHAR, OBJECT)",
        "LLM_CHAT(ARRAY, OBJECT)",
        "LLM_EMBED(VARCHAR, OBJECT)",
    ):
        visits.call_function(account, f"{SCHEMA}.{function}", "PIPELINE")
    account.execute("USE ROLE USERADMIN")
    account.execute("DROP ROLE PIPELINE")


def sign_in_by_oauth(account: Account, user: str, integration: str, role: str) -> None:
    account.sign_in_as(user, visits.oauth_role(account, user, integration, role, REDIRECT, ADDRESS))


def call(
    account: Account, user: str, role: str, *services: str, integration: str = "DATAIKU_SPCS_OAUTH"
) -> None:
    """Sign in as DSS does for the user, and call each service."""
    sign_in_by_oauth(account, user, integration, role)
    for service in services:
        visits.call(account, f"{SCHEMA}.{service}", role)


def let_another_role_call(account: Account, scripts: Scripts) -> None:
    account.sign_in_as("ADMIN", "USERADMIN")
    account.execute("CREATE ROLE ANALYST")
    account.execute("GRANT ROLE ANALYST TO ROLE SYSADMIN")
    account.execute("GRANT ROLE ANALYST TO USER CARL")
    account.sign_in_as("ADMIN")
    text = script.uncommented(scripts["grant_caller.sql"]).replace("<role>", "ANALYST")
    account.run(text, "grant_caller.sql")
    call(account, "CARL", "ANALYST", "QWEN3_4B_SERVICE", "GRANITE_EMBEDDING_SERVICE")
    account.sign_in_as("ADMIN")
    account.execute("USE ROLE USERADMIN")
    account.execute("DROP ROLE ANALYST")


def let_a_role_operate(account: Account, scripts: Scripts) -> None:
    """What the macros send, by a role that owns nothing."""
    account.sign_in_as("ADMIN", "USERADMIN")
    account.execute("CREATE ROLE OPERATOR")
    account.execute("GRANT ROLE OPERATOR TO USER CARL")
    account.sign_in_as("ADMIN")
    text = script.uncommented(scripts["grant_operator.sql"]).replace("<role>", "OPERATOR")
    account.run(text, "grant_operator.sql")
    account.sign_in_as("CARL", "OPERATOR")
    account.execute(statements.show_services(statements.scope()))
    account.execute(statements.SHOW_POOLS)
    for pool in (GPU, CPU):
        account.execute(statements.show_nodes(pool))
        account.execute(statements.describe_pool(pool))
    for name in ("QWEN3_4B_SERVICE", "GRANITE_EMBEDDING_SERVICE"):
        service = qualified(f"{SCHEMA}.{name}")
        account.execute(statements.show_endpoints(service))
        account.execute(statements.show_containers(service))
        account.execute(statements.suspend(service))
        account.execute(statements.resume(service))
    account.execute("USE WAREHOUSE DATAIKU_SPCS_WAREHOUSE")
    for select in (usage_views.pool_days(30), usage_views.service_credits(30), usage_views.contract_prices()):
        account.execute(select)
    _expect_not_called(account, "OPERATOR")
    account.sign_in_as("ADMIN")
    account.execute("USE ROLE USERADMIN")
    account.execute("DROP ROLE OPERATOR")


def _expect_not_called(account: Account, role: str) -> None:
    try:
        visits.call(account, f"{SCHEMA}.QWEN3_4B_SERVICE", role)
    except Refused:
        return
    raise Missing(f"{role} may call a service")


def sign_in_without_people(account: Account, scripts: Scripts) -> None:
    account.sign_in_as("ADMIN")
    text = script.uncommented(scripts["setup_service_user.sql"]).replace("<public key>", KEY)
    account.run(text, "setup_service_user.sql")
    user = account.things["USER", "DATAIKU_SPCS_USER"].settings
    _expect(user.get("type") == "SERVICE", "the user is a person")
    _expect(user.get("policy") == "DATAIKU_SPCS_NETWORK_POLICY", "the user signs in from anywhere")
    _expect(user.get("role") == CALLER and user.get("secondary") == [], "the user's default roles")
    _expect(bool(user.get("key")) and user.get("token role") == CALLER, "no way to sign in")
    _expect(account.users["DATAIKU_SPCS_USER"] == {CALLER}, "the user has other roles")
    visits.call(account, f"{SCHEMA}.QWEN3_4B_SERVICE", CALLER)


def operate(account: Account, scripts: Scripts) -> None:
    """Every statement of the everyday files, those that are comments included."""
    for name in ("operate.sql", "schedule.sql", "cost.sql"):
        account.sign_in_as("ADMIN")
        if name == "operate.sql":
            account.execute("USE ROLE ACCOUNTADMIN")
            account.execute("USE WAREHOUSE DATAIKU_SPCS_WAREHOUSE")
        account.run(script.uncommented(scripts[name]), name)
    tasks = {name for kind, name in account.things if kind == "TASK"}
    services = ("QWEN3_4B_SERVICE", "GRANITE_EMBEDDING_SERVICE")
    wanted = {f"{SCHEMA}.{verb}_{name}" for verb in ("RESUME", "SUSPEND") for name in services}
    # A task that fails ends with its first error, and is switched off after ten (Snowflake documentation, CREATE TASK).
    _expect(tasks == wanted, "a task for each service: an error of one must not keep another one running")
    for task in tasks:
        if "SUSPEND_" in task:
            _expect(account.things["TASK", task].settings.get("failures") == 0, f"{task} is switched off")
        _expect(account.things["TASK", task].settings.get("started", False), f"{task} never runs")
        _expect(account.things["TASK", task].owner == DEPLOYER, f"{task} runs with another role's rights")


def check(account: Account) -> None:
    """What must hold once the account is set up, whatever it was before."""
    for pool in (GPU, CPU):
        _expect(
            account.things["COMPUTE POOL", pool].settings["auto suspend"] == 300, f"{pool} does not suspend"
        )
    warehouse = account.things["WAREHOUSE", "DATAIKU_SPCS_WAREHOUSE"]
    _expect(warehouse.settings["auto suspend"] == 60, "the warehouse does not suspend")
    _expect({CALLER, DEPLOYER} <= account.roles_of("SYSADMIN"), "SYSADMIN does not inherit the roles")
    for integration, role in (("DATAIKU_SPCS_OAUTH", CALLER), ("DATAIKU_SPCS_DEPLOYER_OAUTH", DEPLOYER)):
        settings = account.things["INTEGRATION", integration].settings
        _expect(settings.get("allowed") is not None and role in settings["allowed"], f"{integration}: roles")
        _expect(settings.get("refresh seconds", 7776000) <= 7 * 86400, f"{integration}: refresh tokens")
        _expect(settings.get("policy") == "DATAIKU_SPCS_NETWORK_POLICY", f"{integration}: no network policy")
    for user in ("DIANA", "CARL"):
        for role in (DEPLOYER, "SYSADMIN"):
            _expect_refused(account, user, "DATAIKU_SPCS_OAUTH", role, ADDRESS)
        _expect_refused(account, user, "DATAIKU_SPCS_OAUTH", CALLER, "192.0.2.77")
    _expect(visits.held_by(account, CALLER) - allowed_to_callers(account) == set(), "callers may too much")
    _expect(
        ("BIND SERVICE ENDPOINT", "ACCOUNT", "") in visits.held_by(account, DEPLOYER),
        "the deployer cannot publish",
    )
    for kind, name in account.things:
        if kind in ("DATABASE", "SCHEMA", "WAREHOUSE", "COMPUTE POOL", "INTEGRATION", "NETWORK RULE"):
            _expect(
                account.things[kind, name].owner not in (CALLER, DEPLOYER),
                f"{name} is owned by a user's role",
            )


def allowed_to_callers(account: Account) -> set[tuple[str, str, str]]:
    services = {("ENDPOINTS", kind, name) for kind, name in account.things if kind == "SERVICE"}
    return services | {("USAGE", "DATABASE", "DATAIKU_SPCS"), ("USAGE", "SCHEMA", SCHEMA)}


def _expect(condition: bool, message: str) -> None:
    if not condition:
        raise Missing(message)


def _expect_refused(account: Account, user: str, integration: str, role: str, address: str) -> None:
    try:
        visits.oauth_role(account, user, integration, role, REDIRECT, address)
    except Refused:
        return
    raise Missing(f"{user} gets a token for {role} from {integration} at {address}")


def from_an_empty_account(scripts: Scripts) -> Account:
    account = empty_account()
    set_up(account, scripts)
    deploy_with_the_notebook(account)
    call(account, "CARL", CALLER, "QWEN3_4B_SERVICE", "GRANITE_EMBEDDING_SERVICE")
    deploy_containers(account, scripts)
    deploy_batch_functions(account, scripts)
    let_another_role_call(account, scripts)
    let_a_role_operate(account, scripts)
    sign_in_without_people(account, scripts)
    check(account)
    operate(account, scripts)
    take_down(account, scripts, version_1=False)
    return account


def from_version_1(scripts: Scripts) -> Account:
    account = version_1_account()
    old = tuple(VERSION_1_SERVICES)
    call(account, "ALICE", CALLER, *old, integration="OAUTH_DATAIKU_SPCS")
    account.sign_in_as("ADMIN")
    for _ in range(2):
        account.run(scripts["upgrade.sql"], "upgrade.sql")
    call(account, "ALICE", CALLER, *old, integration="OAUTH_DATAIKU_SPCS")
    set_up(account, scripts)
    call(account, "ALICE", CALLER, *old, integration="OAUTH_DATAIKU_SPCS")
    deploy_with_the_notebook(account)
    call(account, "ALICE", CALLER, "QWEN3_4B_SERVICE", "GRANITE_EMBEDDING_SERVICE")
    account.sign_in_as("ADMIN")
    clean_up(account, scripts)
    call(account, "ALICE", CALLER, "QWEN3_4B_SERVICE", "GRANITE_EMBEDDING_SERVICE")
    check(account)
    for (kind, name), thing in account.things.items():
        if kind == "NETWORK RULE":
            _expect(
                not any("0.0.0.0" in value for value in thing.settings["values"]), f"{name} opens everything"
            )
    leftovers = {"OAUTH_DATAIKU_SPCS", "SNOWFLAKE_EGRESS_ACCESS_INTEGRATION", "NETWORK_DB"}
    _expect(not leftovers & {name for _, name in account.things}, "version 1 left something")
    _expect(
        not any(thing.owner == CALLER for thing in account.things.values()), "the caller still owns something"
    )
    return account


def clean_up(account: Account, scripts: Scripts) -> None:
    text = confirmed(script.uncommented(scripts["upgrade_cleanup.sql"]))
    drop = "DROP SERVICE IF EXISTS DATAIKU_SPCS.MODEL_REGISTRY.<name of the service>;"
    each = "\n".join(drop.replace("<name of the service>", name) for name in VERSION_1_SERVICES)
    text = text.replace(drop, each).replace("<name of the model>", "M").replace("<name of the table>", "T")
    account.run(text, "upgrade_cleanup.sql")


def take_down(account: Account, scripts: Scripts, *, version_1: bool) -> None:
    """After this, the account must hold what it held before."""
    account.sign_in_as("ADMIN")
    account.run("USE ROLE ACCOUNTADMIN; ALTER USER CARL SET NETWORK_POLICY = DATAIKU_SPCS_NETWORK_POLICY;")
    text = confirmed(scripts["teardown.sql"])
    text = text.replace("-- ALTER USER <name> UNSET", "ALTER USER CARL UNSET")
    account.run(script.uncommented(text) if version_1 else text, "teardown.sql")
    users = {key for key in account.things if key[0] == "USER"}
    left = set(account.things) - set(Account().things) - users
    _expect(not left, f"teardown leaves {sorted(left)}")
    _expect(("USER", "DATAIKU_SPCS_USER") not in users, "teardown leaves the service user")
