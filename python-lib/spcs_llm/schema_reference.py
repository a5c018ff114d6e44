"""References within a JSON schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def referred(reference: Any, root: Any) -> Any:
    """The part of a JSON schema that a reference names.

    Args:
        reference: A `$ref`, such as `#/$defs/Kind`.
        root: The schema that it is in.

    Returns:
        The part; None if there is no such part, or if the reference leads out of the schema.
    """
    start, *names = reference.split("/") if isinstance(reference, str) else ("",)
    part = root if start == "#" else None
    for name in names:
        part = part.get(name.replace("~1", "/").replace("~0", "~")) if isinstance(part, Mapping) else None
    return part
