"""Lines of containers' logs, as they may be shown: without credentials, and without those that may quote a request.

What model servers write about a request may quote it: vLLM logs prompts, uvicorn's debug output bodies.
"""

from __future__ import annotations

import re

from spcs_llm.server_text.foreign_text import plain
from spcs_llm.server_text.others_credentials import without_likely_credentials
from spcs_llm.server_text.redaction import without_secrets

ABOUT_A_REQUEST = "(a line about a request)"
_QUOTES_A_REQUEST = re.compile(
    r"\b(?:prompts?|messages|inputs?|content|received request|generated|text)\b[\"']?\s*[:=]|received request",
    re.IGNORECASE,
)


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
