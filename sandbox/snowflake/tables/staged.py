"""Files of a stage as rows of a query: `FROM @stage/path (PATTERN => '…')`.

Snowflake documentation, "Querying data in staged files". Only Parquet is read, from stages whose own format it is.
"""

from __future__ import annotations

from sqlglot import exp

from sandbox.snowflake.sql.reader import Reader
from sandbox.snowflake.sql.run import Run
from sandbox.snowflake.sql.stages import matching, stage_path
from sandbox.snowflake.sql.tokens import tokens_of
from sandbox.snowflake.tables.dialect import Raw, unknown

_NO_ROWS = 'SELECT CAST(NULL AS JSON) AS "$1" WHERE FALSE'


def is_staged(table: exp.Table) -> bool:
    """Whether a FROM names a stage."""
    return isinstance(table.this, exp.Var) and str(table.this.this).startswith("@")


def staged_rows(table: exp.Table, run: Run) -> exp.Expression:
    """The subquery that reads the files, each of whose rows is `$1`. Raises `SqlError`."""
    stage, below = stage_path(Reader(tokens_of(str(table.this.this))), run)
    run.require(stage.securable, "stage", stage.full_name, "READ")
    if table.args.get("format") is not None or stage.file_format != "PARQUET":
        raise unknown("a file format that is not the stage's own Parquet")
    pattern = table.args.get("pattern")
    files = matching(stage, below, None if pattern is None else pattern.name)
    reads = [
        f'SELECT to_json(f) AS "$1" FROM read_parquet({_literal(str(path))}) AS f' for path in files.values()
    ]
    alias = table.args.get("alias") or exp.TableAlias(this=exp.to_identifier("staged", quoted=True))
    text = (" UNION ALL ".join(reads) or _NO_ROWS).replace("{", "{{").replace("}", "}}")
    return exp.Subquery(this=Raw(this=text, expressions=[]), alias=alias)


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
