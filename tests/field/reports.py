"""The reports of this folder as Python sees them. README.md describes the format.

Unknown keys are refused: a misspelt one would be an expectation that nobody checks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
FOLDER = Path(__file__).parent / "reports"
UNARY, STREAMED = "unary", "streamed"

_REPORT = {
    "source", "report", "capability", "form", "preset", "query", "server", "account", "right", "queries", "ways",
    "secrets", "peers", "without", "known_fault",
}  # fmt: skip
_REPLY = {
    "when", "times", "status", "headers", "json", "text", "events", "sse", "answer", "message", "finish", "usage",
    "raw", "cut", "done", "vectors",
}  # fmt: skip
_CONDITION = {"path", "has", "lacks", "says", "silent"}
_RIGHT = {"answer", "error", "either", "requests", "asked", "account_asked", UNARY, STREAMED}
_ANSWER = {
    "text", "text_has", "text_lacks", "calls", "finish", "usage", "reasoning", "log_probs", "ignored", "ignores",
    "vectors", "ranking", "textless_chunks",
}  # fmt: skip
_ERROR = {"place", "says", "says_one_of", "never", "after"}
_QUERY = {
    "prompt", "messages", "settings", "texts", "text", "image", "question", "documents", "right", "way", "user",
}  # fmt: skip


class BadReport(Exception):
    """A file that is not of the format."""


@dataclass(frozen=True)
class Query:
    """One question to the model: `asked` as the file has it, and what is right, by way."""

    asked: Mapping[str, Any]
    right: Mapping[str, Any]

    def right_when(self, way: str) -> Mapping[str, Any]:
        """What is right in this way: what is so in both, and what only in this."""
        common = {key: value for key, value in self.right.items() if key not in (UNARY, STREAMED)}
        return {**common, **(self.right.get(way) or {})}


@dataclass(frozen=True)
class Report:
    """One file: what was reported, the server of the reporter, and what is right."""

    path: Path
    kind: str
    sources: tuple[str, ...]
    report: str
    capability: str
    form: Mapping[str, Any]
    preset: Mapping[str, Any]
    queries: tuple[Query, ...]
    server: tuple[Mapping[str, Any], ...]
    account: tuple[Mapping[str, Any], ...]
    ways: tuple[str, ...]
    secrets: tuple[str, ...]
    without: tuple[str, ...]
    peers: bool
    known_faults: frozenset[str] = field(default=frozenset())

    @property
    def name(self) -> str:
        return f"{self.kind}/{self.path.stem}"


@cache
def all_reports() -> tuple[Report, ...]:
    """Every report of the folder, by kind and name. Raises BadReport."""
    return tuple(read_report(path) for path in sorted(FOLDER.glob("*/*.yaml")))


def read_report(path: Path) -> Report:
    """The report in a file. Raises BadReport that says what is wrong with it."""
    try:
        raw = yaml.load(path.read_text("utf-8"), _LOADER)
        return _report(path, raw)
    except (BadReport, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise BadReport(f"{path.parent.name}/{path.name}: {type(error).__name__}: {error}") from error


def _report(path: Path, raw: Any) -> Report:
    _only(raw, _REPORT, "the report")
    server, account = (tuple(_reply(reply) for reply in raw.get(key) or ()) for key in ("server", "account"))
    asked = raw.get("queries") or [{**_written(raw["query"]), "right": raw["right"]}]
    capability = raw.get("capability") or "CHAT"
    ways = tuple(raw.get("ways") or ([UNARY, STREAMED] if capability == "CHAT" else [UNARY]))
    faults = frozenset(raw.get("known_fault") or ())
    if not faults <= set(ways):
        raise BadReport(f"known_fault names a way that is not replayed: {sorted(faults)}")
    return Report(
        path=path,
        kind=path.parent.name,
        sources=tuple(raw["source"]),
        report=raw["report"],
        capability=capability,
        form=raw.get("form") or {},
        preset=raw.get("preset") or {},
        queries=tuple(_query(query) for query in asked),
        server=server,
        account=account,
        ways=ways,
        secrets=tuple(raw.get("secrets") or ()),
        without=tuple(raw.get("without") or ()),
        peers=bool(raw.get("peers", True)),
        known_faults=faults,
    )


def _written(query: Any) -> Any:
    """A query, which may be JSON in a text: YAML has no half of a character."""
    return json.loads(query) if isinstance(query, str) else query


def _query(raw: Any) -> Query:
    _only(raw, _QUERY, "a query")
    query = Query({key: value for key, value in raw.items() if key != "right"}, raw["right"])
    _right(query.right)
    return query


def _right(right: Any) -> None:
    _only(right, _RIGHT, "right")
    if not {"answer", "error", "either", UNARY, STREAMED} & set(right):
        raise BadReport("right expects neither an answer nor an error")
    for way in (UNARY, STREAMED):
        if way in right:
            _right(right[way])
    for alternative in right.get("either") or ():
        _right(alternative)
    if "answer" in right:
        _only(right["answer"], _ANSWER, "right.answer")
    if "error" in right:
        _only(right["error"], _ERROR, "right.error")
    for key in ("asked", "account_asked"):
        for condition in (right.get(key) or {}).values():
            _condition(condition, key)


def _reply(raw: Any) -> Mapping[str, Any]:
    _only(raw, _REPLY, "a reply of the server")
    _condition(raw.get("when") or {}, "when")
    return dict(raw)


def _condition(condition: Any, what: str) -> None:
    _only(condition, _CONDITION, what)
    for key in _CONDITION - {"path"}:
        if not isinstance(
            condition.get(key) or [], list
        ):  # of a text, each letter would be one that all requests meet
            raise BadReport(f"{what}.{key} is not a list")


def _only(mapping: Any, known: set[str], what: str) -> None:
    if not isinstance(mapping, Mapping):
        raise BadReport(f"{what} is no mapping")
    unknown = {str(key) for key in mapping} - known
    if unknown:
        raise BadReport(f"{what} has unknown keys: {', '.join(sorted(unknown))}")
