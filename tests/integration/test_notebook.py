"""The deployment notebook, executed from top to bottom by a real kernel against a stand-in account.

The registry's calls are bound to signatures recorded from snowflake-ml-python; tests marked `real` check the
recording, and run the same with autospecs of the library itself and with its own packager.
"""

from __future__ import annotations

import copy
import importlib.metadata
import json
import re
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "Deploy_LLMs_to_Snowpark_Container_Services.ipynb"

ALL_CHATS = [
    "QWEN3_4B",
    "QWEN3_5_4B",
    "GRANITE_4_MICRO",
    "PHI_4_MINI",
    "ZEPHYR_7B",
    "LLAMA_2_7B",
    "FALCON_7B",
    "PHI_2",
]
ALL_EMBEDDINGS = ["GRANITE_EMBEDDING", "MINILM_L6"]


@pytest.fixture(autouse=True)
def folder_for_ipython(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The kernel would write into the home folder, which may not be there."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))


def cells() -> list[Any]:
    return nbformat.read(NOTEBOOK, as_version=4).cells


def executed(
    *, runs: int = 1, in_dss: bool = False, real: bool = False, prepare: str = "", **parameters: Any
) -> Any:
    """The notebook after its cells ran `runs` times in one kernel, between a cell that prepares and one that tells."""
    setup = nbformat.v4.new_code_cell(
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from tests.integration import snowflake_standin as standin\n"
        "account = standin.Account()\n"
        f"{prepare}\n"
        f"standin.install(account, in_dss={in_dss}, real={real})\n"
        f"sys.path.remove({str(ROOT)!r})"
    )
    overrides = nbformat.v4.new_code_cell(
        "\n".join(f"{name} = {value!r}" for name, value in parameters.items())
    )
    dump = nbformat.v4.new_code_cell(
        "import json\n"
        "print('ACCOUNT', json.dumps({'statements': account.statements, 'calls': account.calls,"
        " 'services': {n: s.status for n, s in account.services.items()}, 'slept': account.slept,"
        " 'models': account.models, 'grants': sorted(account.grants)}, default=str))"
    )
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    body = []
    for _ in range(runs):
        for cell in notebook.cells:
            body.append(copy.deepcopy(cell))
            if parameters and "parameters" in cell.metadata.get("tags", []):
                body.append(copy.deepcopy(overrides))
    for number, cell in enumerate(body):
        cell.id = f"cell-{number}"
    notebook.cells = [setup, *body, dump]
    client = nbclient.NotebookClient(
        notebook, timeout=60, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}}
    )
    client.execute()
    return notebook


def execute(**how: Any) -> tuple[str, dict[str, Any], int]:
    """What the cells printed, what the account saw, how many ran; arguments as of `executed`."""
    notebook = executed(**how)
    body = notebook.cells[1:-1]
    printed = "".join(
        output.text for cell in notebook.cells for output in cell.get("outputs", []) if output.get("text")
    )
    text, _, told = printed.partition("ACCOUNT ")
    code = [cell for cell in body if cell.cell_type == "code" and cell.execution_count]
    return text, json.loads(told), len(code)


def printed_by(cell: Any) -> str:
    return "".join(output.text for output in cell.get("outputs", []) if output.get("text"))


def test_the_notebook_is_valid() -> None:
    nbformat.validate(nbformat.read(NOTEBOOK, as_version=4))


@pytest.mark.exhaustive
def test_its_outputs_are_those_of_a_run() -> None:
    # To record them again: python -m tests.integration.record_notebook
    run = [printed_by(cell) for cell in executed().cells[1:-1] if cell.cell_type == "code"]
    assert [printed_by(cell) for cell in cells() if cell.cell_type == "code"] == run


def test_its_first_cell_says_where_the_outputs_come_from() -> None:
    assert "stand-in" in cells()[0].source


def test_the_notebook_holds_no_secret() -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")
    for secret in (
        r"hf_[A-Za-z0-9]{20,}",
        r"eyJ[\w-]{20,}\.",
        r"-----BEGIN",
        r"(?i)password\s*=",
        r"(?i)token\s*=\s*\\?\"",
    ):
        assert not re.search(secret, text), secret


def test_the_notebook_stays_short() -> None:
    code = [cell.source for cell in cells() if cell.cell_type == "code"]
    lines = [line for source in code for line in source.splitlines() if line.strip()]
    assert len(lines) <= 80


def test_it_runs_from_top_to_bottom_outside_dss_and_prints_the_form() -> None:
    printed, account, executed = execute()

    assert executed == len([cell for cell in cells() if cell.cell_type == "code"])
    assert set(account["services"]) == {
        "DATAIKU_SPCS.MODEL_REGISTRY.QWEN3_4B_SERVICE",
        "DATAIKU_SPCS.MODEL_REGISTRY.GRANITE_EMBEDDING_SERVICE",
    }
    assert set(account["services"].values()) == {"RUNNING"}
    assert "0.57 credits an hour (1 node of GPU_NV_S), USD 1.71 an hour" in printed
    form = printed.partition("QWEN3_4B: chat completion model")[2]
    for value in (
        "https://acme-data-science.snowflakecomputing.com",
        "https://qwen34bservice-acme-data-science.snowflakecomputing.app",
        "MODEL_SERVING",
        "TEXT_GENERATION_OTHER",
        "__call__",
        "messages",
        "encode",
        "sentence",
    ):
        assert value in form


@pytest.mark.exhaustive
def test_it_deploys_every_model_of_the_catalogue_in_dss() -> None:
    printed, account, _ = execute(
        in_dss=True,
        CHAT_MODELS=ALL_CHATS,
        EMBEDDING_MODELS=ALL_EMBEDDINGS,
        HUGGING_FACE_SECRET="DATAIKU_SPCS.MODEL_REGISTRY.HUGGING_FACE_TOKEN",
        MAX_NODES=2,
    )

    created = {
        call["service_name"].split(".")[-1]: call
        for name, call in account["calls"]
        if name == "create_service"
    }
    assert set(created) == {f"{key}_SERVICE" for key in ALL_CHATS + ALL_EMBEDDINGS}
    by_vllm = {name for name, call in created.items() if call["inference_engine_options"]}
    assert by_vllm == {f"{key}_SERVICE" for key in ALL_CHATS} - {"PHI_2_SERVICE"}
    assert all(call["ingress_enabled"] and call["max_instances"] == 2 for call in created.values())
    phi_2 = printed.partition("PHI_2: chat completion model")[2].partition("GRANITE_EMBEDDING")[0]
    assert "TEXT_GENERATION_PHI_2" in phi_2
    assert re.search(r"\binputs\b", phi_2)


@pytest.mark.exhaustive
def test_a_second_run_finds_everything_and_makes_nothing_twice() -> None:
    printed, account, _ = execute(runs=2)

    names = [name for name, _ in account["calls"]]
    assert names.count("log_model") == 2
    assert names.count("create_service") == 2
    assert printed.count("is logged already") == 2
    assert printed.count("exists already (RUNNING)") == 2


@pytest.mark.exhaustive
def test_a_suspended_service_is_resumed_by_running_again() -> None:
    # The first run's last cells suspend; the second run's creating cell resumes.
    printed, account, _ = execute(runs=2, SUSPEND=True)

    assert printed.count("was suspended, resuming") == 2
    assert set(account["services"].values()) == {"SUSPENDED"}


@pytest.mark.exhaustive
def test_the_last_cells_do_nothing_by_themselves() -> None:
    printed, account, _ = execute()

    assert "would be suspended; nothing has been done" in printed
    assert "would be dropped; nothing has been done" in printed
    assert not [line for line in account["statements"] if line.startswith(("ALTER", "DROP"))]


@pytest.mark.exhaustive
def test_drop_removes_services_and_models_when_told_to() -> None:
    _, account, _ = execute(DROP=True, DELETE_MODELS=True)

    assert account["services"] == {}
    assert account["models"] == {}


@pytest.mark.exhaustive
def test_the_caller_gets_usage_and_the_endpoints_and_nothing_else() -> None:
    _, account, _ = execute()

    schema, role = "DATAIKU_SPCS.MODEL_REGISTRY", "DATAIKU_SPCS_ROLE"
    assert [tuple(grant) for grant in account["grants"]] == sorted(
        [
            (f"SERVICE ROLE {schema}.QWEN3_4B_SERVICE!ALL_ENDPOINTS_USAGE", role),
            (f"SERVICE ROLE {schema}.GRANITE_EMBEDDING_SERVICE!ALL_ENDPOINTS_USAGE", role),
            ("USAGE ON DATABASE DATAIKU_SPCS", role),
            (f"USAGE ON SCHEMA {schema}", role),
        ]
    )


def test_a_pool_that_does_not_exist_stops_the_run_before_anything_costs() -> None:
    with pytest.raises(nbclient.exceptions.CellExecutionError) as failed:
        execute(CHAT_POOL="NO_SUCH_POOL")
    assert "Compute pool NO_SUCH_POOL does not exist, or the session's role may not see it." in str(
        failed.value
    )


def test_a_library_that_is_too_old_stops_the_run_before_anything_costs() -> None:
    prepare = (
        "standin.recorded_modules = (lambda made: lambda: {**made(), 'snowflake.ml.version': "
        "standin._module('snowflake.ml.version', VERSION='1.44.0')})(standin.recorded_modules)"
    )
    with pytest.raises(nbclient.exceptions.CellExecutionError) as failed:
        execute(prepare=prepare)
    assert "snowflake-ml-python is version 1.44.0, which is too old" in str(failed.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"service_nam": "S"},
        {"service_name": 5},
        {"build_external_access_integrations": "ONE"},
        {"gpu_requests": 1.5},
        {"block": "no"},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_the_stand_in_refuses_an_argument_that_the_library_would_not_take(wrong: dict[str, Any]) -> None:
    from tests.integration.registry_recording import bind

    right = {"service_name": "S", "service_compute_pool": "P"}
    bind("ModelVersion.create_service", object(), **right)
    with pytest.raises(TypeError):
        bind("ModelVersion.create_service", object(), **{**right, **wrong})


@pytest.mark.real
def test_the_recording_is_that_of_the_installed_library() -> None:
    pytest.importorskip("snowflake.ml.registry")
    from tests.integration.registry_recording import record, recorded

    if importlib.metadata.version("snowflake-ml-python") != recorded()["snowflake-ml-python"]:
        pytest.skip("the recording is that of another version")
    assert recorded() == json.loads(json.dumps(record()))


@pytest.mark.real
def test_it_runs_against_autospecs_of_the_real_registry() -> None:
    pytest.importorskip("snowflake.ml.registry")
    printed, account, _ = execute(
        real=True,
        runs=2,
        CHAT_MODELS=ALL_CHATS,
        EMBEDDING_MODELS=ALL_EMBEDDINGS,
        HUGGING_FACE_SECRET="DATAIKU_SPCS.MODEL_REGISTRY.HUGGING_FACE_TOKEN",
    )

    assert len(account["services"]) == len(ALL_CHATS + ALL_EMBEDDINGS)
    assert printed.count("is logged already") == len(ALL_CHATS + ALL_EMBEDDINGS)
