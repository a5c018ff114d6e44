"""Snowflake's SQL as duckdb's, by a list of what is known. VARIANT, OBJECT and ARRAY are JSON.

Meanings: Snowflake documentation, the page of each function. sqlglot parses; it also translates by itself, but drops
what it does not know with a warning only, so that here every node is either known or refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.normalize_identifiers import normalize_identifiers

from sandbox.snowflake.sql.errors import SqlError, syntax_error

# What both mean alike.
ALIKE: tuple[type[exp.Expression], ...] = (
    exp.Select, exp.Insert, exp.Update, exp.Delete, exp.Create, exp.Drop, exp.Schema, exp.Table, exp.TableAlias,
    exp.Identifier, exp.Column, exp.Alias, exp.Star, exp.Literal, exp.Null, exp.Boolean, exp.From, exp.Join, exp.Where,
    exp.Group, exp.Having, exp.Order, exp.Ordered, exp.Limit, exp.Qualify, exp.Subquery, exp.Exists, exp.Paren, exp.And,
    exp.Or, exp.Not, exp.EQ, exp.NEQ, exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Is, exp.In, exp.Between, exp.Add, exp.Sub,
    exp.Mul, exp.Neg, exp.DPipe, exp.Case, exp.If, exp.Coalesce, exp.Count, exp.CountIf, exp.Distinct, exp.Sum, exp.Min,
    exp.Max, exp.RowNumber, exp.Window, exp.Length, exp.ColumnDef, exp.Union, exp.Values,
    exp.Tuple, exp.HexDecodeString, exp.With, exp.CTE, exp.Anonymous, exp.Avg, exp.Lower, exp.Upper,
)  # fmt: skip
_DATES = {
    "YYYY-MM-DD": "%Y-%m-%d",
    "HH24:MI:SS.FF3": "%H:%M:%S.%g",
    "HH24:MI:SS.FF9": "%H:%M:%S.%n",
    'YYYY-MM-DD"T"HH24:MI:SS.FF3': "%Y-%m-%dT%H:%M:%S.%g",
    'YYYY-MM-DD"T"HH24:MI:SS.FF9': "%Y-%m-%dT%H:%M:%S.%n",
    'YYYY-MM-DD"T"HH24:MI:SS.FF3TZH:TZM': "%Y-%m-%dT%H:%M:%S.%g+00:00",
    'YYYY-MM-DD"T"HH24:MI:SS.FF9TZH:TZM': "%Y-%m-%dT%H:%M:%S.%n+00:00",
}
_TYPES = {
    "VARCHAR": "VARCHAR", "TEXT": "VARCHAR", "DOUBLE": "DOUBLE", "FLOAT": "DOUBLE", "BOOLEAN": "BOOLEAN",
    "DATE": "DATE", "TIME": "TIME", "TIMESTAMP": "TIMESTAMP", "TIMESTAMPNTZ": "TIMESTAMP",
    "TIMESTAMPLTZ": "TIMESTAMPTZ",
    "VARIANT": "JSON", "OBJECT": "JSON", "ARRAY": "JSON", "BINARY": "BLOB", "VARBINARY": "BLOB",
    "UUID": "UUID", "INT": "DECIMAL(38, 0)",    "BIGINT": "DECIMAL(38, 0)",
}  # fmt: skip
_KINDS = {
    "NULL": "NULL_VALUE", "UBIGINT": "INTEGER", "BIGINT": "INTEGER", "HUGEINT": "INTEGER", "DOUBLE": "DECIMAL",
    "VARCHAR": "VARCHAR", "BOOLEAN": "BOOLEAN", "ARRAY": "ARRAY", "OBJECT": "OBJECT",
}  # fmt: skip

# Written in duckdb's SQL, and found by name.
MACROS = (
    # A number below ten has ten digits: Snowflake's FLOAT as text, as mlorek/frostlake has measured it.
    "CREATE MACRO sf_float(t) AS CASE WHEN abs(CAST(t AS DOUBLE)) < 10 THEN format('{:.10g}', CAST(t AS DOUBLE)) "
    "ELSE regexp_replace(t, '\\.0$', '') END",
    "CREATE MACRO sf_text(x) AS CASE typeof(x) WHEN 'JSON' THEN json_extract_string(CAST(x AS VARCHAR), '$') "
    "WHEN 'DOUBLE' THEN sf_float(CAST(x AS VARCHAR)) ELSE CAST(x AS VARCHAR) END",
    "CREATE MACRO sf_parse(x) AS CASE WHEN x IS NULL OR trim(x) = '' THEN NULL ELSE CAST(x AS JSON) END",
    "CREATE MACRO sf_try_parse(x) AS CASE WHEN x IS NULL OR trim(x) = '' OR NOT json_valid(x) THEN NULL "
    "ELSE CAST(x AS JSON) END",
    "CREATE MACRO sf_typeof(x) AS CASE WHEN json_type(x) = 'DOUBLE' AND "
    "regexp_full_match(CAST(x AS VARCHAR), '-?[0-9]+') THEN 'INTEGER' ELSE CASE json_type(x) "
    + " ".join(f"WHEN '{theirs}' THEN '{ours}'" for theirs, ours in _KINDS.items())
    + " ELSE NULL END END",
    "CREATE MACRO sf_get(x, key) AS json_extract(x, '/' || replace(replace(key, '~', '~0'), '/', '~1'))",
    "CREATE MACRO sf_append(a, x) AS CASE WHEN json_array_length(a) = 0 THEN json_array(x) "
    "ELSE CAST(left(CAST(a AS VARCHAR), -1) || ',' || CAST(to_json(x) AS VARCHAR) || ']' AS JSON) END",
    "CREATE MACRO sf_object(x) AS json_merge_patch(CAST('{}' AS JSON), x)",
    "CREATE MACRO sf_hash(x) AS CAST('0x' || right(md5(x), 16) AS UBIGINT)",
)


# sqlglot takes some names of methods, such as ENCODE, for functions of SQL with rules of their own.
_METHODS = re.compile(
    r"""'(?:[^'\\]|\\.|'')*'|"(?:[^"]|"")*"(?!\s*!)|!\s*(?P<name>[A-Za-z_][\w$]*)\s*\(""", re.DOTALL
)


METHOD = "sf_method_"


def _marked_method(piece: re.Match[str]) -> str:
    return f"!{METHOD}{piece['name'].upper()}(" if piece["name"] else piece[0]


def parse(text: str) -> exp.Expression:
    """One statement; unquoted names in capitals. Raises `SqlError`."""
    return parse_to_read(text).copy()


@lru_cache(maxsize=16)
def parse_to_read(text: str) -> exp.Expression:
    """The same, for who changes nothing in it: a statement is looked at before it is run."""
    try:
        (tree,) = sqlglot.parse(_METHODS.sub(_marked_method, text), dialect="snowflake")
    except (SqlglotError, ValueError):
        raise syntax_error(1, 0, text.split(None, 1)[0] if text.split() else "<EOF>") from None
    if tree is None:
        raise syntax_error(1, 0, "<EOF>")
    return normalize_identifiers(tree, dialect="snowflake")  # type: ignore[return-value]


def unknown(what: str) -> SqlError:
    """The stand-in's own refusal: Snowflake may know this very well."""
    return SqlError("000002", "0A000", f"Unsupported feature '{what}' (of this stand-in).")


def duckdb_sql(tree: exp.Expression) -> str:
    """A statement for duckdb, into which the tree is changed. Raises `SqlError` for what is not known."""
    return text_of(translated(tree))


def text_of(tree: exp.Expression) -> str:
    """The SQL of what has been translated."""
    return str(tree.sql(dialect="duckdb", identify=True))


def duckdb_type(kind: exp.DataType) -> str:
    name = kind.this.name if hasattr(kind.this, "name") else str(kind.this)
    sizes = [param.this.sql() for param in kind.expressions if isinstance(param, exp.DataTypeParam)]
    if name == "DECIMAL":
        return f"DECIMAL({', '.join(sizes or ['38', '0'])})"
    if name == "VECTOR":
        return f"FLOAT[{sizes[-1]}]"
    if name not in _TYPES:
        raise unknown(f"type {name}")
    return _TYPES[name]


def translated(node: exp.Expression) -> exp.Expression:
    """The node, or the one that it becomes, with all that is in it: both are changed. Raises `SqlError`."""
    change = _CHANGES.get(type(node))
    new = node if change is None else change(node)
    if isinstance(new, exp.Anonymous) and new is node and not str(node.this).startswith("sf_"):
        raise unknown(f"function {node.this}")
    if not isinstance(new, (*ALIKE, Raw)):
        raise unknown(type(new).__name__)
    for child in list(new.iter_expressions()):
        other = translated(child)
        if other is not child:
            child.replace(other)
    return new


def _call(name: str, *arguments: Any) -> exp.Expression:
    places = ", ".join("{}" for _ in arguments)
    return Raw(this=f"{name}({places})", expressions=list(arguments))


def _cast(node: exp.Expression) -> exp.Expression:
    target = duckdb_type(node.args["to"])
    if node.args["to"].this.name == "VARIANT":
        return _raw("to_json({})")(node)
    if target == "JSON":
        return Raw(this="CAST({} AS JSON)", expressions=[node.this])
    as_text = "sf_text({})"
    if target != "VARCHAR":
        as_text = f"CAST({as_text} AS {target})"
    return Raw(this=as_text, expressions=[node.this])


def _to_char(node: exp.Expression) -> exp.Expression:
    pattern = node.args.get("format")
    if pattern is None:
        return _raw("sf_text({})")(node)
    if pattern.name == "TME":
        return _raw("format('{{:.16e}}', CAST({} AS DOUBLE))")(node)
    if pattern.name not in _DATES:
        raise unknown(f"format {pattern.name}")
    at = "{} AT TIME ZONE 'UTC'" if "TZH" in pattern.name else "{}"
    if pattern.name.startswith("HH24"):
        at = "(DATE '2000-01-01' + {})"
    return Raw(this=f"strftime({at}, '{_DATES[pattern.name]}')", expressions=[node.this])


def _path(node: exp.Expression) -> exp.Expression:
    steps = ""
    for step in node.expression.expressions:
        if isinstance(step, exp.JSONPathKey):
            steps += '."' + str(step.this).replace('"', "") + '"'
        elif isinstance(step, exp.JSONPathSubscript):
            steps += f"[{int(step.this)}]"
    return _call("json_extract", node.this, exp.Literal.string("$" + steps))


def _bracket(node: exp.Expression) -> exp.Expression:
    (index,) = node.expressions
    if not isinstance(index, exp.Literal):
        raise unknown("a computed index")
    path = f'$."{index.this}"' if index.is_string else f"$[{index.this}]"
    return _call("json_extract", node.this, exp.Literal.string(path))


def _get(node: exp.Expression) -> exp.Expression:
    key = node.expression
    if isinstance(key, exp.Literal) and not key.is_string:
        return _call("json_extract", node.this, exp.Literal.string(f"$[{key.this}]"))
    return _call("sf_get", node.this, key)


def _object(node: exp.Expression) -> exp.Expression:
    arguments: list[exp.Expression] = []
    for pair in node.expressions:
        arguments += [pair.this, pair.expression]
    return _call("sf_object", _call("json_object", *arguments))


def _file_row(node: exp.Expression) -> exp.Expression:
    """`$1`: a row of a file in a stage, as VARIANT."""
    if node.name != "1":
        raise unknown(f"${node.name}")
    return exp.column("$1", quoted=True)


def _trim(node: exp.Expression) -> exp.Expression:
    name = {"LEADING": "ltrim", "TRAILING": "rtrim"}.get(str(node.args.get("position")))
    if name is None or node.expression is None:
        raise unknown("TRIM of this kind")
    return _call(name, node.this, node.expression)


def _substring(node: exp.Expression) -> exp.Expression:
    if node.args.get("length") is not None:
        raise unknown("SUBSTR with a length")
    return _call("substr", node.this, node.args["start"])


def _regexp_like(node: exp.Expression) -> exp.Expression:
    if node.args.get("flag") is not None:
        raise unknown("REGEXP_LIKE with flags")
    return _call("regexp_full_match", node.this, node.expression)


def _to_number(node: exp.Expression) -> exp.Expression:
    sizes = [node.args[name].name for name in ("precision", "scale") if node.args.get(name) is not None]
    if not node.args.get("safe") or node.args.get("format") is not None or len(sizes) != 2:
        raise unknown("TO_NUMBER of this kind")
    return Raw(this=f"TRY_CAST({{}} AS DECIMAL({', '.join(sizes)}))", expressions=[node.this])


def _sha2(node: exp.Expression) -> exp.Expression:
    if node.args.get("length") is None or node.args["length"].name != "256":
        raise unknown("SHA2 of another length")
    return Raw(this="sha256({})", expressions=[node.this])


class Raw(exp.Expression):
    """duckdb's SQL with a place for each argument."""

    arg_types = {"this": True, "expressions": False}


def _raw(name: str) -> Callable[[exp.Expression], exp.Expression]:
    return lambda node: Raw(this=name, expressions=[node.this])


def _column_def(node: exp.Expression) -> exp.Expression:
    if node.args.get("constraints"):
        raise unknown("constraints of a column")
    return exp.ColumnDef(this=node.this, kind=Raw(this=duckdb_type(node.args["kind"]), expressions=[]))


def _create(node: exp.Expression) -> exp.Expression:
    known = (exp.TransientProperty, exp.TemporaryProperty)
    properties = node.args.get("properties")
    for found in properties.expressions if properties else []:
        if not isinstance(found, known):
            raise unknown(type(found).__name__)
    node.set("properties", None)  # a transient table is one without Fail-safe
    return node


_CHANGES: dict[type, Callable[[Any], exp.Expression]] = {
    exp.Cast: _cast,
    exp.ColumnDef: _column_def,
    exp.Create: _create,
    exp.ToChar: _to_char,
    exp.JSONExtract: _path,
    exp.Bracket: _bracket,
    exp.Struct: _object,
    exp.Array: lambda node: _call("json_array", *node.expressions),
    exp.ArrayAppend: lambda node: _call("sf_append", node.this, node.expression),
    exp.ArraySize: _raw("json_array_length({})"),
    exp.ArrayContains: lambda node: Raw(
        this="json_contains({}, to_json({}))", expressions=[node.this, node.expression]
    ),
    exp.ParseJSON: lambda node: _call("sf_try_parse" if node.args.get("safe") else "sf_parse", node.this),
    exp.Typeof: lambda node: _call("sf_typeof", node.this),
    exp.GetExtract: _get,
    exp.ToNumber: _to_number,
    exp.ToVariant: _raw("to_json({})"),
    exp.StripNullValue: _raw("nullif({}, CAST('null' AS JSON))"),
    exp.JSONFormat: _raw("CAST(json({}) AS VARCHAR)"),
    exp.Hex: _raw("hex({})"),
    exp.Left: lambda node: Raw(this="left({}, {})", expressions=[node.this, node.expression]),
    exp.MD5NumberLower64: lambda node: _call("sf_hash", node.this),
    exp.SHA2: _sha2,
    exp.Trim: _trim,
    exp.RegexpLike: _regexp_like,
    exp.StrPosition: lambda node: _call("strpos", node.this, node.args["substr"]),
    exp.Substring: _substring,
    exp.Parameter: _file_row,
}


def _generate_raw(generator: Any, node: exp.Expression) -> str:
    return str(node.this).format(*(generator.sql(argument) for argument in node.expressions))


def _register() -> None:
    from sqlglot.dialects.duckdb import DuckDB

    generator: Any = DuckDB.Generator if hasattr(DuckDB, "Generator") else DuckDB.generator_class
    generator.TRANSFORMS = {**generator.TRANSFORMS, Raw: _generate_raw}


_register()
