"""Server-sent events, out of a body's bytes as they arrive.

By the event stream format of the WHATWG HTML standard (§9.2.6), with five exceptions. Blanks, byte order marks and
NULs before the name of a field are passed over: the field would be an unknown one, and its text lost. Until late 2025
llama.cpp's server told a failure in mid-stream as a field `error`, where others send an event of that name. Until 2026
Dynamo sent an event of that name whose reason was a comment, and which had no data. Some gateways hand on the body of
a failure as it is, a line that begins with `{"error"` or several from a bare `{` on, or end with a bare `[DONE]`. And
an event that the end of the body leaves without its blank line is not thrown away: several gateways and servers never
send that line after their last event, which is the one with the finish reason or the error.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from spcs_llm.errors import ModelError, NetworkError, QueryTimeout
from spcs_llm.http.json_body import is_dense

MAX_EVENT = 16 * 1024 * 1024
_BOM = b"\xef\xbb\xbf"
_BARE = (b'{"error"', b"[DONE]")  # lines that are events without saying so
# Before the name of a field: of writers that begin each event as if it were the first.
_LITTER = _BOM + b"\0 \t"


class Event(NamedTuple):
    """`name` is empty where the stream gives none; `data` is still encoded: json.loads takes it as it is."""

    name: str
    data: bytes


class LastEvent(Event):
    """An event that the end of the body left without its blank line: its data may be cut short."""


def events(chunks: Iterable[bytes], *, largest: int = MAX_EVENT) -> Iterator[Event]:
    """The events of a stream whose bytes may be split anywhere.

    If the body ends without a blank line, what there is of an event is a LastEvent, also where the connection stops
    before its end: it comes before the NetworkError or QueryTimeout that `chunks` raises.

    Args:
        chunks: The body's bytes as they come.
        largest: How many bytes an event's data may have.

    Yields:
        The events.

    Raises:
        ModelError: If an event is larger than that, or consists of more parts than JSON of its size can have.
    """
    lines, begun = _Lines(largest), _BegunEvent(largest)
    failure: NetworkError | QueryTimeout | None = None
    try:
        for chunk in chunks:
            if begun.is_empty and lines.is_event(chunk):
                yield Event("", chunk[6:-2])
                continue
            for line in lines.of(chunk):
                event = begun.with_line(line)
                if event is not None:
                    yield event
    except (NetworkError, QueryTimeout) as error:
        failure = error
    rest = lines.rest()
    if (begun.is_bare and rest) or rest.startswith((b"data:", b"error:", *_BARE)):
        event = begun.with_line(rest)
        if event is not None:
            yield event
    if begun.has_something:
        yield LastEvent(begun.name, begun.joined())
    if failure is not None:
        raise failure


class _BegunEvent:
    """An event whose blank line has not come yet."""

    def __init__(self, largest: int) -> None:
        self._largest = largest
        self._clear()

    def _clear(self) -> None:
        self.name = ""
        self.data: list[bytes] = []
        self._comments: list[bytes] = []
        self._size = 0
        self.is_bare = False

    @property
    def is_empty(self) -> bool:
        return not self.data and not self.name

    @property
    def has_something(self) -> bool:
        """Whether it has data, or is an error that has comments instead."""
        return bool(self.data or self._comments)

    def joined(self) -> bytes:
        """Its data so far."""
        data = b"\n".join(self.data or self._comments)
        if is_dense(data):
            raise ModelError(
                "An event of the answer's stream has more parts than it can have.", place="service"
            )
        return data

    def _ended(self) -> Event | None:
        event = Event(self.name, self.joined()) if self.has_something else None
        self._clear()
        return event

    def with_line(self, line: bytes) -> Event | None:
        """Takes in a line; the event if that was its blank one, or begins another."""
        if not line:
            return self._ended()
        if self.is_bare:
            self._add(line, len(line))
            return None
        is_bare = line.rstrip() == b"{"
        if is_bare or line.startswith(_BARE):
            event = self._ended()
            self.name, self.is_bare = "error" if line[:1] == b"{" else "", is_bare
            self._add(line, len(line))
            return event
        field, _, value = line.partition(b":")
        field = field.lstrip(_LITTER)
        if value[:1] == b" ":
            value = value[1:]
        if field == b"event":
            self.name = value.decode("utf-8", "replace")
        elif field in (b"data", b"error"):
            self.name = "error" if field == b"error" else self.name
            self._add(value, len(line))
        elif not field and self.name == "error":
            self._add(value, len(line), self._comments)
        return None

    def _add(self, value: bytes, size: int, to: list[bytes] | None = None) -> None:
        (self.data if to is None else to).append(value)
        self._size += size
        if self._size > self._largest:
            raise _too_large(self._largest)


class _Lines:
    """Lines without their ends, which are LF, CR or CRLF, out of bytes that are cut anywhere."""

    def __init__(self, largest: int) -> None:
        self._largest = largest
        self._begun: list[bytes] = []
        self._size = 0
        self._is_first = True
        self._lf_belongs_to_cr = False

    def is_event(self, chunk: bytes) -> bool:
        """Whether a chunk is one event with data and nothing else: most are, and need not be cut into lines."""
        if self._size or self._lf_belongs_to_cr or chunk[:6] != b"data: " or chunk[-2:] != b"\n\n":
            return False
        if chunk.find(b"\n") != len(chunk) - 2 or b"\r" in chunk or len(chunk) > self._largest:
            return False
        self._is_first = False
        return True

    def of(self, chunk: bytes) -> list[bytes]:
        """The lines that end in a chunk."""
        if self._lf_belongs_to_cr and chunk[:1] == b"\n":
            chunk = chunk[1:]
        self._lf_belongs_to_cr = False
        if not chunk:
            return []
        end = max(chunk.rfind(b"\n"), chunk.rfind(b"\r")) + 1
        self._lf_belongs_to_cr = chunk.endswith(b"\r")
        if not end:
            self._begun.append(chunk)
            self._size += len(chunk)
            if self._size > self._largest:
                raise _too_large(self._largest)
            return []
        lines = b"".join([*self._begun, chunk[:end]]).splitlines()
        if self._is_first:
            self._is_first = False
            lines[0] = _without_bom(lines[0])
        rest = chunk[end:]
        self._begun, self._size = [rest] if rest else [], len(rest)
        return lines

    def rest(self) -> bytes:
        """What came of a line whose end did not come."""
        rest = b"".join(self._begun)
        return _without_bom(rest) if self._is_first else rest


def _without_bom(line: bytes) -> bytes:
    return line[len(_BOM) :] if line.startswith(_BOM) else line


def _too_large(largest: int) -> ModelError:
    return ModelError(f"An event of the answer's stream is larger than {largest >> 20} MB.", place="service")
