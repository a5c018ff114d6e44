"""A request before it is sent."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from spcs_llm.whole_characters import whole_characters

_MAX_DIMENSIONS = 65_536
_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")  # in JSON, where a backslash before it may be an escaped one
_BYTES_A_NUMBER = 25  # as Python and JSON write a float at its longest, with what parts it from the next


def max_body_of_vectors(rows: int) -> int:
    """How many bytes an answer of `rows` embeddings may have: far more than any model's, and never more than 256 MB."""
    return min(256 << 20, (1 << 20) + rows * _MAX_DIMENSIONS * _BYTES_A_NUMBER)


@dataclass(frozen=True)
class HttpRequest:
    """A request to an endpoint.

    Attributes:
        path: The path below the endpoint's URL.
        payload: The body, as JSON.
        method: The HTTP method.
        weight: How many queries share it.
        step: Its name in the trace, where it is not the endpoint's usual one.
        max_body: How many bytes its answer may have, where that is not what `exchange` has; more is a ModelError.
        body: The body already encoded, instead of `payload`.
        headers: Headers besides those of the token and the body.
        is_probe: Whether it asks if there is such a path: a 404 is its answer, and no reason to doubt the token.
        path_of_retries: The path of further attempts, where they must say that they are such.
    """

    path: str
    payload: Any | None = field(default=None, repr=False)
    method: str = "POST"
    weight: int = 1
    body: bytes | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    step: str | None = None
    max_body: int | None = None
    is_probe: bool = False
    path_of_retries: str | None = None

    def again(self) -> HttpRequest:
        """The request for a further attempt."""
        return self if self.path_of_retries is None else replace(self, path=self.path_of_retries)

    def encoded(self) -> bytes | None:
        """The body, in UTF-8. What servers fail over or end a text at, half a character and NUL, is U+FFFD in it.

        A number that JSON cannot hold, such as an infinite limit in a schema, is left out.

        Returns:
            The body; None if there is none.
        """
        if self.body is not None or self.payload is None:
            return self.body
        try:
            text = _written(self.payload)
        except ValueError:
            text = _written(_finite(self.payload))
        if "\\u0000" in text:
            text = _NUL.sub("\\1\N{REPLACEMENT CHARACTER}", text)
        try:
            return text.encode()
        except UnicodeEncodeError:
            return whole_characters(text).encode()


def _written(payload: Any) -> str:
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items() if not _is_infinite(item)}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value if not _is_infinite(item)]
    return value


def _is_infinite(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)
