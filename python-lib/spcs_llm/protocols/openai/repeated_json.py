"""JSON that an engine begins, and then writes from its beginning to its end."""

from __future__ import annotations

import re
from typing import Final

from spcs_llm.tool_arguments import is_whole

_FIRST_KEY: Final = re.compile(r'\{\s*("[^"\\]{0,200}")\s*:')


def written_again(text: str) -> str:
    """Finds the object that a text has from its beginning to its end, behind the beginning only.

    Args:
        text: A text that is not a whole object.

    Returns:
        The whole object at the end of the text, if nothing but that object's beginning comes before, blanks aside; the
        text otherwise.
    """
    first = _FIRST_KEY.match(text.lstrip())
    beginnings = re.finditer(r"\{\s*" + re.escape(first[1]) + r"\s*:", text) if first else ()
    at = max((found.start() for found in beginnings), default=0)
    before, rest = text[:at], text[at:]
    if before.rstrip().endswith((":", "[")):
        return text  # a value of the object may begin here, which then lacks its own end
    is_beginning = not before.isspace() and "".join(rest.split()).startswith("".join(before.split()))
    return rest if before and is_beginning and not is_whole(before) and is_whole(rest) else text
