"""Server-sent events: what the standard says of each line, wherever the bytes are split.

But for one thing: the standard throws away an event that the end of the body leaves without its blank line. Gateways
and servers never send that line after their last event, which tells how the answer ended.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spcs_llm.errors import ModelError, NetworkError, QueryTimeout, SpcsError
from spcs_llm.http.event_stream import Event, LastEvent, events

STREAMS = {
    "one event": (b"data: a\n\n", [("", b"a")]),
    "no space after the colon": (b"data:a\n\n", [("", b"a")]),
    "only the first space is not data": (b"data:  a \n\n", [("", b" a ")]),
    "several data lines are one event": (b"data: a\ndata: b\n\n", [("", b"a\nb")]),
    "carriage returns": (b"data: a\r\rdata: b\r\r", [("", b"a"), ("", b"b")]),
    "carriage return and line feed": (b"data: a\r\n\r\ndata: b\r\n\r\n", [("", b"a"), ("", b"b")]),
    "comments": (b": ping\n\n:\ndata: a\n: more\n\n", [("", b"a")]),
    "a byte order mark": (b"\xef\xbb\xbfdata: a\n\n", [("", b"a")]),
    "named events": (b"event: error\ndata: a\n\ndata: b\n\n", [("error", b"a"), ("", b"b")]),
    "an event without data is none": (b"event: ping\n\ndata: a\n\n", [("", b"a")]),
    "empty data is data": (b"data\n\ndata:\n\n", [("", b""), ("", b"")]),
    "id and retry and unknown fields": (b"id: 1\nretry: 5\nfoo: bar\ndata: a\n\n", [("", b"a")]),
    "blank lines between": (b"\n\n\ndata: a\n\n\n\n", [("", b"a")]),
    "an event without its blank line at the end": (b"data: a\n\ndata: b\n", [("", b"a"), ("", b"b")]),
    "a line that the end cuts off": (b"data: a\n\ndata: b", [("", b"a"), ("", b"b")]),
    "a named event without its blank line": (b"event: error\ndata: a\r\n", [("error", b"a")]),
    "an error field that the end cuts off": (b"error: a", [("error", b"a")]),
    "one line and nothing else": (b"\xef\xbb\xbfdata: a", [("", b"a")]),
    "a field that the end cuts off": (b"data: a\n\nevent: err", [("", b"a")]),
    "a comment that the end cuts off": (b"data: a\n\n: pi", [("", b"a")]),
    "characters of several bytes": ("data: é€😀\n\n".encode(), [("", "é€😀".encode())]),
    "line separators of Unicode are no line ends": (
        "data: a\u2028b\x0bc\x85d\n\n".encode(),
        [("", "a\u2028b\x0bc\x85d".encode())],
    ),
    "llama.cpp's earlier way to tell an error": (b'error: {"code":400}\n\n', [("error", b'{"code":400}')]),
    "Dynamo's earlier way to tell an error": (b"event: error\n: gone\n\n", [("error", b"gone")]),
    "an error with data and a comment": (b"event: error\n: ping\ndata: a\n\n", [("error", b"a")]),
    "an error over several lines": (
        b'data: a\n\n{\n  "error": {\n    "code": 503\n  }\n}\n\ndata: b\n\n',
        [("", b"a"), ("error", b'{\n  "error": {\n    "code": 503\n  }\n}'), ("", b"b")],
    ),
    "an error over several lines that the end cuts off": (
        b'data: a\n\n{\n  "error": "full"\n}',
        [("", b"a"), ("error", b'{\n  "error": "full"\n}')],
    ),
    "nothing": (b"", []),
}
TABLE = pytest.mark.parametrize(("stream", "expected"), STREAMS.values(), ids=STREAMS.keys())


def read(*chunks: bytes) -> list[Event]:
    return list(events(chunks))


@TABLE
def test_a_stream_in_one_piece(stream: bytes, expected: list[tuple[str, bytes]]) -> None:
    assert read(stream) == expected


@TABLE
def test_a_stream_split_at_any_byte(stream: bytes, expected: list[tuple[str, bytes]]) -> None:
    for at in range(len(stream) + 1):
        assert read(stream[:at], stream[at:]) == expected, at


@TABLE
def test_a_stream_byte_by_byte(stream: bytes, expected: list[tuple[str, bytes]]) -> None:
    assert read(*(stream[i : i + 1] for i in range(len(stream)))) == expected


def by_the_standard(stream: bytes) -> list[tuple[str, bytes]]:
    """WHATWG HTML §9.2.6, read literally over the whole stream, but for blanks before a name and an event cut off."""
    text = stream.decode("latin-1").replace("\r\n", "\n").replace("\r", "\n")
    found, name, data = [], "", ""
    *lines, rest = text.split("\n")
    for line in [*lines, rest] if rest.startswith("data:") else lines:
        if not line:
            if data:
                found.append((name, data[:-1].encode("latin-1")))
            name, data = "", ""
            continue
        field, _, value = line.lstrip(" ").partition(":")
        value = value[1:] if value.startswith(" ") else value
        if field == "data":
            data += value + "\n"
        elif field == "event":
            name = value.encode("latin-1").decode()
    if data:
        found.append((name, data[:-1].encode("latin-1")))
    return found


PIECES = [
    "data",
    "data:",
    "data: ",
    "event: x",
    ":",
    " ",
    "\n",
    "\r",
    "\r\n",
    "\n\n",
    "{}",
    "é",
    "dat",
    "id: 7",
]


@given(st.lists(st.sampled_from(PIECES), max_size=30), st.lists(st.integers(0, 120), max_size=6))
@settings(max_examples=300)
def test_any_stream_split_anywhere_reads_as_the_standard_says(pieces: list[str], cuts: list[int]) -> None:
    stream = "".join(pieces).encode()
    at = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    assert read(*(stream[a:b] for a, b in zip(at, at[1:]))) == by_the_standard(stream)


@pytest.mark.parametrize(
    "chunks",
    [
        [b"data: ", *[b"x" * 100] * 11],
        [b"data: " + b"x" * 1100 + b"\n"],
        [b"data: xxxxxxxxx\n"] * 100,
        [b"data:xxxxxxxxx\n"] * 100,
    ],
    ids=["one line, never ended", "one line", "many lines", "many lines without the space"],
)
def test_an_event_beyond_the_bound_is_refused(chunks: list[bytes]) -> None:
    with pytest.raises(ModelError, match="larger than"):
        list(events(chunks, largest=1000))


def test_a_long_stream_of_small_events_is_within_the_bound() -> None:
    assert len(list(events([b"data: xxxxxxxxx\n\n"] * 500, largest=1000))) == 500


@pytest.mark.parametrize("failure", [NetworkError("cut"), QueryTimeout("late")], ids=["cut", "late"])
@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n"])
def test_a_connection_that_breaks_off_takes_nothing_that_had_come(ending: bytes, failure: SpcsError) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"data: a\n\ndata: b" + ending
        raise failure

    found: list[Event] = []
    with pytest.raises(type(failure)):
        for event in events(chunks()):
            found.append(event)  # what came before the failure counts
    assert [event.data for event in found] == [b"a", b"b"]
    assert [isinstance(event, LastEvent) for event in found] == [False, True]


def test_events_are_told_as_soon_as_they_are_whole() -> None:
    arrived = []

    def chunks() -> Iterator[bytes]:
        for chunk in (b"data: a\n\ndata: b", b"\n", b"\n", b"data: c\n\n"):
            arrived.append(chunk)
            yield chunk

    stream = events(chunks())
    assert (next(stream).data, len(arrived)) == (b"a", 1)
    assert (next(stream).data, len(arrived)) == (b"b", 3)
