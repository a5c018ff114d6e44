"""Snowflake's own inference server: the sandbox's stand-in answers as it does, and the plugin answers through it."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from sandbox.instance import Instance
from sandbox.services import ScriptedService
from tests.real.environments import environment
from tests.real.snowflake_server import snowflake_server

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

GOOD = {"inputs": "hello"}
CASES: dict[str, Any] = {
    "one row": {"data": [[0, GOOD]]},
    "several rows": {"data": [[0, GOOD], [1, {"inputs": "world"}], [2, GOOD]]},
    "rows numbered from elsewhere": {"data": [[7, GOOD], [3, {"inputs": "world"}]]},
    "rows with an id": {"data": [[0, {**GOOD, "_ID": 17}], [1, {**GOOD, "_ID": 4}]]},
    "a column too many": {"data": [[0, {**GOOD, "other": 1}]]},
    "a number for a text": {"data": [[0, {"inputs": 42}]]},
    "null for a text": {"data": [[0, {"inputs": None}]]},
    "an empty text": {"data": [[0, {"inputs": ""}]]},
    "another column": {"data": [[0, {"text": "hello"}]]},
    "no row": {"data": []},
    "an empty row": {"data": [[0, {}]]},
    "a value without a column": {"data": [[0, "hello"]]},
    "no data": {"rows": []},
    "a row that is no pair": {"data": [[0]]},
    "a model that fails": {"data": [[0, {"inputs": "__boom__"}]]},
    "no JSON": b"{not json",
    "an empty body": b"",
    "64 rows": {"data": [[number, {"inputs": f"text {number}"}] for number in range(64)]},
}
OTHERS = [("GET", "/predict"), ("POST", "/other"), ("GET", "/health"), ("PUT", "/predict")]


@pytest.fixture(scope="module")
def python() -> Path:
    return environment("snowflake")


@pytest.fixture(scope="module")
def models(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    subprocess.run(
        [python, Path(__file__).parent / "pack_models.py", folder], check=True, capture_output=True
    )
    return folder


@pytest.fixture(scope="module")
def real(python: Path, models: Path) -> Iterator[str]:
    with snowflake_server(python, models / "embedding.zip") as url:
        yield url


@pytest.fixture(scope="module")
def stand_in() -> Iterator[str]:
    service = ScriptedService("PREDICT", kind="embedding")
    yield service.url
    service.stop()


def post(url: str, body: Any) -> requests.Response:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return requests.post(f"{url}/predict", data=data, timeout=60)


def shape(response: requests.Response) -> Any:
    """What a client can tell: the status, and the body with its values and its server's paths taken out."""
    try:
        body = response.json()
    except ValueError:
        return response.status_code, response.text
    if "error" in body:
        return response.status_code, re.sub(r"\n.*", "", body["error"], flags=re.DOTALL)
    if "data" not in body:
        return response.status_code, body
    rows = []
    for index, content in body["data"]:
        outputs = content["outputs"]
        rows.append((index, sorted(content), type(outputs).__name__, isinstance(json.loads(outputs), list)))
    ids = [content.get("_ID") for _, content in body["data"]]
    return response.status_code, rows, ids


@pytest.mark.parametrize("name", CASES)
def test_the_stand_in_answers_as_the_real_server(real: str, stand_in: str, name: str) -> None:
    assert shape(post(stand_in, CASES[name])) == shape(post(real, CASES[name]))


@pytest.mark.parametrize(("method", "path"), OTHERS)
def test_the_stand_in_has_the_real_servers_routes(real: str, stand_in: str, method: str, path: str) -> None:
    ours, theirs = (requests.request(method, url + path, timeout=30) for url in (stand_in, real))
    assert (ours.status_code, ours.text) == (theirs.status_code, theirs.text)


def test_one_request_too_many_is_a_429_for_both(python: Path, models: Path) -> None:
    body = {"data": [[number, {"inputs": f"a longer text, number {number}"}] for number in range(40)]}
    service = ScriptedService("PREDICT", kind="embedding", concurrent_requests_max=1, request_seconds=0.3)
    try:
        with snowflake_server(python, models / "embedding.zip", _CONCURRENT_REQUESTS_MAX="1") as real:
            for url in (real, service.url):
                with ThreadPoolExecutor(6) as pool:
                    answers = list(pool.map(lambda _, url=url: post(url, body), range(6)))
                refused = [answer for answer in answers if answer.status_code == 429]
                assert refused
                assert all(answer.json() == {"error": "Too many requests"} for answer in refused)
    finally:
        service.stop()


def test_the_plugin_chats_through_the_real_server(python: Path, models: Path) -> None:
    with snowflake_server(python, models / "chat.zip") as url, Instance() as instance:
        service = instance.snowflake.create_service("chat", url, "PREDICT")
        llm = instance.add_model("chat", "CHAT", service, modelHandlingMode="TEXT_GENERATION_CHATML")
        completion = llm.new_completion().with_message("You are a helpful assistant.", role="system")
        response = completion.with_message("What is the capital of France?").execute()
        assert response.text == "The capital of France is Paris."
        assert not instance.dss.violations


def test_the_plugin_embeds_through_the_real_server(real: str) -> None:
    with Instance() as instance:
        service = instance.snowflake.create_service("embedding", real, "PREDICT")
        llm = instance.add_model("embedding", "EMBEDDING", service)
        texts = [f"text {number}" for number in range(50)]
        query = llm.new_embeddings()
        for text in texts:
            query.add_text(text)
        vectors = query.execute().get_embeddings()
        alone = [
            json.loads(post(real, {"data": [[0, {"inputs": text}]]}).json()["data"][0][1]["outputs"])
            for text in texts
        ]
        assert vectors == [pytest.approx(vector, abs=1e-3) for vector in alone]
        assert not instance.dss.violations


def test_a_row_that_the_model_fails_on_fails_alone(real: str) -> None:
    with Instance() as instance:
        service = instance.snowflake.create_service("embedding", real, "PREDICT")
        llm = instance.add_model("embedding", "EMBEDDING", service)
        query = llm.new_embeddings()
        for text in ("one", "__boom__", "three", "four"):
            query.add_text(text)
        rows = query.execute()._raw["responses"]
        assert [("embedding" in row) for row in rows] == [True, False, True, True]
        assert "model exploded on purpose" in rows[1]["errorMessage"]
        assert "Traceback" not in rows[1]["errorMessage"]
