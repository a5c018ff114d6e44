"""vLLM on the CPU behind the ingress, as a server of embeddings and rankings; nobody has trained the ranking head."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests

from sandbox.instance import Instance
from tests.real.environments import minilm, saved_model
from tests.real.vllm_server import vllm_python, vllm_server

pytestmark = [pytest.mark.real, pytest.mark.timeout(2400)]

TOO_LONG = "word " * 3000  # MiniLM embeds 256 tokens, and its ranking head reads 512


@pytest.fixture(scope="module")
def embedder() -> Iterator[str]:
    python = vllm_python()
    with vllm_server(python, minilm(python), "minilm", "--runner", "pooling") as url:
        yield url


@pytest.fixture(scope="module")
def ranker() -> Iterator[str]:
    python = vllm_python()
    model = saved_model(python, "ranker", "save_cross_encoder.py")
    with vllm_server(python, model, "ranker", "--runner", "pooling") as url:
        yield url


def model(instance: Instance, capability: str, url: str, name: str) -> Any:
    service = instance.snowflake.create_service(name, url, "OPENAI")
    return instance.add_model(name, capability, service, serviceProtocol="OPENAI")


def near(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other))


def test_vectors_are_near_where_meanings_are(instance: Instance, embedder: str) -> None:
    query = model(instance, "EMBEDDING", embedder, "near").new_embeddings()
    for text in ("cat", "kitten", "revenue"):
        query.add_text(text)
    response = query.execute()
    cat, kitten, revenue = response.get_embeddings()
    assert len(cat) == 384
    assert near(cat, cat) == pytest.approx(1, abs=1e-2)
    assert near(cat, kitten) > 0.5 > near(cat, revenue)


def test_a_text_that_is_too_long_is_cut_where_dss_says_so(instance: Instance, embedder: str) -> None:
    query = model(instance, "EMBEDDING", embedder, "cut").new_embeddings(text_overflow_mode="TRUNCATE")
    for text in ("cat", TOO_LONG, "kitten"):
        query.add_text(text)
    rows = query.execute()._raw["responses"]
    assert [len(row["embedding"]) for row in rows] == [384] * 3
    assert rows[1]["promptTokens"] == 256


def test_a_text_that_is_too_long_fails_by_itself_where_dss_says_so(instance: Instance, embedder: str) -> None:
    query = model(instance, "EMBEDDING", embedder, "fail").new_embeddings(text_overflow_mode="FAIL")
    for text in ("cat", TOO_LONG, "kitten"):
        query.add_text(text)
    rows = query.execute()._raw["responses"]
    assert ["embedding" in row for row in rows] == [True, False, True]
    assert "maximum context length is 256 tokens" in rows[1]["errorMessage"]
    assert "Send shorter texts" in rows[1]["errorMessage"]


def test_all_documents_are_ranked_a_long_one_too(instance: Instance, ranker: str) -> None:
    documents = ["blue whale", TOO_LONG, "a red fox"]
    body = {"query": "red fox", "documents": documents}
    assert (
        requests.post(f"{ranker}/v1/rerank", json=body, timeout=300).status_code == 400
    )  # the server's own answer
    query = model(instance, "RERANKING", ranker, "rank").new_reranking().with_query("red fox")
    for document in documents:
        query = query.with_document(document)
    ranked = query.execute().documents
    assert sorted(document.index for document in ranked) == [0, 1, 2]
    scores = [document.relevance_score for document in ranked]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == 3


def test_a_server_that_ranks_does_not_embed_and_says_so(instance: Instance, ranker: str) -> None:
    query = model(instance, "EMBEDDING", ranker, "no-embedder").new_embeddings().add_text("cat")
    (row,) = query.execute()._raw["responses"]
    assert row["errorMessage"].startswith("[")
    assert "embed" in row["errorMessage"].lower()
