"""Minutes of 32 threads, random faults at 20 % and sessions that expire every few seconds.

`SOAK_SECONDS` (120) and `SOAK_SEED` (random) can be set. Checked: every query ends in time, in its own answer or
in an error of ours; none is lost, mixed up or doubled; sign-ins are no more than were needed.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from typing import Any

import pytest

from sandbox.services.scripted import answer_to, vector_of
from sandbox.snowflake import Snowflake
from spcs_llm.connections import Connections
from spcs_llm.errors import SpcsError
from spcs_llm.model import Model

THREADS = 32
QUERY_SECONDS = 20.0
SLACK_SECONDS = 2.0
SESSION_SECONDS, MASTER_SECONDS = 3.0, 11.0
CHANCE = 0.2
FAULTS: list[dict[str, Any]] = [
    {"kind": "reset"},
    {"kind": "close"},
    {"kind": "lost_reply"},
    {"kind": "close_mid_body"},
    {"kind": "wrong_content_length"},
    {"kind": "garbage"},
    {"kind": "no_hosts"},
    {"kind": "too_many_requests", "retry_after": "0.1"},
    {"kind": "respond", "status": 503, "body": "busy"},
    {"kind": "respond", "status": 500, "body": "broken"},
    {"kind": "truncated_json"},
    {"kind": "redirect"},
    {"kind": "gateway_error"},
    {"kind": "delay", "seconds": 0.3},
]


class Tally:
    """What became of the queries."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.outcomes: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.slowest = 0.0

    def add(self, outcome: str, seconds: float, wrong: str | None) -> None:
        with self._lock:
            self.outcomes[outcome] += 1
            self.slowest = max(self.slowest, seconds)
            if wrong is not None:
                self.wrong.append(wrong)


def chat(model: Model, text: str) -> bool:
    response = model.complete({"messages": [{"role": "user", "content": text}]}, {}, None)
    return bool(response["text"] == answer_to(text))


def stream(model: Model, text: str) -> bool:
    items = list(model.stream({"messages": [{"role": "user", "content": text}]}, {}, None))
    told = "".join(item["chunk"].get("text", "") for item in items if "chunk" in item)
    return told == answer_to(text) and ["footer" in item for item in items].count(True) == 1


def embed(model: Model, text: str) -> bool:
    return bool(model.embed({"text": text}, {}, None)["embedding"] == pytest.approx(vector_of(text)))


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_every_query_ends_in_its_own_answer_or_in_an_error_of_ours() -> None:
    seconds = float(os.environ.get("SOAK_SECONDS", "120"))
    seed = int(os.environ.get("SOAK_SEED", str(random.SystemRandom().randrange(1_000_000))))
    print(f"\nseed {seed}, {seconds:g} s")
    with Snowflake(seed=seed) as snowflake:
        snowflake.world.lifetimes.session = SESSION_SECONDS
        snowflake.world.lifetimes.master = MASTER_SECONDS
        token = snowflake.issue_oauth_token()
        connections = Connections()

        def models(name: str, count: int, **options: Any) -> list[Model]:
            """Instances of one model: what DSS makes of it for its users and kernels."""
            params = options.pop("params", {})
            service = snowflake.create_service(name, "scripted", **options)
            config = {
                "oauth": {"snowflake_oauth": token},
                "snowflakeAccountUrl": snowflake.account_url,
                "llmEndpointUrl": service.url,
                "queryTimeoutSeconds": QUERY_SECONDS,
                "coldStartWaitSeconds": 10,
                "maxParallelism": 8,
                **params,
            }
            return [Model(config, connections=connections) for _ in range(count)]

        kinds = [
            (chat, models("chat", 5, replicas=8, request_seconds=0.005)),
            (embed, models("embed", 5, kind="embedding", replicas=8, request_seconds=0.005)),
            (
                stream,
                models("openai", 5, protocol="OPENAI", replicas=8, params={"serviceProtocol": "OPENAI"}),
            ),
        ]
        for fault in FAULTS:
            details = {name: value for name, value in fault.items() if name != "kind"}
            for where in ("chat", "embed", "openai"):
                chance = CHANCE / len(FAULTS)
                snowflake.faults.arm(fault["kind"], where, times=None, chance=chance, **details)
        snowflake.faults.arm("close", "account", times=None, chance=CHANCE / 2)
        tally, until, asked = Tally(), time.monotonic() + seconds, Counter[int]()

        def work(number: int) -> None:
            choose = random.Random(seed + number)
            while time.monotonic() < until:
                kind, instances = choose.choice(kinds)
                text = f"thread {number} query {asked[number]}"
                asked[number] += 1
                began, outcome, wrong = time.monotonic(), "answer", None
                try:
                    if not kind(choose.choice(instances), text):
                        wrong = f"{kind.__name__}: not the answer to {text!r}"
                except SpcsError as error:
                    outcome = type(error).__name__
                except BaseException as error:  # noqa: BLE001 - told below
                    outcome, wrong = "foreign", repr(error)
                tally.add(outcome, time.monotonic() - began, wrong)

        threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(seconds + QUERY_SECONDS + 60)
        hung = sum(thread.is_alive() for thread in threads)
        counters = snowflake.counters
    ended = sum(tally.outcomes.values())
    refusals = sum(fault["kind"] in ("redirect", "gateway_error") for fault in FAULTS) / len(FAULTS) * CHANCE
    attempts = sum(counters[name].get("requests", 0) for name in ("chat", "embed", "openai"))
    faults = sum(counters[name].get("faults", 0) for name in ("account", "chat", "embed", "openai"))
    needed = 1 + seconds / SESSION_SECONDS + attempts * refusals
    signed_in = counters["account"].get("login", 0) + counters["account"].get("token", 0)
    print(
        f"queries {sum(asked.values())}, ended {ended}, {dict(tally.outcomes)}, slowest {tally.slowest:.1f} s"
    )
    print(
        f"requests {attempts}, faults {faults}, sign-ins {signed_in}, needed at most {needed:.0f};"
        f" account {counters['account']}"
    )
    assert hung == 0
    assert ended == sum(asked.values())
    assert tally.wrong == []
    assert tally.slowest < QUERY_SECONDS + SLACK_SECONDS
    assert tally.outcomes["answer"] > 0.7 * ended
    assert signed_in <= needed
