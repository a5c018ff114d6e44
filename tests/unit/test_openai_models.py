"""The list of models is asked for once by all who want it, and anew some minutes later."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from spcs_llm.errors import QueryTimeout, ServiceDown
from spcs_llm.http.endpoint import Endpoint
from spcs_llm.protocols.openai.models import Kind, ServedModels
from spcs_llm.query_context import QueryContext
from tests.clock import Clock
from tests.unit.scripted_service import Waiting, wait_until

LIST = {"data": [{"id": "m1"}]}


class SlowList(Endpoint):
    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)
        self.asked = 0
        self.let_go = threading.Event()
        self.under_way = threading.Event()

    def send(self, http_request: Any, context: QueryContext) -> Any:
        self.asked += 1
        self.under_way.set()
        assert self.let_go.wait(10)
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_many_threads_ask_once() -> None:
    endpoint = SlowList(LIST)
    models = ServedModels(endpoint, None)
    names: list[str | None] = []
    threads = [
        threading.Thread(target=lambda: names.append(models.name(QueryContext(10), "chat")))
        for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    assert endpoint.under_way.wait(10)
    endpoint.let_go.set()
    for thread in threads:
        thread.join(10)
    assert names == ["m1"] * 20
    assert endpoint.asked == 1


def test_a_failure_is_not_remembered() -> None:
    endpoint = SlowList(ServiceDown("down"), LIST)
    endpoint.let_go.set()
    models = ServedModels(endpoint, None)
    with pytest.raises(ServiceDown):
        models.name(QueryContext(10), "chat")
    assert models.name(QueryContext(10), "chat") == "m1"


def test_who_waits_for_the_list_waits_no_longer_than_its_own_time() -> None:
    endpoint = SlowList(LIST)
    models = ServedModels(endpoint, None)
    first = threading.Thread(target=models.name, args=(QueryContext(10), "chat"))
    first.start()
    assert endpoint.under_way.wait(10)
    with pytest.raises(QueryTimeout, match="list of the service's models"):
        models.name(QueryContext(0.05), "chat")
    endpoint.let_go.set()
    first.join(10)


@pytest.mark.parametrize("configured", ["mine", "m1"])
def test_a_configured_name_is_taken_as_it_is(configured: str) -> None:
    endpoint = SlowList()
    assert ServedModels(endpoint, configured).name(QueryContext(10), "chat") == configured
    assert endpoint.asked == 0


def test_a_failure_is_told_to_all_who_wait() -> None:
    endpoint = SlowList(ServiceDown("down"))
    models = ServedModels(endpoint, None)
    waiting: list[Waiting] = []
    errors: list[Exception] = []

    def ask(context: QueryContext) -> None:
        try:
            models.name(context, "chat")
        except ServiceDown as error:
            errors.append(error)

    first = threading.Thread(target=ask, args=(QueryContext(10),))
    first.start()
    assert endpoint.under_way.wait(10)
    waiting = [Waiting() for _ in range(12)]
    threads = [first, *(threading.Thread(target=ask, args=(context,)) for context in waiting)]
    for thread in threads[1:]:
        thread.start()
    wait_until(lambda: all(context.waits for context in waiting))
    endpoint.let_go.set()
    for thread in threads:
        thread.join(10)
    assert len(errors) == 13
    assert endpoint.asked == 1


def served(*names: str) -> dict[str, Any]:
    return {"data": [{"id": name} for name in names]}


def open_list(*answers: Any) -> SlowList:
    endpoint = SlowList(*answers)
    endpoint.let_go.set()
    return endpoint


def test_an_empty_name_is_of_a_server_with_one_model() -> None:
    assert ServedModels(open_list(served("")), None).name(QueryContext(10), "chat") is None
    assert ServedModels(open_list(served("", "m1")), None).name(QueryContext(10), "chat") == "m1"


def test_another_model_that_is_served_by_now_is_found_some_minutes_later() -> None:
    clock = Clock()
    models = ServedModels(open_list(served("m1"), served("m2")), None, clock=clock)
    assert models.name(QueryContext(10), "chat") == "m1"
    clock.now += 599
    assert models.name(QueryContext(10), "chat") == "m1"
    clock.now += 2
    assert models.name(QueryContext(10), "chat") == "m2"


def test_a_list_that_cannot_be_had_anew_leaves_the_model_as_it_was() -> None:
    clock = Clock()
    endpoint = open_list(served("m1"), ServiceDown("down"), served("m2"))
    models = ServedModels(endpoint, None, clock=clock)
    models.name(QueryContext(10), "chat")
    clock.now += 601
    assert models.name(QueryContext(10), "chat") == "m1"
    assert models.name(QueryContext(10), "chat") == "m1"
    assert endpoint.asked == 2, "it is not asked at every query"
    clock.now += 601
    assert models.name(QueryContext(10), "chat") == "m2"


def test_a_model_that_proved_unknown_is_not_held_on_to() -> None:
    endpoint = open_list(served("m1"), ServiceDown("down"), served("m2"))
    models = ServedModels(endpoint, None)
    models.name(QueryContext(10), "chat")
    models.forget()
    with pytest.raises(ServiceDown):
        models.name(QueryContext(10), "chat")
    assert models.name(QueryContext(10), "chat") == "m2"


KINDS = {
    "Xinference": [
        {"id": "chat", "model_type": "LLM"},
        {"id": "ranker", "model_type": "rerank"},
        {"id": "embedder", "model_type": "embedding"},
    ],
    "Infinity": [
        {"id": "chat"},
        {"id": "ranker", "capabilities": ["rerank", "classify"]},
        {"id": "embedder", "capabilities": ["embed", "image_embed"]},
    ],
    "llama-stack": [
        {"id": "embedder", "custom_metadata": {"model_type": "embedding", "embedding_dimension": 384}},
        {"id": "ranker", "custom_metadata": {"model_type": "rerank"}},
        {"id": "chat", "custom_metadata": {"model_type": "llm"}},
    ],
    "Lemonade": [
        {"id": "painter", "labels": ["image"]},
        {"id": "listener", "labels": ["audio", "transcription"]},
        {"id": "embedder", "labels": ["embeddings"]},
        {"id": "ranker", "labels": ["reranking"]},
        {"id": "chat", "labels": ["reasoning", "tool-calling"]},
    ],
    "GPUStack": [
        {"id": "speaker", "categories": ["text_to_speech"]},
        {"id": "embedder", "categories": ["embedding"]},
        {"id": "ranker", "categories": ["reranker"]},
        {"id": "chat", "categories": ["llm"]},
    ],
    "Together": [
        {"id": "painter", "type": "image"},
        {"id": "embedder", "type": "embedding"},
        {"id": "ranker", "type": "rerank"},
        {"id": "chat", "type": "chat"},
    ],
    "Azure": [
        {"id": "embedder", "capabilities": {"chat_completion": False, "embeddings": True}},
        {"id": "ranker", "task": "text-ranking"},
        {"id": "chat", "capabilities": {"chat_completion": True, "embeddings": False}},
    ],
}


@pytest.mark.parametrize("entries", KINDS.values(), ids=KINDS.keys())
def test_the_first_model_for_the_kind_of_a_query_is_asked(entries: Any) -> None:
    models = ServedModels(open_list({"data": entries}), None)
    asked: list[Kind] = ["rerank", "embed", "chat"]
    assert [models.name(QueryContext(10), kind) for kind in asked] == ["ranker", "embedder", "chat"]


@pytest.mark.parametrize("said", [None, {"vision": True}, ["completion"], "unknown", 5, [None]], ids=str)
def test_a_model_of_which_nothing_is_said_may_be_for_anything(said: Any) -> None:
    entries = [{"id": "m1", "capabilities": said}, {"id": "m2", "capabilities": ["rerank"]}]
    models = ServedModels(open_list({"data": entries}), None)
    assert models.name(QueryContext(10), "embed") == "m1"


def test_models_that_are_all_for_other_queries_leave_the_first() -> None:
    entries = [{"id": "m1", "capabilities": ["embed"]}, {"id": "m2", "capabilities": ["embed"]}]
    assert ServedModels(open_list({"data": entries}), None).name(QueryContext(10), "rerank") == "m1"
