"""Twice as much of a server's text costs about twice the time: every regular expression, and every reader."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.growth import cpu_seconds, growth
from tests.hostile import expressions, surfaces
from tests.hostile.known import judge
from tests.hostile.server import chunk, head, reply
from tests.hostile.surfaces import (
    OPENAI_CHAT,
    OPENAI_EMBEDDING,
    OPENAI_MODELS,
    OPENAI_RERANK,
    OPENAI_STREAM,
    PREDICT_CHAT,
    PREDICT_EMBEDDING,
    Surface,
    delta,
    dumped,
    event,
)
from tests.hostile.victim import Victim

pytestmark = pytest.mark.exhaustive

MOST = 2.6  # times the CPU for twice the input
# Their text is cut before: the most that they ever see, in characters.
CUT_BEFORE = {r"\bip\b.*\bnot allowed": 300}


# -- regular expressions --------------------------------------------------------------------------------------


def all_expressions() -> dict[str, re.Pattern[Any]]:
    written, _ = expressions.expressions_in_source()
    found = dict(expressions.compiled_expressions())
    kept = {pattern.pattern for pattern in found.values()}
    for place, source in written.items():
        if source not in kept:
            found[place] = re.compile(source)
    return found


def test_every_expression_is_found() -> None:
    """One that cannot be read where it stands is to be kept by a module, where it is found and measured."""
    _, unread = expressions.expressions_in_source()
    assert set(unread) <= EXPECTED_UNREAD


# Made of a template's tokens, which test_authors.py attacks; and of tables of what Snowflake and servers say, whose
# expressions `compiled_expressions` finds.
EXPECTED_UNREAD = {
    "spcs_llm/chat_templates/control_tokens.py:'|'.join(forms)",
    "spcs_deployment/problems.py:pattern",
    "spcs_llm/server_text/others_credentials.py:pattern",
    "spcs_llm/control/container_logs.py:pattern",
    "spcs_llm/control/container_messages.py:pattern",
    "spcs_llm/control/start_failures.py:pattern",
    "spcs_llm/server_text/refusal_hints.py:pattern",
}


ENDS = ("", "\0", "x\0", "!")  # of texts: what no expression goes on with


@pytest.mark.parametrize("ends", [ENDS[:2], pytest.param(ENDS, marks=pytest.mark.soak)], ids=["few", "all"])
def test_every_expression_is_linear(ends: tuple[str, ...]) -> None:
    complaints = {
        f"expression {name}": _not_linear(pattern, ends, searches=not expressions.is_only_matched(name))
        for name, pattern in all_expressions().items()
    }
    assert len(complaints) > 10, "there are some"
    judge(complaints)


def _not_linear(pattern: re.Pattern[Any], ends: tuple[str, ...], searches: bool) -> str:
    # `sub` searches to the end, and `fullmatch` goes back where a search is content: `match` and `search` cost no more.
    uses = [pattern.fullmatch, lambda text: pattern.sub(text[:0], text)] if searches else [pattern.fullmatch]
    limit = CUT_BEFORE.get(str(pattern.pattern))
    for before, pumped, after in expressions.attacks_on(pattern, ends):
        for use in uses:

            def cost(size: int, use: Any = use, text: Any = (before, pumped, after)) -> float:
                whole = text[0] + text[1] * (size // len(text[1])) + text[2]
                return cpu_seconds(lambda: use(whole[:limit]))

            # Small first: one that is not linear would never come back.
            for size in (400, 10_000):
                if cost(2 * size) < 0.004:
                    continue
                # Where memory comes from elsewhere from a size on, one doubling costs more, and not the next ones.
                for at_least in (size, 2 * size, 4 * size):
                    ratio = growth(cost, at_least, 2, most=MOST)
                    if ratio <= MOST:
                        break
                else:
                    return f"{ratio:.1f} times for twice {pumped!r} after {before!r} ({size} characters)"
                break
    return ""


# -- readers --------------------------------------------------------------------------------------------------


def _events(*pieces: bytes) -> bytes:
    return (
        head(content_type=surfaces.EVENTS, transfer_encoding="chunked")
        + b"".join(map(chunk, pieces))
        + b"0\r\n\r\n"
    )


def _stream(piece: bytes, *last: bytes) -> Callable[[int], bytes]:
    end = (delta("", "stop") + surfaces.DONE,)
    return lambda count: _events(*[piece] * count, *(last or end))


def _tool(**call: Any) -> bytes:
    return delta(
        None, None, tool_calls=[{"type": "function", "function": {"name": "f", "arguments": "{}"}, **call}]
    )


def _rows(row: Callable[[int], Any], key: str = "data") -> Callable[[int], bytes]:
    return lambda count: reply(dumped({key: [row(at) for at in range(count)]}))


TOOLS = {
    "tools": [
        {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    ]
}
_TEXT = {"error": {"message": "x", "type": "x"}}
# What a server sends, by a count -> on which surface, about how many make 0.1 s, and LLM Mesh's settings.
READERS: dict[str, tuple[Surface, Callable[[int], bytes], int, dict[str, Any]]] = {
    "deltas of text": (OPENAI_STREAM, _stream(delta("word ")), 2_000, {}),
    "a head of blanks": (OPENAI_STREAM, _stream(b"    "), 8_000, {}),
    "comments": (OPENAI_STREAM, _stream(b": ping\n\n", delta("a", "stop") + surfaces.DONE), 8_000, {}),
    "line ends": (OPENAI_STREAM, _stream(b"\n\n"), 8_000, {}),
    "pieces of a line": (OPENAI_STREAM, _stream(b"data: ", b"\n\n" + delta("", "stop")), 8_000, {}),
    "bytes of a line": (OPENAI_CHAT, _stream(b":", b"\n\n" + delta("a", "stop") + surfaces.DONE), 8_000, {}),
    "lines of an event": (OPENAI_STREAM, _stream(b"data:\n", b"\n" + delta("a", "stop")), 8_000, {}),
    "carriage returns": (OPENAI_STREAM, _stream(b": a\r", delta("a", "stop") + surfaces.DONE), 8_000, {}),
    "ends of turns": (
        OPENAI_STREAM,
        lambda count: _events(delta("a" + "<|im_end|>" * count), delta("", "stop")),
        100_000,
        {},
    ),
    "a message after each piece": (
        OPENAI_STREAM,
        lambda count: _events(
            delta("w" * 500 * count),
            *[delta("ab") + event({"choices": [{"index": 0, "message": {"content": "x"}}]})] * count,
            delta("", "stop"),
        ),
        4_000,
        {},
    ),
    "names of events": (
        OPENAI_STREAM,
        _stream(b"event: a\n", b"\n" + delta("a", "stop") + surfaces.DONE),
        8_000,
        {},
    ),
    "reasoning without a line end": (
        OPENAI_STREAM,
        _stream(delta(None, None, reasoning_content="w" * 50)),
        3_000,
        {},
    ),
    "reasoning of lines": (OPENAI_STREAM, _stream(delta(None, None, reasoning_content="w\n")), 2_000, {}),
    "events without a choice": (
        OPENAI_STREAM,
        lambda count: _events(
            *[delta("w" * 50) + event({"usage": {"prompt_tokens": 1}})] * count, delta("", "stop")
        ),
        1_500,
        {},
    ),
    "log probs": (
        OPENAI_STREAM,
        _stream(
            event(
                {
                    "choices": [
                        {
                            "index": 0,
                            "delta": {"content": "a"},
                            "logprobs": {"content": [{"token": "a", "logprob": -1.0}]},
                        }
                    ]
                }
            )
        ),
        2_000,
        {},
    ),
    "calls without index": (OPENAI_STREAM, _stream(_tool(id="")), 1_500, TOOLS),
    "pieces of a call": (OPENAI_STREAM, _stream(_tool(index=0, id="a")), 1_500, TOOLS),
    "calls with new ids": (
        OPENAI_STREAM,
        lambda count: _events(*[_tool(index=0, id=f"c{at}") for at in range(count)]),
        1_500,
        TOOLS,
    ),
    "calls in one event": (
        OPENAI_CHAT,
        lambda count: _events(
            delta(
                None,
                None,
                tool_calls=[
                    {"id": f"c{at}", "function": {"name": "f", "arguments": "{}"}} for at in range(count)
                ],
            ),
            delta("", "tool_calls"),
        ),
        3_000,
        TOOLS,
    ),
    "blanks of a call": (
        OPENAI_STREAM,
        lambda count: _events(
            _tool(index=0, id="a", function={"name": "f"}),
            *[_tool(index=0, function={"arguments": " "})] * count,
            delta("", "tool_calls"),
        ),
        2_000,
        TOOLS,
    ),
    "pieces of a call with a long name": (
        OPENAI_STREAM,
        lambda count: _events(
            _tool(index=0, id="a", function={"name": "g" * 100 * count, "arguments": "{"}),
            *[_tool(index=0, function={"arguments": " "})] * count,
            delta("", "tool_calls"),
        ),
        2_000,
        TOOLS,
    ),
    "usages with many keys": (
        OPENAI_STREAM,
        lambda count: _events(
            event({"choices": [], "usage": {f"k{at}": at for at in range(10 * count)}}),
            *[event({"choices": [], "usage": {"prompt_tokens": 1}})] * count,
            delta("a", "stop"),
        ),
        2_000,
        {},
    ),
    "commas of an event": (
        OPENAI_STREAM,
        lambda count: _events(b"data: {}" + b"," * count + b"x\n\n", delta("a", "stop")),
        300_000,
        {},
    ),
    "glued events": (
        OPENAI_STREAM,
        lambda count: _events(b"data: {}" + b"data:" * count + b"x\n\n", delta("a", "stop")),
        100_000,
        {},
    ),
    "an error's text": (PREDICT_CHAT, lambda count: reply(dumped({"error": "ab " * count}), 400), 10_000, {}),
    "an error's lines": (PREDICT_CHAT, lambda count: reply(b"a\n" * count, 400), 10_000, {}),
    "problems of a validation": (
        PREDICT_CHAT,
        lambda count: reply(dumped({"detail": [{"loc": ["a"], "msg": "b"}] * count}), 422),
        1_000,
        {},
    ),
    "a page": (PREDICT_CHAT, lambda count: reply(b"<html>" + b"<p> " * count, 502), 10_000, {}),
    "blanks of an answer": (
        PREDICT_CHAT,
        lambda count: reply(dumped({"data": [[0, {"outputs": " " * count + "x"}]]})),
        300_000,
        {},
    ),
    "brackets of an answer": (
        PREDICT_CHAT,
        lambda count: reply(dumped({"data": [[0, {"outputs": "[" * count + "x"}]]})),
        300_000,
        {},
    ),
    "bars of an answer": (
        PREDICT_CHAT,
        lambda count: reply(dumped({"data": [[0, {"outputs": "<|" * count + "x"}]]})),
        100_000,
        {},
    ),
    "rows of chats": (PREDICT_CHAT, _rows(lambda at: [at, {"outputs": "a"}]), 40_000, {}),
    "rows of vectors": (PREDICT_EMBEDDING, _rows(lambda at: [at, {"outputs": [1.0]}]), 20_000, {}),
    "numbers in a text": (
        PREDICT_EMBEDDING,
        lambda count: reply(dumped({"data": [[0, {"outputs": f"[nan{', 1' * count}]"}]]})),
        20_000,
        {},
    ),
    "nested vectors": (
        PREDICT_EMBEDDING,
        lambda count: reply(
            b'{"data":[[0,{"outputs":' + b"[" * (count // 100) + b"1" + b"]" * (count // 100) + b"}]]}"
        ),
        20_000,
        {},
    ),
    "vectors": (OPENAI_EMBEDDING, _rows(lambda at: {"index": at, "embedding": [1.0]}), 40_000, {}),
    "ranks": (OPENAI_RERANK, _rows(lambda at: {"index": at, "relevance_score": 1}, "results"), 10_000, {}),
    "models": (OPENAI_MODELS, _rows(lambda at: {"id": f"m{at}"}), 10_000, {}),
    "chunks of a byte": (
        PREDICT_CHAT,
        lambda count: head(transfer_encoding="chunked") + b"1\r\n \r\n" * count + b"0\r\n\r\n",
        10_000,
        {},
    ),
}


def _error_of(piece: str) -> Callable[[int], bytes]:
    return lambda count: reply(dumped({"error": (piece * count)[:60_000] + "x"}), 400)


for _piece in (
    "1",
    " ",
    "\\",
    "(",
    "[",
    "{",
    "a=",
    "a ",
    "'",
    '"',
    "%41",
    "&#32;",
    "\\u0020",
    ", input_value=",
    " [type=",
    ";",
    "a.",
    "39",
):
    READERS[f"an error's text of {_piece!r}"] = (
        PREDICT_CHAT,
        _error_of(_piece),
        15_000,
        {},
    )


# The expressions that read an error's text are each measured above.
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.soak) if name.startswith("an error's text of") else name
        for name in READERS
    ],
)
def test_every_reader_is_linear(victim: Victim, name: str) -> None:
    surface, make, size, mesh = READERS[name]

    def cost(count: int) -> float:
        sent = make(count)
        with surface.serve(lambda request: sent) as server:
            settings = {"queryTimeoutSeconds": 60, "requestTimeoutSeconds": 30}
            query = surface.ask(server.url, mesh=mesh, **settings)
            (outcome,) = victim.ask(query, measure=True, collecting=False, timeout=60)
            attempts = max(1, len(server.of(surface.path)))
        return 60.0 if outcome.died else outcome.cpu / attempts

    ratio = growth(cost, size // 2, 4, most=MOST**2, least=0.02)
    judge({f"reader of {name}": f"{ratio:.1f} times for four times {size // 2}" if ratio > MOST**2 else ""})
