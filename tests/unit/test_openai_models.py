"""The list of models is asked for once, however many threads want it."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from spcs_llm.errors import QueryTimeout, ServiceDown
from spcs_llm.protocols.openai.models import ServedModels
from spcs_llm.query_context import QueryContext

LIST = {"data": [{"id": "m1"}]}


class SlowList:
    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)
        self.asked = 0
        self.let_go = threading.Event()
        self.under_way = threading.Event()

    def send(self, http_request: Any, call: QueryContext) -> Any:
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
        threading.Thread(target=lambda: names.append(models.name(QueryContext(10)))) for _ in range(20)
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
        models.name(QueryContext(10))
    assert models.name(QueryContext(10)) == "m1"


def test_who_waits_for_the_list_waits_no_longer_than_its_own_time() -> None:
    endpoint = SlowList(LIST)
    models = ServedModels(endpoint, None)
    first = threading.Thread(target=models.name, args=(QueryContext(10),))
    first.start()
    assert endpoint.under_way.wait(10)
    with pytest.raises(QueryTimeout, match="list of the service's models"):
        models.name(QueryContext(0.05))
    endpoint.let_go.set()
    first.join(10)


@pytest.mark.parametrize("configured", ["mine", "m1"])
def test_a_configured_name_is_taken_as_it_is(configured: str) -> None:
    endpoint = SlowList()
    assert ServedModels(endpoint, configured).name(QueryContext(10)) == configured
    assert endpoint.asked == 0
