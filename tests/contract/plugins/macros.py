"""A plugin of small macros, one for each thing that a macro can do or get wrong."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.contract.plugins.writing import write_plugin

PLUGIN = "small"
LLM = """
    from dataiku.llm.python import BaseLLM

    class Model(BaseLLM):
        def process(self, query, settings, trace):
            return {"text": "hi"}
"""
HEAD = """
from dataiku.runnables import ResultTable, Runnable

class Small(Runnable):
"""
JSON = {"resultType": "JSON_OBJECT"}


def runnable(body: str, head: str = "") -> str:
    """The text of a runnable.py; `body` is indented into the class."""
    return textwrap.dedent(head) + HEAD + textwrap.indent(textwrap.dedent(body), "    ")


def write_macros(
    folder: Path,
    macros: Mapping[str, tuple[Mapping[str, Any], str]],
    files: Mapping[str, str] | None = None,
    **plugin: Any,
) -> Path:
    """`macros` maps an id to what its descriptor has beside the usual, and to its runnable.py."""
    texts = dict(files or {})
    for name, (described, code) in macros.items():
        usual = {"meta": {"label": name}, "impersonate": False, "permissions": [], "params": []}
        texts[f"python-runnables/{name}/runnable.json"] = json.dumps({**usual, **described})
        texts[f"python-runnables/{name}/runnable.py"] = code
    return write_plugin(folder, LLM, files=texts, **plugin)


def macro_id(name: str) -> str:
    return f"pyrunnable_{PLUGIN}_{name}"
