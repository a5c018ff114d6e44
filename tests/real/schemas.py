"""JSON schemas that answers of real models are held to."""

from __future__ import annotations

PLACE = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
