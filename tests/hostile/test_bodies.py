"""Whatever a body holds: one clear error or an answer, in the query's time, for bounded memory and CPU.

Memory is bounded by what the largest sensible answer of the surface costs to parse, 24 bytes for each of its own at the
most; CPU by what an honest answer of the same number of bytes on the wire costs, measured in the same process.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator

import pytest

from sandbox.dss import checks
from tests.hostile.bodies import QUESTION, Attack, attacks
from tests.hostile.known import judge
from tests.hostile.surfaces import (
    LOGIN,
    MB,
    OPENAI_CHAT,
    OPENAI_EMBEDDING,
    OPENAI_STREAM,
    PREDICT_CHAT,
    PREDICT_EMBEDDING,
    SURFACES,
    Surface,
    completion,
    dumped,
)
from tests.hostile.victim import Outcome, Victim

pytestmark = pytest.mark.exhaustive

_ROOM = 32 * MB  # for buffers, and for what the interpreter keeps
_PER_BYTE = 24  # `[],` becomes a list of 64 bytes
_QUERY_SECONDS = 30  # so that no result depends on how fast the machine is just now
_LONGEST_VECTOR = 65_536
QUICK = (PREDICT_CHAT, PREDICT_EMBEDDING, OPENAI_STREAM, OPENAI_EMBEDDING, LOGIN)


@functools.cache
def all_attacks() -> tuple[Attack, ...]:
    """Made once, and only where they are used: many are large."""
    return tuple(attacks())


@pytest.fixture(scope="module")
def cpu_of_a_megabyte(victim: Victim) -> float:
    """Seconds for an honest answer of a megabyte, of the kind that costs most: many small objects of an answer."""
    tokens = [{"token": "token", "logprob": -1.5, "top_logprobs": []} for _ in range(MB // 60)]
    body = dumped(completion("text", logprobs={"content": tokens}))
    with OPENAI_CHAT.serve(
        lambda request: OPENAI_CHAT.reply(body, content_type="application/json")
    ) as server:
        best = min(victim.ask(OPENAI_CHAT.ask(server.url), measure=True)[0].cpu for _ in range(3))
    return best / (len(body) / MB)


@pytest.mark.parametrize("surface", QUICK, ids=str)
def test_a_body_costs_no_more_than_it_is_worth(
    victim: Victim, surface: Surface, cpu_of_a_megabyte: float
) -> None:
    complaints = {}
    for attack in all_attacks():
        if attack.surface is surface and not attack.dear:
            complaints[f"body, {attack}"] = "; ".join(
                _wrong(attack, *_tried(victim, attack), cpu_of_a_megabyte)
            )
    judge(complaints)


@pytest.mark.soak
@pytest.mark.timeout(600)
@pytest.mark.parametrize("surface", SURFACES, ids=str)
def test_a_dear_body_costs_no_more_than_it_is_worth(
    victim: Victim, surface: Surface, cpu_of_a_megabyte: float
) -> None:
    complaints = {}
    for attack in all_attacks():
        if attack.surface is surface and (attack.dear or surface not in QUICK):
            complaints[f"body, {attack}"] = "; ".join(
                _wrong(attack, *_tried(victim, attack), cpu_of_a_megabyte)
            )
    judge(complaints)


def _tried(victim: Victim, attack: Attack) -> tuple[Outcome, int]:
    """What came of it, and how many bytes were on the wire."""
    sent = attack.make()
    settings = {"queryTimeoutSeconds": _QUERY_SECONDS, "requestTimeoutSeconds": 1}
    with attack.surface.serve(lambda request: sent) as server:
        queries = attack.surface.queries(server.url, QUESTION, **settings)
        outcome = victim.ask(*queries, measure=True, timeout=90)[-1]
        return outcome, len(sent) * max(1, len(server.of(attack.surface.path)))


def _wrong(attack: Attack, outcome: Outcome, wire: int, cpu_of_a_megabyte: float) -> Iterator[str]:
    if outcome.died:
        yield outcome.died
        return
    if outcome.error is not None:
        if outcome.place in (None, "plugin"):
            yield f"no error of its own: {outcome.error['type']} {outcome.text[:200]}"
        if len(outcome.text) > 1000:
            yield f"an error of {len(outcome.text)} characters"
    else:
        if attack.refused and not attack.surface.sign_in:
            yield "is taken for an answer"
        yield from breaches(attack.surface, outcome.answer)
    if outcome.memory > (most := _ROOM + _PER_BYTE * attack.surface.largest):
        yield f"{outcome.memory / MB:.0f} MB of memory, for {wire / MB:.2f} MB (at most {most / MB:.0f})"
    # Twenty times as dear as an honest answer of as many bytes is not the work of reading it.
    if outcome.cpu > (most_cpu := 0.15 + 20 * cpu_of_a_megabyte * min(wire, 2 * attack.surface.largest) / MB):
        yield f"{outcome.cpu:.2f} s of CPU, for {wire / MB:.2f} MB (at most {most_cpu:.2f})"


def breaches(surface: Surface, answer: object) -> Iterator[str]:
    """What DSS could not take of an answer."""
    if isinstance(answer, dict) and "LARGE" in answer:
        if surface.verb == "embed" and answer["largest_list"] > _LONGEST_VECTOR:
            yield f"a vector of {answer['largest_list']} numbers is handed over"
        return
    if isinstance(answer, dict) and "NOT JSON" in answer:
        yield f"handed over what is no JSON: {answer['NOT JSON'][:100]}"
        return
    try:
        if surface.verb == "embed":
            checks.check_embedding(answer)
        elif surface.verb == "rerank":
            checks.check_ranking(answer, 2)
        elif surface.verb == "stream":
            check = checks.StreamCheck()
            for item in answer:  # type: ignore[attr-defined]
                check.item(item)
            check.end()
        else:
            checks.check_completion(answer)
    except checks.ContractError as breach:
        yield str(breach)[:200]
    if (
        surface.verb == "embed"
        and isinstance(answer, dict)
        and len(answer.get("embedding") or ()) > _LONGEST_VECTOR
    ):
        yield f"a vector of {len(answer['embedding'])} numbers is handed over"
    if any(abs(number) >= 1 << 53 for number in _whole_numbers(answer)):
        yield "handed over a count that JSON's readers cannot take"


def _whole_numbers(value: object) -> Iterator[int]:
    if isinstance(value, dict):
        for item in value.values():
            yield from _whole_numbers(item)
    elif isinstance(value, list):
        for item in value:
            yield from _whole_numbers(item)
    elif isinstance(value, int):
        yield value


def test_the_bounds_would_be_broken(victim: Victim) -> None:
    """The measures see what they should: an answer of 2 MB takes its memory, and its CPU."""
    body = dumped({"data": [[0, {"outputs": "a" * (2 * MB)}]]})
    with PREDICT_CHAT.serve(lambda request: PREDICT_CHAT.reply(body)) as server:
        (outcome,) = victim.ask(PREDICT_CHAT.ask(server.url), measure=True)
    assert outcome.error is None
    assert outcome.memory > 2 * MB
    assert outcome.cpu > 0
    assert json.dumps(outcome.answer)
