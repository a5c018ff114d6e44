"""Users' texts on their way into Snowflake: as hexadecimal digits, so that a statement never holds any of them.

A prompt may hold quotes, `$$`, `${…}` (which DSS expands in SQL), `{{`, backslashes or NUL. Digits hold none of these,
and Snowflake makes the text of them again (Snowflake documentation, "HEX_DECODE_STRING"). A statement of Snowflake's
has at most 1 MB, so that a long text is put together of several.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from spcs_llm.whole_characters import whole_characters

MAX_BYTES = 100_000  # of text in one statement: twice as many digits


def fill_statements(table: str, texts: Mapping[str, str]) -> Iterator[str]:
    """The statements that put texts into the columns of a table of one row, each shorter than Snowflake's limit.

    Args:
        table: The table, as a statement has it. Its row is there, and the columns hold empty texts.
        texts: The text for each column. Columns are named by the caller, and need no quotes.

    Yields:
        Statements to run in this order.
    """
    assignments: dict[str, str] = {}
    size = 0
    for column, text in texts.items():
        for part in _parts(whole_characters(text).encode()):
            if assignments and (column in assignments or size + len(part) > MAX_BYTES):
                yield _update(table, assignments)
                assignments, size = {}, 0
            assignments[column] = f"{column} || HEX_DECODE_STRING('{part.hex()}')"
            size += len(part)
    if assignments:
        yield _update(table, assignments)


def _update(table: str, assignments: Mapping[str, str]) -> str:
    return f"UPDATE {table} SET " + ", ".join(f"{column} = {value}" for column, value in assignments.items())


def _parts(data: bytes) -> Iterator[bytes]:
    """Pieces that end where a character does."""
    at = 0
    while at < len(data):
        end = min(len(data), at + MAX_BYTES)
        while end < len(data) and data[end] & 0xC0 == 0x80:
            end -= 1
        yield data[at:end]
        at = end
