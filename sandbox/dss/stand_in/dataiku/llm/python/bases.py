"""The classes a custom LLM component derives from.

DSS creates the instance without arguments, then calls `set_config`. Plugins define `__init__` without
calling the base's, so everything a base offers is a class-level default.
"""

from __future__ import annotations

import logging
from typing import Any


class RetryableException(Exception):
    """Asks the LLM Mesh to try the query again; any other exception fails the query."""


class _Component:
    config: Any = None
    plugin_config: Any = None
    logger = logging.getLogger("dataiku.llm.python")

    def set_config(self, config: dict[str, Any], plugin_config: dict[str, Any]) -> None:
        self.config = config
        self.plugin_config = plugin_config


class BaseLLM(_Component):
    """Chat or completion. One of the four methods is enough; the LLM Mesh emulates the others."""

    def process(self, query: Any, settings: Any, trace: Any) -> Any:
        raise NotImplementedError

    async def aprocess(self, query: Any, settings: Any, trace: Any) -> Any:
        raise NotImplementedError

    def process_stream(self, query: Any, settings: Any, trace: Any) -> Any:
        raise NotImplementedError

    async def aprocess_stream(self, query: Any, settings: Any, trace: Any) -> Any:
        raise NotImplementedError


class BaseEmbeddingModel(_Component):
    def process(self, query: Any, settings: Any, trace: Any) -> Any:
        raise NotImplementedError


class BaseRerankingModel(_Component):
    def process(self, query: Any, settings: Any, trace: Any) -> Any:
        raise NotImplementedError
