"""Names for annotations; plain dictionaries at run time."""

from __future__ import annotations

from typing import Any

SingleCompletionQuery = dict[str, Any]
CompletionSettings = dict[str, Any]
CompletionResponse = dict[str, Any]
