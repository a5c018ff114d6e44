"""Nobody is ever given bytes of another's answer: framing that is wrong anywhere, with the connection left open.

What follows the wrong answer is a whole answer that grants or says something of its own. It comes in the same packet
(over TLS: in the same record), after the first query ended, or when its connection is used for the next request. Then
another query comes: it must get its own answer, and no connection may be used again that was not proven clean.
"""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.hostile import surfaces
from tests.hostile.framing import FAULTS, Fault
from tests.hostile.known import judge
from tests.hostile.server import Answer, Request, Server, reply
from tests.hostile.surfaces import SURFACES, Surface, dumped, new_question, questions_in
from tests.hostile.victim import Outcome, Victim

pytestmark = pytest.mark.exhaustive

POISON = "q-0000dead0000-q"  # the question whose answer nobody asked for
POISONED_TOKEN = "canary-poisoned-token"
SAME_PACKET, LATER, NEXT_REQUEST = "in the same packet", "later", "at the next request"
QUICK = (surfaces.PREDICT_CHAT, surfaces.OPENAI_STREAM, surfaces.LOGIN)
PLACES = [
    surface if surface in QUICK else pytest.param(surface, marks=pytest.mark.soak) for surface in SURFACES
]
LARGE = 1_000_000


class Spoiler:
    """A server of one scenario: the first answer at the attacked path is the fault, all others are honest."""

    def __init__(self, surface: Surface, fault: Fault, when: str, tls: ssl.SSLContext | None) -> None:
        self._surface, self.fault, self._when = surface, fault, when
        self._lock = threading.Lock()
        self.spoiled: Request | None = None
        self.used_again = False
        self.server = surface.serve(self._answer, tls)
        self.poker = Server(self._poke)

    def stop(self) -> None:
        self.server.__exit__()
        self.poker.__exit__()

    def _answer(self, request: Request) -> Answer:
        with self._lock:
            first = self.spoiled is None
            self.spoiled = self.spoiled or request
        if not first:
            if request.connection == self.spoiled.connection:
                self.used_again = True
                if self._when == NEXT_REQUEST and not self.fault.reusable:
                    return self._poison()
            return self._surface.good(request)
        sent = self.fault.make(_pieces(self._surface, request), self._surface.content_type)
        return sent + (self._poison() if self._when == SAME_PACKET else b"")

    def _poke(self, request: Request) -> Answer:
        if self.spoiled is not None:
            with contextlib.suppress(OSError):  # the plugin closed it, as it should
                self.spoiled.sock.sendall(self._poison())
        return None

    def _poison(self) -> bytes:
        if self._surface.path == "/oauth/token":
            return reply(POISONED_TOKEN.encode(), content_type="text/plain")
        if self._surface.sign_in:
            data = {"token": POISONED_TOKEN, "sessionToken": POISONED_TOKEN, "validityInSeconds": 3600}
            return reply(dumped({"success": True, "data": data}))
        return reply(self._surface.honest([POISON]), content_type=self._surface.content_type)

    @property
    def saw_poisoned_token(self) -> bool:
        return any(
            POISONED_TOKEN in value for request in self.server.requests for value in request.headers.values()
        )


def _pieces(surface: Surface, request: Request) -> list[bytes]:
    body = surface.honest(questions_in(request.body))
    if surface.streamed:
        return [event + b"\n\n" for event in body.split(b"\n\n") if event]
    return [body[: len(body) // 2], body[len(body) // 2 :]]


def _other_user(surface: Surface) -> dict[str, Any]:
    if surface.path == "/oauth/token":
        return {"keyPair": {"user": "other", "privateKey": surfaces.private_key()}}
    if surface.sign_in:
        return {"oauth": {"snowflake_oauth": "canary-other-access"}}
    return {"programmaticAccessToken": {"token": "canary-other-token"}}


Result = tuple[str, Spoiler, str, Outcome, Outcome]


def results(victim: Victim, surface: Surface, tls: ssl.SSLContext | None) -> dict[str, list[Result]]:
    """All faults at once: most of the time goes by in waiting. Name of the fault -> what came of each scenario."""
    moments = [SAME_PACKET] if tls else [SAME_PACKET, NEXT_REQUEST, LATER]
    scenarios = [(fault, when) for fault in FAULTS for when in moments]
    with ExitStack() as servers:
        spoilers = [Spoiler(surface, fault, when, tls) for fault, when in scenarios]
        questions, groups = [], []
        for at, ((fault, when), spoiler) in enumerate(zip(scenarios, spoilers)):
            servers.callback(spoiler.stop)
            url, timeouts = spoiler.server.url, {"requestTimeoutSeconds": 1, "queryTimeoutSeconds": 4}
            if (
                surface.sign_in
            ):  # if reading many keys at the same time takes longer, the next query meets the fault
                timeouts["queryTimeoutSeconds"] = 30 if surface.path == "/oauth/token" else 2
            if fault.control:
                timeouts = {"requestTimeoutSeconds": 10, "queryTimeoutSeconds": 30}
            other = {} if at % 2 and not surface.sign_in else _other_user(surface)
            questions.append(new_question())
            group = surface.queries(url, **timeouts)
            # It has nothing to wait for, however busy the machine is.
            last = surface.ask(url, questions[-1], **{**timeouts, "queryTimeoutSeconds": 30}, **other)
            if when == LATER:
                host, port = spoiler.poker.url.rpartition("/")[2].split(":")
                last["poke"] = [host, int(port)]
            groups.append([*group, last])
        outcomes = victim.ask_side_by_side(groups)
    found: dict[str, list[Result]] = {}
    for (fault, when), spoiler, question, came in zip(scenarios, spoilers, questions, outcomes):
        found.setdefault(fault.name, []).append((when, spoiler, question, came[-2], came[-1]))
    return found


@pytest.mark.parametrize("over_tls", [False, True], ids=["tcp", "tls"])
@pytest.mark.parametrize("surface", PLACES, ids=str)
def test_nobody_is_given_what_follows_a_wrong_answer(
    victim: Victim, tls: ssl.SSLContext, surface: Surface, over_tls: bool
) -> None:
    complaints = {}
    asked_often = surface not in (surfaces.RENEWAL, surfaces.OPENAI_MODELS)  # whose answers are kept
    for name, found in results(victim, surface, tls if over_tls else None).items():
        wrong = [
            f"{when}: {what}"
            for when, spoiler, question, first, second in found
            for what in _wrong(surface, spoiler, question, first, second)
        ]
        wrong += [
            f"{when}: {what}" for when, spoiler, *_ in found for what in _reuse(spoiler, when, asked_often)
        ]
        complaints[f"framing, {surface} over {'TLS' if over_tls else 'TCP'}, {name}"] = "; ".join(wrong)
    judge(complaints)


def _wrong(
    surface: Surface, spoiler: Spoiler, question: str, first: Outcome, second: Outcome
) -> Iterator[str]:
    for which, outcome in (("the first", first), ("the next", second)):
        if outcome.died:
            yield f"{which} query: {outcome.died}"
        if outcome.error and outcome.place in (None, "plugin"):
            yield f"{which} query ends in {outcome.text}"
        if outcome.answer and surface.says(outcome.answer) == surface.honest_says(POISON):
            yield f"{which} query is given what followed"
    if second.error:
        yield f"the next query fails: {second.text}"
    elif second.answer and surface.says(second.answer) != surface.honest_says(question):
        yield "the next query gets no answer of its own"
    if spoiler.saw_poisoned_token:
        yield "a token that followed is used"


def _reuse(spoiler: Spoiler, when: str, asked_often: bool) -> Iterator[str]:
    may = spoiler.fault.reusable and when == NEXT_REQUEST  # then nothing follows
    if spoiler.used_again and not may:
        yield "its connection is used again"
    if spoiler.fault.control and when == NEXT_REQUEST and asked_often and not spoiler.used_again:
        yield "a clean connection is not used again, which the other scenarios rely on to see what they look for"


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("over_tls", [False, True], ids=["tcp", "tls"])
def test_an_answer_to_a_half_sent_request_ends_its_connection(
    victim: Victim, tls: ssl.SSLContext, status: int, over_tls: bool
) -> None:
    """The server answers once it has the head, and takes the rest of the body for what comes next."""
    surface = surfaces.PREDICT_CHAT
    early: list[Request] = []

    def after_head(request: Request) -> Answer:
        if int(request.headers["content-length"]) < LARGE:
            return surface.good(request)
        early.append(request)
        return reply(surface.honest([POISON]), status)

    with HeadServer(after_head, tls if over_tls else None) as server:
        text = new_question()
        large = {"messages": [{"role": "user", "content": "x" * 6_000_000}]}
        timeouts = {"requestTimeoutSeconds": 1, "queryTimeoutSeconds": 4}
        victim.ask(surface.ask(server.url, query=large, **timeouts))
        connections = {request.connection for request in server.requests}
        (second,) = victim.ask(surface.ask(server.url, text, **{**timeouts, "queryTimeoutSeconds": 30}))
    assert early, "the arrangement: an answer came early"
    later = server.requests[-1]
    assert second.error is None, second.text
    assert surface.says(second.answer) == surface.honest_says(text)
    assert later.connection not in connections


class HeadServer(Server):
    """Answers a large body before it has come. The rest of it passes for another request, which it answers, too."""

    def _serve(self, sock: Any, number: int) -> None:
        if self._tls is not None:
            sock = self._tls.wrap_socket(sock, server_side=True)
        with self._lock:
            self._open.add(sock)
        try:
            received = b""
            while b"\r\n\r\n" not in received:
                if not (more := sock.recv(65536)):
                    return
                received += more
            request_head, _, body = received.partition(b"\r\n\r\n")
            lines = request_head.decode("latin-1").split("\r\n")
            headers = {
                name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])
            }
            size, length = len(body), int(headers.get("content-length", 0))
            while length < LARGE and size < length:
                body += (more := sock.recv(65536))
                size += len(more)
            method, path, _ = lines[0].split(" ", 2)
            self.requests.append(Request(method, path, headers, body, number, 1, sock))
            if (answer := self._answer(self.requests[-1])) is not None:
                sock.sendall(answer)
            while size < length and (more := sock.recv(65536)):
                size += len(more)
            if length >= LARGE:
                sock.sendall(reply(surfaces.PREDICT_CHAT.honest([POISON])))
            while more := sock.recv(65536):
                self.requests.append(Request("POST", "again", {}, more, number, 2, sock))
                sock.sendall(reply(surfaces.PREDICT_CHAT.honest([POISON])))
        except OSError:
            pass
        finally:
            sock.close()


def test_every_fault_has_a_name_of_its_own() -> None:
    names = [fault.name for fault in FAULTS]
    assert len(names) == len(set(names))
