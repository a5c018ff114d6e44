"""By which statuses a path is missing, and whether such an error has another reason, which the server names."""

from __future__ import annotations

import re
from typing import Final

from spcs_llm.errors import SpcsError
from spcs_llm.server_text.refusal_hints import says_other_kind

# HTTP statuses by which servers say that they have no such path.
NO_SUCH_PATH: Final = (404, 405, 501)

_ABOUT_MODEL: Final = re.compile(
    r"\b(model|adapter)\b.{0,100}\b(not (found|exist)|does ?n.t exist|unknown)|\b(no|unknown) models?\b",
    re.IGNORECASE,
)
_ABOUT_PATH: Final = re.compile(
    r"not found|no such|not allowed|\b(path|route|url|uri|endpoint|resource|method|handler)\b|cannot (get|post)",
    re.IGNORECASE,
)
_SAYS_NO_MORE: Final = re.compile(r"(\W|not[ _]?implemented|error|http|\d{3})*", re.IGNORECASE)
_LONGEST_REASON: Final = 1000


def names_its_reason(error: SpcsError) -> bool:
    """Decides whether a server says what it does not have, other than the path.

    Some answer 404 for a model that they do not serve, and 501 for a feature: the path is there.

    Args:
        error: An error whose HTTP status is one of `NO_SUCH_PATH`.

    Returns:
        True if the path is there by what the server says.
    """
    reason = error.quotation[:_LONGEST_REASON]
    if says_other_kind(reason):
        return True
    if error.status == 404:
        return _ABOUT_MODEL.search(reason) is not None
    return _ABOUT_PATH.search(reason) is None and _SAYS_NO_MORE.fullmatch(reason) is None
