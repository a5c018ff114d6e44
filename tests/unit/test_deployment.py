"""The notebook's logic without a session: parameters, prices, refusals and the values for the form."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from spcs_deployment import (
    CATALOGUE,
    Deployment,
    DeploymentError,
    connection_form,
    pools,
    registry,
    service,
    waiting,
)
from spcs_deployment import plan as make_plan
from spcs_deployment.interface import Interface, interface_of
from spcs_deployment.pools import Pool
from spcs_deployment.problems import explanation
from spcs_llm.control import families

RESOURCE = Path(__file__).parents[2] / "resource"
NAMES: dict[str, Any] = {
    "database": "D",
    "schema": "S",
    "chat_pool": "GPU",
    "embedding_pool": "CPU",
    "caller_role": "CALLER",
}


class Session:
    """Answers statements by their beginning; a list is answered item by item, its last item for ever."""

    def __init__(self, answers: dict[str, list[list[dict[str, Any]]]]) -> None:
        self.answers = answers
        self.statements: list[str] = []

    def sql(self, query: str) -> Any:
        self.statements.append(query)
        for beginning, rows in self.answers.items():
            if query.startswith(beginning):
                return _Query(rows.pop(0) if len(rows) > 1 else rows[0])
        return _Query([])


class _Query:
    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows

    def collect(self) -> list[Any]:
        return [type("Row", (dict,), {"as_dict": dict.copy})(row) for row in self.rows]


# Parameters


def test_services_suspend_themselves_unless_told_otherwise() -> None:
    assert make_plan(chat_models=["QWEN3_4B"], **NAMES).min_instances == 0


@pytest.mark.parametrize(
    ("wrong", "names"),
    [
        ({"max_nodes": 0}, "MAX_NODES"),
        ({"max_nodes": True}, "MAX_NODES"),
        ({"min_instances": -1}, "MIN_INSTANCES"),
        ({"min_instances": 2, "max_nodes": 1}, "MIN_INSTANCES"),
        ({"image_build_pool": "a pool"}, "IMAGE_BUILD_POOL"),
        *(({"credit_cost": cost}, "CREDIT_COST") for cost in ("3,00", "", None, -1, float("nan"), True, [3])),
    ],
)
def test_a_wrong_number_names_its_parameter(wrong: dict[str, Any], names: str) -> None:
    with pytest.raises(DeploymentError, match=names):
        make_plan(chat_models=["QWEN3_4B"], **NAMES, **wrong)


def test_one_name_is_not_taken_for_a_list_of_letters() -> None:
    """FredHutch/find-cags#2: of a text, Python makes a list of its letters."""
    planned = make_plan(
        chat_models="QWEN3_4B", embedding_models="minilm_l6", build_integrations="PYPI_ACCESS", **NAMES
    )
    assert [model.key for model in planned.models] == ["QWEN3_4B", "MINILM_L6"]
    assert planned.build_integrations == ("PYPI_ACCESS",)


@pytest.mark.parametrize("none", [None, "", " ", []])
def test_no_names_are_given_in_any_way_that_python_has(none: Any) -> None:
    planned = make_plan(
        chat_models=["QWEN3_4B"],
        embedding_models=none,
        build_integrations=none,
        image_repository=none,
        **NAMES,
    )
    assert [model.key for model in planned.models] == ["QWEN3_4B"]
    assert (planned.build_integrations, planned.image_repository) == ((), None)


@pytest.mark.parametrize(
    ("wrong", "names"),
    [
        ({"chat_models": 7}, "CHAT_MODELS"),
        ({"embedding_models": True}, "EMBEDDING_MODELS"),
        ({"build_integrations": 7}, "BUILD_INTEGRATIONS"),
        ({"image_repository": ["D.S.R"]}, "IMAGE_REPOSITORY"),
        ({"hugging_face_secret": 7}, "HUGGING_FACE_SECRET"),
    ],
)
def test_what_is_not_a_name_is_told_by_its_parameter(wrong: dict[str, Any], names: str) -> None:
    with pytest.raises(DeploymentError, match=names):
        make_plan(**{"chat_models": ["QWEN3_4B"], **NAMES, **wrong})


def test_a_model_that_is_chosen_twice_is_deployed_once() -> None:
    """Its service would be created, found by the second turn, and then be taken for one that nobody creates."""
    planned = make_plan(chat_models=["QWEN3_4B", "qwen3_4b", CATALOGUE["QWEN3_4B"]], **NAMES)
    assert planned.models == (CATALOGUE["QWEN3_4B"],)


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"hugging_face_secret": None}, "HUGGING_FACE_SECRET"),
        ({"hugging_face_secret": "D.S.TOKEN", "logging_pool": None}, "LOGGING_POOL"),
    ],
)
def test_a_gated_model_needs_a_secret_that_snowflake_reads(given: dict[str, Any], names: str) -> None:
    with pytest.raises(DeploymentError, match=names):
        make_plan(chat_models=["LLAMA_2_7B"], **NAMES, **given)


# Prices


def test_prices_carry_their_date_and_source() -> None:
    data = json.loads((RESOURCE / "instance_families.json").read_text(encoding="utf-8"))
    for part in (data, data["unconfirmed"]):
        assert re.fullmatch(r"20\d\d-\d\d-\d\d", part["effective"])
        assert part["effective"] in part["source"]


def test_the_cost_of_a_node_is_told_per_hour_and_per_month() -> None:
    prices = families.price_list()
    told = families.running_cost(prices.family("gpu_nv_s"), 1, 3.0)
    assert told == (
        "0.57 credits an hour (1 node of GPU_NV_S), USD 1.71 an hour, USD 1,248 a month without a pause"
    )


def test_a_price_that_was_not_read_in_snowflakes_table_is_marked() -> None:
    prices = families.price_list()
    assert "price not confirmed" in families.running_cost(prices.family("GEN_X64_G2_2"), 1, 3.0)
    assert "CreditConsumptionTable" in families.running_cost(prices.family("GPU_OF_TOMORROW"), 1, 3.0)


def test_azure_has_its_own_price_where_it_differs() -> None:
    prices = families.price_list()
    rates = {
        region: prices.family("GEN_X64_G2_2", region).credits_per_hour
        for region in ("AWS_US_WEST_2", "AZURE_WESTEUROPE", "PUBLIC.AZURE_WESTEUROPE", "")
    }
    assert rates == {
        "AWS_US_WEST_2": 0.092,
        "AZURE_WESTEUROPE": 0.086,
        "PUBLIC.AZURE_WESTEUROPE": 0.086,
        "": 0.092,
    }


# Refusals


@pytest.mark.parametrize(
    ("text", "says", "hint"),
    [
        (
            "003107 (42501): SQL execution error: Current session is restricted. USE ROLE not allowed.",
            "limited to one role",
            "session:role:",
        ),
        ("000606 (57P03): No active warehouse selected in the current session.", "no warehouse", "setup.sql"),
        ("250001 (08001): Failed to connect: 390307 redirect", "redirect URL", "OAUTH_REDIRECT_URI"),
        ("390308: Requested scope is not valid", "not granted to you", "GRANT ROLE"),
        ("invalid_client: This is an invalid client", "network policy", "SHOW_OAUTH_CLIENT_SECRETS"),
        ("390318 (08001): OAuth access token expired. [uuid]", "expired", "Credentials"),
        ("392507: CAPACITY_ERROR", "no node", "BACKUP_INSTANCE_FAMILIES"),
        ("392508: Compute pool has reached the maximum node limit", "in use", "MAX_NODES"),
        ("Snowpark Container Services: trial accounts are not supported", "trial accounts", "paid"),
        # Snowflake-Labs/sfquickstarts#2237
        ("391826 (0A000): Compute pool is not available for trial accounts.", "trial accounts", "paid"),
        # NickAkincilar/Snowflake_AI_DEMO#3
        (
            "SQL compilation error: External access is not supported for trial accounts.",
            "trial accounts",
            "paid",
        ),
        # Snowflake-Labs/sfquickstarts#2109
        (
            "395018 (22023): Invalid spec: invalid value 1.5 for 'total containers.requests.cpu'. Requirement exceeds"
            " compute pool instance capacity 1.",
            "larger than a node",
            "INSTANCE_FAMILY",
        ),
        # data-prep-kit/data-prep-kit#1489, ToTheBeginning/PuLID#97
        (
            "Cannot access gated repo for url https://huggingface.co/a/b/resolve/main/config.json.\nAccess to model a/b"
            " is restricted. You must have access to it and be authenticated to access it. Please log in.",
            "Hugging Face does not give this model",
            "licence",
        ),
        # skypilot-org/skypilot#2634
        (
            "You are trying to access a gated repo.\nMake sure to request access at https://huggingface.co/a/b and pass"
            " a token having permission to this repo",
            "Hugging Face does not give this model",
            "HUGGING_FACE_SECRET",
        ),
        # huggingface/huggingface_hub#1202: what is private, gated or misspelt is answered alike
        (
            "401 Client Error. (Request ID: Root=1)\n\nRepository Not Found for url: https://huggingface.co/api/models/x."
            "\nPlease make sure you specified the correct `repo_id` and `repo_type`.",
            "Hugging Face does not have this model or revision",
            "name",
        ),
        # jhc13/taggui#367
        (
            "HfHubHTTPError: 401 Client Error: Unauthorized for url: https://huggingface.co/a/b (Request ID: Root=1)"
            "\n\nInvalid credentials in Authorization header",
            "does not accept the token",
            "SET SECRET_STRING",
        ),
        # NVIDIA-NeMo/nemo-platform pull 2072: the pool that downloads the weights has no room for them
        (
            "OSError: [Errno 28] No space left on device",
            "the disk is full",
            "LOGGING_POOL",
        ),
        ("ConnectError: [Errno -2] Name or service not known", "cannot reach Hugging Face", "LOGGING_POOL"),
        (
            "003001 (42501): Insufficient privileges to operate on image repository 'IMAGES'",
            "lacks a privilege on image repository IMAGES",
            "SERVICE WRITE",
        ),
        (
            "003013 (42501): Requested role 'R' is not assigned to the executing user.",
            "role R is not granted",
            "GRANT ROLE R",
        ),
        ("002003: Warehouse 'W' does not exist or not authorized.", "warehouse W does not exist", "USAGE"),
        # Snowflake documentation, "System compute pools": PUBLIC has USAGE on them until somebody revokes it.
        (
            "002003 (02000): Compute pool 'SYSTEM_COMPUTE_POOL_CPU' does not exist or not authorized.",
            "compute pool SYSTEM_COMPUTE_POOL_CPU does not exist",
            "GRANT USAGE ON COMPUTE POOL SYSTEM_COMPUTE_POOL_CPU",
        ),
        (
            "003001 (42501): Insufficient privileges to operate on compute pool 'SYSTEM_COMPUTE_POOL_CPU'",
            "lacks a privilege on compute pool SYSTEM_COMPUTE_POOL_CPU",
            "LOGGING_POOL",
        ),
    ],
)
def test_a_refusal_says_what_it_means_and_what_to_do(text: str, says: str, hint: str) -> None:
    error = explanation("opening the registry", RuntimeError(text))
    assert says in error.args[0]
    assert hint in error.args[1]


def test_what_is_not_known_is_passed_on() -> None:
    assert "RuntimeError: out of cheese" in str(explanation("logging", RuntimeError("out of cheese\nmore")))


# Pools and services


def test_a_pool_tells_why_it_does_not_start() -> None:
    trouble = {"error_code": "392507", "status_message": "We have observed CAPACITY_ERROR."}
    assert (
        pools.trouble(Session({"DESCRIBE": [[trouble]]}), "P") == "392507: We have observed CAPACITY_ERROR."
    )
    assert pools.trouble(Session({"DESCRIBE": [[{"error_code": "", "status_message": ""}]]}), "P") == ""


NO_INSTANCE = {"container_name": None, "status": None, "message": None, "restart_count": None}
READY = {"container_name": "model-inference", "status": "READY", "message": "Running", "restart_count": 0}
HOST = {"name": "inference", "is_public": "true", "ingress_url": "abc-org-acct.snowflakecomputing.app"}


def test_a_service_without_an_instance_is_described_by_its_status() -> None:
    found = service.state(
        Session(
            {
                "SHOW SERVICES": [[{"name": "X", "status": "PENDING"}]],
                "SHOW SERVICE CONTAINERS": [[NO_INSTANCE]],
            }
        ),
        "D.S.X",
    )
    assert (found.phase, found.detail) == ("starting", "PENDING")


def suspended_session() -> Session:
    return Session(
        {
            "SHOW SERVICES": [
                [{"name": "X", "status": "SUSPENDED"}],
                [{"name": "X", "status": "SUSPENDED"}],
                [{"name": "X", "status": "RUNNING"}],
            ],
            "SHOW SERVICE CONTAINERS": [[READY]],
            "SHOW ENDPOINTS": [[HOST]],
        }
    )


def test_a_service_that_snowflake_suspends_while_waiting_is_resumed() -> None:
    session = suspended_session()
    hosts = waiting.wait_until_ready(
        session, {"D.S.X": None}, resume_suspended=True, sleep=lambda s: None, report=lambda text: None
    )
    assert hosts == {"D.S.X": HOST["ingress_url"]}
    assert "ALTER SERVICE D.S.X RESUME" in session.statements


def test_a_service_that_somebody_suspends_while_waiting_is_an_error() -> None:
    with pytest.raises(DeploymentError, match="was suspended"):
        waiting.wait_until_ready(
            suspended_session(), {"D.S.X": None}, sleep=lambda s: None, report=lambda text: None
        )


def service_of_two(**how: Any) -> Session:
    """A service that has to have one instance ready, of which the second finds no node."""
    pending = {**READY, "status": "PENDING", "message": "Waiting for a node", "instance_id": "1"}
    return Session(
        {
            "SHOW SERVICES": [[{"name": "X", "status": "RUNNING", "min_ready_instances": 1}]],
            "SHOW SERVICE CONTAINERS": [[{**READY, "instance_id": "0"}, {**pending, **how}]],
            "SHOW ENDPOINTS": [[HOST]],
        }
    )


@pytest.mark.parametrize(
    "other",
    [{}, {"status": "FAILED", "message": "CrashLooping", "restart_count": 9}],
    ids=["pending", "crashing"],
)
def test_a_service_is_ready_when_enough_of_its_instances_are(other: dict[str, Any]) -> None:
    """Snowflake documentation, BCR-1793: MIN_READY_INSTANCES are what a service needs to answer."""
    found = service.state(service_of_two(**other), "D.S.X")
    assert (found.phase, found.host) == ("ready", HOST["ingress_url"])


def test_a_service_that_crashes_is_told_with_what_its_log_says() -> None:
    """vllm-project/vllm#1157: on a T4, which the pool of a small chat model on Azure may have."""
    crashed = {**READY, "status": "FAILED", "message": "User application error", "restart_count": 4}
    session = Session(
        {
            "SHOW SERVICES": [[{"name": "X", "status": "FAILED"}]],
            "SHOW SERVICE CONTAINERS": [[crashed]],
            "SELECT SYSTEM$GET_SERVICE_LOGS('D.S.X', '0', 'model-inference', 1000, TRUE)": [
                [
                    {
                        "LOG": "ValueError: Bfloat16 is only supported on GPUs with compute capability of at least 8.0."
                    }
                ]
            ],
        }
    )
    with pytest.raises(DeploymentError) as failed:
        waiting.wait_until_ready(session, {"D.S.X": None}, sleep=lambda s: None, report=lambda text: None)
    assert "the GPU is too old for weights in bfloat16" in failed.value.message
    assert "--dtype=half" in failed.value.hint and "drop the service" in failed.value.hint


def test_a_service_whose_log_says_nothing_is_told_with_the_statement_that_reads_it() -> None:
    crashed = {**READY, "status": "FAILED", "message": "User application error", "restart_count": 4}
    session = Session(
        {"SHOW SERVICES": [[{"name": "X", "status": "FAILED"}]], "SHOW SERVICE CONTAINERS": [[crashed]]}
    )
    with pytest.raises(DeploymentError, match=r"SYSTEM\$GET_SERVICE_LOGS"):
        waiting.wait_until_ready(session, {"D.S.X": None}, sleep=lambda s: None, report=lambda text: None)


def deployment_on(auto_suspend: int) -> tuple[Deployment, list[str]]:
    told: list[str] = []
    session = Session(
        {
            "SELECT CURRENT_ROLE": [[{"ROLE": "R"}]],
            "SHOW SERVICES": [[{"name": "QWEN3_4B_SERVICE", "status": "RUNNING"}]],
            "SHOW COMPUTE POOLS": [
                [
                    {
                        "name": "GPU",
                        "instance_family": "GPU_NV_S",
                        "max_nodes": 1,
                        "auto_suspend_secs": auto_suspend,
                    }
                ]
            ],
        }
    )
    return Deployment(make_plan(chat_models=["QWEN3_4B"], **NAMES), session, report=told.append), told


def told_by_check(family: str, models: list[Any], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(registry, "check_library", lambda: None)
    pool = {"name": "GPU", "instance_family": family, "max_nodes": 1, "auto_suspend_secs": 300}
    session = Session(
        {
            "SELECT CURRENT_ROLE": [[{"ROLE": "R"}]],
            "SELECT CURRENT_REGION": [[{"REGION": "AZURE_WESTEUROPE"}]],
            "SHOW COMPUTE POOLS": [[pool]],
        }
    )
    told: list[str] = []
    Deployment(make_plan(chat_models=models, **NAMES), session, report=told.append).check()
    return told


@pytest.mark.parametrize(
    ("family", "model", "says"),
    [
        # A service asks for one GPU, and a node is billed with all that it has.
        ("GPU_NV_M", "QWEN3_4B", "4 GPUs, of which a service uses one"),
        # vllm-project/vllm#1157
        ("GPU_NV_XS", "QWEN3_4B", "--dtype=half"),
        # vllm-project/vllm#2248: the weights have 14.4 GB
        ("GPU_NV_XS", "ZEPHYR_7B", "14.4 GB"),
    ],
)
def test_what_does_not_suit_the_gpus_of_a_pool_is_told_before_anything_costs(
    family: str, model: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert says in "\n".join(told_by_check(family, [model], monkeypatch))


def test_a_pool_that_suits_its_models_is_not_doubted(monkeypatch: pytest.MonkeyPatch) -> None:
    told = "\n".join(told_by_check("GPU_NV_S", ["QWEN3_4B", "ZEPHYR_7B"], monkeypatch))
    assert "GPUs" not in told and "dtype" not in told


@pytest.mark.parametrize(
    ("family", "given", "args"),
    [
        ("GPU_NV_XS", ("--max-model-len=8192",), ["--max-model-len=8192", "--dtype=half"]),
        ("GPU_NV_XS", ("--dtype=float",), ["--dtype=float"]),
        ("GPU_NV_S", (), []),
        ("GPU_OF_TOMORROW", (), []),
    ],
)
def test_vllm_is_told_of_a_gpu_without_bfloat16(family: str, given: tuple[str, ...], args: list[str]) -> None:
    model = dataclasses.replace(CATALOGUE["QWEN3_4B"], engine_args=given)
    planned = make_plan(chat_models=[model], **NAMES)
    pool = Pool("GPU", family, families.price_list().family(family), 1, 300)
    asked = registry.create_service(Asked(), model, Interface("chat", "m", "c"), planned, pool)
    assert asked["inference_engine_options"] == {"engine": "vllm", "engine_args_override": args}


@pytest.mark.parametrize("step", ["suspend", "drop"])
@pytest.mark.parametrize("seconds", [0, 600])
def test_what_a_pool_still_costs_is_told_when_its_services_are_gone(step: str, seconds: int) -> None:
    """Snowflake documentation, "Working with compute pools": nodes are billed without a service, until the pool stops.

    AUTO_SUSPEND_SECS = 0 stops it never.
    """
    deployment, told = deployment_on(seconds)
    getattr(deployment, step)(confirm=True)
    last = told[-1]
    assert "Pool GPU" in last and "USD" in last
    assert ("600 s" in last) is (seconds == 600)
    assert ("ALTER COMPUTE POOL GPU" in last) is (seconds == 0)


def test_services_are_dropped_after_their_pool_was() -> None:
    deployment, told = deployment_on(600)
    deployment.session.answers["SHOW COMPUTE POOLS"] = [[]]  # type: ignore[attr-defined]
    deployment.drop(confirm=True)
    assert told[-1] == "D.S.QWEN3_4B_SERVICE: dropped."


# What the registry is asked for


class Asked:
    def create_service(self, **arguments: Any) -> dict[str, Any]:
        return arguments


@pytest.mark.parametrize(
    ("version", "is_enough"),
    [
        ("1.9.2", False),
        ("1.44.0", False),
        ("1.45.0", True),
        ("1.54.0", True),
        ("2.0.0", True),
        ("3.0rc1", True),
    ],
)
def test_a_library_that_is_too_old_is_told_with_its_version_before_anything_is_asked(
    monkeypatch: pytest.MonkeyPatch, version: str, is_enough: bool
) -> None:
    installed = types.ModuleType("snowflake.ml.version")
    installed.VERSION = version  # type: ignore[attr-defined]
    for name in ("snowflake", "snowflake.ml"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "snowflake.ml.version", installed)
    if is_enough:
        registry.check_library()
        return
    with pytest.raises(DeploymentError) as refused:
        registry.check_library()
    assert f"snowflake-ml-python is version {version}, which is too old (1.45 or later" in str(refused.value)
    assert "code environment" in str(refused.value)


def test_a_library_that_is_not_there_is_told_with_the_version_that_is_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "snowflake.ml.version", None)
    with pytest.raises(DeploymentError, match=r"snowflake-ml-python \(1.45 or later; .*\) is not installed"):
        registry.check_library()


@pytest.mark.parametrize(("key", "workers"), [("QWEN3_4B", None), ("GRANITE_EMBEDDING", 1)])
def test_images_are_built_on_a_pool_with_room_and_small_nodes_get_one_worker(
    key: str, workers: int | None
) -> None:
    planned = make_plan(chat_models=["QWEN3_4B"], embedding_models=["GRANITE_EMBEDDING"], **NAMES)
    kind = Interface("chat" if workers is None else "embedding", "m", "c")
    pool = Pool("P", "GPU_NV_S", families.price_list().family("GPU_NV_S"), 1, 300)
    asked = registry.create_service(Asked(), CATALOGUE[key], kind, planned, pool)
    assert asked["image_build_compute_pool"] == "SYSTEM_COMPUTE_POOL_CPU"
    assert (asked["num_workers"], asked["min_instances"], asked["max_instances"]) == (workers, 0, 1)


@pytest.mark.parametrize(
    ("family", "gpus"),
    [("CPU_X64_XS", None), ("GPU_NV_S", "1"), ("GPU_OF_TOMORROW", "1"), ("FAMILY_OF_TOMORROW", None)],
)
def test_an_embedding_model_uses_the_gpu_of_its_pool(family: str, gpus: str | None) -> None:
    """A service that asks for no GPU runs on the processor of the node, and the node is billed with its GPU."""
    planned = make_plan(embedding_models=["MINILM_L6"], **NAMES)
    pool = Pool("P", family, families.price_list().family(family), 1, 300)
    kind = Interface("embedding", "encode", "sentence")
    assert (
        registry.create_service(Asked(), CATALOGUE["MINILM_L6"], kind, planned, pool)["gpu_requests"] == gpus
    )


def test_the_notebook_names_the_version_that_the_library_needs() -> None:
    notebook = (RESOURCE.parent / "Deploy_LLMs_to_Snowpark_Container_Services.ipynb").read_text(
        encoding="utf-8"
    )
    oldest = ".".join(map(str, registry._OLDEST))
    assert set(re.findall(r"snowflake-ml-python>=([\d.]+\d)", notebook)) == {oldest}


def test_the_default_models_are_pinned_to_the_commits_of_the_specifications() -> None:
    for key, name in (("QWEN3_4B", "vllm.yaml"), ("GRANITE_EMBEDDING", "embeddings.yaml")):
        text = (RESOURCE / "service_specs" / name).read_text(encoding="utf-8")
        assert f"--revision={CATALOGUE[key].revision}" in text
        assert CATALOGUE[key].repository in text


# The form


def values(min_instances: int, pool: Pool) -> dict[str, str]:
    planned = make_plan(chat_models=["QWEN3_4B"], min_instances=min_instances, **NAMES)
    chat = Interface("chat", "__call__", "messages")
    filled = connection_form.fields(CATALOGUE["QWEN3_4B"], chat, "host.app", "https://a", pool, planned)
    return {field.name: field.value for field in filled}


def test_a_service_that_may_be_suspended_is_waited_for() -> None:
    prices = families.price_list()
    pool = Pool("GPU", "GPU_NV_S", prices.family("GPU_NV_S"), 1, 300)
    patient, always_ready = values(0, pool), values(1, pool)
    assert int(patient["queryTimeoutSeconds"]) > int(patient["coldStartWaitSeconds"]) > 300
    assert "coldStartWaitSeconds" not in always_ready
    assert patient["spcsCreditsPerHourCost"] == "0.57"


def test_an_unknown_family_leaves_the_price_to_the_reader() -> None:
    assert "cost.sql" in values(1, Pool("GPU", "GPU_OF_TOMORROW", None, 1, 300))["spcsCreditsPerHourCost"]


def test_a_signature_of_neither_sort_is_described() -> None:
    class Signature:
        def to_dict(self) -> dict[str, Any]:
            return {"inputs": [{"name": "x", "type": "DOUBLE"}], "outputs": [{"name": "y", "type": "DOUBLE"}]}

    with pytest.raises(DeploymentError, match="fits neither a chat nor an embedding model"):
        interface_of([{"target_method": "predict", "signature": Signature()}], "M")
