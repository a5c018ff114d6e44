"""infinity-emb behind the ingress: real vectors, and rankings by a real server over a head that nobody has trained."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.instance import Instance
from sandbox.snowflake import PublicEndpoint
from tests.real.environments import environment, minilm, saved_model
from tests.real.server_process import free_port, server_process

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]

TOO_LONG = "word " * 3000  # the model reads 256 tokens


@pytest.fixture(scope="module")
def service(instance: Instance) -> Iterator[PublicEndpoint]:
    python = environment("infinity")
    ranker, embedder = saved_model(python, "ranker", "save_cross_encoder.py"), minilm(python)
    port = free_port()
    command: list[str | Path] = [
        python.parent / "infinity_emb", "v2", "--engine", "torch", "--device", "cpu",
        "--model-id", ranker, "--served-model-name", "ranker",
        "--model-id", embedder, "--served-model-name", "embedder",
        "--no-bettertransformer", "--no-compile", "--url-prefix", "/v1", "--host", "127.0.0.1", "--port", str(port),
    ]  # fmt: skip
    settings: dict[str, Any] = {"DO_NOT_TRACK": "1"}
    with server_process(command, port, "/health", **settings) as url:
        yield instance.snowflake.create_service("infinity", url, "OPENAI")


def model(instance: Instance, capability: str, service: PublicEndpoint, name: str) -> Any:
    params = {"serviceProtocol": "OPENAI", "modelName": name}
    return instance.add_model(f"{capability}-{name}", capability, service, **params)


def test_vectors_are_near_where_meanings_are(instance: Instance, service: PublicEndpoint) -> None:
    query = model(instance, "EMBEDDING", service, "embedder").new_embeddings()
    for text in ("cat", "kitten", "revenue"):
        query.add_text(text)
    cat, kitten, revenue = query.execute().get_embeddings()
    assert len(cat) == 384

    def near(one: list[float], other: list[float]) -> float:
        return sum(a * b for a, b in zip(one, other))

    assert near(cat, cat) == pytest.approx(1, abs=1e-3)
    assert near(cat, kitten) > 0.5 > near(cat, revenue)


@pytest.mark.parametrize("mode", ["TRUNCATE", "FAIL"])
def test_the_server_cuts_a_text_that_is_too_long_whatever_was_asked(
    instance: Instance, service: PublicEndpoint, mode: str
) -> None:
    query = model(instance, "EMBEDDING", service, "embedder").new_embeddings(text_overflow_mode=mode)
    assert [
        len(vector) for vector in query.add_text(TOO_LONG).add_text("cat").execute().get_embeddings()
    ] == [384] * 2


def test_all_documents_are_ranked_a_long_one_too(instance: Instance, service: PublicEndpoint) -> None:
    query = model(instance, "RERANKING", service, "ranker").new_reranking().with_query("red fox")
    for document in ("blue whale", TOO_LONG, "a red fox"):
        query = query.with_document(document)
    ranked = query.execute().documents
    assert sorted(document.index for document in ranked) == [0, 1, 2]
    scores = [document.relevance_score for document in ranked]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == 3


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("unknown", "[service] The service has no model 'unknown'. It serves: ranker, embedder."),
        ("ranker", "`ranker` does not support `embed` for modality `text`"),
    ],
)
def test_a_model_that_is_not_there_or_does_not_embed_is_named(
    instance: Instance, service: PublicEndpoint, name: str, told: str
) -> None:
    query = model(instance, "EMBEDDING", service, name).new_embeddings().add_text("cat")
    (row,) = query.execute()._raw["responses"]
    assert told in row["errorMessage"]
