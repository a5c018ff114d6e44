"""Lines of containers' logs, as they may be shown: without credentials, and without those that may quote a request.

What model servers write about a request may quote it: vLLM logs prompts, uvicorn's debug output bodies.
"""

from __future__ import annotations

import re

from spcs_llm.server_text.foreign_text import plain
from spcs_llm.server_text.redaction import without_secrets

ABOUT_A_REQUEST = "(a line about a request)"
_QUOTES_A_REQUEST = re.compile(
    r"\b(?:prompts?|messages|inputs?|content|received request|generated|text)\b[\"']?\s*[:=]|received request",
    re.IGNORECASE,
)
_NAMES = r"authorization|(?:api|access|private|secret)[-_ ]?key|token|secret|passw(?:or)?d|pwd|passphrase|credentials?"
_VALUE = r"(?:\"[^\"]*\"|'[^']*'|\[[^\]]*\]|[^\s,;&}]+)"
# Credentials of others than this process. Each pattern keeps what stands in its first group.
_CREDENTIALS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        # API_KEY = …, also as the end of WANDB_API_KEY
        rf"(\b\w{{0,40}}?(?:{_NAMES})\b[\"']?\s*[:=]\s*)(?:(?:bearer|basic|snowflake token)\b\s*(?:=\s*)?)?{_VALUE}",
        # --api-key …
        rf"(--[\w-]{{0,40}}?(?:{_NAMES}|auth)\s+)(?!-){_VALUE}",
        r"(\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{8,}",
        r"(snowflake token=)\"?[^\s\"]+\"?",
        r"()\beyJ[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*){0,2}",
        r"()\b(?:hf_|sk-|nvapi-|gsk_|ghp_|github_pat_|glpat-|xox[bp]-|AKIA|ver:\d+-hint:)[A-Za-z0-9_-]{8,}",
        r"(://[^/\s:@]{1,64}:)[^/\s@]{1,256}(?=@)",
        r"()-----BEGIN [A-Z ]{0,40}-----.*",
    )
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
    text = plain(line, 4 * limit)
    for credential in _CREDENTIALS:
        text = credential.sub(r"\1…", text)
    text = without_secrets(text)
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"
