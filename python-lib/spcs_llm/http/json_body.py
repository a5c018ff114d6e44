"""The JSON of a response, read within bounds: a few bytes of JSON can stand for much memory."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from typing import Any

from spcs_llm.errors import ModelError

MAX_ELEMENTS = 8_000_000
MAX_CONTAINERS = 500_000
_SMALL = 1 << 20
_MAX_DIGITS = 4300
# JSON whose first member is there, or a line of an event stream.
_PLAIN = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:\{\s*[\"}]|\[\s*[\[{\"\]0-9-]|(?:data|event|id|retry|error)?:)")
_LEAST_BYTES_EACH = 5  # of a list, object or pair in an honest answer: in log probabilities they have eight


def begins_as_answer(body: bytes) -> bool:
    """Whether a body begins as JSON or an event stream does, whatever its headers say of it."""
    return _PLAIN.match(body) is not None


def refuse_html(headers: Mapping[str, str], body: bytes) -> None:
    """Checks that an answer is not a web page: whatever its status, that is not a model's answer.

    What begins as an answer is one: Flask and Quart declare every text as HTML unless a server's author says otherwise
    (vllm-project/vllm#46482).

    Args:
        headers: The answer's headers.
        body: The beginning of its body.

    Raises:
        ModelError: If it is a web page.
    """
    declared = "html" in headers.get("Content-Type", "").lower() and not begins_as_answer(body)
    if declared or body[:64].lstrip().lower().startswith((b"<!doctype", b"<html")):
        raise ModelError(
            "A web page came instead of a model's answer.",
            "Check that 'LLM endpoint URL' is the model's own endpoint, and not that of a user interface. If it is, a"
            " proxy or firewall may be answering instead.",
            place="service",
        )


def parse_json(body: bytes) -> Any:
    """Parses JSON.

    Args:
        body: UTF-8 text.

    Returns:
        Its value.

    Raises:
        ModelError: If it is not JSON, or too large; it says what is there instead, without quoting it.
    """
    if len(body) > _SMALL and _is_costly(body):
        raise ModelError("The service's JSON has more parts than an answer can have.", place="service")
    try:
        return _loads(body)
    except UnicodeDecodeError:
        problem = "text that is not UTF-8"
    except RecursionError:
        problem = "JSON nested too deeply"
    except ValueError:
        problem = "no valid JSON" if body.strip() else "an empty body"
    raise ModelError(
        f"The service answered with {problem} ({len(body)} bytes).",
        "Check 'Service protocol' and the service's logs: SYSTEM$GET_SERVICE_LOGS.",
        place="service",
    )


def is_dense(body: bytes) -> bool:
    """Whether JSON has that many small parts that they would take many times its size in memory.

    Args:
        body: The JSON. What is small enough is never dense.

    Returns:
        Whether to refuse it. An empty object of seven bytes, `{"":0},`, takes 240 bytes in memory.
    """
    return len(body) > _SMALL and _containers(body) > len(body) // _LEAST_BYTES_EACH


def _is_costly(body: bytes) -> bool:
    """An empty list takes two bytes here and 64 in memory, a number 32, a key with its value more than 100."""
    return _containers(body) > MAX_CONTAINERS or body.count(b",") > MAX_ELEMENTS


def _containers(body: bytes) -> int:
    return body.count(b"[") + body.count(b"{") + body.count(b":")


def _short_int(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError("a number of too many digits")
    return int(digits)


def _loads(body: bytes) -> Any:
    # Not strict: some servers put texts together by hand, with tabs and escape sequences in them as they are.
    # Reading a number of a million digits takes minutes where Python has no limit of its own (before 3.9.14, 3.10.7).
    if len(body) > _MAX_DIGITS and not hasattr(sys, "get_int_max_str_digits"):
        return json.loads(body, strict=False, parse_int=_short_int)
    return json.loads(body, strict=False)
