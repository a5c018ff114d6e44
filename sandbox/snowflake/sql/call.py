"""CALL of a function of the account: one row with its value."""

from __future__ import annotations

from sandbox.snowflake.sql.reader import Reader
from sandbox.snowflake.sql.results import Column, Result
from sandbox.snowflake.sql.run import Run
from sandbox.snowflake.sql.select import call_function
from sandbox.snowflake.sql.system import SYSTEM


def call(reader: Reader, run: Run) -> Result:
    token = reader.next
    if token.value not in SYSTEM and not any(reader.peek(i).text == "!" for i in range(1, 7)):
        raise run.missing("Unknown user-defined procedure", token.value)
    name = token.value if token.value in SYSTEM else "SPCS"
    return Result((Column(name),), ((call_function(reader, run),),))
