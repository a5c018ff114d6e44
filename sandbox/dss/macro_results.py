"""What `run` returned, as the public API hands it out; a return that does not fit the `resultType` is a breach."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sandbox.dss.checks import ContractError, require
from sandbox.dss.macro_descriptor import Macro

COLUMN_TYPES = frozenset({"STRING", "STRING_LIST"})


@dataclass(frozen=True)
class MacroResult:
    """The body of `GET .../result/<run>`, and its type."""

    body: bytes
    content_type: str


def result_of(macro: Macro, written: Mapping[str, Any]) -> MacroResult:
    """`written` is what the kernel says of the return value. Raises ContractError."""
    kind, value = written["kind"], written.get("value")
    if macro.result_type == "NONE":
        return MacroResult(b"", "text/plain")
    if macro.result_type == "RESULT_TABLE":
        _require_kind(macro, kind, "table", "a ResultTable")
        return MacroResult(json.dumps(_table(value)).encode(), "application/json")
    if macro.result_type == "FOLDER_FILE":
        good = kind == "texts" and isinstance(value, list) and len(value) == 2
        require(good, "result-fits-its-type", f"run returned {kind}, not (folder id, path)")
        return MacroResult(json.dumps(value).encode(), "application/json")
    _require_kind(macro, kind, "text", "a string")
    assert isinstance(value, str)
    if macro.result_type == "JSON_OBJECT":
        _check_json_text(value)
    return MacroResult(value.encode(), _content_type(macro))


def _require_kind(macro: Macro, kind: str, wanted: str, what: str) -> None:
    found = f"run returned {kind}; {macro.result_type} needs {what}"
    require(kind == wanted, "result-fits-its-type", found)


def _table(table: Any) -> dict[str, Any]:
    columns, records = table["columns"], table["records"]
    require(columns, "table-has-columns", "a table without columns")
    for column in columns:
        good = isinstance(column["id"], str) and isinstance(column["label"], str) and column["id"]
        require(good, "column-has-a-name", f"add_column({column['id']!r}, {column['label']!r}, ...)")
        require(column["type"] in COLUMN_TYPES, "column-type", f"{column['id']} is {column['type']!r}")
    ids = [column["id"] for column in columns]
    require(len(set(ids)) == len(ids), "column-has-a-name", f"a column is there twice: {ids}")
    for record in records:
        found = f"a record of {len(record)} cells for {len(columns)} columns"
        require(len(record) == len(columns), "record-fits-columns", found)
        for column, cell in zip(columns, record):
            _check_cell(column, cell)
    names = [{"name": column["id"], "label": column["label"], "type": column["type"]} for column in columns]
    return {"name": table["name"], "columns": names, "records": records}


def _check_cell(column: Mapping[str, str], cell: Any) -> None:
    """Some plugins hand over numbers; the careful ones make text of them."""
    if column["type"] == "STRING":
        good = cell is None or isinstance(cell, (str, int, float))
    else:
        good = isinstance(cell, list) and all(isinstance(entry, str) for entry in cell)
    require(
        good, "cell-fits-its-column", f"{column['id']} is {column['type']}, a cell is {type(cell).__name__}"
    )


def _check_json_text(value: str) -> None:
    try:
        json.loads(value)
    except ValueError as error:
        raise ContractError("result-fits-its-type", f"JSON_OBJECT needs the text of JSON: {error}") from None


def _content_type(macro: Macro) -> str:
    if macro.result_type == "FILE":
        return str(macro.raw.get("mimeType") or "application/octet-stream")
    return {"HTML": "text/html", "JSON_OBJECT": "application/json"}.get(macro.result_type, "text/plain")
