"""What a job does when all is answered: it counts, lets DSS write the outputs, compares them, and cleans up."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from spcs_llm.control import cells
from spcs_llm.control.session import Row
from spcs_llm.control.sql_refusals import sql_error_in_text
from spcs_llm.errors import ModelError
from spcs_llm.in_snowflake import outputs as output_queries
from spcs_llm.in_snowflake.figures import counted
from spcs_llm.in_snowflake.form import VECTOR, JobSettings
from spcs_llm.in_snowflake.outputs import Outputs
from spcs_llm.in_snowflake.place import Place
from spcs_llm.in_snowflake.questions import Questions
from spcs_llm.in_snowflake.refused_slices import without_values
from spcs_llm.in_snowflake.session import JobSession
from spcs_llm.in_snowflake.work_tables import FINISHED, WorkTables, drop
from spcs_llm.server_text.log_lines import one_line_logger

logger = one_line_logger(__name__)

_OTHER_TYPE = "Expression type does not match column data type"  # Snowflake's words of code 002023


class Completion:
    """The last part of a job.

    Args:
        settings: The settings.
        session: Runs the statements.
        place: Where the job reads and writes.
        tables: The job's tables.
    """

    def __init__(self, settings: JobSettings, session: JobSession, place: Place, tables: WorkTables) -> None:
        self._settings = settings
        self._session = session
        self._place = place
        self._tables = tables

    def complete(self, questions: Questions) -> dict[str, int]:
        """Writes the outputs and drops the job's tables.

        Args:
            questions: What the table of questions was made of.

        Returns:
            How many `rows` there are, `answered`, `failed`, `cut`, and `tokens`.

        Raises:
            ModelError: If a row is missing somewhere, or the vectors do not fit a column. The answers are kept.
        """
        counts = self._counts()
        with self._kept():
            self._write(Outputs(self._settings, questions, self._tables, self._dimensions()))
        self._check_outputs(counts)
        self._clean_up(counts["failed"])
        return counts

    @contextmanager
    def _kept(self) -> Iterator[None]:
        """Says what a failure to write has not cost: DSS's own words do not."""
        try:
            yield
        except Exception:
            logger.warning(
                "The outputs were not written. Table %s keeps the answers: correct what failed, and run the recipe "
                "again. No row is asked again.",
                self._tables.answers,
            )
            raise

    def _write(self, written: Outputs) -> None:
        """DSS makes the tables. Which columns it makes for arrays and vectors is not documented: they may be text."""
        try:
            self._write_as(written)
        except Exception as error:
            if _OTHER_TYPE not in str(error):
                raise
            logger.warning(
                "DSS makes text columns for arrays and vectors, so they are written as JSON text: read them with "
                "PARSE_JSON(…)::ARRAY."
            )
            self._write_as(replace(written, as_text=True))

    def _write_as(self, written: Outputs) -> None:
        apart = self._place.failures is not None
        self._write_one("output", written.answers(with_failures=not apart))
        if apart:
            self._write_one("failures", written.failures())

    def _write_one(self, role: str, query: str) -> None:
        try:
            self._place.write(role, query, self._session.before_writing)
        except Exception as error:
            refusal = sql_error_in_text("INSERT", str(error))
            safe = without_values(refusal)
            # What is not Snowflake's stays as DSS says it, and so does what another way to write helps against.
            if safe is refusal and (refusal.code is None or _OTHER_TYPE in str(error)):
                raise
            raise safe from None

    def _counts(self) -> dict[str, int]:
        rows = self._session.rows(output_queries.summary(self._tables))
        row: Row = rows[0] if rows else {}
        counts = {
            name: cells.whole(row, name) or 0 for name in ("rows", "answered", "failed", "cut", "tokens")
        }
        missing = counts["rows"] - counts["answered"] - counts["failed"]
        if missing:
            raise ModelError(
                f"There is neither an answer nor a failure for {counted(missing, 'row')}.",
                "Run the recipe again: it does what is missing.",
            )
        return counts

    def _dimensions(self) -> int | None:
        if self._settings.is_chat:
            return None
        rows = self._session.rows(output_queries.dimensions(self._tables))
        least, most = (cells.whole(rows[0], name) if rows else None for name in ("least", "most"))
        if self._settings.vector_type == VECTOR and least != most:
            raise ModelError(
                f"The vectors have from {least} to {most} elements, and VECTOR needs one length for all.",
                "Select ARRAY in 'Type of vectors', and run the recipe again: no row is asked again.",
            )
        return most or 1

    def _check_outputs(self, counts: dict[str, int]) -> None:
        """Every row of the job is in exactly one output."""
        place = self._place
        expected = {place.output: counts["answered"] if place.failures else counts["rows"]}
        if place.failures is not None:
            expected[place.failures] = counts["failed"]
        for table, count in expected.items():
            rows = self._session.rows(output_queries.count(table))
            found = cells.whole(rows[0], "rows") if rows else None
            if found != count:
                raise ModelError(
                    f"Output {table.sql} has {counted(found or 0, 'row')}, and the job has {count:,} for it.",
                    "Set the output of the recipe to overwrite instead of append, and run the recipe again: no row is "
                    "asked again.",
                )

    def _clean_up(self, failed: int) -> None:
        """Drops the job's tables. With failures, the answers stay for a run that tries those again."""
        tables = self._tables
        for table in (tables.questions, tables.settings):
            self._session.change(drop(table))
        if failed:
            self._session.change(
                f"INSERT INTO {tables.answers} (ROW_KEY, PROMPT_KEY, ERROR) SELECT '', '{FINISHED}', NULL"
            )
        else:
            self._session.change(drop(tables.answers))
