"""Models of one endpoint in one process: what they share, and what is each one's own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from spcs_llm.connections import Connections
from spcs_llm.model import Model
from spcs_llm.protocol_choices import PROTOCOLS
from tests.integration.vllm_like import VllmLike, said
from tests.unit.scripted_service import wait_until
from tests.unit.toy_protocol import TOY
from tests.unit.toy_service import ToyService

REFUSES_STREAM_OPTIONS = {"error": {"message": "stream_options is not supported", "code": 400}}
QUESTION = {"messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture(autouse=True)
def _toy_is_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROTOCOLS, "TOY", TOY)


@pytest.mark.parametrize("small_first", [True, False])
def test_the_batch_size_of_one_model_binds_no_other(small_first: bool) -> None:
    connections = Connections()
    with ToyService() as service, ThreadPoolExecutor(17) as pool:
        small = Model(service.config(maxBatchSize=2), connections=connections)
        large = Model(service.config(maxBatchSize=64), connections=connections)
        batcher = small._connection.batcher
        assert batcher is large._connection.batcher
        service.may_answer.clear()
        asked = [pool.submit(large.embed, {"text": "first."}, {}, None)]
        wait_until(lambda: len(service.requests) == 1)
        order = [(small, "small"), (large, "large")] if small_first else [(large, "large"), (small, "small")]
        for number in range(8):
            for model, name in order:
                asked.append(pool.submit(model.embed, {"text": f"{name} {number}."}, {}, None))
                wait_until(lambda: len(batcher._queue) == len(asked) - 1)
        service.may_answer.set()
        assert [each.result(20)["embedding"] for each in asked] == [[6.0]] + [[8.0]] * 16
    kinds = [{text.split()[0] for text in texts} for texts in service.requests[1:]]
    assert all(len(kind) == 1 for kind in kinds), (
        "rows of models with other settings ride in no common request"
    )
    sizes = {
        name: [len(texts) for texts in service.requests[1:] if texts[0].startswith(name)]
        for name in ("small", "large")
    }
    assert max(sizes["small"]) <= 2
    assert max(sizes["large"]) > 2


def test_what_one_instance_learns_of_a_service_the_users_other_instances_need_not_ask() -> None:
    service = VllmLike((400, REFUSES_STREAM_OPTIONS), said("Hello"))
    try:
        config = {
            "authenticationMode": "PROGRAMMATIC_ACCESS_TOKEN",
            "programmaticAccessToken": {"token": "abc"},
            "llmEndpointUrl": service.url,
            "serviceProtocol": "OPENAI",
            "maxParallelism": 16,
        }
        connections = Connections()
        models = [Model(config, connections=connections) for _ in range(10)]
        assert models[0].complete(QUESTION, {}, None)["text"] == "Hello"
        with ThreadPoolExecutor(10) as pool:
            answers = list(pool.map(lambda model: model.complete(QUESTION, {}, None)["text"], models))
    finally:
        service.stop()
    assert answers == ["Hello"] * 10
    assert service.times_listed == 1
    assert len(service.asked) == 1 + 1 + 10, "refused once, for all"
