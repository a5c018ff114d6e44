"""Which engine answers the questions of a job."""

from __future__ import annotations

from spcs_llm.control import cells, statements
from spcs_llm.control.identifiers import grantee, literal
from spcs_llm.control.session import SqlSession
from spcs_llm.errors import SettingsError, SpcsError, SqlError
from spcs_llm.in_snowflake.engine import Engine
from spcs_llm.in_snowflake.form import AUTO, JOB
from spcs_llm.in_snowflake.inference_job import InferenceJobs, is_live
from spcs_llm.in_snowflake.job_engine import JobEngine, unfit_place
from spcs_llm.in_snowflake.service_engine import ServiceEngine
from spcs_llm.in_snowflake.work import Work
from spcs_llm.server_text.log_lines import one_line_logger

logger = one_line_logger(__name__)

# From here on the start of a job is a small part of its time: ten minutes, where 100,000 chats take nearly three hours
# at ten a second, as do 1,000,000 vectors at a hundred a second. Both rates are assumptions.
ROWS_FOR_A_JOB = {True: 100_000, False: 1_000_000}
_NEEDED = ("CREATE SERVICE", "CREATE STAGE")


def choose_engine(work: Work, rows: int) -> Engine:
    """Chooses the engine.

    Args:
        work: The questions.
        rows: How many rows the job has.

    Returns:
        The engine, which is able to begin.

    Raises:
        SettingsError: If it cannot answer, with what it lacks.
    """
    engine = work.settings.engine
    if engine == AUTO:
        engine, why = _chosen(work, rows)
        logger.info("AUTO selects the engine %s: %s.", engine, why)
    if engine == JOB:
        return JobEngine(work)
    if work.settings.service is None:
        raise SettingsError("Engine SERVICE needs a service.")
    return ServiceEngine(work, work.settings.service)


def _chosen(work: Work, rows: int) -> tuple[str, str]:
    """The engine, and the reason to follow its name."""
    settings = work.settings
    if settings.service is None:
        return JOB, "there is a model, and no service"
    if settings.model is None or settings.pool is None:
        return "SERVICE", "there is a service, and not both a model of the registry and a compute pool"
    if any(is_live(job.status) for job in InferenceJobs(work).found().values()):
        return JOB, "an inference job of an earlier run is still running"
    most = ROWS_FOR_A_JOB[settings.is_chat]
    if rows < most:
        return (
            "SERVICE",
            f"for fewer than {most:,} rows, the start of a job takes too large a part of the time",
        )
    if unfit_place(work):
        return "SERVICE", "the schema of the output cannot have jobs, as its name needs double quotes"
    place = work.place.output
    missing = missing_privileges(work.session, place.database, place.schema)
    if missing:
        return "SERVICE", (
            "the role is not seen to have what a job needs: "
            f"GRANT {', '.join(missing)} ON SCHEMA {place.schema_sql} TO ROLE {grantee(work.session.whose().role)}"
        )
    try:
        InferenceJobs(work).make_stage()
    except SqlError as error:
        if not error.is_about_rights:
            raise
        return (
            "SERVICE",
            "the role itself may not create a stage: what secondary roles may create is of no use",
        )
    return JOB, f"there are {most:,} rows or more, for which a job's own nodes are worth their start"


def missing_privileges(session: SqlSession, database: str, schema: str) -> list[str]:
    """The privileges that a job needs on a schema, and that no role of the session is seen to have.

    Args:
        session: Runs the statements.
        database: The database.
        schema: The schema.

    Returns:
        The privileges; all of them if the grants cannot be listed.
    """
    try:
        grants = session.rows(statements.show_grants_on_schema(database, schema))
        granted: dict[str, set[str]] = {}
        for row in grants:
            privilege, grantee = cells.text(row, "privilege"), cells.text(row, "grantee_name")
            if privilege is not None and grantee is not None:
                granted.setdefault(grantee, set()).add(privilege)
        held: set[str] = set()
        for grantee, privileges in granted.items():
            if privileges & {*_NEEDED, "OWNERSHIP"} and _is_ours(session, grantee):
                held |= privileges
    except SpcsError:
        return list(_NEEDED)
    return [] if "OWNERSHIP" in held else [needed for needed in _NEEDED if needed not in held]


def _is_ours(session: SqlSession, grantee: str) -> bool:
    rows = session.rows(f'SELECT IS_ROLE_IN_SESSION({literal(grantee)}) AS "ours"')
    return bool(rows) and cells.boolean(rows[0], "ours") is True
