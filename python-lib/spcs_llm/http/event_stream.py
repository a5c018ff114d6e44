"""Server-sent events, out of a body's bytes as they arrive.

By the event stream format of the WHATWG HTML standard (§9.2.6), with one field more: until late 2025
llama.cpp's server told a failure in mid-stream as a field `error`, where others send an event of that name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from spcs_llm.errors import ModelError

MAX_EVENT = 16 * 1024 * 1024
_BOM = b"\xef\xbb\xbf"


class Event(NamedTuple):
    """`name` is empty where the stream gives none; `data` is still encoded: json.loads takes it as it is."""

    name: str
    data: bytes


def events(chunks: Iterable[bytes], *, largest: int = MAX_EVENT) -> Iterator[Event]:
    """The events of a stream whose bytes may be split anywhere. One that the end cuts off is left out.

    largest: bytes of an event's data; more raise ModelError.
    """
    name, data, size = "", [], 0
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


def _lines(chunks: Iterable[bytes], largest: int) -> Iterator[bytes]:
    """Whole lines without their ends, which are LF, CR or CRLF."""
    begun: list[bytes] = []
    size = 0
    first = True
    lf_belongs_to_cr = False
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


def _too_large(largest: int) -> ModelError:
    return ModelError(f"An event of the answer's stream is larger than {largest >> 20} MB.", place="service")
