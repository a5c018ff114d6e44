"""Texts that somebody else wrote, made safe to stand in an error, a trace or a log line of ours.

A server chooses its messages, names and codes. A line end in one writes its own line into DSS's log, an escape
sequence acts on a terminal, a control for bidirectional text reorders what is read, and markup acts where an error
is shown in a page. Errors apply these functions when they are made, so that no place that shows one has to.
"""

from __future__ import annotations

import re
from typing import Any

MAX_TEXT = 500  # characters of a server's own words
MAX_NAME = 100  # of a name that a server gives: a model, a field
MAX_MESSAGE = 4000  # of an error's whole text: settings can have many complaints at once

_ESCAPE_SEQUENCE = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?)|\x9b[0-?]*[ -/]*[@-~]"
)
# C0 and C1 controls, line and paragraph separators: something was apart there.
_SEPARATORS = re.compile("[\\s\x00-\x1f\x7f-\x9f\u2028\u2029]+")
# Formats without a shape: soft hyphen, bidirectional controls, zero-width characters, tags; and halves of characters.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff9-\ufffb\ud800-\udfff\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_OPENS_MARKUP = re.compile(r"<(?=[A-Za-z/!?])")
_REQUEST_ID = re.compile(r"[A-Za-z0-9-]{1,64}")
_CODE = re.compile(r"[0-9]{1,6}")


def plain(value: Any, limit: int = MAX_TEXT) -> str:
    """Makes a value one line of visible characters.

    Args:
        value: A text, or what is written as one.
        limit: The most characters that it may have.

    Returns:
        The line. A text that is cut ends in an ellipsis.
    """
    text: str = value if isinstance(value, str) else str(value)
    if len(text) > 4 * limit:
        text = text[: 4 * limit]  # blanks and invisible characters are taken out of no more than this
    if not text.isprintable():
        text = _INVISIBLE.sub("", _ESCAPE_SEQUENCE.sub("", text))
    text = _SEPARATORS.sub(" ", text).strip()
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def without_markup(text: str) -> str:
    """The same text, in which nothing opens an element of HTML."""
    return _OPENS_MARKUP.sub("\u2039", text)


def request_id(value: Any) -> str | None:
    """An id as Snowflake's gateway writes it, or None for anything else."""
    return value if isinstance(value, str) and _REQUEST_ID.fullmatch(value) else None


def error_code(value: Any) -> str | None:
    """A numeric code of Snowflake's as text, or None for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value) if abs(value) < 10**6 else ""
    return value.strip() if isinstance(value, str) and _CODE.fullmatch(value.strip()) else None
