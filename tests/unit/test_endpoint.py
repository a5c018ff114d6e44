"""The loop around every request, over a transport that follows a script: retries, tokens, slots, cost, deadlines."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from spcs_llm.cost import BusyMeter
from spcs_llm.errors import (
    BadRequest,
    LoginError,
    ModelError,
    NetworkError,
    QueryTimeout,
    ServiceBusy,
    ServiceDown,
    ServiceStarting,
    SpcsError,
    TokenRefused,
)
from spcs_llm.http.attempt import Stream
from spcs_llm.http.endpoint import Endpoint
from spcs_llm.http.json_body import parse_json
from spcs_llm.http.limits import Limiter
from spcs_llm.http.request import HttpRequest
from spcs_llm.http.retry import RetryPolicy
from spcs_llm.http.token_source import NoToken
from spcs_llm.query_context import QueryContext
from spcs_llm.urls import parse_base_url

KINDS = {400: BadRequest, 401: TokenRefused, 429: ServiceBusy, 503: ServiceDown, 599: ServiceStarting}
RESET = NetworkError("closed", reset=True)
STALE = NetworkError("closed", reset=True)
STALE.stale = True
SILENT = NetworkError("silent", silent=True)
CUT = NetworkError("cut short")


class Clock:
    """Time that passes when somebody sleeps, or when the script says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@dataclass
class Reply:
    """A response. A chunk that is an exception is raised in its place; `takes` is in seconds."""

    status: int = 200
    chunks: tuple[bytes | Exception, ...] = (b'{"ok": 1}',)
    headers: Mapping[str, str] = field(default_factory=dict)
    takes: float = 0.0


class ScriptedExchange:
    reused_connection = False

    def __init__(self, reply: Reply) -> None:
        self.status, self.headers, self._chunks = reply.status, reply.headers, reply.chunks
        self.read = 0

    def chunks(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self.read += 1
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk

    def body(self) -> bytes:
        return b"".join(self.chunks())

    def drain(self) -> None:
        pass


@dataclass
class Sent:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes | None
    seconds: float
    idle_seconds: float


class ScriptedTransport:
    """Follows the script; its last step stays. A step is a Reply, an exception, or a function that gives one."""

    url = parse_base_url("https://host.example")

    def __init__(self, clock: Clock, *script: Any) -> None:
        self._clock = clock
        self._script = list(script) or [Reply()]
        self.sent: list[Sent] = []
        self.open: list[ScriptedExchange] = []
        self.finished = 0

    def send(
        self,
        method: str,
        path: str,
        headers: Any,
        body: Any = None,
        *,
        seconds: float,
        idle_seconds: float,
        **bounds: Any,
    ) -> Any:
        self.sent.append(Sent(method, path, headers, body, seconds, idle_seconds))
        step = self._script.pop(0) if len(self._script) > 1 else self._script[0]
        if callable(step):
            step = step()
        if isinstance(step, BaseException):
            raise step.again() if isinstance(step, SpcsError) else step
        self._clock.now += step.takes
        exchange = ScriptedExchange(step)
        self.open.append(exchange)
        return exchange

    def finish(self, exchange: Any) -> None:
        self.open.remove(exchange)
        self.finished += 1


class Tokens:
    """Gives T1, and with each refusal that it is told of the next one."""

    def __init__(self, another: bool = True, failure: SpcsError | None = None) -> None:
        self._another = another
        self._failure = failure
        self.count = 1
        self.refusals: list[Mapping[str, str]] = []

    def headers(self, call: QueryContext) -> Mapping[str, str]:
        if self._failure is not None:
            raise self._failure
        return {"Authorization": f"T{self.count}"}

    def at_hand(self) -> Mapping[str, str]:
        return {"Authorization": f"T{self.count}"}

    def refused(self, headers: Mapping[str, str], error: SpcsError) -> bool:
        self.refusals.append(headers)
        if headers["Authorization"] == f"T{self.count}":
            self.count += 1
        return self._another


def error_from_response(status: int, headers: Mapping[str, str], body: bytes) -> SpcsError:
    return KINDS[status](f"HTTP {status}: {body.decode()}", "Mend it.", status=status)


class Rig:
    """An endpoint with all its parts in reach."""

    def __init__(self, *script: Any, tokens: Any = None, limit: int = 1, **options: Any) -> None:
        self.clock = Clock()
        self.transport = ScriptedTransport(self.clock, *script)
        self.tokens = tokens or Tokens()
        self.limiter = Limiter(limit)
        self.meter = BusyMeter(self.clock)
        self.endpoint = Endpoint(
            self.transport,  # type: ignore[arg-type]
            self.tokens,
            error_from_response,
            limiter=self.limiter,
            meter=self.meter,
            retry=RetryPolicy(random=lambda: 1.0),
            clock=self.clock,
            sleep=self.clock.sleep,
            **options,
        )

    def call(self, seconds: float = 600.0) -> QueryContext:
        return QueryContext(seconds, clock=self.clock)

    def send(self, call: QueryContext | None = None, payload: Any = ()) -> Any:
        return self.endpoint.send(HttpRequest("/predict", {"data": list(payload)}), call or self.call())

    @property
    def sent(self) -> list[Sent]:
        return self.transport.sent

    def assert_nothing_is_held(self) -> None:
        assert self.limiter.in_flight == 0
        assert not self.transport.open
        mark = self.meter.start()
        self.clock.now += 1.0
        assert self.meter.end(mark) == 1.0, "somebody else is still counted as in flight"


# -- what is sent ---------------------------------------------------------------------------------------------


def test_a_request_carries_its_json_and_the_token_and_brings_json_back() -> None:
    rig = Rig()
    assert rig.send(payload=["é"]) == {"ok": 1}
    (sent,) = rig.sent
    assert (sent.method, sent.path, sent.body) == ("POST", "/predict", '{"data":["é"]}'.encode())
    assert sent.headers == {"Accept": "*/*", "Authorization": "T1", "Content-Type": "application/json"}
    rig.assert_nothing_is_held()


def test_a_request_without_a_body_has_no_content_type() -> None:
    rig = Rig()
    rig.endpoint.send(HttpRequest("/v1/models", method="GET"), rig.call())
    assert (rig.sent[0].method, rig.sent[0].body) == ("GET", None)
    assert "Content-Type" not in rig.sent[0].headers


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("x\ud800y", "x\ufffdy"),
        ("x\ud83d\ude00y", "x\U0001f600y"),
        ("\0x\\\0", "\ufffdx\\\ufffd"),
        (r"x\u0000", r"x\u0000"),  # JSON in a text, as arguments of calls are
        (r"x\\u0000", r"x\\u0000"),
    ],
)
def test_what_servers_fail_over_is_sent_as_the_replacement_character(text: str, sent: str) -> None:
    assert json.loads(HttpRequest("/", {"a": text}).encoded() or b"") == {"a": sent}


def test_an_attempt_has_the_time_that_the_query_has_left() -> None:
    rig = Rig(Reply(503, takes=5.0), Reply())
    rig.send(rig.call(60.0))
    assert [sent.seconds for sent in rig.sent] == [60.0, 54.5]
    assert [sent.idle_seconds for sent in rig.sent] == [90.0, 90.0]


def test_payloads_and_headers_are_not_in_a_repr() -> None:
    http_request = HttpRequest("/predict", {"inputs": "canary"}, body=b"canary", headers={"X": "canary"})
    assert "canary" not in repr(http_request)


# -- retries --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("failure", [RESET, CUT, Reply(503), Reply(429)], ids=str)
def test_what_may_pass_is_tried_again_after_a_pause(failure: Any) -> None:
    rig = Rig(failure, Reply())
    assert rig.send() == {"ok": 1}
    assert rig.clock.slept == [0.5]
    rig.assert_nothing_is_held()


@pytest.mark.parametrize("failure", [RESET, STALE, Reply(503), Reply(401)], ids=str)
def test_a_further_attempt_says_that_it_is_one_where_the_path_can(failure: Any) -> None:
    rig = Rig(failure, Reply())
    rig.endpoint.send(HttpRequest("/run?id=1", path_of_retries="/run?id=1&retry=true"), rig.call())
    assert [sent.path for sent in rig.sent] == ["/run?id=1", "/run?id=1&retry=true"]


def test_four_attempts_are_enough() -> None:
    rig = Rig(Reply(503, (b"down",)))
    with pytest.raises(ServiceDown, match="HTTP 503: down Mend it"):
        rig.send()
    assert (len(rig.sent), rig.clock.slept) == (4, [0.5, 1.0, 2.0])
    rig.assert_nothing_is_held()


@pytest.mark.parametrize("failure", [Reply(503), SILENT], ids=["refusal", "silence"])
def test_an_endpoint_whose_second_attempts_succeed_never_runs_out_of_them(failure: Any) -> None:
    rig = Rig(*[failure, Reply()] * 150)
    assert [rig.send() for _ in range(150)] == [{"ok": 1}] * 150


def test_a_refused_request_is_not_tried_again() -> None:
    rig = Rig(Reply(400))
    with pytest.raises(BadRequest):
        rig.send()
    assert len(rig.sent) == 1
    rig.assert_nothing_is_held()


def test_a_starting_service_is_waited_for() -> None:
    rig = Rig(*[Reply(599)] * 6, Reply())
    assert rig.send() == {"ok": 1}
    assert rig.clock.slept == [1.0, 2.0, 4.0, 8.0, 15.0, 15.0]


def test_a_body_that_breaks_off_is_asked_for_again() -> None:
    rig = Rig(Reply(chunks=(b'{"ok"', CUT)), Reply())
    assert rig.send() == {"ok": 1}
    assert rig.clock.slept == [0.5]


def test_an_error_whose_body_breaks_off_is_told_by_what_there_is() -> None:
    rig = Rig(Reply(400, (b"bad ta", CUT)))
    with pytest.raises(BadRequest, match="HTTP 400: bad ta"):
        rig.send()
    assert len(rig.sent) == 1


def test_of_an_endless_error_only_the_beginning_is_read() -> None:
    rig = Rig(Reply(400, (b"x" * 10_000,) * 1000))
    with pytest.raises(BadRequest) as refused:
        rig.send()
    assert len(refused.value.message) < 100_000


def test_each_wait_is_in_the_record_with_its_reason() -> None:
    rig, call = Rig(Reply(503), Reply()), None
    call = rig.call()
    rig.send(call)
    assert [
        (step.name, step.attributes.get("error"), step.attributes.get("reason")) for step in call.steps
    ] == [
        ("SPCS_REQUEST", "ServiceDown", None),
        ("SPCS_WAIT", None, "ServiceDown"),
        ("SPCS_REQUEST", None, None),
    ]
    assert call.attempts == 2


# -- stale connections ----------------------------------------------------------------------------------------


def test_a_stale_connection_is_replaced_at_once_and_is_no_failure() -> None:
    rig = Rig(STALE, *[Reply(503)] * 3, Reply())
    assert rig.send() == {"ok": 1}
    assert rig.clock.slept == [0.5, 1.0, 2.0], "three retries are left"


def test_only_the_first_stale_connection_of_a_call_is_free() -> None:
    rig = Rig(STALE, STALE, Reply())
    assert rig.send() == {"ok": 1}
    assert rig.clock.slept == [0.5]


# -- tokens ---------------------------------------------------------------------------------------------------


def test_a_refused_token_is_replaced_once() -> None:
    rig = Rig(Reply(401), Reply())
    assert rig.send() == {"ok": 1}
    assert [sent.headers["Authorization"] for sent in rig.sent] == ["T1", "T2"]
    assert rig.clock.slept == []
    rig.assert_nothing_is_held()


def test_a_replacement_is_not_counted_among_the_retries() -> None:
    rig = Rig(*[Reply(503)] * 3, Reply(401), Reply())
    assert rig.send() == {"ok": 1}


def test_a_fresh_token_that_is_refused_too_ends_the_call_with_the_gateways_reason() -> None:
    rig = Rig(Reply(401, (b"no grant",)))
    with pytest.raises(TokenRefused, match="no grant"):
        rig.send()
    assert (len(rig.sent), rig.tokens.count) == (2, 2)


def test_a_token_refused_though_fresh_is_not_replaced_for_each_call() -> None:
    rig = Rig(Reply(401))
    for _ in range(10):
        with pytest.raises(TokenRefused):
            rig.send()
    assert rig.tokens.count == 2
    rig.clock.now += 30.0
    with pytest.raises(TokenRefused):
        rig.send()
    assert rig.tokens.count == 3, "after a while it is worth a try: somebody may have granted the role"


def test_the_next_token_is_replaced_again_when_it_is_refused() -> None:
    rig = Rig(Reply(401), Reply(401), Reply(), Reply(401), Reply())
    with pytest.raises(TokenRefused):
        rig.send()
    rig.send()
    rig.tokens.count += 1  # it ran out, and was renewed
    assert rig.send() == {"ok": 1}
    assert [sent.headers["Authorization"] for sent in rig.sent] == ["T1", "T2", "T2", "T3", "T4"]


def test_without_another_token_there_is_no_second_attempt() -> None:
    rig = Rig(Reply(401), tokens=Tokens(another=False))
    with pytest.raises(TokenRefused):
        rig.send()
    assert len(rig.sent) == 1
    assert len(rig.tokens.refusals) == 1


def test_the_refused_headers_are_those_that_were_sent() -> None:
    class Replaced(Tokens):
        given: Mapping[str, str] = {}

        def headers(self, call: QueryContext) -> Mapping[str, str]:
            return self.given

        def at_hand(self) -> Mapping[str, str]:
            return self.given

    tokens = Replaced()
    tokens.given = first = {"Authorization": "T1"}

    def renewed_meanwhile() -> Reply:
        tokens.given = {"Authorization": "T9"}
        return Reply(401)

    rig = Rig(renewed_meanwhile, Reply(), tokens=tokens)
    rig.send()
    assert tokens.refusals[0] is first
    assert rig.sent[1].headers["Authorization"] == "T9"


@pytest.mark.parametrize(
    "failure", [LoginError("refused"), NetworkError("no route"), ServiceDown("503")], ids=str
)
def test_a_failed_sign_in_is_not_tried_again_here(failure: SpcsError) -> None:
    rig = Rig(tokens=Tokens(failure=failure))
    with pytest.raises(type(failure)) as raised:
        rig.send()
    assert raised.value is failure
    assert (rig.sent, rig.clock.slept) == ([], [])
    rig.assert_nothing_is_held()


# -- private texts --------------------------------------------------------------------------------------------


def test_what_a_service_quotes_of_the_request_is_in_no_form_of_the_error() -> None:
    rig = Rig(Reply(400, (b"cannot read canary-prompt-1234",)))
    with pytest.raises(BadRequest) as refused:
        rig.send(payload=["canary-prompt-1234"])
    assert "canary-p" not in str(refused.value) + repr(refused.value) + repr(refused.value.args)


# -- deadlines ------------------------------------------------------------------------------------------------


def test_a_query_ends_when_its_time_is_up_before_a_pause() -> None:
    rig = Rig(Reply(503, (b"down",), takes=9.8))
    with pytest.raises(
        QueryTimeout, match=r"waiting to try again, after 1 attempt\. Last failure: .*503: down"
    ):
        rig.send(rig.call(10.0))
    assert rig.clock.slept == []
    rig.assert_nothing_is_held()


def test_an_attempt_that_the_time_ended_says_so() -> None:
    def cut_by_the_watchdog() -> NetworkError:
        rig.clock.now += 10.0
        return SILENT

    rig = Rig(cut_by_the_watchdog)
    with pytest.raises(QueryTimeout, match=r"the 10 s .* while waiting for the service's answer") as over:
        rig.send(rig.call(10.0))
    assert "Last failure" not in over.value.message


def test_a_timeout_tells_the_failure_before_the_silence() -> None:
    def cut_by_the_watchdog() -> NetworkError:
        rig.clock.now += 10.0
        return SILENT

    rig = Rig(Reply(503, (b"down",)), cut_by_the_watchdog)
    with pytest.raises(QueryTimeout, match=r"after 2 attempts\. Last failure: \[service\] HTTP 503: down"):
        rig.send(rig.call(10.0))


def test_a_query_whose_time_is_up_sends_nothing() -> None:
    rig = Rig()
    call = rig.call(10.0)
    rig.clock.now += 10.0
    with pytest.raises(QueryTimeout, match="preparing the request"):
        rig.send(call)
    assert rig.sent == []


def test_waiting_for_a_slot_counts_and_ends() -> None:
    rig = Rig()
    rig.limiter.acquire(rig.call())
    with pytest.raises(QueryTimeout, match="'Max parallelism'"):
        rig.send(rig.call(0.02))
    assert rig.sent == []
    rig.limiter.release()
    rig.assert_nothing_is_held()


def test_a_pause_holds_no_slot() -> None:
    rig = Rig(Reply(503), Reply())
    in_flight = []
    sleep = rig.clock.sleep
    rig.endpoint._sleep = lambda seconds: (in_flight.append(rig.limiter.in_flight), sleep(seconds))[1]
    rig.send()
    assert in_flight == [0]


# -- what ends with an attempt, however it ends -----------------------------------------------------------------


@pytest.mark.parametrize(
    "failure",
    [
        RESET,
        Reply(400),
        Reply(401),
        Reply(chunks=(CUT,)),
        Reply(chunks=(b"<html>",)),
        KeyboardInterrupt(),
        ZeroDivisionError(),
    ],
    ids=repr,
)
def test_slot_exchange_and_busy_time_end_with_the_attempt(failure: Any) -> None:
    rig = Rig(failure)
    with pytest.raises((SpcsError, KeyboardInterrupt, ZeroDivisionError)):
        rig.send()
    rig.assert_nothing_is_held()


def test_slot_and_busy_time_are_given_back_even_if_closing_fails() -> None:
    rig = Rig()
    finish = rig.transport.finish

    def failing(exchange: Any) -> None:
        finish(exchange)
        raise RuntimeError("closing")

    rig.transport.finish = failing  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="closing"):
        rig.send()
    rig.assert_nothing_is_held()


def test_busy_time_is_that_of_the_attempts_and_not_of_the_pauses() -> None:
    rig = Rig(Reply(503, takes=2.0), Reply(takes=3.0))
    call = rig.call()
    rig.send(call)
    assert call.busy_seconds == 5.0


def test_signing_in_is_not_busy_time() -> None:
    class Slow(Tokens):
        def headers(self, call: QueryContext) -> Mapping[str, str]:
            rig.clock.now += 7.0
            return super().headers(call)

    rig = Rig(Reply(takes=1.0), tokens=Slow())
    call = rig.call()
    rig.send(call)
    assert call.busy_seconds == 1.0


# -- streams --------------------------------------------------------------------------------------------------


def opened(rig: Rig, call: QueryContext | None = None) -> Stream:
    return rig.endpoint.open(
        HttpRequest("/v1/chat/completions", {}), call or rig.call(), lambda stream: stream
    )


def test_a_stream_holds_its_slot_until_it_is_closed() -> None:
    rig = Rig(Reply(chunks=(b"a", b"b")))
    with opened(rig) as stream:
        assert list(stream.chunks()) == [b"a", b"b"]
        assert rig.limiter.in_flight == 1
    rig.assert_nothing_is_held()


def test_an_abandoned_stream_ends_at_once_and_reads_no_further() -> None:
    rig = Rig(Reply(chunks=(b"a", b"b", b"c")))
    with opened(rig) as stream:
        chunks = stream.chunks()
        assert next(chunks) == b"a"
        exchange = rig.transport.open[0]
    assert exchange.read == 1
    rig.assert_nothing_is_held()


def test_letting_go_of_what_was_read_does_not_close_the_stream() -> None:
    rig = Rig(Reply(chunks=(b"a", b"b")))
    with opened(rig) as stream:
        next(stream.chunks())
        assert rig.transport.open, "its end can still be read, and the connection kept"
    rig.assert_nothing_is_held()


def test_failures_before_the_first_byte_are_retried() -> None:
    rig = Rig(RESET, Reply(chunks=(CUT,)), Reply(chunks=(b"a",)))
    assert list(opened(rig).chunks()) == [b"a"]
    assert len(rig.sent) == 3


def test_failures_after_the_first_byte_are_the_readers() -> None:
    rig = Rig(Reply(chunks=(b"a", CUT)))
    call = rig.call()
    with opened(rig, call) as stream:
        chunks = stream.chunks()
        assert next(chunks) == b"a"
        with pytest.raises(NetworkError, match="cut short"):
            next(chunks)
    assert len(rig.sent) == 1
    assert call.steps[-1].attributes["error"] == "NetworkError"
    rig.assert_nothing_is_held()


def begun(rig: Rig, call: QueryContext) -> tuple[Stream, bytes, Iterator[bytes]]:
    """A stream that counts as begun with its second chunk."""

    def begin(stream: Stream) -> tuple[Stream, bytes, Iterator[bytes]]:
        chunks = stream.chunks()
        next(chunks)
        return stream, next(chunks), chunks

    return rig.endpoint.open(HttpRequest("/"), call, begin)


def test_what_breaks_off_before_it_has_begun_is_asked_for_again() -> None:
    rig = Rig(Reply(chunks=(b"a", CUT)), Reply(chunks=(b"a", b"b", b"c")))
    stream, first, rest = begun(rig, rig.call())
    assert rig.limiter.in_flight == 1
    with stream:
        assert [first, *rest] == [b"b", b"c"]
    assert len(rig.sent) == 2
    rig.assert_nothing_is_held()


def test_a_timeout_before_it_has_begun_is_not_the_reason_of_itself() -> None:
    rig = Rig(Reply(chunks=(b"a", SILENT), takes=10.0))
    with pytest.raises(QueryTimeout, match="reading the service's answer") as caught:
        begun(rig, rig.call(10.0))
    assert "Last failure" not in str(caught.value)
    rig.assert_nothing_is_held()


def test_a_stream_cut_by_the_querys_time_says_so() -> None:
    rig = Rig(Reply(chunks=(b"a", SILENT)))
    chunks = opened(rig, rig.call(10.0)).chunks()
    next(chunks)
    rig.clock.now += 10.0
    with pytest.raises(QueryTimeout, match="reading the service's answer"):
        next(chunks)


def test_an_answer_read_here_is_asked_for_again_when_it_breaks_off() -> None:
    rig = Rig(Reply(chunks=(b"a", CUT)), Reply(chunks=(b"b", b"c")))
    read: Callable[[Stream], bytes] = lambda stream: b"".join(stream.chunks())  # noqa: E731
    assert rig.endpoint.read(HttpRequest("/"), rig.call(), read) == b"bc"
    rig.assert_nothing_is_held()


def test_what_a_reader_finds_wrong_is_raised_and_recorded() -> None:
    rig, call = Rig(), None
    call = rig.call()

    def find_fault(stream: Stream) -> None:
        raise ModelError("no answer")

    with pytest.raises(ModelError, match="no answer"):
        rig.endpoint.read(HttpRequest("/"), call, find_fault)
    assert call.steps[-1].attributes["error"] == "ModelError"
    rig.assert_nothing_is_held()


def test_a_stream_closed_by_two_threads_ends_once() -> None:
    rig = Rig(limit=2)
    stream = opened(rig)
    threads = [threading.Thread(target=stream.close) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert rig.transport.finished == 1
    rig.assert_nothing_is_held()


# -- bodies ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"Content-Type": "text/html; charset=utf-8"}, b"hello"),
        ({}, b"<!DOCTYPE html><p>Sign in"),
        ({}, b"\n  <HTML>"),
    ],
)
@pytest.mark.parametrize("ask", [Rig.send, opened])
def test_a_web_page_is_no_answer(
    headers: Mapping[str, str], body: bytes, ask: Callable[[Rig], object]
) -> None:
    rig = Rig(Reply(chunks=(body,), headers=headers))
    with pytest.raises(ModelError, match="web page"):
        ask(rig)
    assert len(rig.sent) == 1
    rig.assert_nothing_is_held()


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "an empty body"),
        (b" \n", "an empty body"),
        (b'{"a": [1, 2', "no valid JSON"),
        (b"{'a': 1}", "no valid JSON"),
        ('{"a": "é"}'.encode("latin-1"), "not UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b"1" * 10_000, "no valid JSON"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_what_is_no_json_is_told_without_being_quoted(body: bytes, problem: str) -> None:
    with pytest.raises(ModelError, match=problem) as refused:
        parse_json(body)
    assert f"({len(body)} bytes)" in refused.value.message
    assert refused.value.place == "service"


@pytest.mark.parametrize("body", [b'\xef\xbb\xbf{"a": 1}', '{"a": 1}'.encode("utf-16")])
def test_json_with_a_byte_order_mark_is_read(body: bytes) -> None:
    assert parse_json(body) == {"a": 1}


def test_who_needs_no_token_sends_none_and_has_no_other() -> None:
    rig = Rig(Reply(401), tokens=NoToken())
    with pytest.raises(TokenRefused):
        rig.send()
    assert len(rig.sent) == 1
    assert "Authorization" not in rig.sent[0].headers
