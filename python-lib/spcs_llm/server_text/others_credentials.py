"""Credentials that this process never sent, known only by their looks.

A gateway's error may quote the key for the server behind it; a container's log may hold any.
"""

from __future__ import annotations

import re

_KEYS = r"(?:api|access|private|secret|subscription)[-_ ]?key|client[-_ ]secret|passw(?:or)?d|passphrase"
_NAMES = rf"authorization|{_KEYS}|token|secret|pwd|credentials?"
_VALUE = r"(?:\"[^\"]*\"|'[^']*'|\[[^\]]*\]|[^\s,;&}]+)"
_SCHEME = r"(?:(?:bearer|basic|snowflake token)\b\s*(?:=\s*)?)?"
# What stands in the first group of each pattern is kept.
_BY_THEIR_FORM = (
    r"(snowflake token=)\"?[^\s\"]+\"?",
    r"()\beyJ[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*){0,2}",
    r"()\b(?:hf_|sk-|nvapi-|gsk_|ghp_|github_pat_|glpat-|xox[bp]-|xai-|AIza|AKIA|ver:\d+-hint:)[A-Za-z0-9_-]{8,}",
    r"(://[^/\s:@]{1,64}:)[^/\s@]{1,256}(?=@)",
    r"()-----BEGIN [A-Z ]{0,40}-----.*",
    # of an address
    r"([?&][\w-]{0,40}(?:key|token|sig|signature|credential|secret|password)=)[^\s&'\"]{6,}",
)


def _patterns(*patterns: str) -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(pattern, re.IGNORECASE) for pattern in (*patterns, *_BY_THEIR_FORM))


_LIKELY = _patterns(
    # API_KEY = …, also as the end of WANDB_API_KEY
    rf"(\b\w{{0,40}}?(?:{_NAMES})\b[\"']?\s*[:=]\s*){_SCHEME}{_VALUE}",
    # --api-key …
    rf"(--[\w-]{{0,40}}?(?:{_NAMES}|auth)\s+)(?!-){_VALUE}",
    r"(\b(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{8,}",
)
# A reason has sentences, in which the words behind "token:" or "API key:" are its own.
_CERTAIN = _patterns(
    rf"(\b\w{{0,40}}?(?:authorization|{_KEYS}|token|secret)[\"']\s*[:=]\s*)(?:\"[^\"]{{4,}}\"|'[^']{{4,}}')",
    rf"(\b\w{{0,40}}?(?:{_KEYS})[\"']?\s*[:=]\s*)(?=[^\s,;&}}]{{0,256}}\d)[^\s,;&}}]{{8,}}",
    r"(\b(?:bearer|basic)\s+)(?=[A-Za-z0-9._~+/=-]{0,256}\d)[A-Za-z0-9._~+/=-]{16,}",
)


def without_likely_credentials(text: str) -> str:
    """Masks in a line of a log all that looks like a credential, and a few words that only stand where one could."""
    return _masked(text, _LIKELY)


def without_certain_credentials(text: str) -> str:
    """Masks in a server's reason what is certainly a credential."""
    return _masked(text, _CERTAIN)


def _masked(text: str, patterns: tuple[re.Pattern[str], ...]) -> str:
    for pattern in patterns:
        text = pattern.sub(r"\1…", text)
    return text
