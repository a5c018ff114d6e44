"""Keeps credentials and users' texts out of what quotes a server that quotes them.

A server may quote as it likes: in capitals, with other blanks and punctuation, in other shapes of the same letters,
escaped as in JSON, URLs or HTML, in base64. So texts are compared *folded*: without case, accents, blanks, punctuation
and characters without a shape, whatever escapes there are undone.
What is short is the message. It is cut into pieces of 8 bytes, and these are looked for among the pieces of the
private texts, which takes milliseconds for a request as large as the ingress allows (see `tests/benchmarks`).
"""

from __future__ import annotations

import base64
import binascii
import html
import itertools
import json
import re
import sys
import threading
import unicodedata
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote

from spcs_llm.server_text.foreign_text import plain
from spcs_llm.server_text.redaction_words import API_NAMES, COMMON_WORDS

_MASK = "…"
_WINDOW = 8  # characters that a message and a private text may not share
_MOST_OF_MESSAGE = 1500
_WORK = 128 * 1024  # pieces of private texts that are looked up for one message, at most about so many
_SHORT = 4
_FEW_WORDS = 3
_PART_OF_SECRET = 12
_MIN_SECRET = 6
# Which kind of token it is: words of many messages.
_NO_CREDENTIAL = ("x-snowflake-authorization-token-type",)
_LONGEST_SECRET = 16_384  # characters of one that are looked for, and of all that are kept:
_MOST_OF_SECRETS = 2_000_000
_SETTINGS = ("temperature",)  # names of settings that could be words of a text: the others have an underscore
_QUOTES = "'\"`\u00b4\u2018\u2019\u201c\u201d\u00ab\u00bb"
_OWN_WORDS = ("type", "role", "name")
_HEAD_OF_IMAGE = 4096  # of a data URL: an error quotes its head, if anything
_NO_LETTERS = bytes(byte for byte in range(1, 128) if not chr(byte).isalnum())
_ASCII_LETTERS = frozenset(range(1, 128)) - frozenset(_NO_LETTERS)  # and digits
_NO_LETTERS_BEYOND_ASCII = re.compile(r"[^\w\x00]+")
_WORD = re.compile(r"[^\W_](?:[\w-]*[^\W_])?|\w+")
_ESCAPES = re.compile(
    r"\\{1,8}u[dD][89abAB][0-9a-fA-F]{2}\\{1,8}u[dD][c-fC-F][0-9a-fA-F]{2}"  # two that stand for one character
    r"|\\{1,8}u[0-9a-fA-F]{4}|%u[0-9a-fA-F]{4}|\\{1,8}U[0-9a-fA-F]{8}|(?:\\{1,8}x[0-9a-fA-F]{2}){1,12}|(?:\\{1,8}[0-3][0-7]{2}){1,12}|\\{1,8}[nrtbfv0]"
    r"|(?:%[0-9a-fA-F]{2}){1,12}|&#?[0-9a-zA-Z]{1,8};"
)
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{11,}")


# -- credentials --------------------------------------------------------------------------------------------


class SentSecrets:
    """The credentials that this process has sent last. Thread-safe.

    Args:
        kept: How many of them are kept, unless they are so long that all of them together are too long.
    """

    def __init__(self, kept: int = 1024) -> None:
        self._kept = kept
        self._lock = threading.Lock()
        self._secrets: OrderedDict[str, tuple[bytes, tuple[bytes, ...]]] = OrderedDict()
        self._headers: dict[str, str] = {}
        self._by_piece: dict[bytes, bytes] = {}
        self._length = 0

    def add(self, *secrets: str) -> None:
        """Notes credentials that are sent in a body, or to be sent in a header."""
        for secret in secrets:
            if secret:
                self._add(secret)

    def add_headers(self, headers: Mapping[str, str]) -> None:
        """Notes the credentials in a request's headers."""
        for name, value in headers.items():
            if name.lower() in _NO_CREDENTIAL:
                continue
            secret = self._headers.get(value)
            if secret is None:
                secret = _in_header(value)
                if len(self._headers) >= 2 * self._kept:
                    self._headers.clear()
                if len(value) <= _LONGEST_SECRET:
                    self._headers[value] = secret
            self._add(secret)

    def masked(self, text: str) -> str:
        """Masks in a text every credential, and every part of one that can be told to be one.

        Args:
            text: The text, which may have a credential in any form that servers write.

        Returns:
            The text with "…" in their places; the same text if there are none.
        """
        if not self._secrets:
            return text
        hidden = [False] * len(text)
        by_piece = self._by_piece
        for view in _views(text):
            for at in range(len(view.folded) - _WINDOW + 1):
                secret = by_piece.get(view.folded[at : at + _WINDOW])
                if secret is not None:
                    begin, end = _extended(view.folded, at, at + _WINDOW, secret)
                    if end - begin >= min(_PART_OF_SECRET, len(secret)):  # a word may be in both by chance
                        view.hide(hidden, begin, end)
        for short in list(self._secrets):
            if len(short) < 2 * _WINDOW:
                _hide_words(text, short, hidden)
        return _masked(text, hidden) if True in hidden else text

    def _add(self, secret: str) -> None:
        known, secret = self._secrets, secret[:_LONGEST_SECRET]
        if secret in known:
            try:
                known.move_to_end(secret)
            except KeyError:  # another thread has just given it up
                pass
            else:
                return
        folded = _folded(secret)
        # Of a long one every fourth piece is enough: one of them is in any part that is told to be one.
        step = 1 if len(folded) <= 4 * _WINDOW else _PART_OF_SECRET - _WINDOW
        pieces = tuple(folded[at : at + _WINDOW] for at in range(0, len(folded) - _WINDOW + 1, step))
        with self._lock:
            if secret not in known:
                self._length += len(secret)
            known[secret] = folded, pieces
            self._by_piece.update(dict.fromkeys(pieces, folded))
            while len(known) > self._kept or self._length > _MOST_OF_SECRETS:
                oldest, (_, dropped) = known.popitem(last=False)
                self._length -= len(oldest)
                for piece in dropped:
                    self._by_piece.pop(piece, None)


def _in_header(value: str) -> str:
    """The credential in a header's value: `Snowflake Token="..."`, `Bearer ...`, or the whole of it."""
    _, quote, rest = value.partition('Token="')
    if quote:
        return rest.rstrip('"')
    scheme, blank, rest = value.partition(" ")
    return rest.strip() if blank and scheme.isalpha() else value


SENT_SECRETS = SentSecrets()


def without_secrets(text: str) -> str:
    """`text` without any credential that this process has sent, however it is written."""
    return SENT_SECRETS.masked(text)


# -- users' texts -------------------------------------------------------------------------------------------


def without_private_text(message: str, payload: Any) -> str:
    """Masks in a message what it shares with the texts of a request.

    These are stretches of 8 characters or more, and short texts where they stand as a whole. Of a request of more than
    128 kB, stretches of fewer than 15 characters may stay.

    Texts are the strings below the payload's top level (messages, rows), and the names that users chose in schemas.
    Strings at its top level are parameters, such as the model's name, which an error may quote, except those that hold
    a text. Names of the API's own fields stay readable, and so does a single word of the kind that every error has.

    Args:
        message: What a server says. Only its first 1,500 characters are kept, as one line of visible characters: what
            would become readable only once others are taken out of it would not be found.
        payload: The request's JSON.

    Returns:
        The message, with "…" in the places of what it shares.
    """
    message = plain(message, _MOST_OF_MESSAGE)
    texts = _private_texts(payload)
    if not texts or not message:
        return message
    joined = "\0".join(texts)
    hidden = _shared(message, _views(message), _folded(joined))
    if len(joined) <= _WORK // 4:  # stretches of punctuation count as well where there is time for it
        also = _shared(message, [_raw(message)], joined.encode("utf-8", "surrogatepass"))
        hidden = [one or other for one, other in zip(hidden, also)]
    _hide_short_texts(message, texts, hidden)
    return _masked(message, hidden) if True in hidden else message


def _private_texts(payload: Any) -> list[str]:
    texts: list[str] = []
    if isinstance(payload, dict):
        for key, value in payload.items():
            if key in ("query", "prompt", "input") or not isinstance(value, str):
                users_choose = key in ("tools", "response_format", "messages", "params")
                _collect_texts(value, texts, keys=users_choose)
    return list(dict.fromkeys(texts))


def _collect_texts(value: Any, texts: list[str], *, keys: bool) -> None:
    """Collects all texts within a JSON value, without recursion.

    Args:
        value: The JSON value.
        texts: Takes the texts.
        keys: Whether users choose the names of fields there, too.
    """
    waiting: list[tuple[Any, str]] = [([value], "")]
    while waiting:
        holder, parent = waiting.pop()
        if isinstance(holder, dict):
            for key, item in holder.items():
                if isinstance(item, str):
                    if not (key in _OWN_WORDS and _is_the_apis(key, item, parent)):
                        texts.append(item[:_HEAD_OF_IMAGE] if item[:5] == "data:" else item)
                elif isinstance(item, (dict, list, tuple)) and key != "columns":  # the service's own names
                    waiting.append((item, str(key)))
                if keys and key not in API_NAMES:
                    texts.append(str(key))
        else:
            for item in holder:
                if isinstance(item, str):
                    texts.append(item[:_HEAD_OF_IMAGE] if item[:5] == "data:" else item)
                elif isinstance(item, (dict, list, tuple)):
                    waiting.append((item, parent))


def _is_the_apis(key: str, value: str, parent: str) -> bool:
    """Whether a text is one of the API's own words, or a name that an error about it must be able to say."""
    if key in ("type", "role"):
        return value in API_NAMES
    return key == "name" and parent in ("function", "json_schema", "tools", "tool_choice")


# -- where a message and other texts agree ------------------------------------------------------------------


@dataclass(frozen=True)
class _View:
    """A way to read a message.

    Attributes:
        folded: The message in this reading, as bytes.
        starts: For each byte of `folded`, where the characters of the message that it stands for begin.
        ends: For each byte of `folded`, where they end.
    """

    folded: bytes
    starts: Sequence[int]
    ends: Sequence[int] = field(repr=False)

    def hide(self, hidden: list[bool], begin: int, end: int) -> None:
        """Hides what some bytes stand for, and what is between them.

        Args:
            hidden: For each character of the message, whether it is hidden.
            begin: The first of the bytes.
            end: What follows the last of them.
        """
        start, stop = self.starts[begin], self.ends[end - 1]
        hidden[start:stop] = [True] * (stop - start)


def _folded(text: str) -> bytes:
    if not text.isascii():
        text = _NO_LETTERS_BEYOND_ASCII.sub("", unicodedata.normalize("NFKD", text))
    return text.casefold().encode("utf-8", "surrogatepass").translate(None, _NO_LETTERS)


def _views(message: str) -> list[_View]:
    """The message as it is, with its escapes undone, once and twice, and what its base64 says."""
    views = [_ascii_view(message) if message.isascii() else _view(_characters(message))]
    if _is_escaped(message):
        meant = [(said, start, end) for each, start, end in _unescaped(message) for said in each]
        views.append(_view(meant))
        text = "".join(said for said, _, _ in meant)
        # Twice, as a gateway does that quotes an address within another.
        if text != message and _is_escaped(text):
            twice = ((said, meant[start][1], meant[end - 1][2]) for said, start, end in _unescaped(text))
            views.append(_view(twice))
    for run in _BASE64.finditer(message):
        for offset in range(4):
            said = _folded(_decoded(run[0][offset:]))
            if len(said) >= _WINDOW:
                views.append(_View(said, [run.start()] * len(said), [run.end()] * len(said)))
    return views


def _characters(message: str) -> Iterator[tuple[str, int, int]]:
    return ((character, at, at + 1) for at, character in enumerate(message))


def _ascii_view(message: str) -> _View:
    """What `_view` makes of the characters, in a tenth of the time: each is folded to one byte or to none."""
    places = [at for at, byte in enumerate(message.encode()) if byte in _ASCII_LETTERS]
    return _View(_folded(message).replace(b"\0", b""), places, [place + 1 for place in places])


def _raw(message: str) -> _View:
    said, places = bytearray(), []
    for at, character in enumerate(message):
        encoded = character.encode("utf-8", "surrogatepass")
        said += encoded
        places += [at] * len(encoded)
    return _View(bytes(said), places, [place + 1 for place in places])


def _view(characters: Iterable[tuple[str, int, int]]) -> _View:
    said, starts, ends = bytearray(), [], []
    for character, start, end in characters:
        encoded = _folded(character)
        if encoded and encoded != b"\0":
            said += encoded
            starts += [start] * len(encoded)
            ends += [end] * len(encoded)
    return _View(bytes(said), starts, ends)


def _is_escaped(message: str) -> bool:
    return "\\" in message or "%" in message or "&" in message


def _unescaped(message: str) -> Iterator[tuple[str, int, int]]:
    done = 0
    for escape in _ESCAPES.finditer(message):
        for at in range(done, escape.start()):
            yield message[at], at, at + 1
        yield _meaning(escape[0]), escape.start(), escape.end()
        done = escape.end()
    for at in range(done, len(message)):
        yield message[at], at, at + 1


def _meaning(escape: str) -> str:
    if escape[:2] == "%u":  # as JavaScript and IIS write it
        return chr(int(escape[2:], 16))
    if escape[0] == "%":
        return unquote(escape, errors="replace")
    if escape[0] == "&":
        return html.unescape(escape)
    codes = [code for code in escape.split("\\") if code]
    if codes[0][0] not in "uUx0123" or len(codes[0]) == 1:
        return " "
    is_octal = codes[0].isdigit()  # as protocol buffers write text
    values = [int(code, 8) if is_octal else int(code[1:], 16) for code in codes]
    if is_octal or codes[0][0] == "x":
        try:  # a byte each, as Python writes bytes; or a character each, as it writes a text
            return bytes(values).decode()
        except UnicodeDecodeError:
            return bytes(values).decode("latin-1")
    if len(values) == 2:
        return chr(0x10000 + ((values[0] - 0xD800) << 10) + (values[1] - 0xDC00))
    return chr(values[0]) if values[0] <= sys.maxunicode else " "


def _decoded(run: str) -> str:
    whole = run[: len(run) // 4 * 4].replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(whole).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return ""


def _shared(message: str, views: Sequence[_View], private: bytes) -> list[bool]:
    """Finds what a message shares with private texts.

    Args:
        message: The message.
        views: The ways to read it.
        private: The texts, parted by zero bytes.

    Returns:
        For each character of the message, whether to hide it.
    """
    hidden = [False] * len(message)
    _hide_shared(views, private, hidden)
    if True in hidden:
        _keep_known_words(message, hidden)
    return hidden


def _hide_shared(views: Sequence[_View], private: bytes, hidden: list[bool]) -> None:
    wanted: dict[int, list[tuple[_View, int]]] = {}
    for view in views:
        for at in range(len(view.folded) - _WINDOW + 1):
            wanted.setdefault(_number(view.folded[at : at + _WINDOW]), []).append((view, at))
    if not wanted or len(private) < _WINDOW:
        return
    # The pieces at every place of the texts; of large texts, at every 2nd, 4th or 8th.
    step = 1
    while step < _WINDOW and len(private) > step * _WORK:
        step *= 2
    looked_for = set(wanted)
    found: set[int] = set()
    for shift in range(0, _WINDOW, step):
        length = (len(private) - shift) // _WINDOW * _WINDOW
        found |= looked_for.intersection(memoryview(private)[shift : shift + length].cast("Q"))
    begins: dict[int, set[int]] = {}
    for number in found:
        for view, at in wanted[number]:
            begins.setdefault(id(view), set()).add(at)
    for view in views:
        for begin, end in _runs(sorted(begins.get(id(view), ()))):
            if step > 1:
                begin, end = _extended(view.folded, begin, end, private)
            if len(set(view.starts[begin:end])) >= _WINDOW or view.ends[begin] - view.starts[begin] > _WINDOW:
                view.hide(hidden, begin, end)


def _number(piece: bytes) -> int:
    return int.from_bytes(piece, sys.byteorder)


def _runs(begins: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Stretches that pieces at these places cover without a gap."""
    begin = end = -1
    for at in begins:
        if at > end:
            if end >= 0:
                yield begin, end
            begin = at
        end = at + _WINDOW
    if end >= 0:
        yield begin, end


def _extended(said: bytes, begin: int, end: int, private: bytes) -> tuple[int, int]:
    """The stretch, and what is equal before its first and after its last piece."""
    first = private.find(said[begin:end])
    last = first + (end - begin) - _WINDOW
    if first < 0:
        first, last = private.find(said[begin : begin + _WINDOW]), private.find(said[end - _WINDOW : end])
    last += _WINDOW
    while begin > 0 and first > 0 and said[begin - 1] == private[first - 1]:
        begin, first = begin - 1, first - 1
    while end < len(said) and last < len(private) and said[end] == private[last]:
        end, last = end + 1, last + 1
    return begin, end


# -- words --------------------------------------------------------------------------------------------------


def _keep_known_words(message: str, hidden: list[bool]) -> None:
    """Shows names of the API's fields again, and stretches of nothing but a few words that errors are made of."""
    words = [word.span() for word in _WORD.finditer(message)]
    for start, end in list(_stretches(hidden)):
        inside = [
            (max(begin, start), min(stop, end), begin, stop)
            for begin, stop in words
            if begin < end and stop > start
        ]
        # A few letters of the words around may agree by chance.
        fringe = [
            (begin, stop)
            for begin, stop, *word in inside
            if [begin, stop] != word and stop - begin <= 3 and not _has_digit(message[begin:stop])
        ]
        core = [(begin, stop) for begin, stop, *_ in inside if (begin, stop) not in fringe]
        said = [message[begin:stop] for begin, stop in core]
        known = [word for word in said if word in API_NAMES]
        common = [word for word in said if word not in API_NAMES]
        if said and len(common) <= _FEW_WORDS and all(word.lower() in COMMON_WORDS for word in common):
            hidden[start:end] = [False] * (end - start)
            continue
        if core and fringe:
            hidden[start : core[0][0]] = [False] * (core[0][0] - start)
            hidden[core[-1][1] : end] = [False] * (end - core[-1][1])
        for begin, stop in core:
            if message[begin:stop] in known and (
                "_" in message[begin:stop] or message[begin:stop] in _SETTINGS
            ):
                hidden[begin:stop] = [False] * (stop - begin)


def _hide_short_texts(message: str, texts: Sequence[str], hidden: list[bool]) -> None:
    """Hides texts of fewer than 8 letters where they are quoted, and those with a digit wherever they stand."""
    short = {_folded(text) for text in texts if len(text) <= 2 * _WINDOW and 0 < _letters(text) < _WINDOW}
    if not short - {b""}:
        return
    words = [word.span() for word in _WORD.finditer(message)]
    for first, (start, _) in enumerate(words):
        for _, end in words[first : first + _WINDOW]:
            said = message[start:end]
            if _letters(said) >= _WINDOW:
                break
            if _folded(said) not in short or said in API_NAMES or said.lower() in COMMON_WORDS:
                continue
            if (len(said) >= _SHORT and _has_digit(said)) or _is_quoted(message, start, end):
                hidden[start:end] = [True] * (end - start)


def _is_quoted(message: str, start: int, end: int) -> bool:
    before, after = message[:start].rstrip()[-1:], message[end:].lstrip()[:1]
    return bool(before) and bool(after) and before in _QUOTES and after in _QUOTES


def _hide_words(text: str, secret: str, hidden: list[bool]) -> None:
    """Hides a short credential where it stands by itself, as it is or escaped."""
    if len(secret) < _MIN_SECRET:  # as short as a word: hiding it would spoil every other error
        return
    for form in {secret, quote(secret, safe=""), json.dumps(secret)[1:-1]}:
        at = text.find(form)
        while at >= 0:
            end = at + len(form)
            if not (text[at - 1 : at].isalnum() or text[end : end + 1].isalnum()):
                hidden[at:end] = [True] * len(form)
            at = text.find(form, end)


def _letters(text: str) -> int:
    return sum(map(str.isalnum, text))


def _has_digit(text: str) -> bool:
    return any(map(str.isdigit, text))


def _stretches(hidden: Sequence[bool]) -> Iterator[tuple[int, int]]:
    """Where a run of hidden characters begins and ends, one after the other."""
    start = 0
    for is_hidden, run in itertools.groupby(hidden):
        end = start + sum(1 for _ in run)
        if is_hidden:
            yield start, end
        start = end


def _masked(message: str, hidden: Sequence[bool]) -> str:
    parts, shown = [], 0
    for start, end in _stretches(hidden):
        parts += [message[shown:start], _MASK]
        shown = end
    return "".join(parts) + message[shown:]
