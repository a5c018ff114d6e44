"""EXECUTE INFERENCE JOB SERVICE: its clauses in their order, its specification, and the rights that it needs.

Syntax, specification and privileges: Snowflake documentation, "EXECUTE INFERENCE JOB SERVICE". What is said to a wrong
specification is not published.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from importlib.util import find_spec
from typing import Any

from sandbox.snowflake.catalog import qualified
from sandbox.snowflake.catalog.inference_jobs import InferenceJob
from sandbox.snowflake.catalog.objects import Function, Model, ModelVersion
from sandbox.snowflake.sql.errors import SqlError, compilation
from sandbox.snowflake.sql.reader import Reader
from sandbox.snowflake.sql.results import Column, Result, listing
from sandbox.snowflake.sql.run import Run
from sandbox.snowflake.sql.stages import stage_path
from sandbox.snowflake.sql.tokens import tokens_of
from sandbox.snowflake.tables.opening import open_tables

Names = tuple[str, ...]

# What the specification may hold; None for any value.
_SPECIFICATION: dict[str, Any] = {
    "output": {"stage_location": None, "mode": None},
    "resources": {"cpu_requests": None, "memory_requests": None, "gpu_requests": None},
    "inference": {
        "num_workers": None,
        "max_batch_rows": None,
        "engine_options": {"engine": None, "engine_args_override": None},
    },
    "input": {"params": None, "column_handling": None, "partition_column": None},
    "image_build": {"image_repo": None, "force_rebuild": None},
}


@dataclass
class _Clauses:
    pool: Names
    specification: str
    subquery: str
    model: Names
    version: str | None = None
    function: str | None = None
    name: Names | None = None
    is_async: bool = True
    replicas: int = 1


def execute(reader: Reader, run: Run) -> Result:
    tables = open_tables(run.world)
    if tables is None or find_spec("yaml") is None:
        reader.fail()
    clauses = _read(reader)
    with run.world.lock:
        job = _checked(clauses, run)
    selected = tables.select(run, clauses.subquery, run.query_id)
    names = [column.name for column in selected.columns]
    job.rows = [dict(zip(names, map(_unloaded, row))) for row in selected.rows]
    run.wait_until(lambda: False, run.began + run.world.durations.image_build)
    with run.world.lock:
        _check_name(job, run)  # another statement may have been faster
        service = tables.jobs.start(job, run.session.role)
    if not clauses.is_async:
        run.wait_until(lambda: service.status not in ("PENDING", "RUNNING"), float("inf"))
    text = f"Batch inference job {qualified(*job.key)} with model {job.model.full_name} has been submitted."
    return listing((Column("status", nullable=False),), [[text]])


def _unloaded(cell: object) -> object:
    """A cell as a value of JSON."""
    if isinstance(cell, Decimal):
        return int(cell) if cell == int(cell) else float(cell)
    return cell if cell is None or isinstance(cell, (bool, int, float)) else str(cell)


def _read(reader: Reader) -> _Clauses:
    """The clauses; in another order they do not compile."""
    reader.expect("IN", "COMPUTE", "POOL")
    pool = reader.qualified()
    reader.expect("WITH", "SPECIFICATION")
    if reader.next.kind != "string":
        reader.fail()  # no binding is taken here (snowflake-ml-python 2.6.0, `_client/sql/service.py`)
    specification = reader.string()
    reader.expect("FROM")
    subquery = _subquery(reader)
    reader.expect("MODEL", "=")
    found = _Clauses(pool, specification, subquery, reader.qualified())
    if _sets(reader, "VERSION"):
        found.version = reader.identifier()
    if _sets(reader, "FUNCTION"):
        found.function = reader.string()
    if _sets(reader, "NAME"):
        found.name = _unquoted(reader)
    if _sets(reader, "ASYNC"):
        found.is_async = reader.boolean()
    if _sets(reader, "REPLICAS"):
        found.replicas = reader.integer()
    reader.end()
    return found


def _sets(reader: Reader, clause: str) -> bool:
    if not reader.take(clause):
        return False
    reader.expect("=")
    return True


def _subquery(reader: Reader) -> str:
    """The text between the parentheses. A stage instead is Snowflake's other input, which is not imitated."""
    reader.expect("(")
    depth, words = 1, []
    while depth:
        token = reader.next
        if token.kind == "end":
            reader.fail()
        depth += {"(": 1, ")": -1}.get(token.text, 0) if token.kind == "symbol" else 0
        words.append(reader.advance().text)
    return " ".join(words[:-1])


def _unquoted(reader: Reader) -> Names:
    """Names in double quotes are not supported for jobs."""
    if any(reader.peek(i).kind == "quoted" for i in (0, 2, 4)):
        raise SqlError("000002", "0A000", "Unsupported feature 'quoted name of a job service'.")
    return reader.qualified()


def _checked(clauses: _Clauses, run: Run) -> InferenceJob:
    run.require_warehouse()
    pool = run.pool(clauses.pool)
    run.require(pool.securable, "compute pool", pool.name, "USAGE")
    model = run.model(clauses.model, "EXECUTE")
    run.require(model.securable, "model", model.full_name, "USAGE")
    version = _version(model, clauses.version, run)
    specification = _specification(clauses.specification)
    reader = Reader(tokens_of(specification["output"]["stage_location"]))
    stage, below = stage_path(reader, run)
    for privilege in ("READ", "WRITE"):
        run.require(stage.securable, "stage", stage.full_name, privilege)
    name = clauses.name or (f"BATCH_INFERENCE_{run.query_id.replace('-', '_').upper()}",)
    key = run.full(name, "EXECUTE")
    run.require_in_schema(key, "CREATE SERVICE")
    function = _function(version, clauses.function)
    job = InferenceJob(
        key, pool, model, version, function, stage, f"{below.rstrip('/')}/{key[2]}/".lstrip("/"), specification,
        clauses.replicas,
    )  # fmt: skip
    _check_name(job, run)
    return job


def _check_name(job: InferenceJob, run: Run) -> None:
    if job.key in run.catalog.services:
        raise SqlError(
            "002002", "42710", f"SQL compilation error:\nObject '{qualified(*job.key)}' already exists."
        )
    if job.stage.files(job.below) and job.specification["output"].get("mode", "error") == "error":
        raise SqlError(
            "395030", "22023", f"Output location '@{job.stage.full_name}/{job.below}' is not empty."
        )


def _version(model: Model, name: str | None, run: Run) -> ModelVersion:
    names = list(model.versions)
    aliases = {"DEFAULT": model.default_version, "FIRST": names[0], "LAST": names[-1]}
    wanted = name or model.default_version
    version = model.versions.get(aliases.get(wanted, wanted))
    if version is None:
        raise run.missing("Version", f"{model.full_name}/{wanted}")
    return version


def _function(version: ModelVersion, wanted: str | None) -> Function:
    known = {function.target_method: function for function in version.functions}
    if wanted is None and len(known) == 1:
        return next(iter(known.values()))
    if wanted not in known:
        raise compilation("002140", "42601", f"Unknown function {wanted}: the version has {', '.join(known)}")
    return known[wanted]


def _specification(text: str) -> dict[str, Any]:
    import yaml  # comes with the development packages only

    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        raise _wrong("it is not YAML") from None
    _check_keys(found, _SPECIFICATION, "")
    output = found.get("output")
    if not isinstance(output, dict) or not str(output.get("stage_location", "")).startswith("@"):
        raise _wrong("output.stage_location is required")
    if output.get("mode", "error") not in ("error", "overwrite"):
        raise _wrong("output.mode must be error or overwrite")
    checked: dict[str, Any] = found
    return checked


def _check_keys(found: Any, known: dict[str, Any], above: str) -> None:
    if not isinstance(found, dict):
        raise _wrong(f"{above or 'it'} must be a mapping")
    for key, value in found.items():
        if key not in known:
            raise _wrong(f"unknown field {above}{key}")
        if known[key] is not None:
            _check_keys(value, known[key], f"{above}{key}.")


def _wrong(why: str) -> SqlError:
    return SqlError("395031", "22023", f"Invalid batch inference specification: {why}.")
