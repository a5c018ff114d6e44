"""Credentials that this process never sent, known only by their looks.

A gateway's error may quote the key for the server behind it; a container's log may hold any.
"""

from __future__ import annotations

import re

_KEYS = (
    r"(?:api|access|account|encryption|master|private|secret|signing|subscription)[-_ ]?key|client[-_ ]secret"
    r"|passw(?:or)?d|passphrase"
)
_NAMES = rf"authorization|{_KEYS}|token|secret|pwd|credentials?"
_VALUE = r"(?:\"[^\"]*\"|'[^']*'|\[[^\]]*\]|[^\s,;&}]+)"
_SCHEME = r"(?:(?:bearer|basic|snowflake token)\b\s*(?:=\s*)?)?"
# GitHub's documentation, "Supported secret scanning patterns", and those of the services themselves. Where words begin
# like a token, such as hf_transfer or asia-southeast1, its length tells it.
_BEGINNINGS = (
    r"hf_[A-Za-z0-9]{16,}|npm_[A-Za-z0-9]{30,}|r8_[A-Za-z0-9]{30,}|dapi[0-9a-f]{32}|pypi-AgE[A-Za-z0-9_-]{8,}"
    r"|(?-i:ASIA[A-Z0-9]{16,})|lsv2_(?:pt|sk)_[A-Za-z0-9_]{16,}|(?:csk|pplx)-[A-Za-z0-9]{16,}|ya29\.[A-Za-z0-9_-]{8,}"
    r"|(?:sk-|[sr]k_(?:live|test)_|nvapi-|gsk_|gh[oprsu]_|github_pat_|gl(?:pat|rt|dt|cbt)-|xox[abeprs]-|xapp-|xai-|AIza"
    r"|AKIA|dckr_(?:pat|oat)_|ver:\d+-hint:)[A-Za-z0-9_-]{8,}"
)
# What stands in the first group of each pattern is kept.
_BY_THEIR_FORM = (
    r"(snowflake token=)\"?[^\s\"]+\"?",
    r"()\beyJ[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*){0,2}",
    rf"()\b(?:{_BEGINNINGS})",
    r"(://[^/\s:@]{0,64}:)[^/\s@]{1,256}(?=@)",  # the user of Redis has no name
    r"(\b(?:set-)?cookie[\"']?\s*[:=]\s*[\"']?)[^\s=;,\"']{1,100}=[^\"'\r\n]+",
    r"(\bsignature=)[A-Za-z0-9%+/=_-]{16,}",
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
    # -u user:password; of a container, it is a user's number with a group's
    r"(\s(?:-u|--user)[ =][^\s:]{1,64}:)(?!\d+\b)\S+",
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
