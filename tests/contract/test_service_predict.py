"""The `/predict` service answers like the server of snowflake-ml-python 1.3.0, case by case."""

from __future__ import annotations

import ast
import json
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from sandbox.services import ChildService, ScriptedService
from sandbox.services.scripted import answer_to, vector_of
from tests.waiting import longer_each_time

EMPTY_INPUT = "Only a column name can be used for the key in a dtype mappings argument. 'inputs' not found"


@pytest.fixture(scope="module")
def scripted() -> Iterator[ScriptedService]:
    service = ScriptedService()
    yield service
    service.stop()


@pytest.fixture(scope="module")
def smollm2() -> Iterator[ChildService]:
    service = ChildService("smollm2", "PREDICT", {"max_new_tokens": 32})
    yield service
    service.stop()


@pytest.fixture(scope="module")
def e5() -> Iterator[ChildService]:
    service = ChildService("e5", "PREDICT", {})
    yield service
    service.stop()


def post(service: Any, rows: Any = None, **kwargs: Any) -> requests.Response:
    body: dict[str, Any] = {"json": {"data": rows}} if rows is not None else {}
    return requests.post(service.url + "/predict", timeout=30, **body, **kwargs)


def outputs(response: requests.Response) -> list[str]:
    assert response.status_code == 200
    return [row[1]["outputs"] for row in response.json()["data"]]


def error(response: requests.Response, status: int = 400) -> Any:
    assert response.status_code == status
    return response.json()["error"]


# -- the contract


def test_a_row_gets_a_string_that_holds_json(scripted: ScriptedService) -> None:
    response = post(scripted, [[0, {"inputs": "hi"}]])
    text = json.dumps([{"generated_text": answer_to("hi")}])
    assert response.text == json.dumps({"data": [[0, {"outputs": text}]]}, separators=(",", ":"))
    assert response.headers["Content-Type"] == "application/json"


def test_rows_keep_their_order_and_are_renumbered_from_zero(scripted: ScriptedService) -> None:
    rows = [[7, {"inputs": "a"}], [3, {"inputs": "b"}], ["x", {"inputs": "c"}]]
    response = post(scripted, rows)
    assert [row[0] for row in response.json()["data"]] == [0, 1, 2]
    assert [json.loads(o)[0]["generated_text"] for o in outputs(response)] == [answer_to(t) for t in "abc"]


def test_an_id_column_is_kept_and_an_extra_column_ignored(scripted: ScriptedService) -> None:
    rows = [[0, {"inputs": "a", "_ID": "k1", "more": 1}], [1, {"inputs": "b", "_ID": 2}]]
    data = post(scripted, rows).json()["data"]
    assert [row[1]["_ID"] for row in data] == ["k1", 2]
    assert all(row[1].keys() == {"outputs", "_ID"} for row in data)


@pytest.mark.parametrize(("value", "read_as"), [(42, "42"), (None, "None"), ("", ""), (True, "True")])
def test_values_are_cast_to_text(scripted: ScriptedService, value: Any, read_as: Any) -> None:
    assert answer_to(read_as) in outputs(post(scripted, [[0, {"inputs": value}]]))[0]


def test_the_content_type_is_not_looked_at(scripted: ScriptedService) -> None:
    body = json.dumps({"data": [[0, {"inputs": "a"}]]})
    assert post(scripted, data=body, headers={"Content-Type": "text/plain"}).status_code == 200


@pytest.mark.parametrize("rows", [[[0, {"input": "a"}]], [], [[0, {}]], [[0, "hello"]]])
def test_rows_without_the_column_are_malformed(scripted: ScriptedService, rows: Any) -> None:
    message = error(post(scripted, rows))
    assert message.startswith('Input data malformed: "' + EMPTY_INPUT)
    assert "\nTraceback (most recent call last):\n" in message


def test_a_request_without_data_and_a_row_that_is_no_pair_are_malformed(scripted: ScriptedService) -> None:
    missing = requests.post(scripted.url + "/predict", json={"rows": []}, timeout=30)
    assert error(missing).startswith(
        "Input data malformed: missing data field in the request input\nTraceback"
    )
    assert error(post(scripted, [{"inputs": "a"}])).startswith("Input data malformed: 1\nTraceback")


def test_a_model_that_raises_is_a_400_with_its_traceback(scripted: ScriptedService) -> None:
    message = error(post(scripted, [[0, {"inputs": "fine"}], [1, {"inputs": "__boom__"}]]))
    assert message.startswith("Prediction failed: model exploded on purpose\nTraceback")
    assert ".py" in message


@pytest.mark.parametrize("body", [b"", b"{", b'{"data": [[0, {"inputs": "a"'])
def test_json_that_is_none_is_a_500_in_plain_text(scripted: ScriptedService, body: Any) -> None:
    response = post(scripted, data=body)
    assert (response.status_code, response.text) == (500, "Internal Server Error")
    assert response.headers["Content-Type"].startswith("text/plain")


def test_other_methods_and_paths_are_refused_in_plain_text(scripted: ScriptedService) -> None:
    wrong_method = requests.get(scripted.url + "/predict", timeout=30)
    assert (wrong_method.status_code, wrong_method.text) == (405, "Method Not Allowed")
    wrong_path = requests.post(scripted.url + "/predictions", timeout=30)
    assert (wrong_path.status_code, wrong_path.text) == (404, "Not Found")


def test_health_is_ready(scripted: ScriptedService) -> None:
    health = requests.get(scripted.url + "/health", timeout=30)
    assert (health.status_code, health.json()) == (200, {"status": "ready"})


def test_health_is_503_until_the_model_is_ready() -> None:
    service = ScriptedService(ready=lambda: False)
    health = requests.get(service.url + "/health", timeout=30)
    service.stop()
    assert (health.status_code, health.json()) == (503, {"status": "not ready"})


def in_parallel(count: int, work: Callable[[], Any]) -> list[Any]:
    results = []
    threads = [threading.Thread(target=lambda: results.append(work())) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    return results


def test_more_requests_at_once_than_allowed_are_429() -> None:
    for seconds in longer_each_time(0.3):
        service = ScriptedService(concurrent_requests_max=1, request_seconds=seconds)
        replies = in_parallel(3, lambda: post(service, [[0, {"inputs": "a"}]]))  # noqa: B023
        service.stop()
        if service.stats.batch_sizes == [1]:  # all came while the first was answered
            break
    assert sorted(reply.status_code for reply in replies) == [200, 429, 429]
    assert {error(reply, 429) for reply in replies if reply.status_code == 429} == {"Too many requests"}


# -- the scripted model's speed


def test_a_request_costs_its_fixed_and_its_row_seconds_on_each_serial_replica() -> None:
    rows = [[i, {"inputs": str(i)}] for i in range(10)]
    for seconds in longer_each_time(0.2):
        elapsed, at_once = {}, []
        for replicas in (1, 2):
            service = ScriptedService(request_seconds=seconds, row_seconds=seconds / 40, replicas=replicas)
            start = time.monotonic()
            replies = in_parallel(4, lambda: post(service, rows))  # noqa: B023
            elapsed[replicas] = time.monotonic() - start
            service.stop()
            assert all(reply.status_code == 200 for reply in replies)
            assert service.stats.batch_sizes == [10] * 4
            at_once.append(service.stats.max_in_flight)
        if elapsed[2] < elapsed[1] and at_once == [4, 4]:
            break
    assert at_once == [4, 4]
    assert elapsed[1] >= 4 * 1.25 * seconds
    assert 2 * 1.25 * seconds <= elapsed[2] < elapsed[1]


def test_too_many_rows_are_out_of_memory() -> None:
    service = ScriptedService(max_rows=2)
    refused = post(service, [[i, {"inputs": "a"}] for i in range(3)])
    service.stop()
    assert error(refused).startswith("Prediction failed: CUDA out of memory: a batch of 3 rows")


@pytest.mark.parametrize(
    ("outputs_as", "read"), [("string", ast.literal_eval), ("native", lambda value: value)]
)
def test_scripted_embeddings_come_as_text_or_as_lists(outputs_as: str, read: Any) -> None:
    service = ScriptedService(kind="embedding", outputs=outputs_as, dimensions=4)
    value = outputs(post(service, [[0, {"inputs": "a"}]]))[0]
    service.stop()
    assert read(value) == vector_of("a", 4)


def test_a_prompt_can_be_echoed() -> None:
    service = ScriptedService(echo=True)
    value = outputs(post(service, [[0, {"inputs": "a prompt "}]]))[0]
    service.stop()
    assert json.loads(value)[0]["generated_text"] == "a prompt " + answer_to("a prompt ")


# -- the real models


def chatml(text: str) -> Any:
    return f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.exhaustive
def test_smollm2_answers_a_chatml_prompt(smollm2: ChildService) -> None:
    value = outputs(post(smollm2, [[0, {"inputs": chatml("What is the capital of France?")}]]))[0]
    (answer,) = json.loads(value)
    assert "Paris" in answer["generated_text"]


@pytest.mark.exhaustive
def test_smollm2_completes_a_plain_prompt_and_answers_rows_in_order(smollm2: ChildService) -> None:
    prompts = ["1, 2, 3, 4, 5,", chatml("What is the capital of France?"), chatml("Say hello.")]
    first, second, _ = outputs(post(smollm2, [[i, {"inputs": p}] for i, p in enumerate(prompts)]))
    assert json.loads(first)[0]["generated_text"].startswith(" 6, 7")
    assert "Paris" in second


@pytest.mark.exhaustive
def test_a_prompt_longer_than_the_context_is_a_failed_prediction(smollm2: ChildService) -> None:
    assert "exceeds the available context" in error(post(smollm2, [[0, {"inputs": "word " * 9000}]]))


@pytest.mark.exhaustive
def test_smollm2_echoes_the_prompt_when_it_was_logged_so() -> None:
    service = ChildService("smollm2", "PREDICT", {"max_new_tokens": 4, "echo": True})
    value = outputs(post(service, [[0, {"inputs": "Once upon"}]]))[0]
    service.stop()
    assert json.loads(value)[0]["generated_text"].startswith("Once upon ")


@pytest.mark.exhaustive
def test_e5_gives_unit_vectors_as_the_text_of_a_list(e5: ChildService) -> None:
    texts = ["a cat", "a kitten", "quarterly revenue"]
    values = outputs(post(e5, [[i, {"inputs": t}] for i, t in enumerate(texts)]))
    cat, kitten, revenue = (ast.literal_eval(value) for value in values)
    assert len(cat) == 384
    assert math.isclose(sum(x * x for x in cat), 1, abs_tol=1e-3)
    assert dot(cat, kitten) > dot(cat, revenue)


def dot(a: Sequence[float], b: Sequence[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


@pytest.mark.exhaustive
def test_e5_does_not_let_a_health_check_wait(e5: ChildService) -> None:
    """Asked all the time while a batch is embedded, it answers again and again before the batch is done."""
    rows = [[i, {"inputs": f"text number {i} " * 20}] for i in range(24)]
    with ThreadPoolExecutor(1) as pool:
        for _ in range(3):  # a client that stands still meanwhile does not ask
            batch = pool.submit(requests.post, e5.url + "/predict", json={"data": rows}, timeout=100)
            answers = 0
            while not batch.done():
                assert requests.get(e5.url + "/health", timeout=100).status_code == 200
                answers += 1
            assert batch.result().status_code == 200
            if answers > 4:  # one may come before the batch has begun, and one as it ends
                break
        assert answers > 4
