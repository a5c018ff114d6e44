"""Every fault that can be armed does on the wire what its name says."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import urllib3

from sandbox.services.scripted import answer_to
from sandbox.services.scripted_service import ScriptedService
from sandbox.snowflake import Snowflake, dead_ends
from sandbox.snowflake.fault_kinds import KINDS
from sandbox.snowflake.snowflake import PublicEndpoint
from sandbox.snowflake.tls import Certificates
from tests.waiting import FAR_TOO_LONG, wait_for

BODY = {"data": [[0, {"inputs": "a"}], [1, {"inputs": "b"}]]}
ANSWERS = [answer_to("a"), answer_to("b")]
STREAM = {"messages": [{"role": "user", "content": "hi"}], "stream": True}


@pytest.fixture
def sf() -> Iterator[Snowflake]:
    with Snowflake() as snowflake:
        yield snowflake


@pytest.fixture
def chat(sf: Snowflake) -> PublicEndpoint:
    return sf.create_service("chat")


@pytest.fixture
def header(sf: Snowflake) -> dict[str, str]:
    return {"Authorization": f'Snowflake Token="{sf.create_pat()}"'}


def scripted(chat: PublicEndpoint) -> ScriptedService:
    assert isinstance(chat.service, ScriptedService)
    return chat.service


def call(
    chat: PublicEndpoint, header: dict[str, str], body: Any = BODY, path: str = "/predict", **kwargs: Any
) -> requests.Response:
    settings = {"timeout": 30, "allow_redirects": False, **kwargs}
    return requests.post(chat.url + path, json=body, headers=header, **settings)


def raw(
    chat: PublicEndpoint, header: dict[str, str], body: Any = BODY, seconds: float = FAR_TOO_LONG
) -> tuple[bytes, str]:
    """Everything the other side sends, and how it ended: "closed", "reset" or "open"."""
    data = json.dumps(body).encode()
    host, port = chat.endpoint.host.split(":")
    lines = ["POST /predict HTTP/1.1", f"Host: {host}", f"Content-Length: {len(data)}"]
    head = "\r\n".join([*lines, f"Authorization: {header['Authorization']}"]) + "\r\n\r\n"
    received = b""
    with socket.create_connection((host, int(port)), timeout=seconds) as sock:
        sock.sendall(head.encode() + data)
        try:
            while piece := sock.recv(65536):
                received += piece
        except ConnectionResetError:
            return received, "reset"
        except socket.timeout:
            return received, "open"
    return received, "closed"


def texts(response: requests.Response) -> list[str]:
    return [json.loads(row[1]["outputs"])[0]["generated_text"] for row in response.json()["data"]]


# -- when a fault strikes


def test_a_fault_strikes_the_next_n_calls_and_then_no_more(
    sf: Snowflake, chat: PublicEndpoint, header: dict[str, str]
) -> None:
    fault = sf.faults.arm("model_loading", "chat", times=2)
    assert [call(chat, header).status_code for _ in range(3)] == [502, 502, 200]
    assert fault.hits == 2
    assert chat.counters["faults"] == 2


def test_a_fault_can_let_calls_pass_first(
    sf: Snowflake, chat: PublicEndpoint, header: dict[str, str]
) -> None:
    sf.faults.arm("model_loading", "chat", skip=1)
    assert [call(chat, header).status_code for _ in range(3)] == [200, 502, 200]


def test_a_fault_can_be_kept_to_a_listener_and_an_operation(
    sf: Snowflake, chat: PublicEndpoint, header: dict[str, str]
) -> None:
    sf.faults.arm("refuse", "account", on="login", code="390101")
    assert call(chat, header).status_code == 200
    assert requests.post(sf.account_url + "/session/heartbeat", timeout=30).json()["code"] == "390101"
    login = requests.post(sf.account_url + "/session/v1/login-request", json={}, timeout=30)
    assert login.json()["message"] == "Authorization header not found in the request data."


def test_faults_by_chance_repeat_with_the_seed() -> None:
    def hits(seed: int) -> list[str | None]:
        with Snowflake(seed=seed) as sf:
            sf.faults.arm("hidden_404", "account", times=None, chance=0.5)
            return [requests.get(sf.account_url + "/", timeout=30).headers.get("server") for _ in range(12)]

    assert hits(7) == hits(7)
    assert len(set(hits(7))) == 2


def test_an_unknown_fault_is_refused_when_armed(sf: Snowflake) -> None:
    with pytest.raises(ValueError, match="unknown fault 'explode'"):
        sf.faults.arm("explode")


def test_faults_the_clock_and_counters_are_worked_over_http(
    sf: Snowflake, chat: PublicEndpoint, header: dict[str, str]
) -> None:
    admin = chat.url + "/_sandbox/"
    armed = requests.post(admin + "faults", json={"kind": "respond", "status": 418, "times": 1}, timeout=30)
    assert armed.status_code == 201
    assert armed.json()["faults"][0]["where"] == "chat"
    assert call(chat, header).status_code == 418
    assert call(chat, header).status_code == 200
    assert requests.post(admin + "faults", json=[{"kind": "explode"}], timeout=30).status_code == 400
    before = requests.get(sf.account_url + "/_sandbox/clock", timeout=30).json()["now"]
    after = requests.post(sf.account_url + "/_sandbox/clock", json={"advance": 1000}, timeout=30).json()[
        "now"
    ]
    assert after - before >= 1000
    counts = requests.get(admin + "counters", timeout=30).json()
    assert counts["chat"]["requests"] == 2
    assert counts["chat"]["faults"] == 1
    requests.post(admin + "faults", json={"kind": "reset", "where": "account"}, timeout=30)
    assert requests.delete(admin + "faults", timeout=30).json() == {"faults": []}
    assert requests.get(sf.account_url + "/", timeout=30).status_code == 404
    assert requests.get(admin + "nothing", timeout=30).status_code == 404


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 201),
        ({"Content-Type": "application/json; charset=utf-8"}, 201),
        ({"Host": "localhost:1"}, 201),
        ({"Host": "[::1]:1"}, 201),
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Host": "]"}, 403),
        ({"Host": ""}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": None}, 415),
    ],
)
@pytest.mark.parametrize("listener", ["account", "chat"])
def test_no_web_page_gets_a_token_from_the_sandbox(
    sf: Snowflake, chat: PublicEndpoint, listener: Any, headers: dict[str, str], status: int
) -> None:
    url = sf.account_url if listener == "account" else chat.url
    tokens = len(sf.world.tokens)
    asked = {"Content-Type": "application/json", **headers}
    reply = requests.post(url + "/_sandbox/tokens", data='{"kind": "pat"}', headers=asked, timeout=30)
    assert reply.status_code == status
    assert len(sf.world.tokens) - tokens == (status == 201)


def test_reading_the_sandbox_s_counters_needs_no_content_type(sf: Snowflake) -> None:
    assert requests.get(sf.account_url + "/_sandbox/counters", timeout=30).status_code == 200
    foreign = {"Host": "evil.example"}
    assert requests.get(sf.account_url + "/_sandbox/counters", headers=foreign, timeout=30).status_code == 403


# -- answers


def test_any_answer_can_be_given(sf: Snowflake, chat: PublicEndpoint, header: dict[str, str]) -> None:
    sf.faults.arm("respond", "chat", status=529, body="x: 1", content_type="text/yaml", headers={"X-A": "b"})
    reply = call(chat, header)
    assert (reply.status_code, reply.text, reply.headers["X-A"]) == (529, "x: 1", "b")
    assert reply.headers["Content-Type"] == "text/yaml"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_leads_to_a_host_that_counts_its_visitors(
    sf: Snowflake, chat: PublicEndpoint, header: dict[str, str], status: int
) -> None:
    sf.faults.arm("redirect", "chat", status=status, to="elsewhere")
    assert call(chat, header).headers["Location"] == sf.elsewhere_url
    assert sf.counters["elsewhere"] == {}
    sf.faults.arm("redirect", "chat", status=status, to="elsewhere")
    kept = {"X-SF-SPCS-Authorization": header["Authorization"]}
    assert call(chat, kept, allow_redirects=True).status_code == 200
    assert sf.counters["elsewhere"]["requests_with_token"] == 1


ANSWER_FAULTS = [
    ("html_200", {}, 200, "<!DOCTYPE html>"),
    ("empty_200", {}, 200, ""),
    ("gateway_error", {"status": 403, "detail": "expired"}, 403, '"detail": "expired"'),
    ("network_policy", {}, 403, "network policy"),
    ("hidden_404", {}, 404, ""),
    ("host_recreated", {}, 403, "Could not find the service associated with endpoint"),
    ("access_denied", {}, 403, "Insufficient privileges"),
    ("no_hosts", {}, 503, "no service hosts found"),
    ("upstream_connect_error", {}, 503, "upstream connect error"),
    ("model_loading", {}, 502, "connection refused"),
    ("gateway_timeout", {}, 504, "upstream request timeout"),
    ("too_large", {}, 413, "Payload Too Large"),
    ("too_many_requests", {"retry_after": "2"}, 429, "Too many requests"),
    ("arrow_500", {}, 500, "empty data"),
    ("refuse", {"code": "390114"}, 200, '"390114"'),
]


@pytest.mark.parametrize(("kind", "params", "status", "says"), ANSWER_FAULTS)
def test_an_answer_of_the_gateway(
    sf: Snowflake,
    chat: PublicEndpoint,
    header: dict[str, str],
    kind: str,
    params: Any,
    status: int,
    says: str,
) -> None:
    sf.faults.arm(kind, "chat", **params)
    reply = call(chat, header)
    assert reply.status_code == status
    assert says in reply.text
    assert reply.headers.get("Retry-After") == params.get("retry_after")
    assert chat.counters["forwarded"] == 0


# -- real answers, altered


def test_fields_of_a_real_answer_can_be_set_and_dropped(sf: Snowflake) -> None:
    sf.faults.arm(
        "rewrite_json", "account", set={"data.validityInSeconds": "soon"}, drop=["data.masterToken"]
    )
    body = {"data": {"AUTHENTICATOR": "OAUTH", "TOKEN": sf.issue_oauth_token()}}
    reply = requests.post(sf.account_url + "/session/v1/login-request", json=body, timeout=30).json()
    assert reply["data"]["validityInSeconds"] == "soon"
    assert "masterToken" not in reply["data"]
    assert reply["data"]["token"]


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("reversed", ANSWERS[::-1]),
        ("missing", ANSWERS[:1]),
        ("duplicated", [*ANSWERS, ANSWERS[1]]),
        ("extra", [*ANSWERS, ANSWERS[1]]),
        ("none", []),
    ],
)
def test_rows_can_come_in_another_order_and_number(
    sf: Snowflake, chat: PublicEndpoint, header: dict[str, str], how: str, expected: Any
) -> None:
    sf.faults.arm("rows", "chat", how=how)
    assert texts(call(chat, header)) == expected


def test_rows_can_be_shuffled_with_their_index(
    sf: Snowflake, chat: PublicEndpoint, header: dict[str, str]
) -> None:
    sf.faults.arm("rows", "chat", how="shuffled")
    rows = call(chat, header, {"data": [[i, {"inputs": str(i)}] for i in range(9)]}).json()["data"]
    assert [row[0] for row in rows] != sorted(row[0] for row in rows)
    assert all(answer_to(str(index)) in row["outputs"] for index, row in rows)


def test_json_can_be_cut_though_it_is_framed_rightly(
    sf: Snowflake, chat: PublicEndpoint, header: dict[str, str]
) -> None:
    sf.faults.arm("truncated_json", "chat")
    reply = call(chat, header)
    assert len(reply.content) == int(reply.headers["Content-Length"])
    with pytest.raises(requests.JSONDecodeError):
        reply.json()


def test_bytes_that_are_not_utf8_and_a_byte_order_mark(
    sf: Snowflake, chat: PublicEndpoint, header: dict[str, str]
) -> None:
    sf.faults.arm("non_utf8", "chat")
    sf.faults.arm("bom", "chat")
    with pytest.raises(UnicodeDecodeError):
        call(chat, header).content.decode()
    assert call(chat, header).content.startswith(b"\xef\xbb\xbf{")


def test_a_huge_body_comes_in_pieces_and_stops_when_nobody_reads_on(
    sf: Snowflake, chat: PublicEndpoint, header: dict[str, str]
) -> None:
    sf.faults.arm("huge_body", "chat", bytes=50_000_000)
    with call(chat, header, stream=True) as reply:
        assert len(next(reply.iter_content(100_000))) > 0
    sf.faults.arm("huge_body", "chat", bytes=3_000_000)
    assert len(call(chat, header).content) == 3_000_012


def test_a_gzip_bomb_is_small_on_the_wire(
    sf: Snowflake, chat: PublicEndpoint, header: dict[str, str]
) -> None:
    sf.faults.arm("gzip_bomb", "chat", bytes=20_000_000)
    with call(chat, header, stream=True) as reply:
        packed = reply.raw.read(decode_content=False)
    assert len(packed) < 100_000
    assert len(gzip.decompress(packed)) == 20_000_000


def test_a_delay_comes_before_the_real_answer(
    sf: Snowflake, chat: PublicEndpoint, header: dict[str, str]
) -> None:
    sf.faults.arm("delay", "chat", seconds=0.2)
    start = time.monotonic()
    assert texts(call(chat, header)) == ANSWERS
    assert time.monotonic() - start >= 0.2


# -- the connection itself


def test_a_connection_is_reset_before_any_byte(
    sf: Snowflake, chat: PublicEndpoint, header: dict[str, str]
) -> None:
    sf.faults.arm("reset", "chat")
    assert raw(chat, header) == (b"", "reset")
    assert scripted(chat).stats.batch_sizes == []


def test_a_connection_is_closed_before_any_byte(
    sf: Snowflake, chat: PublicEndpoint, header: dict[str, str]
) -> None:
    sf.faults.arm("close", "chat")
    assert raw(chat, header) == (b"", "closed")


def test_a_connection_is_reset_on_arrival(
    sf: Snowflake, chat: PublicEndpoint, header: dict[str, str]
) -> None:
    sf.faults.arm("refuse_connection", "chat")
    with pytest.raises(requests.ConnectionError):
        call(chat, header)
    assert call(chat, header).status_code == 200
    assert chat.counters["requests"] == 1


def test_an_answer_is_lost_after_the_work_was_done(
    sf: Snowflake, chat: PublicEndpoint, header: dict[str, str]
) -> None:
    sf.faults.arm("lost_reply", "chat")
    assert raw(chat, header) == (b"", "reset")
    assert scripted(chat).stats.batch_sizes == [2]


def test_a_call_hangs(sf: Snowflake, chat: PublicEndpoint, header: dict[str, str]) -> None:
    sf.faults.arm("hang", "chat")
    sf.faults.arm("hang", "chat", seconds=0.2)
    assert raw(chat, header, seconds=0.3) == (b"", "open")
    assert raw(chat, header) == (b"", "closed")


def test_rubbish_comes_instead_of_a_status_line(
    sf: Snowflake, chat: PublicEndpoint, header: dict[str, str]
) -> None:
    sf.faults.arm("garbage", "chat", bytes="\x00\xff nonsense\r\n\r\n")
    assert raw(chat, header) == (b"\x00\xff nonsense\r\n\r\n", "closed")
    sf.faults.arm("garbage", "chat")
    with pytest.raises(requests.ConnectionError):
        call(chat, header)


def test_a_content_length_promises_more_than_comes(
    sf: Snowflake, chat: PublicEndpoint, header: dict[str, str]
) -> None:
    sf.faults.arm("wrong_content_length", "chat", delta=7)
    received, end = raw(chat, header)
    head, _, body = received.partition(b"\r\n\r\n")
    assert end == "closed"
    assert f"content-length: {len(body) + 7}".encode() in head


def test_a_chunk_has_no_valid_size(sf: Snowflake, chat: PublicEndpoint, header: dict[str, str]) -> None:
    sf.faults.arm("bad_chunk", "chat")
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        call(chat, header)


def test_headers_and_bodies_trickle(sf: Snowflake, chat: PublicEndpoint, header: dict[str, str]) -> None:
    sf.faults.arm("trickle_headers", "chat", seconds=0.01, bytes=20)
    received, _ = raw(chat, header)
    assert received == b"HTTP/1.1 200 OK\r\ndat"
    sf.faults.arm("trickle_body", "chat", seconds=0.01, chunk=20)
    start = time.monotonic()
    assert texts(call(chat, header)) == ANSWERS
    assert time.monotonic() - start > 0.05


@pytest.mark.parametrize(("kind", "end"), [("close_mid_body", "closed"), ("reset_mid_body", "reset")])
def test_a_connection_ends_in_the_middle_of_the_body(
    sf: Snowflake, chat: PublicEndpoint, header: dict[str, str], kind: str, end: Any
) -> None:
    sf.faults.arm(kind, "chat", after=10)
    received, how = raw(chat, header)
    head, _, body = received.partition(b"\r\n\r\n")
    assert how == end
    if end == "closed":
        assert body == b'{"data":[['
        assert b"content-length" in head
    sf.faults.arm("close_mid_body", "chat")
    received, _ = raw(chat, header)
    assert 10 < len(received.partition(b"\r\n\r\n")[2]) < 100


def test_a_stream_is_cut_while_it_runs(sf: Snowflake, header: dict[str, str]) -> None:
    chat = sf.create_service("stream", protocol="OPENAI", tokens=50, token_seconds=0.005)
    sf.faults.arm("close_mid_body", "stream", after=1000)
    reply = call(chat, header, STREAM, "/v1/chat/completions", stream=True)
    got = b""
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        for piece in reply.iter_content(None):
            got += piece
    assert len(got) == 1000


def test_a_stream_stalls_and_goes_on(sf: Snowflake, header: dict[str, str]) -> None:
    chat = sf.create_service("stream", protocol="OPENAI")
    sf.faults.arm("stall", "stream", after=50, seconds=0.3)
    start = time.monotonic()
    assert "[DONE]" in call(chat, header, STREAM, "/v1/chat/completions").text
    assert time.monotonic() - start > 0.3
    sf.faults.arm("stall", "chat", seconds=0.1)
    assert texts(call(sf.create_service("chat"), header)) == ANSWERS


def test_a_stream_reports_an_error_in_its_middle(sf: Snowflake, header: dict[str, str]) -> None:
    chat = sf.create_service("stream", protocol="OPENAI", tokens=5)
    sf.faults.arm("stream_error", "stream", after=2, message="out of memory")
    events = call(chat, header, STREAM, "/v1/chat/completions").text.strip().split("\n\n")
    assert len(events) == 3
    assert json.loads(events[-1].removeprefix("data: "))["error"]["message"] == "out of memory"


def test_a_buffered_stream_arrives_all_at_once_and_whole(sf: Snowflake, header: dict[str, str]) -> None:
    chat = sf.create_service("stream", protocol="OPENAI", tokens=5)
    flowing = call(chat, header, STREAM, "/v1/chat/completions")
    sf.faults.arm("buffered", "stream")
    held_back = call(chat, header, STREAM, "/v1/chat/completions")
    assert "content-length" not in flowing.headers
    assert int(held_back.headers["content-length"]) == len(held_back.content)
    assert held_back.text.count("data: ") == flowing.text.count("data: ") > 5


def test_only_a_reused_connection_is_closed(
    sf: Snowflake, chat: PublicEndpoint, header: dict[str, str]
) -> None:
    sf.faults.arm("close", "chat", reused=True)
    with urllib3.HTTPConnectionPool("127.0.0.1", int(chat.endpoint.host.split(":")[1]), maxsize=1) as pool:
        post: dict[str, Any] = {"body": json.dumps(BODY), "headers": header, "retries": False}
        assert pool.request("POST", "/predict", **post).status == 200
        with pytest.raises(urllib3.exceptions.ProtocolError):
            pool.request("POST", "/predict", **post)
        assert pool.request("POST", "/predict", **post).status == 200


def test_idle_connections_can_be_closed_behind_the_clients_back(
    sf: Snowflake, chat: PublicEndpoint, header: dict[str, str]
) -> None:
    with requests.Session() as client:
        for _ in range(2):
            client.post(chat.url + "/predict", json=BODY, headers=header, timeout=30)
        # The client has the whole answer a moment before the ingress is done with it.
        wait_for(lambda: chat.close_idle_connections() == 0)
        assert client.post(chat.url + "/predict", json=BODY, headers=header, timeout=30).status_code == 200
    assert chat.counters["connections"] == 2


STORM = [
    "reset",
    "close",
    "lost_reply",
    "garbage",
    "bad_chunk",
    "wrong_content_length",
    "close_mid_body",
    "reset_mid_body",
    "truncated_json",
    "refuse_connection",
    "no_hosts",
    "hidden_404",
    "delay",
]


@pytest.mark.exhaustive
def test_a_storm_of_faults_mixes_no_answers_up_and_leaves_nothing_in_flight(
    sf: Snowflake, header: dict[str, str]
) -> None:
    chat = sf.create_service("chat", replicas=8)
    for kind in STORM:
        sf.faults.arm(kind, "chat", times=None, chance=0.02)
    failures, wrong = [], []

    def ask(number: int) -> Any:
        with requests.Session() as client:
            for i in range(30):
                text = f"{number}-{i}"
                body = {"data": [[0, {"inputs": text}]]}
                try:
                    reply = client.post(chat.url + "/predict", json=body, headers=header, timeout=30)
                    if reply.ok and texts(reply) != [answer_to(text)]:
                        wrong.append(text)
                except requests.RequestException as error:
                    failures.append(error)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert wrong == []
    assert 5 < len(failures) < 120
    sf.faults.clear()
    assert texts(call(chat, header)) == ANSWERS
    wait_for(lambda: not (chat.counters["in_flight"] or chat.stats.in_flight))


def test_every_kind_of_fault_is_in_this_file_and_in_the_readme() -> None:
    here = Path(__file__).read_text()
    readme = (Path(__file__).parents[2] / "sandbox/snowflake/README.md").read_text()
    for kind in KINDS:
        assert f'"{kind}"' in here, kind
        assert f"`{kind}`" in readme, kind


# -- TLS and addresses that lead nowhere


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("tls"))


def test_a_good_certificate_is_accepted_and_faults_work_under_tls(certificates: Certificates) -> None:
    with Snowflake(tls=certificates.context()) as sf:
        chat = sf.create_service("chat")
        header = {"Authorization": f'Snowflake Token="{sf.create_pat()}"'}
        assert chat.url.startswith("https://")
        assert call(chat, header, verify=certificates.ca_file).status_code == 200
        for kind in ("reset", "close", "garbage"):
            sf.faults.arm(kind, "chat")
            with pytest.raises(requests.ConnectionError):
                call(chat, header, verify=certificates.ca_file)


@pytest.mark.parametrize(
    ("variant", "says"),
    [
        ("expired", "certificate has expired"),
        ("wrong_host", "IP address mismatch"),
        ("unknown_ca", "unable to get local issuer"),
    ],
)
def test_a_bad_certificate_is_refused_for_its_own_reason(
    certificates: Certificates, variant: str, says: str
) -> None:
    with Snowflake() as sf:
        chat = sf.create_service("chat", tls=certificates.context(variant))
        with pytest.raises(requests.exceptions.SSLError, match=says):
            call(chat, {}, verify=certificates.ca_file)


def test_nobody_listens() -> None:
    with dead_ends.refused() as address, pytest.raises(requests.ConnectionError, match="refused"):
        requests.get(f"http://{address}", timeout=30)


def test_a_connection_is_never_made() -> None:
    with dead_ends.hanging_connect() as address, pytest.raises(requests.ConnectTimeout):
        requests.get(f"http://{address}", timeout=0.3)


def test_a_tls_handshake_hangs_and_another_is_cut() -> None:
    with dead_ends.silent() as address, pytest.raises(requests.RequestException, match="timed out"):
        requests.get(f"https://{address}", timeout=0.3)
    with dead_ends.handshake_cut() as address, pytest.raises(requests.ConnectionError):
        requests.get(f"https://{address}", timeout=30)
