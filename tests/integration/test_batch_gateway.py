"""The batch gateway as a process of its own: Snowflake's batches of rows on one side, a model server on the other."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import random
import signal
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from sandbox.services import ScriptedService
from sandbox.services.batch_gateway import FOLDER, ROOT, BatchGateway
from sandbox.services.scripted import POISON, answer_to, vector_of
from tests.integration.row_batches import ObedientServer, as_snowflake, headers, poll, post, values
from tests.waiting import longer_each_time, wait_for

Start = Callable[..., BatchGateway]


@pytest.fixture
def gateway_for() -> Iterator[Start]:
    """Starts gateways, and stops them at the end."""
    with contextlib.ExitStack() as running:

        def start(engine: str, **variables: Any) -> BatchGateway:
            gateway = BatchGateway(engine, pauses_shorter_by=50, **variables)
            running.callback(gateway.stop)
            return gateway

        yield start


@pytest.fixture
def server() -> Iterator[ObedientServer]:
    made = ObedientServer()
    yield made
    made.gate.set()
    made.stop()


@pytest.fixture
def scripted() -> Iterator[Callable[..., ScriptedService]]:
    with contextlib.ExitStack() as running:

        def start(**options: Any) -> ScriptedService:
            service = ScriptedService("OPENAI", **{"replicas": 1000, **options})
            running.callback(service.stop)
            return service

        yield start


def test_each_row_gets_its_answer_under_its_number_in_order(gateway_for: Start, scripted: Any) -> None:
    gateway = gateway_for(scripted().url)
    response = post(gateway.url, "/complete", [[7, "one"], [3, "two"], [5, "three"]])
    assert [number for number, _ in response.json()["data"]] == [7, 3, 5]
    assert [value["answer"] for value in values(response)] == [
        answer_to(text) for text in ("one", "two", "three")
    ]
    first = values(response)[0]
    assert first["error"] is None
    assert first["finishReason"] == "STOP"
    assert first["totalTokens"] == first["promptTokens"] + first["completionTokens"]
    assert first["tokenCountsAreEstimated"] is False


@pytest.mark.exhaustive
def test_a_batch_without_rows_is_answered_without_rows(gateway_for: Start, server: ObedientServer) -> None:
    gateway = gateway_for(server.url)
    assert post(gateway.url, "/complete", []).json() == {"data": []}
    assert server.asked == []


def test_system_prompt_and_parameters_reach_the_model_server(
    gateway_for: Start, server: ObedientServer
) -> None:
    gateway = gateway_for(server.url)
    parameters = {"temperature": 0, "max_tokens": 7, "stop": ["\n"], "seed": None}
    (value,) = values(post(gateway.url, "/complete", [[0, "hello", "Be brief.", parameters]]))
    assert value["answer"] == "said hello"
    (asked,) = server.asked
    assert [(each["role"], each["content"]) for each in asked["messages"]] == [
        ("system", "Be brief."),
        ("user", "hello"),
    ]
    limit = asked.get("max_completion_tokens", asked.get("max_tokens"))
    assert (asked["temperature"], limit, asked["stop"]) == (0, 7, ["\n"])
    assert "seed" not in asked


@pytest.mark.sample(1)
@pytest.mark.parametrize("as_text", [False, True])
def test_a_conversation_is_an_array_or_its_json(
    gateway_for: Start, server: ObedientServer, as_text: bool
) -> None:
    gateway = gateway_for(server.url)
    messages: Any = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "Bye"},
    ]
    parameters: Any = {"max_tokens": 3}
    row = [0, json.dumps(messages), json.dumps(parameters)] if as_text else [0, messages, parameters]
    (value,) = values(post(gateway.url, "/chat", [row]))
    assert value["answer"] == "said Bye"
    assert [each["role"] for each in server.asked[0]["messages"]] == ["user", "assistant", "user"]


SCHEMA = {"type": "object", "properties": {"sentiment": {"type": "string"}}, "required": ["sentiment"]}


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    "parameters",
    [
        {"jsonSchema": SCHEMA},
        {"responseFormat": {"type": "json", "schema": SCHEMA}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}},
    ],
    ids=lambda each: next(iter(each)),
)
def test_an_answer_of_a_schema_is_a_value_and_one_that_breaks_it_is_an_error(
    gateway_for: Start, server: ObedientServer, parameters: dict[str, Any]
) -> None:
    texts = {
        "good": '{"sentiment": "né", "score": 1.5}',
        "other": '{"mood": "glad"}',
        "huge": '{"sentiment": 1e999}',
    }
    server.say = lambda text: texts.get(text, "It is glad.")
    gateway = gateway_for(server.url)
    rows = [[0, "good", None, parameters], [1, "other", None, parameters], [2, "huge", None, parameters]]
    good, other, huge = values(post(gateway.url, "/complete", rows))
    assert good["answer"] == {"sentiment": "né", "score": 1.5}
    assert good["error"] is None
    assert other["answer"] is None and other["error"]
    assert huge["answer"] is None and huge["error"]
    schema = server.asked[0]["response_format"]["json_schema"]["schema"]
    assert schema["properties"] == SCHEMA["properties"]


def test_vectors_of_texts_share_requests_and_keep_their_rows(gateway_for: Start, scripted: Any) -> None:
    service = scripted()
    gateway = gateway_for(service.url, MAX_BATCH_SIZE=10)
    texts = [f"text {i}" for i in range(95)]
    found = values(post(gateway.url, "/embed", [[i, text] for i, text in enumerate(texts)]))
    assert [value["answer"] for value in found] == [pytest.approx(vector_of(text)) for text in texts]
    assert all(value["error"] is None for value in found)
    assert max(service.stats.batch_sizes) <= 10
    assert len(service.stats.batch_sizes) <= 15


# -- rows that fail ---------------------------------------------------------------------------------------


def test_rows_that_fail_have_errors_as_values(gateway_for: Start, scripted: Any) -> None:
    gateway = gateway_for(scripted(stream="refused").url)
    rows: list[list[Any]] = [
        [0, "fine"], [1, None], [2, f"a {POISON}"], [3, "x", None, {"max_tokns": 5}],
        [4, "x", None, [1]], [5, "x", None, {"temperature": "hot"}], [6, "fine too"],
    ]  # fmt: skip
    found = values(post(gateway.url, "/complete", rows))
    assert [value["answer"] for value in found] == [
        answer_to("fine"), None, None, None, None, None, answer_to("fine too")
    ]  # fmt: skip
    for value, word in zip(found[1:6], ("NULL", "HTTP 500", "'max_tokns'", "not an object", "temperature")):
        assert word in value["error"]


def test_a_row_that_breaks_the_connection_fails_by_itself(gateway_for: Start, scripted: Any) -> None:
    gateway = gateway_for(scripted(stream="yes").url)
    good, bad = values(post(gateway.url, "/complete", [[0, "fine"], [1, POISON]]))
    assert good["answer"] == answer_to("fine")
    assert bad["answer"] is None and bad["error"]


def test_a_text_that_cannot_be_embedded_fails_by_itself(gateway_for: Start, scripted: Any) -> None:
    gateway = gateway_for(scripted().url, MAX_BATCH_SIZE=8)
    rows: list[list[Any]] = [[i, f"text {i}"] for i in range(8)]
    rows[2][1], rows[5][1] = POISON, None
    found = values(post(gateway.url, "/embed", rows))
    assert [value["answer"] is None for value in found] == [i in (2, 5) for i in range(8)]


@pytest.mark.exhaustive
def test_a_text_that_breaks_the_connection_fails_no_text_of_the_same_request(
    gateway_for: Start, server: ObedientServer
) -> None:
    gateway = gateway_for(server.url, MAX_BATCH_SIZE=4)
    found = values(
        post(gateway.url, "/embed", [[i, text] for i, text in enumerate(["a", "break", "ccc", "d"])])
    )
    assert [value["answer"] for value in found] == [[1.0, 0.5], None, [3.0, 0.5], [1.0, 0.5]]
    assert "closed the connection" in found[1]["error"]


@pytest.mark.exhaustive
def test_a_busy_model_server_is_not_asked_for_each_text_of_a_request(
    gateway_for: Start, server: ObedientServer
) -> None:
    gateway = gateway_for(server.url, MAX_BATCH_SIZE=4)
    response = post(gateway.url, "/embed", [[i, text] for i, text in enumerate(["a", "busy", "ccc", "d"])])
    assert response.status_code == 429
    assert {len(texts) for texts in server.embedded} == {4}


# -- the same batch again ---------------------------------------------------------------------------------


def test_a_batch_that_is_sent_again_gets_the_answers_that_were_kept(
    gateway_for: Start, server: ObedientServer
) -> None:
    gateway = gateway_for(server.url)
    rows = [[0, "a"], [1, "b"]]
    first = post(gateway.url, "/complete", rows, "again")
    assert post(gateway.url, "/complete", rows, "again").content == first.content
    assert poll(gateway.url, "/complete", "again").content == first.content
    assert sorted(server.texts()) == ["a", "b"]


@pytest.mark.exhaustive
def test_duplicates_in_flight_join_one_run(gateway_for: Start, server: ObedientServer) -> None:
    gateway = gateway_for(server.url)
    server.gate.clear()
    rows = [[i, f"row {i}"] for i in range(20)]
    with ThreadPoolExecutor(4) as callers:
        calls = [callers.submit(post, gateway.url, "/complete", rows, "twin") for _ in range(4)]
        wait_for(lambda: len(server.asked) == 16)  # as many as may be in flight
        server.gate.set()
        bodies = {call.result().content for call in calls}
    assert len(bodies) == 1
    assert sorted(server.texts()) == sorted(f"row {i}" for i in range(20))


@pytest.mark.exhaustive
def test_an_id_that_comes_with_other_rows_gets_the_answers_to_them(
    gateway_for: Start, server: ObedientServer
) -> None:
    gateway = gateway_for(server.url)
    post(gateway.url, "/complete", [[0, "a"]], "reused")
    (value,) = values(post(gateway.url, "/complete", [[0, "b"]], "reused"))
    assert value["answer"] == "said b"
    wait_for(lambda: any("other rows" in line for line in gateway.log))


@pytest.mark.exhaustive
def test_one_id_at_two_paths_is_two_batches(gateway_for: Start, scripted: Any) -> None:
    gateway = gateway_for(scripted().url)
    chat = values(post(gateway.url, "/complete", [[0, "a"]], "one"))
    vector = values(post(gateway.url, "/embed", [[0, "a"]], "one"))
    assert (chat[0]["answer"], vector[0]["answer"]) == (answer_to("a"), pytest.approx(vector_of("a")))


@pytest.mark.exhaustive
def test_a_batch_without_an_id_is_answered_and_not_kept(gateway_for: Start, server: ObedientServer) -> None:
    gateway = gateway_for(server.url, ANSWER_WITHIN_SECONDS=0.1)
    server.gate.clear()
    with ThreadPoolExecutor(1) as callers:
        call = callers.submit(post, gateway.url, "/complete", [[0, "a"]], None)
        wait_for(lambda: server.asked)
        server.gate.set()
        assert values(call.result())[0]["answer"] == "said a"


# -- slow batches -----------------------------------------------------------------------------------------


def test_a_slow_batch_is_answered_by_202_until_it_is_done(gateway_for: Start, server: ObedientServer) -> None:
    gateway = gateway_for(server.url, ANSWER_WITHIN_SECONDS=0.2)
    server.gate.clear()
    rows = [[i, f"row {i}"] for i in range(5)]
    assert post(gateway.url, "/complete", rows, "slow").status_code == 202
    assert poll(gateway.url, "/complete", "slow").status_code == 202
    assert post(gateway.url, "/complete", rows, "slow").status_code == 202, "a retry of the first request"
    server.gate.set()
    wait_for(lambda: poll(gateway.url, "/complete", "slow").status_code == 200)
    found = values(poll(gateway.url, "/complete", "slow"))
    assert [value["answer"] for value in found] == [f"said row {i}" for i in range(5)]
    assert len(server.asked) == 5


def test_a_batch_that_is_not_there_is_a_404_which_snowflake_tries_again(
    gateway_for: Start, server: ObedientServer
) -> None:
    response = poll(gateway_for(server.url).url, "/complete", "of another instance")
    assert response.status_code == 404
    assert "another instance" in response.json()["error"]


@pytest.mark.exhaustive
def test_kept_answers_are_forgotten_after_their_time(gateway_for: Start, server: ObedientServer) -> None:
    gateway = gateway_for(server.url, KEEP_SECONDS=1)
    post(gateway.url, "/complete", [[0, "a"]], "old")
    wait_for(lambda: poll(gateway.url, "/complete", "old").status_code == 404)
    (value,) = values(post(gateway.url, "/complete", [[0, "a"]], "old"))
    assert value["answer"] == "said a"


@pytest.mark.exhaustive
def test_a_batch_that_nobody_waits_for_is_given_up(gateway_for: Start, server: ObedientServer) -> None:
    gateway = gateway_for(server.url, KEEP_SECONDS=2, ANSWER_WITHIN_SECONDS=0.1, MAX_PARALLELISM=1)
    server.gate.clear()
    assert post(gateway.url, "/complete", [[i, f"row {i}"] for i in range(50)], "left").status_code == 202
    wait_for(lambda: server.asked)
    wait_for(lambda: any("nobody waits for is given up" in line for line in gateway.log))
    server.gate.set()
    wait_for(lambda: any("cannot be answered now" in line for line in gateway.log))
    assert len(server.asked) == 1


# -- a model server that is away --------------------------------------------------------------------------


def test_a_model_server_that_is_down_is_a_503_and_nothing_is_asked_twice_afterwards(
    gateway_for: Start, server: ObedientServer
) -> None:
    rows = [[i, f"row {i}"] for i in range(30)]
    gateway = gateway_for(server.url, MAX_PARALLELISM=1, COLD_START_WAIT_SECONDS=0)

    def fail_from_the_tenth(text: str) -> str | int:
        if len(server.asked) > 10:
            server.healthy = False
            return 503
        return f"said {text}"

    server.say = fail_from_the_tenth
    response = post(gateway.url, "/complete", rows, "outage")
    assert response.status_code == 503
    assert response.headers["Retry-After"]
    assert requests.get(f"{gateway.url}/ready", timeout=10).status_code == 503
    assert requests.get(f"{gateway.url}/health", timeout=10).status_code == 200
    assert len(server.asked) < 20, "the rows after the failure are not tried one by one"
    answered = server.texts()[:10]
    server.asked.clear()
    server.healthy, server.say = True, lambda text: f"said {text}"
    found = values(post(gateway.url, "/complete", rows, "outage"))
    assert [value["answer"] for value in found] == [f"said {text}" for _, text in rows]
    assert not set(answered) & set(server.texts())


@pytest.mark.exhaustive
def test_a_port_where_nobody_listens_is_a_503(gateway_for: Start, server: ObedientServer) -> None:
    gateway = gateway_for(server.url)
    server.stop()
    response = post(gateway.url, "/complete", [[i, "x"] for i in range(100)])
    assert response.status_code == 503
    assert "refused" in response.json()["error"] or "connect" in response.json()["error"]
    assert post(gateway.url, "/embed", [[i, "x"] for i in range(100)]).status_code == 503


def test_a_busy_model_server_is_a_429(gateway_for: Start, server: ObedientServer) -> None:
    server.say = lambda text: 429
    gateway = gateway_for(server.url)
    response = post(gateway.url, "/complete", [[0, "x"]], "busy")
    assert response.status_code == 429
    assert response.headers["Retry-After"]
    # If it is still too busy for a row in a healthy server's second run, the row says so.
    (value,) = values(post(gateway.url, "/complete", [[0, "x"]], "busy"))
    assert "429" in value["error"]


@pytest.mark.exhaustive
def test_random_faults_lose_and_double_no_row(gateway_for: Start, server: ObedientServer) -> None:
    chance = random.Random(7)
    asked_for: list[str] = []

    def say(text: str) -> str | int:
        fate = chance.random()
        server.healthy = server.healthy and fate > 0.02  # until a batch was answered by 503
        if not server.healthy:
            return 503
        if fate < 0.08:
            return 500 if fate < 0.05 else 429
        asked_for.append(text)
        return f"said {text}"

    server.say = say
    gateway = gateway_for(server.url, COLD_START_WAIT_SECONDS=0, ANSWER_WITHIN_SECONDS=0.2, MAX_PARALLELISM=8)

    def recover() -> None:
        server.healthy = True

    def one(number: int) -> list[dict[str, Any]]:
        rows = [[i, f"{number}.{i}"] for i in range(25)]
        return as_snowflake(gateway.url, "/complete", rows, f"batch {number}", between=recover)

    with ThreadPoolExecutor(4) as callers:
        batches = list(callers.map(one, [*range(12), *range(12)]))  # each twice
    assert batches[:12] == batches[12:]
    for number, found in enumerate(batches[:12]):
        assert len(found) == 25
        for i, value in enumerate(found):
            answered = value["answer"] == f"said {number}.{i}" and value["error"] is None
            assert answered or (value["answer"] is None and value["error"])
    assert len(asked_for) == len(set(asked_for)), "a row that was answered was asked again"
    # A batch had to be sent again.
    wait_for(lambda: any("cannot be answered now" in line for line in gateway.log))


# -- bounds -----------------------------------------------------------------------------------------------


@pytest.mark.exhaustive
def test_a_thousand_rows_are_asked_in_parallel_within_the_limit(gateway_for: Start, scripted: Any) -> None:
    for seconds in longer_each_time(0.01):
        service = scripted(request_seconds=seconds)
        gateway = gateway_for(service.url, MAX_PARALLELISM=12)
        found = values(post(gateway.url, "/complete", [[i, f"row {i}"] for i in range(1000)]))
        assert [value["answer"] for value in found] == [answer_to(f"row {i}") for i in range(1000)]
        if service.stats.max_in_flight >= 12:  # or fewer were on their way in so short a time
            break
    assert service.stats.max_in_flight == 12


@pytest.mark.exhaustive
def test_several_batches_share_the_limit(gateway_for: Start, scripted: Any) -> None:
    for seconds in longer_each_time(0.01):
        service = scripted(request_seconds=seconds)
        gateway = gateway_for(service.url, MAX_PARALLELISM=5)
        with ThreadPoolExecutor(4) as callers:
            calls = [
                callers.submit(
                    post, gateway.url, "/complete", [[i, f"{b} {i}"] for i in range(40)], f"batch {b}"
                )
                for b in range(4)
            ]
            for b, call in enumerate(calls):
                assert [value["answer"] for value in values(call.result())] == [
                    answer_to(f"{b} {i}") for i in range(40)
                ]
        if service.stats.max_in_flight >= 5:
            break
    assert service.stats.max_in_flight == 5


def test_more_rows_than_can_wait_are_a_429(gateway_for: Start, server: ObedientServer) -> None:
    gateway = gateway_for(server.url, MAX_QUEUED_ROWS=10, ANSWER_WITHIN_SECONDS=0.1)
    server.gate.clear()
    rows = [[i, f"row {i}"] for i in range(15)]
    assert post(gateway.url, "/complete", rows, "first").status_code == 202, "a batch is taken if it is alone"
    refused = post(gateway.url, "/complete", [[0, "x"]], "second")
    assert refused.status_code == 429
    assert refused.headers["Retry-After"]
    server.gate.set()
    wait_for(lambda: poll(gateway.url, "/complete", "first").status_code == 200)
    assert post(gateway.url, "/complete", [[0, "x"]], "second").status_code == 200


@pytest.mark.exhaustive
def test_more_bytes_than_can_be_held_are_a_429_and_kept_answers_make_room(
    gateway_for: Start, server: ObedientServer
) -> None:
    gateway = gateway_for(server.url, MAX_BODY_MEGABYTES=1, MAX_HELD_MEGABYTES=1, ANSWER_WITHIN_SECONDS=0.1)
    long = "x" * 700_000
    server.gate.clear()
    assert post(gateway.url, "/complete", [[0, long]], "first").status_code == 202
    assert post(gateway.url, "/complete", [[0, long + "y"]], "second").status_code == 429
    server.gate.set()
    wait_for(lambda: poll(gateway.url, "/complete", "first").status_code == 200)
    wait_for(lambda: post(gateway.url, "/complete", [[0, long + "y"]], "second").status_code == 200)
    assert poll(gateway.url, "/complete", "first").status_code == 404, "its answer made room"


@pytest.mark.exhaustive
def test_an_answer_that_nobody_has_had_makes_no_room(gateway_for: Start, server: ObedientServer) -> None:
    """After a 202, it is there some time before it is asked for: without it, the statement would get 404 for ever."""
    gateway = gateway_for(server.url, MAX_BODY_MEGABYTES=1, MAX_HELD_MEGABYTES=1, ANSWER_WITHIN_SECONDS=0.1)
    long = "x" * 700_000
    server.gate.clear()
    assert post(gateway.url, "/complete", [[0, long]], "first").status_code == 202
    server.gate.set()
    wait_for(lambda: any("A batch is answered" in line for line in gateway.log))
    assert post(gateway.url, "/complete", [[0, long + "y"]], "second").status_code == 429
    assert post(gateway.url, "/complete", [[0, long]], "first").status_code == 200, "it is sent again"
    assert poll(gateway.url, "/complete", "first").status_code == 200
    assert len(server.asked) == 1
    wait_for(lambda: post(gateway.url, "/complete", [[0, long + "y"]], "second").status_code == 200)


@pytest.mark.exhaustive
def test_cells_of_two_megabytes_come_through(gateway_for: Start, scripted: Any) -> None:
    gateway = gateway_for(scripted().url)
    cells = [('é🦆\\"\n[{:' * 250_000)[: 2_000_000 - i] for i in range(3)]
    found = values(post(gateway.url, "/complete", [[i, cell] for i, cell in enumerate(cells)]))
    assert [value["answer"] for value in found] == [answer_to(cell) for cell in cells]
    found = values(post(gateway.url, "/embed", [[i, cell] for i, cell in enumerate(cells)]))
    assert [value["answer"] for value in found] == [pytest.approx(vector_of(cell)) for cell in cells]


def test_answers_that_no_json_can_hold_are_written_so_that_it_can(
    gateway_for: Start, server: ObedientServer
) -> None:
    server.say = lambda text: "half \ud83e and \x00 and \u2028"
    (value,) = values(post(gateway_for(server.url).url, "/complete", [[0, "x"]]))
    assert value["answer"] == "half \N{REPLACEMENT CHARACTER} and \x00 and \u2028"


def resident_kilobytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


@pytest.mark.exhaustive
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="Linux tells a process's memory there")
def test_memory_stays_flat_over_many_batches(gateway_for: Start, scripted: Any) -> None:
    gateway = gateway_for(scripted().url, MAX_BODY_MEGABYTES=4, MAX_HELD_MEGABYTES=8, KEEP_SECONDS=3600)

    def send(number: int) -> None:
        rows = [[i, f"{number} {i} " + "x" * 20_000] for i in range(100)]  # 2 MB
        assert len(values(post(gateway.url, "/embed", rows, f"batch {number}"))) == 100

    for number in range(15):
        send(number)
    before = resident_kilobytes(gateway.pid)
    for number in range(15, 60):
        send(number)
    assert resident_kilobytes(gateway.pid) < before + 20_000, "45 batches of 2 MB went through"


# -- what is no batch -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def idle_gateway() -> Iterator[BatchGateway]:
    """A gateway whose model server is asked for nothing."""
    gateway = BatchGateway("http://127.0.0.1:9")
    yield gateway
    gateway.stop()


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b'{"data": "\xff"}', "not JSON"),
        (b"[" * 100_000, "nested"),
        (b"[]", "not a batch"),
        (b'{"rows": []}', "not a batch"),
        (b'{"data": {}}', "not a batch"),
        (b'{"data": [5]}', "Item 0"),
        (b'{"data": [[0, "a"], []]}', "Item 1"),
        (b'{"data": [["0", "a"]]}', "Item 0"),
        (b'{"data": [[true, "a"]]}', "Item 0"),
        (b'{"data": [[0]]}', "0 arguments"),
        (b'{"data": [[0, "a", "b", {}, 5]]}', "4 arguments"),
        (b'{"data": [[0, "a"], [0, "b"]]}', "same number"),
        (b'{"data": [' + b"[]," * 2_500_000 + b"[]]}", "more lists"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_malformed_body_is_a_400_that_says_why(idle_gateway: BatchGateway, body: bytes, why: str) -> None:
    response = requests.post(f"{idle_gateway.url}/complete", data=body, headers=headers("bad"), timeout=60)
    assert response.status_code == 400, response.text
    assert why in response.json()["error"]


@pytest.mark.parametrize(("path", "status"), [("/health", 200), ("/ready", 503)])
def test_a_probe_may_ask_by_head(idle_gateway: BatchGateway, path: str, status: int) -> None:
    """rustfs/rustfs#935, saml7n/parbaked#564: monitors and load balancers ask by HEAD, and take 404 or 405 for down."""
    response = requests.head(idle_gateway.url + path, timeout=60)
    assert (response.status_code, response.content) == (status, b"")


@pytest.mark.parametrize("coding", ["identity", "Identity", ""])
def test_a_body_that_is_said_not_to_be_compressed_is_read(idle_gateway: BatchGateway, coding: str) -> None:
    """RFC 9110, 8.4.1: names of codings have no case."""
    more = {**headers("plain"), "Content-Encoding": coding}
    response = requests.post(f"{idle_gateway.url}/complete", data=b'{"data": []}', headers=more, timeout=60)
    assert response.json() == {"data": []}


@pytest.mark.parametrize("number", [2**53 + 1, 2**64 + 3, -1])
def test_the_number_of_a_row_comes_back_digit_by_digit(idle_gateway: BatchGateway, number: int) -> None:
    """rhysd/fixjson#19, dflemstr/rq#162: a number beyond 2 to the 53rd is another one as a float."""
    body = b'{"data": [[%d, null], [%d, null]]}' % (number, number + 1)
    response = requests.post(
        f"{idle_gateway.url}/complete", data=body, headers=headers(str(number)), timeout=60
    )
    assert [row[0] for row in response.json()["data"]] == [number, number + 1]


def test_headers_may_be_as_long_as_a_statement(idle_gateway: BatchGateway) -> None:
    long = {"sf-context-current-statement": "SELECT " + "x" * 300_000}
    response = requests.post(f"{idle_gateway.url}/complete", data=b'{"data": []}', headers=long, timeout=60)
    assert response.json() == {"data": []}


def test_other_requests_are_refused_by_their_statuses(gateway_for: Start, server: ObedientServer) -> None:
    gateway = gateway_for(server.url, MAX_BODY_MEGABYTES=1)

    def status(method: str, path: str, more: dict[str, str] | None = None, body: bytes = b"") -> int:
        return requests.request(
            method,
            gateway.url + path,
            data=body or b'{"data": [[0, "a"]]}',
            headers={**headers("x"), **(more or {})},
            timeout=60,
        ).status_code

    assert status("POST", "/completions") == 400, (
        "a 404 is tried again, and the path of a function stays wrong"
    )
    assert status("GET", "/completions") == 404
    assert status("DELETE", "/complete") == 405
    assert status("POST", "/complete", {"Content-Encoding": "br"}) == 415
    assert status("POST", "/complete", {"sf-external-function-format": "arrow"}) == 415
    assert status("POST", "/complete", body=b"x" * 3_000_000) == 413
    chunks = iter([b"x" * 100_000] * 30)
    assert requests.post(f"{gateway.url}/complete", data=chunks, timeout=60).status_code == 413
    assert status("POST", "/complete") == 200


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "deflate"])
def test_a_compressed_batch_is_read_within_the_same_limits(
    gateway_for: Start, scripted: Any, coding: str
) -> None:
    """Snowflake documentation, "CREATE EXTERNAL FUNCTION": COMPRESSION is AUTO, for which some clouds have gzip."""
    gateway = gateway_for(scripted().url, MAX_BODY_MEGABYTES=1)
    compress = zlib.compress if coding == "deflate" else gzip.compress
    batch = compress(json.dumps({"data": [[0, "a"], [1, "b" * 500_000]]}).encode())

    def sent(body: Any, name: str) -> requests.Response:
        told = {**headers(name), "Content-Encoding": coding}
        return requests.post(f"{gateway.url}/complete", data=body, headers=told, timeout=100)

    assert [value["answer"] for value in values(sent(batch, "1"))] == [
        answer_to("a"),
        answer_to("b" * 500_000),
    ]
    pieces = [batch[at : at + 100] for at in range(0, len(batch), 100)]
    assert values(sent(iter(pieces), "2"))[0]["answer"] == answer_to("a")
    assert sent(compress(b" " * 40_000_000), "3").status_code == 413
    for broken in (batch[:-20], b'{"data": [[0, "a"]]}', b"", batch + b"{"):
        assert sent(broken, "4").status_code == 400
    assert values(sent(batch, "5"))[0]["answer"] == answer_to("a")


def test_a_compressed_batch_is_read_in_every_form_of_its_coding(gateway_for: Start, scripted: Any) -> None:
    """RFC 1952, section 2.2, and RFC 9110, section 8.4.1.2: a 400 for one of them would fail the whole statement."""
    gateway = gateway_for(scripted().url)
    batch = json.dumps({"data": [[0, "a"]]}).encode()
    members = gzip.compress(batch[:5]) + gzip.compress(batch[5:])
    bare = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    forms = [
        ("gzip", members),
        ("gzip", members + b"\0" * 20),
        ("deflate", bare.compress(batch) + bare.flush()),
    ]
    for number, (coding, body) in enumerate(forms):
        told = {**headers(str(number)), "Content-Encoding": coding}
        for sent in (body, iter([body[:1], body[1:]])):
            answer = requests.post(f"{gateway.url}/complete", data=sent, headers=told, timeout=100)
            assert values(answer)[0]["answer"] == answer_to("a")


# -- keys, logs, start and end ----------------------------------------------------------------------------


def test_the_model_servers_key_is_sent_and_a_wrong_one_is_told(gateway_for: Start, scripted: Any) -> None:
    service = scripted(api_key="sesame")
    good = gateway_for(service.url, SERVICE_API_KEY="sesame")
    assert values(post(good.url, "/complete", [[0, "a"]]))[0]["answer"] == answer_to("a")
    wrong = gateway_for(service.url, SERVICE_API_KEY="canary-key")
    (value,) = values(post(wrong.url, "/complete", [[0, "a"]]))
    assert "401" in value["error"]
    assert "GRANT" not in value["error"] and "Snowflake" not in value["error"]
    wrong.stop()  # now its log is read to the end
    assert "canary-key" not in value["error"] + "".join(wrong.log)


def test_no_line_of_the_log_has_content_and_each_is_json(gateway_for: Start, server: ObedientServer) -> None:
    server.say = lambda text: 500 if "fail" in text else "canary-answer"
    gateway = gateway_for(server.url, LOG_LEVEL="DEBUG", SERVICE_API_KEY="canary-key")
    rows: list[list[Any]] = [
        [0, "canary-prompt", "canary-system", {"stop": ["canary-stop"]}],
        [1, "canary-fail"],
        [2, "x", None, {"canary_parameter": 1}],
        [3, {"canary": "object"}],
    ]
    post(gateway.url, "/complete", rows)
    requests.post(f"{gateway.url}/chat", data=b'{"canary-body"', timeout=60)
    wait_for(lambda: any("refused" in line for line in gateway.log))
    lines = [json.loads(line) for line in gateway.log]
    (told,) = [line for line in lines if line["message"] == "A batch is answered"]
    assert (told["path"], told["batch"], told["rows"], told["failed"]) == ("/complete", "batch-1", 4, 3)
    assert server.keys == {"Bearer canary-key"}
    assert "canary" not in json.dumps([line for line in lines if "canary_parameter" not in str(line)])


def test_wrong_settings_end_the_process_with_every_complaint() -> None:
    path = os.pathsep.join(map(str, (ROOT / "python-lib", FOLDER)))
    ended = subprocess.run(
        [sys.executable, "-m", "batch_gateway"],
        env={
            "PYTHONPATH": path,
            "LLM_ENDPOINT_URL": "https://example.com",
            "MAX_PARALLELISM": "0",
            "PORT": "x",
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 2
    for word in ("LLM_ENDPOINT_URL", "MAX_PARALLELISM", "PORT"):
        assert f"'{word}' must" in json.loads(ended.stdout)["message"]


@pytest.mark.exhaustive
def test_a_signal_ends_it_after_the_requests_in_flight(gateway_for: Start, server: ObedientServer) -> None:
    gateway = gateway_for(server.url)
    server.gate.clear()
    with ThreadPoolExecutor(1) as callers:
        call = callers.submit(post, gateway.url, "/complete", [[0, "a"]])
        wait_for(lambda: server.asked)
        gateway.terminate()
        wait_for(lambda: any("Shutting down" in line for line in gateway.log))
        server.gate.set()
        assert values(call.result())[0]["answer"] == "said a"
    assert gateway.stop() in (0, -signal.SIGTERM)
