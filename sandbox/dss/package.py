"""Puts the stand-in for the `dataiku` package in place, as one DSS version has it, and takes it away."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from sandbox.dss.release import Release

FOLDER = Path(__file__).parent / "stand_in"


class DataikuPackage:
    """`dataiku` in `sys.modules` between `__init__` and `close`; one at a time in an interpreter.

    A real `dataiku`, should there be one, is put aside and restored.
    """

    def __init__(self, release: Release, fetch_oauth_token: Callable[[str], Mapping[str, Any]]) -> None:
        if str(FOLDER) in sys.path:
            raise RuntimeError("another stand-in DSS is open in this interpreter: close it first")
        self._set_aside = _take_modules()
        sys.path.insert(0, str(FOLDER))
        bases = importlib.import_module("dataiku.llm.python.bases")
        core_plugin = importlib.import_module("dataiku.core.plugin")
        core_plugin.OAuthCredentials._fetch = staticmethod(fetch_oauth_token)
        self.llm_base: type = bases.BaseLLM
        self.embedding_base: type = bases.BaseEmbeddingModel
        self.reranking_base: type | None = bases.BaseRerankingModel if release.has_reranking else None
        self.retryable: type[Exception] | None = (
            bases.RetryableException if release.has_retryable_exception else None
        )
        self.newer = _remove_what_is_newer(
            release, importlib.import_module("dataiku.llm.python"), core_plugin
        )

    def close(self) -> None:
        sys.path.remove(str(FOLDER))
        _take_modules()
        sys.modules.update(self._set_aside)


def _remove_what_is_newer(
    release: Release, llm_python: ModuleType, core_plugin: ModuleType
) -> frozenset[str]:
    """Returns the names that a plugin for a newer DSS would import in vain."""
    newer = {
        "BaseRerankingModel": (llm_python, release.has_reranking),
        "RetryableException": (llm_python, release.has_retryable_exception),
        "BaseEmbeddingModel": (llm_python, release.has_embedding_base_in_package),
        "OAuthCredentials": (core_plugin, release.has_fresh_oauth_credentials),
    }
    missing = {name: module for name, (module, is_there) in newer.items() if not is_there}
    for name, module in missing.items():
        delattr(module, name)
    return frozenset(missing)


def _take_modules() -> dict[str, ModuleType]:
    names = [name for name in sys.modules if name.partition(".")[0] == "dataiku"]
    return {name: sys.modules.pop(name) for name in names}
