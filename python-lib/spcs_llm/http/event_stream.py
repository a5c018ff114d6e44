"""Server-sent events, out of a body's bytes as they arrive.

By the event stream format of the WHATWG HTML standard (§9.2.6), with two exceptions. Until late 2025 llama.cpp's
server told a failure in mid-stream as a field `error`, where others send an event of that name. And an event that the
end of the body leaves without its blank line is not thrown away: several gateways and servers never send that line
after their last event, which is the one with the finish reason or the error.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from spcs_llm.errors import ModelError, NetworkError, QueryTimeout

MAX_EVENT = 16 * 1024 * 1024
_BOM = b"\xef\xbb\xbf"


class Event(NamedTuple):
    """`name` is empty where the stream gives none; `data` is still encoded: json.loads takes it as it is."""

    name: str
    data: bytes


class LastEvent(Event):
    """An event that the end of the body left without its blank line: its data may be cut short."""


def events(chunks: Iterable[bytes], *, largest: int = MAX_EVENT) -> Iterator[Event]:
    """The events of a stream whose bytes may be split anywhere.

    If the body ends without a blank line, what there is of an event is a LastEvent, also where the connection breaks
    off: it comes before the NetworkError or QueryTimeout that `chunks` raises.

    Args:
        chunks: The body's bytes as they come.
        largest: How many bytes an event's data may have.

    Yields:
        The events.

    Raises:
        ModelError: If an event is larger than that.
    """
    name, data, size = "", [], 0
    failure: NetworkError | QueryTimeout | None = None
    try:
        for line in _lines(chunks, largest):
            if line[:6] == b"data: ":
                data.append(line[6:])
                size += len(line)
            elif not line:
                if data:
                    yield Event(name, data[0] if len(data) == 1 else b"\n".join(data))
                name, data, size = "", [], 0
            else:
                field, _, value = line.partition(b":")
                if value[:1] == b" ":
                    value = value[1:]
                if field == b"data":
                    data.append(value)
                    size += len(line)
                elif field == b"event":
                    name = value.decode("utf-8", "replace")
                elif field == b"error":
                    name = "error"
                    data.append(value)
                    size += len(line)
            if size > largest:
                raise _too_large(largest)
    except (NetworkError, QueryTimeout) as error:
        failure = error
    if data:
        yield LastEvent(name, b"\n".join(data))
    if failure is not None:
        raise failure


def _lines(chunks: Iterable[bytes], largest: int) -> Iterator[bytes]:
    """Lines without their ends, which are LF, CR or CRLF. Of a line that the body's end cuts off, only data counts."""
    begun: list[bytes] = []
    size = 0
    first = True
    lf_belongs_to_cr = False
    failure: NetworkError | QueryTimeout | None = None
    try:
        for chunk in chunks:
            if not chunk:
                continue
            if lf_belongs_to_cr and chunk[:1] == b"\n":
                chunk = chunk[1:]
            lf_belongs_to_cr = False
            end = max(chunk.rfind(b"\n"), chunk.rfind(b"\r")) + 1
            if not end:
                begun.append(chunk)
                size += len(chunk)
                if size > largest:
                    raise _too_large(largest)
                continue
            begun.append(chunk[:end])
            lines = b"".join(begun).splitlines()
            if first:
                first = False
                if lines[0].startswith(_BOM):
                    lines[0] = lines[0][len(_BOM) :]
            lf_belongs_to_cr = chunk.endswith(b"\r")
            begun = [chunk[end:]]
            size = len(begun[0])
            yield from lines
    except (NetworkError, QueryTimeout) as error:
        failure = error
    rest = b"".join(begun)
    if first and rest.startswith(_BOM):
        rest = rest[len(_BOM) :]
    if rest.startswith((b"data:", b"error:")):
        yield rest
    if failure is not None:
        raise failure


def _too_large(largest: int) -> ModelError:
    return ModelError(f"An event of the answer's stream is larger than {largest >> 20} MB.", place="service")
