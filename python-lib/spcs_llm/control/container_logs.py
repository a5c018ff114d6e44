"""Lines of containers' logs, as they may be shown: without credentials, and without those that may quote a request.

What model servers write about a request may quote it: vLLM logs prompts, uvicorn's debug output bodies.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence

from spcs_llm.server_text.foreign_text import plain
from spcs_llm.server_text.others_credentials import without_likely_credentials
from spcs_llm.server_text.redaction import without_secrets

ABOUT_A_REQUEST = "(a line about a request)"
_QUOTES_A_REQUEST = re.compile(
    r"\b(?:prompts?|messages|inputs?|content|received request|generated|text)\b[\"']?\s*[:=]|received request",
    re.IGNORECASE,
)

_KEY_BEGINS = re.compile(r"-----BEGIN [A-Z ]{0,40}-----")
_KEY_ENDS = re.compile(r"-----END [A-Z ]{0,40}-----")
_IN_A_KEY = re.compile(r"(?:^|\s)[A-Za-z0-9+/]{16,}={0,2}$|(?:Proc-Type|DEK-Info): ")


def shown_lines(lines: Iterable[str], limit: int = 300) -> list[str]:
    """Lines that follow each other, as `shown_line` makes each of them safe, and without keys that take several.

    Args:
        lines: The lines, as Snowflake returns them.
        limit: The most characters to show of each.

    Returns:
        As many lines. Those of a key are "…".
    """
    lines = list(lines)
    of_keys = set(_of_keys(lines))
    return ["…" if at in of_keys else shown_line(line, limit) for at, line in enumerate(lines)]


def _of_keys(lines: Sequence[str]) -> Iterator[int]:
    """Which lines belong to keys. The first or the last line of a key may have been cut off, or never come."""
    begin = None
    for at, line in enumerate(lines):
        if _KEY_BEGINS.search(line):
            yield from (at, *_run(lines, range(at + 1, len(lines))))
            begin = None if _KEY_ENDS.search(line) else at
        elif _KEY_ENDS.search(line):
            yield from (
                range(begin, at) if begin is not None else (at - 1, *_run(lines, range(at - 2, -1, -1)))
            )
            yield at
            begin = None


def _run(lines: Sequence[str], places: Iterable[int]) -> Iterator[int]:
    return itertools.takewhile(lambda at: _IN_A_KEY.search(lines[at].rstrip()), places)


def shown_line(line: str, limit: int = 300) -> str:
    """A line that is safe to show.

    Args:
        line: The line, as Snowflake returns it.
        limit: The most characters to show.

    Returns:
        One line of visible characters, in which "…" stands for what looks like a credential.
    """
    if _QUOTES_A_REQUEST.search(line):
        return ABOUT_A_REQUEST
    text = without_secrets(without_likely_credentials(plain(line, 4 * limit)))
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"
