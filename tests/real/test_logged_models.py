"""Snowflake's own inference server of snowflake-ml-python 1.5.4, over models that its packager took as they are."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from sandbox.instance import Instance
from tests.real.environments import environment, minilm, saved_model
from tests.real.snowflake_server import snowflake_server

pytestmark = [pytest.mark.real, pytest.mark.timeout(2400)]


@pytest.fixture(scope="module")
def python() -> Path:
    return environment("snowflake-1.5")


@pytest.fixture(scope="module")
def models(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    smollm2 = saved_model(environment("transformers"), "smollm2", "save_smollm2.py")
    folder = tmp_path_factory.mktemp("models")
    script = Path(__file__).with_name("pack_logged_models.py")
    command: list[str | Path] = [python, script, smollm2, minilm(python), folder]
    subprocess.run(command, check=True, capture_output=True, timeout=900)
    return folder


@pytest.fixture(scope="module")
def pipeline(python: Path, models: Path) -> Iterator[str]:
    """A transformers pipeline for text generation: its method is `__call__`, its column `inputs`."""
    with snowflake_server(python, models / "chat.zip", "__call__") as url:
        yield url


@pytest.fixture(scope="module")
def encoder(python: Path, models: Path) -> Iterator[str]:
    """A SentenceTransformer: its method is `encode`, its column `sentences`."""
    with snowflake_server(python, models / "embedding.zip", "encode") as url:
        yield url


def model(instance: Instance, capability: str, name: str, url: str, **params: Any) -> Any:
    service = instance.snowflake.create_service(name, url, "PREDICT")
    return instance.add_model(
        name, capability, service, serviceProtocol="PREDICT", queryTimeoutSeconds=600, **params
    )


def chat(instance: Instance, name: str, url: str, **params: Any) -> Any:
    return model(instance, "CHAT", name, url, modelHandlingMode="TEXT_GENERATION_CHATML", **params)


def test_a_pipeline_answers_a_chat(instance: Instance, pipeline: str) -> None:
    llm = chat(instance, "pipeline", pipeline)
    response = llm.new_completion().with_message("What is the capital of France?").execute()
    assert response.text == "The capital of France is Paris."


def test_a_pipeline_answers_a_stream(instance: Instance, pipeline: str) -> None:
    completion = chat(instance, "pipeline-stream", pipeline).new_completion()
    chunks = completion.with_message("What is the capital of France?").execute_streamed()
    text = "".join(chunk.data.get("text", "") for chunk in chunks)
    assert text == "The capital of France is Paris."


def test_a_logged_encoder_gives_its_own_vectors(instance: Instance, encoder: str) -> None:
    llm = model(instance, "EMBEDDING", "encoder", encoder, inputColumn="sentences")
    texts = ["cat", "kitten", "revenue", *(f"text {number}" for number in range(30))]
    query = llm.new_embeddings()
    for text in texts:
        query.add_text(text)
    vectors = query.execute().get_embeddings()
    rows = [[index, {"sentences": text}] for index, text in enumerate(texts)]
    answer = requests.post(f"{encoder}/predict", json={"data": rows}, timeout=60).json()["data"]
    assert vectors == [pytest.approx(row["output_feature_0"], abs=1e-3) for _, row in answer]
    assert {len(vector) for vector in vectors} == {384}


@pytest.mark.parametrize("protocol", ["PREDICT", "AUTOMATIC"])
def test_the_column_of_an_encoder_is_found_where_none_is_set(
    instance: Instance, encoder: str, protocol: str
) -> None:
    service = instance.snowflake.create_service(protocol.lower(), encoder, "PREDICT")
    llm = instance.add_model(protocol.lower(), "EMBEDDING", service, serviceProtocol=protocol)
    (vector,) = llm.new_embeddings().add_text("cat").execute().get_embeddings()
    assert len(vector) == 384


def test_an_input_column_that_is_not_the_models_is_told_with_the_one_that_is(
    instance: Instance, encoder: str
) -> None:
    llm = model(instance, "EMBEDDING", "encoder-column", encoder, inputColumn="texts")
    (row,) = llm.new_embeddings().add_text("cat").execute()._raw["responses"]
    assert "Set 'Input column' to 'sentences'" in row["errorMessage"]
    assert "Traceback" not in row["errorMessage"]


def test_a_chats_wrong_column_is_told_too(instance: Instance, pipeline: str) -> None:
    llm = chat(instance, "pipeline-column", pipeline, inputColumn="prompt")
    error = llm.new_completion().with_message("Hello").execute()._raw["errorMessage"]
    assert "Set 'Input column' to 'inputs'" in error
