"""The clauses that SHOW statements share: LIKE, IN, STARTS WITH, LIMIT.

Snowflake docs, SHOW: at most 10,000 rows, even if a filter would match more; LIKE does not distinguish case, STARTS
WITH does; LIMIT FROM begins after the first name that matches. The text of LIMIT 0: frostlake's recordings of an
account.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from sandbox.snowflake.sql.errors import SqlError, no_such_scope
from sandbox.snowflake.sql.reader import Reader
from sandbox.snowflake.sql.run import Run

T = TypeVar("T")
MOST_ROWS = 10_000


@dataclass(frozen=True)
class Scope:
    """Where to look. database and schema: None for any; pool: of the services; stated: whether there was an IN."""

    database: str | None = None
    schema: str | None = None
    pool: str | None = None
    stated: bool = False

    def holds(self, database: str, schema: str) -> bool:
        return self.database in (None, database) and self.schema in (None, schema)


@dataclass(frozen=True)
class Filters:
    """like: a pattern with % and _; limit: of rows, after the first name that matches `after`."""

    like: str | None = None
    scope: Scope = Scope()
    starts_with: str | None = None
    limit: int | None = None
    after: str | None = None

    def apply(self, found: Sequence[T], name: Callable[[T], str]) -> list[T]:
        """What the clauses let through of objects that are sorted already."""
        kept = [item for item in found if self._matches(name(item))]
        if self.after is not None:
            first = next((i for i, item in enumerate(kept) if name(item).startswith(self.after)), None)
            kept = kept[first + 1 :] if first is not None else [i for i in kept if name(i) > self.after]
        return kept[: min(self.limit or MOST_ROWS, MOST_ROWS)]

    def _matches(self, name: str) -> bool:
        if self.like is not None and not like_pattern(self.like).fullmatch(name):
            return False
        return self.starts_with is None or name.startswith(self.starts_with)


@functools.lru_cache(256)
def like_pattern(pattern: str, *, exact_case: bool = False) -> re.Pattern[str]:
    """A LIKE pattern as a regular expression; a backslash takes the wildcard's meaning away."""
    pieces = re.findall(r"\\.|.", pattern, re.DOTALL)
    made = "".join({"%": ".*", "_": "."}.get(p) or re.escape(p[1:] if len(p) == 2 else p) for p in pieces)
    return re.compile(made, re.DOTALL if exact_case else re.DOTALL | re.IGNORECASE)


def read_filters(reader: Reader, run: Run, *, scoped: bool = True, pools: bool = False) -> Filters:
    """The clauses in the documented order, each optional. pools: whether IN COMPUTE POOL is allowed."""
    like = reader.string() if reader.take("LIKE") else None
    scope = Scope(run.session.database if scoped else None)
    if scoped and reader.take("IN"):
        scope = _scope(reader, run, pools)
    starts_with = reader.string() if reader.take("STARTS", "WITH") else None
    limit = after = None
    if reader.take("LIMIT"):
        limit = reader.integer()
        if limit == 0:
            text = 'SQL compilation error:\npage size "0" must be greater than 0 in limit clause'
            raise SqlError("001015", "42000", text)
        after = reader.string() if reader.take("FROM") else None
    return Filters(like, scope, starts_with, limit, after)


def _scope(reader: Reader, run: Run, pools: bool) -> Scope:
    if reader.take("ACCOUNT"):
        return Scope(stated=True)
    if pools and reader.take("COMPUTE", "POOL"):
        return Scope(pool=run.pool(reader.qualified()).name, stated=True)
    if reader.take("DATABASE"):
        named = (
            reader.identifier() if reader.next.kind in ("word", "quoted") and not _clause(reader) else None
        )
        return _checked(run, named or run.session.database, None)
    if reader.take("SCHEMA") and (reader.next.kind == "end" or _clause(reader)):
        return _checked(run, run.session.database, run.session.schema or "PUBLIC")
    parts = reader.qualified()
    if len(parts) > 2:
        reader.fail()
    return _checked(run, parts[0] if len(parts) == 2 else run.session.database, parts[-1])


def _clause(reader: Reader) -> bool:
    return reader.sees("STARTS", "WITH") or reader.sees("LIMIT") or reader.sees("OF", "TYPE")


def _checked(run: Run, database: str | None, schema: str | None) -> Scope:
    found = run.catalog.databases.get(database or "")
    if database is None or found is None or not run.may.sees(found.securable, ("USAGE",)):
        raise no_such_scope()
    if schema is not None:
        inner = found.schemas.get(schema)
        if inner is None or not run.may.sees(inner.securable, ("USAGE",)):
            raise no_such_scope()
    return Scope(database, schema, stated=True)
