"""The columns of the input table, and the text that a cell of each type becomes in a prompt.

The text does not depend on the session's formats: NULL is an empty text, dates and times are ISO 8601, arrays and
objects are JSON. Types: Snowflake documentation, "INFORMATION_SCHEMA.COLUMNS" and "Summary of data types".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from spcs_llm.control import cells
from spcs_llm.control.identifiers import QualifiedName, literal, quoted
from spcs_llm.control.session import Row

_TIMESTAMP = 'YYYY-MM-DD"T"HH24:MI:SS.FF{digits}'
_FORMATS = {
    "DATE": "YYYY-MM-DD",
    "TIME": "HH24:MI:SS.FF{digits}",
    "TIMESTAMP_NTZ": _TIMESTAMP,
    "TIMESTAMP_LTZ": _TIMESTAMP + "TZH:TZM",
    "TIMESTAMP_TZ": _TIMESTAMP + "TZH:TZM",
}
_TEXTS = ("TEXT", "VARCHAR", "STRING", "CHAR")
_DIGITS = 3  # of a second
_DIGITS_OF_KEYS = 9  # of a second: all that Snowflake keeps
_BY_CAST = ("NUMBER", "FLOAT", "DECFLOAT", "BOOLEAN", "VARIANT", "UUID")
_AS_JSON = ("OBJECT", "ARRAY")
# What has to be JSON in a column of text, and how: Snowflake documentation, "Data type conversion", "Structured data
# types", "Vector data types" and "ST_ASGEOJSON".
_JSON_TEXTS = {
    **dict.fromkeys((*_AS_JSON, "VARIANT"), "TO_JSON({})"),
    "MAP": "TO_JSON({}::OBJECT)",
    "VECTOR": "TO_JSON({}::ARRAY)",
    **dict.fromkeys(("GEOGRAPHY", "GEOMETRY"), "TO_JSON(ST_ASGEOJSON({}))"),
}


@dataclass(frozen=True)
class InputColumn:
    """A column of the input table.

    Attributes:
        name: The name, as the table has it.
        type: Snowflake's type, such as TEXT or TIMESTAMP_NTZ.
    """

    name: str
    type: str

    @property
    def has_text(self) -> bool:
        """Whether its cells can stand in a prompt or in a key."""
        known = self.type in (*_TEXTS, *_BY_CAST, *_AS_JSON, *_FORMATS, "BINARY")
        return known or self.type.startswith("INTERVAL")  # of any fields, such as INTERVAL YEAR TO MONTH

    def sql(self, table: str) -> str:
        """The column as a statement has it."""
        return f"{table}.{quoted(self.name)}"

    def text(self, table: str) -> str:
        """The expression for a cell's text in a prompt, which is never NULL."""
        return self._never_null(self._written(table, _DIGITS))

    def key_text(self, table: str) -> str:
        """The expression for a text that differs wherever two cells do, which is never NULL."""
        column = self.sql(table)
        if self.type == "FLOAT":
            return self._never_null(f"TO_VARCHAR({column}, 'TME')")  # by itself, it has ten digits
        if self.type == "VARIANT":
            return self._never_null(f"TO_JSON({column})")
        return self._never_null(self._written(table, _DIGITS_OF_KEYS))

    def _written(self, table: str, digits: int) -> str:
        column = self.sql(table)
        if self.type in _FORMATS:
            return f"TO_VARCHAR({column}, '{_FORMATS[self.type].format(digits=digits)}')"
        if self.type in _AS_JSON:
            return f"TO_JSON({column})"
        if self.type == "BINARY":
            return f"HEX_ENCODE({column})"
        if self.type == "VARIANT":
            return f"TO_VARCHAR(STRIP_NULL_VALUE({column}))"  # null of JSON would be the word
        # Of a text, to leave out its collation: two texts whose collations differ cannot be joined.
        return f"TO_VARCHAR({column})"

    @staticmethod
    def _never_null(text: str) -> str:
        return f"COALESCE({text}, '')"

    def in_text_column(self, cell: str) -> str:
        """The expression for a cell where its column is one of text.

        Args:
            cell: The expression for the cell, of the column's type.

        Returns:
            JSON for what Snowflake does not write into such a column by itself.
        """
        return _JSON_TEXTS.get(self.type, "{}").format(cell)


def columns_statement(table: QualifiedName) -> str:
    """The statement that lists the columns of a table with their types."""
    return (
        f'SELECT COLUMN_NAME AS "name", DATA_TYPE AS "type" FROM {quoted(table.database)}.INFORMATION_SCHEMA.COLUMNS '
        f"WHERE TABLE_SCHEMA = {literal(table.schema)} AND TABLE_NAME = {literal(table.name)} ORDER BY ORDINAL_POSITION"
    )


def read_columns(rows: Iterable[Row]) -> list[InputColumn]:
    """Reads the rows of `columns_statement`."""
    return [
        InputColumn(name, (cells.text(row, "type") or "").upper())
        for row in rows
        if (name := row.get("name")) is not None
    ]


def key_text(columns: Iterable[InputColumn], table: str) -> str:
    """The expression for a text that differs wherever the cells of one of these columns differ.

    Args:
        columns: The key columns.
        table: The alias of the table.

    Returns:
        An expression of type VARCHAR: each cell's text behind its length.
    """
    texts = [column.key_text(table) for column in columns]
    return " || ".join(f"LENGTH({text}) || ':' || {text}" for text in texts)
