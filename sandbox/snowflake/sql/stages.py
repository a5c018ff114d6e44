"""Stages and their files.

Syntax, columns and privileges: Snowflake documentation, CREATE STAGE, LIST, REMOVE, SHOW STAGES.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from sandbox.snowflake.catalog import qualified
from sandbox.snowflake.catalog.objects import Stage
from sandbox.snowflake.sql.errors import SqlError
from sandbox.snowflake.sql.models import visible
from sandbox.snowflake.sql.reader import Reader
from sandbox.snowflake.sql.results import Result, columns, done, listing
from sandbox.snowflake.sql.run import STAGE_PRIVILEGES, Run, instant

STAGES = columns(
    "created_on timestamp_ltz", "name", "database_name", "schema_name", "url", "has_credentials",
    "has_encryption_key", "owner", "comment null", "region null", "type", "cloud null", "notification_channel null",
    "storage_integration null", "endpoint null", "owner_role_type", "directory_enabled",
)  # fmt: skip
FILES = columns("name", "size fixed", "md5", "last_modified")
REMOVED = columns("name", "result")
_ENCRYPTION = ("SNOWFLAKE_FULL", "SNOWFLAKE_SSE")


def create_stage(reader: Reader, run: Run, *, replace: bool) -> Result:
    """CREATE [OR REPLACE] STAGE, read after those words."""
    if_not_exists = reader.take("IF", "NOT", "EXISTS")
    key = run.full(reader.qualified(), "CREATE STAGE")
    settings: dict[str, str] = {}
    while reader.next.kind == "word":
        name = reader.one_of("ENCRYPTION", "FILE_FORMAT")
        reader.expect("=", "(", "TYPE", "=")
        settings[name.lower()] = (
            reader.string() if reader.next.kind == "string" else reader.identifier()
        ).upper()
        reader.expect(")")
    reader.end()
    if settings.get("encryption", _ENCRYPTION[0]) not in _ENCRYPTION:
        raise SqlError("001011", "22023", f"Invalid encryption type {settings['encryption']}.")
    run.require_in_schema(key, "CREATE STAGE")
    known = run.catalog.stages.get(key)
    if known is not None and if_not_exists:
        return done(f"{key[2]} already exists, statement succeeded.")
    if known is not None and not replace:
        raise SqlError(
            "002002", "42710", f"SQL compilation error:\nObject '{qualified(*key)}' already exists."
        )
    if known is not None:
        known.remove()
    run.catalog.add_stage(key, run.session.role, **settings)
    return done(f"Stage area {key[2]} successfully created.")


def drop_stage(reader: Reader, run: Run) -> Result:
    if_exists = reader.take("IF", "EXISTS")
    parts = reader.qualified()
    reader.end()
    key = run.full(parts, "DROP")
    if if_exists and key not in run.catalog.stages:
        return done(f"Drop statement executed successfully ({parts[-1]} already dropped).")
    stage = run.stage(parts)
    run.require(stage.securable, "stage", stage.full_name)
    run.catalog.stages.pop(key).remove()
    run.catalog.grants.revoke_all(stage.securable)
    return done(f"{stage.name} successfully dropped.")


def show_stages(reader: Reader, run: Run) -> Result:
    rows = [
        [
            instant(s.created_on), s.name, s.database, s.schema, "", "N", "N", s.owner, None, None, "INTERNAL", None,
            None, None, None, "ROLE", "N",
        ]
        for s in visible(reader, run, run.catalog.stages, STAGE_PRIVILEGES)
    ]  # fmt: skip
    return listing(STAGES, rows)


def list_files(reader: Reader, run: Run) -> Result:
    """Names begin with the stage's name in lower case, as for a named internal stage."""
    stage, below = stage_path(reader, run)
    pattern = _pattern(reader)
    rows = [
        [f"{stage.name.lower()}/{name}", path.stat().st_size, _digest(path), "Thu, 26 Nov 2026 10:00:00 GMT"]
        for name, path in matching(stage, below, pattern).items()
    ]
    run.require(stage.securable, "stage", stage.full_name, "READ")
    return listing(FILES, rows)


def remove_files(reader: Reader, run: Run) -> Result:
    stage, below = stage_path(reader, run)
    pattern = _pattern(reader)
    run.require(stage.securable, "stage", stage.full_name, "WRITE")
    found = matching(stage, below, pattern)
    for path in found.values():
        path.unlink()
    return listing(REMOVED, [[f"{stage.name.lower()}/{name}", "removed"] for name in found])


def stage_path(reader: Reader, run: Run) -> tuple[Stage, str]:
    """`@stage[/path]`: the stage, which the role must see, and the beginning of its files' paths."""
    reader.expect("@")
    stage = run.stage(reader.qualified())
    below = ""
    while reader.next.kind != "end" and not reader.sees("PATTERN"):
        below += reader.advance().text
    return stage, below.lstrip("/")


def matching(stage: Stage, below: str, pattern: str | None) -> Mapping[str, Path]:
    """The files below a path that a regular expression matches as a whole."""
    return {
        name: path
        for name, path in stage.files(below).items()
        if pattern is None or re.fullmatch(pattern, name) is not None
    }


def _pattern(reader: Reader) -> str | None:
    if not reader.take("PATTERN"):
        reader.end()
        return None
    reader.expect("=")
    pattern = reader.string()
    reader.end()
    return pattern


def _digest(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
