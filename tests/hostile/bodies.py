"""Answers that are small for whoever sends them and dear for whoever reads them, or that hold what nobody can use.

Each is made for one surface; sizes are such that what is wrong costs a second, not a minute.
"""

from __future__ import annotations

import functools
import gzip
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.hostile import surfaces
from tests.hostile.server import chunk, head
from tests.hostile.surfaces import (
    MB,
    OPENAI_CHAT,
    OPENAI_EMBEDDING,
    OPENAI_MODELS,
    OPENAI_RERANK,
    OPENAI_STREAM,
    PREDICT_CHAT,
    PREDICT_EMBEDDING,
    SERVING_CHAT,
    SERVING_EMBEDDING,
    SURFACES,
    Surface,
    delta,
    dumped,
    floats,
)

QUESTION = "q-00000000feed-q"


@dataclass(frozen=True)
class Attack:
    """make: the bytes that are sent. refused: whether no answer can be right. dear: whether it costs seconds."""

    name: str
    surface: Surface
    make: Callable[[], bytes]
    refused: bool = True
    dear: bool = False

    def __str__(self) -> str:
        return f"{self.name}, {self.surface}"


def attacks() -> Iterator[Attack]:
    yield from _on_every_surface()
    yield from _parser_bombs()
    yield from _on_vectors()
    yield from _on_chats()
    yield from _on_whole_chats()


# -- on every surface -----------------------------------------------------------------------------------------


def _packed(
    pack: Callable[[bytes], bytes], coding: str, fill: bytes, size: int
) -> Callable[[Surface], bytes]:
    """An honest answer after much that is nothing, in an encoding that was not asked for."""
    return functools.lru_cache(maxsize=None)(
        lambda surface: surface.reply(pack(fill * size + surface.honest([QUESTION])), content_encoding=coding)
    )


def _plain(body: Callable[[Surface], bytes]) -> Callable[[Surface], bytes]:
    return lambda surface: surface.reply(body(surface))


def _deflated(data: bytes) -> bytes:
    return zlib.compress(data, 1)


def _gzipped(data: bytes) -> bytes:
    return gzip.compress(data, 1)


def _nested(surface: Surface) -> bytes:
    return b'{"data":' + b"[" * 200_000 + b"]" * 200_000 + b"}"


def _many_headers(surface: Surface) -> bytes:
    lines = b"".join(b"X-%d: %s\r\n" % (at, b"a" * 1000) for at in range(2_000))
    return b"HTTP/1.1 200 OK\r\n" + lines + b"Content-Length: 2\r\n\r\n{}"


def _folded_headers(surface: Surface) -> bytes:
    """One header that goes on over lines without number."""
    return b"HTTP/1.1 200 OK\r\nX: a\r\n" + b" a\r\n" * 500_000 + b"Content-Length: 2\r\n\r\n{}"


def _long_header(surface: Surface) -> bytes:
    return b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * (2 * MB) + b"\r\nContent-Length: 2\r\n\r\n{}"


def _tiny_chunks(surface: Surface) -> bytes:
    """Of one byte each, with an extension that is larger than what it says."""
    begin = head(content_type=surface.content_type, transfer_encoding="chunked")
    return (
        begin + b"1;x=%s\r\n \r\n" % (b"a" * 100) * 20_000 + chunk(surface.honest([QUESTION])) + b"0\r\n\r\n"
    )


def _many_trailers(surface: Surface) -> bytes:
    begin = head(content_type=surface.content_type, transfer_encoding="chunked")
    return begin + chunk(surface.honest([QUESTION])) + b"0\r\n" + b"X: a\r\n" * 500_000 + b"\r\n"


@functools.cache
def _lists(count: int) -> bytes:
    return b"[" + b"[]," * count + b"[]]"


@functools.cache
def _pairs(count: int) -> bytes:
    return b"{" + b",".join(b'"%x":{}' % at for at in range(count)) + b"}"


def _many(surface: Surface) -> int:
    """More than the surface has use for, by far."""
    return surface.largest


EVERYWHERE: dict[str, tuple[Callable[[Surface], bytes], bool]] = {
    "gzip that was not asked for": (_packed(_gzipped, "gzip", b" ", 8 * MB), True),
    "deflate that was not asked for": (_packed(_deflated, "deflate", b"\n", 8 * MB), True),
    "gzip in gzip": (_packed(lambda data: _gzipped(_gzipped(data)), "gzip, gzip", b" ", 8 * MB), True),
    "an encoding by name only": (_packed(bytes, "br", b" ", 0), False),
    "millions of empty lists": (_plain(lambda surface: _lists(_many(surface))), True),
    "millions of empty lists as rows": (
        _plain(lambda surface: b'{"data":' + _lists(_many(surface)) + b"}"),
        True,
    ),
    "millions of empty lists beside the answer": (
        _plain(
            lambda surface: b'{"ignored":' + _lists(_many(surface)) + b"," + surface.honest([QUESTION])[1:]
        ),
        False,
    ),
    "a million keys": (_plain(lambda surface: b'{"data":' + _pairs(_many(surface) // 2) + b"}"), True),
    "nested without end": (_plain(_nested), True),
    "a number of a million digits": (_plain(lambda surface: b'{"data":' + b"7" * MB + b"}"), True),
    "a long text": (_plain(lambda surface: b'"' + b"a" * (2 * surface.largest + 8 * MB) + b'"'), True),
    "blanks before the answer": (_plain(lambda surface: b" " * (8 * MB) + surface.honest([QUESTION])), False),
    "line ends before the answer": (
        _plain(lambda surface: b"\n" * (8 * MB) + surface.honest([QUESTION])),
        False,
    ),
    "headers without number": (_many_headers, True),
    "a header of lines without number": (_folded_headers, True),
    "a long header": (_long_header, True),
    "chunks of a byte": (_tiny_chunks, False),
    "trailers without number": (_many_trailers, False),
}


DEAR = ("millions of empty lists", "a million keys")
DEAR_WHERE_MUCH_IS_ALLOWED = (
    "millions of empty lists as rows",
    "millions of empty lists beside the answer",
    "a long text",
)


def _on_every_surface() -> Iterator[Attack]:
    for name, (make, refused) in EVERYWHERE.items():
        for surface in SURFACES:
            if surface.streamed and name in ("millions of empty lists beside the answer",):
                continue
            dear = name in DEAR or (surface.largest > 4 * MB and name in DEAR_WHERE_MUCH_IS_ALLOWED)
            yield Attack(name, surface, functools.partial(make, surface), refused, dear)


# -- texts that a parser of Python's would read ---------------------------------------------------------------


def bombs(terms: int) -> dict[str, str]:
    return {
        "a sum": "[" + "1+" * terms + "1]",
        "attributes": "[" + "a" + ".a" * terms + "]",
        "negations": "[" + "-" * terms + "1]",
        "complex negations": "[" + "~" * terms + "1]",
        "inversions": "[" + "not " * terms + "1]",
        "names": "[" + "a" * (10 * terms) + "]",
        "brackets": "[" * terms,
        "closed brackets": "[" * terms + "]" * terms,
        "parentheses": "[" + "(" * terms + ")" * terms + "]",
        "lambdas": "[" + "lambda:" * terms + "1]",
        "calls": "[" + "a(" * terms + ")" * terms + "]",
        "subscripts": "[a" + "[0]" * terms + "]",
        "powers": "[" + "9**" * terms + "9]",
        "digits": "[" + "9" * (10 * terms) + ", nan]",
        "texts one after the other": "[" + "''" * terms + "]",
        "conditions": "[" + "1 if 1 else " * terms + "1]",
        "comparisons": "[" + "1<" * terms + "1]",
        "nan among numbers": "[nan" + ",1" * (4 * terms) + "]",
        "none among numbers": "[None" + ",1" * (4 * terms) + "]",
        "escapes": "['" + "\\x41" * (4 * terms) + "']",
        "stars": "[" + "*" * terms + "a]",
    }


def in_generated_text(bomb: str) -> str:
    return "[{'generated_text': " + bomb + "}]"


def _parser_bombs() -> Iterator[Attack]:
    for name, bomb in bombs(200_000).items():
        dear = name not in ("digits", "nan among numbers", "subscripts")
        for surface in (PREDICT_EMBEDDING, SERVING_EMBEDDING):
            reply = functools.partial(_with_texts, surface, bomb)
            yield Attack(f"Python: {name}", surface, reply, dear=dear)
        body = dumped({"data": [[0, {"outputs": in_generated_text(bomb)}]]})
        for surface in (PREDICT_CHAT, SERVING_CHAT):
            yield Attack(
                f"Python: {name}", surface, functools.partial(surface.reply, body), refused=False, dear=dear
            )


def _with_texts(surface: Surface, text: str) -> bytes:
    assert surface.texts is not None
    return surface.reply(surface.texts(text))


# -- vectors --------------------------------------------------------------------------------------------------

MILLION = 1_000_000


def _on_vectors() -> Iterator[Attack]:
    for surface, key in ((PREDICT_EMBEDDING, "outputs"), (SERVING_EMBEDDING, "output")):
        for name, numbers in (
            ("a million numbers", "[" + ",".join(["1"] * MILLION) + "]"),
            ("a million numbers nested", "[[" + ",".join(["1"] * MILLION) + "]]"),
            ("NaN", "[1, NaN]"),
            ("Infinity", "[1, -Infinity]"),
            ("a number beyond all floats", "[1, 1e400]"),
            ("a number of digits beyond all floats", "[1, " + "9" * 400 + "]"),
            ("truth", "[1, true]"),
            ("vectors in vectors", "[" * 900 + "1" + "]" * 900),
        ):
            for how, written in (("native", numbers), ("as a text", dumped(numbers).decode())):
                if how == "as a text" and name == "a number beyond all floats":
                    continue
                body = f'{{"data":[[0,{{"{key}":{written}}}]]}}'.encode()
                refused = not name.startswith("vectors in")
                yield Attack(f"vector: {name}, {how}", surface, lambda s=surface, b=body: s.reply(b), refused)  # type: ignore[misc]
        rows = (
            b'{"data":['
            + b",".join(b'[%d,{"%s":[1,2]}]' % (at, key.encode()) for at in range(100_000))
            + b"]}"
        )
        yield Attack("vector: a hundred thousand rows", surface, lambda s=surface, b=rows: s.reply(b), False)  # type: ignore[misc]
    for name, vector in (
        ("a million numbers", [1] * MILLION),
        ("NaN", [1, float("nan")]),
        ("infinity", [1, float("inf")]),
        ("a number of digits beyond all floats", [1, 10**400]),
        ("truth", [1, True]),
        ("texts", ["1", "2"]),
        ("base64 of a million numbers", floats([1.0] * MILLION)),
        ("base64 of NaN", floats([1.0, float("nan")])),
        ("base64 that is none", "*" * 64),
        ("base64 of three bytes", "AAAA"),
        ("an object", {"a": 1}),
    ):
        body = dumped({"data": [{"index": 0, "embedding": vector}]})
        refused = name != "truth"  # which Python takes for 1
        yield Attack(f"vector: {name}", OPENAI_EMBEDDING, lambda b=body: OPENAI_EMBEDDING.reply(b), refused)  # type: ignore[misc]
    rows = dumped({"data": [{"index": at, "embedding": [1, 2]} for at in range(100_000)]})
    yield Attack(
        "vector: a hundred thousand rows", OPENAI_EMBEDDING, lambda: OPENAI_EMBEDDING.reply(rows), False
    )
    ranks = dumped({"results": [{"index": at, "relevance_score": 1} for at in range(20_000)]})
    yield Attack("ranking: many documents", OPENAI_RERANK, lambda: OPENAI_RERANK.reply(ranks))
    models = dumped({"data": [{"id": f"m{at}"} for at in range(30_000)]})
    yield Attack("models: many", OPENAI_MODELS, lambda: OPENAI_MODELS.reply(models), False)


# -- chats ----------------------------------------------------------------------------------------------------


def _on_chats() -> Iterator[Attack]:
    blanks = " " * (2 * MB) + "x"
    for surface in (PREDICT_CHAT, SERVING_CHAT):
        for name, text in (
            ("blanks", blanks),
            ("blanks after a word", "x" + blanks),
            ("control tokens", "<s>" * (MB // 2) + "x"),
            ("tokens without end", "<|" * MB),
            ("brackets before no output", "[" * (2 * MB)),
        ):
            body = dumped({"data": [[0, {"outputs": text}]]})
            yield Attack(f"text: {name}", surface, lambda s=surface, b=body: s.reply(b), False)  # type: ignore[misc]
    for surface in (OPENAI_CHAT, OPENAI_STREAM):
        many = b"".join([delta("", "stop")] * 30_000)
        for name, stream in (
            ("a head of blanks in small chunks", [b"    "] * 40_000),
            ("comments without end", [b": ping\n\n"] * 60_000),
            ("an event of many lines", [b"data: \n" * 400_000]),
            ("line ends", [b"\n" * (2 * MB)]),
            ("an event without an end", [b"data: " + b"a" * (20 * MB)]),
            ("names of events", [b"event: " + b"a" * 1000 + b"\n"] * 5_000),
            ("commas of an event", [b"data: {}" + b"," * (8 * MB) + b"x\n\n"]),
            ("blanks of an event", [b"data: {}" + b" " * (8 * MB) + b"x\n\n"]),
            ("glued events", [b"data: {}" + b"data:" * MB + b"x\n\n"]),
            ("an event of millions of objects", [b'data: {"a":[' + b'{"":0},' * (2 * MB) + b"0]}\n\n"]),
            ("finish reasons", [many, surfaces.DONE]),
            ("log probs", [_log_probs(100_000), delta("", "stop"), surfaces.DONE]),
            ("log probs of millions of tokens", [*[_older_log_probs(MB // 4)] * 7, *_END]),
            ("log probs of lists for bytes", [*[_bytes_of_lists(300_000)] * 14, *_END]),
            ("choices that wait", [delta("a"), *[_choice_of_lists(5, 300_000)] * 24, *_END]),
            ("ends of turns", [delta("a" + "<|im_end|>" * (MB // 5)), *_END]),
            ("beginnings of answers", [delta("<|START_RESPONSE|>" * 3000 + "a"), *_END]),
            (
                "words again with other blanks",
                [delta("ab " * (4 * MB)), delta("ab  " * (4 * MB - 99), "stop")],
            ),
        ):
            refused = name not in _TAKEN
            yield Attack(
                f"stream: {name}",
                surface,
                lambda stream=stream: (
                    head(content_type=surfaces.EVENTS, transfer_encoding="chunked")  # type: ignore[misc]
                    + b"".join(map(chunk, stream))
                    + b"0\r\n\r\n"
                ),
                refused,
            )


def _on_whole_chats() -> Iterator[Attack]:
    """Answers that came whole, although they are declared to be streams: a stream may be larger."""
    answer = b'{"choices":[{"message":{"content":"a"}}],"a":['
    for name, body in (
        ("lists of a stream that is none", answer + b"[],  " * (6 * MB) + b"[]]}"),
        ("pairs of a stream that is none", answer + b'{"":0},   ' * (3 * MB) + b"[]]}"),
        ("a list of events", b"[" + b'{"choices":[{"index":5}]},' * 600_000 + b"{}]"),
    ):
        is_dear = name == "a list of events"
        yield Attack(f"chat: {name}", OPENAI_CHAT, lambda b=body: OPENAI_CHAT.reply(b), dear=is_dear)  # type: ignore[misc]


_END = (delta("", "stop"), surfaces.DONE)
_TAKEN = (
    "finish reasons",
    "log probs",
    "log probs of lists for bytes",
    "ends of turns",
    "beginnings of answers",
    "words again with other blanks",
)


def _of_lists(choice: str, count: int) -> bytes:
    """An event with many empty lists, each of which takes 72 bytes in memory. Of 1 MB and less, none is refused."""
    return f'data: {{"choices":[{choice}]}}\n\n'.replace("LISTS", "[]," * count + "[]").encode()


def _choice_of_lists(index: int, count: int) -> bytes:
    return _of_lists(f'{{"index":{index},"a":[LISTS]}}', count)


def _bytes_of_lists(count: int) -> bytes:
    token = '{"token":"a","bytes":[LISTS]}'
    return _of_lists(f'{{"delta":{{"content":"a"}},"logprobs":{{"content":[{token}]}}}}', count)


def _older_log_probs(count: int) -> bytes:
    return surfaces.event({"choices": [{"delta": {"content": "a"}, "logprobs": {"tokens": ["a"] * count}}]})


def _log_probs(count: int) -> bytes:
    content = [{"token": "a", "logprob": -1.0, "top_logprobs": []}] * count
    return surfaces.event(
        {"choices": [{"index": 0, "delta": {"content": "a"}, "logprobs": {"content": content}}]}
    )
