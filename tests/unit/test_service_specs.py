"""The specifications of containers of one's own: an endpoint that DSS can reach, a probe, a role to grant."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml", reason="a development package")

FILES = sorted((Path(__file__).parents[2] / "resource" / "service_specs").glob("*.yaml"))


@pytest.fixture(params=FILES, ids=lambda path: path.name)
def spec(request: pytest.FixtureRequest) -> Any:
    return yaml.safe_load(request.param.read_text(encoding="utf-8"))


def test_there_is_one_for_chat_and_one_for_embeddings() -> None:
    assert [path.stem for path in FILES] == ["embeddings", "vllm"]


def test_one_public_http_endpoint_is_the_port_that_the_server_listens_at(spec: Any) -> None:
    (endpoint,) = spec["spec"]["endpoints"]
    (container,) = spec["spec"]["containers"]
    assert endpoint["public"] is True
    assert endpoint["protocol"] == "HTTP"
    assert f"--port={endpoint['port']}" in container["args"]
    assert container["readinessProbe"]["port"] == endpoint["port"]


def test_the_role_of_callers_has_the_endpoint_and_nothing_else(spec: Any) -> None:
    assert spec["serviceRoles"] == [{"name": "caller", "endpoints": [spec["spec"]["endpoints"][0]["name"]]}]


def test_every_volume_is_mounted(spec: Any) -> None:
    (container,) = spec["spec"]["containers"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {
        v["name"] for v in spec["spec"]["volumes"]
    }
