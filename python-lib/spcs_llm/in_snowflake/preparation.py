"""What a job does before it asks for anything: it checks rights, columns and keys, and makes its tables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from spcs_llm.control import cells
from spcs_llm.control.identifiers import grantee, quoted
from spcs_llm.errors import SettingsError, SpcsError, SqlError
from spcs_llm.in_snowflake.figures import counted
from spcs_llm.in_snowflake.form import JobSettings, RecipeFields, raise_for
from spcs_llm.in_snowflake.input_columns import columns_statement, read_columns
from spcs_llm.in_snowflake.place import Place
from spcs_llm.in_snowflake.questions import Questions, job_key, plan_questions
from spcs_llm.in_snowflake.session import JobSession
from spcs_llm.in_snowflake.settings_table import create_statements
from spcs_llm.in_snowflake.work_tables import FINISHED, NO_TEXT, WorkTables, create_answers, drop, unanswered
from spcs_llm.server_text.log_lines import one_line_logger

logger = one_line_logger(__name__)


class Preparation:
    """The first part of a job.

    Args:
        settings: The settings.
        session: Runs the statements.
        place: Where the job reads and writes.
        tables: The job's tables.

    Attributes:
        rows: How many rows the job has, once they were counted.
    """

    def __init__(self, settings: JobSettings, session: JobSession, place: Place, tables: WorkTables) -> None:
        self._settings = settings
        self._session = session
        self._place = place
        self._tables = tables
        self.rows = 0

    def whose(self) -> str:
        """Whose rights statements run with.

        Returns:
            User, role and warehouse.

        Raises:
            SettingsError: If there is no warehouse that the role may use.
        """
        with self._needs_warehouse():
            identity = self._session.whose()
        if identity.warehouse is None:
            raise SettingsError(
                "'Warehouse' is empty, and the connection has no warehouse that the role may use.",
                "Enter a warehouse, or ask a DSS administrator to set one in the connection.",
            )
        return str(identity)

    @contextmanager
    def _needs_warehouse(self) -> Iterator[None]:
        try:
            yield
        except SqlError as error:
            if self._settings.warehouse is not None and error.is_about_rights:
                name = quoted(self._settings.warehouse)
                raise SettingsError(
                    f"'Warehouse' is {name}, which does not exist or which the role may not use.",
                    "Correct the name, or ask a Snowflake administrator: "
                    f"GRANT USAGE ON WAREHOUSE {name} TO ROLE <role>.",
                ) from None
            raise

    def plan(self) -> Questions:
        """Fits the settings to the input.

        Returns:
            What the table of questions is to be made of.

        Raises:
            SettingsError: If they do not fit, or the keys do not identify the rows.
        """
        table = self._place.input
        columns = read_columns(self._session.rows(columns_statement(table)))
        if not columns:
            raise SettingsError(
                f"The input table {table.sql} does not exist, or the role may not read it.",
                f"Build the input dataset, or ask a Snowflake administrator: GRANT SELECT ON TABLE {table.sql} TO ROLE "
                f"{grantee(self._session.whose().role)}.",
            )
        questions = plan_questions(self._settings, table, columns)
        self._check_keys(questions)
        return questions

    def _check_keys(self, questions: Questions) -> None:
        found = self._session.rows(questions.check())
        rows, keys, nulls = (
            (cells.whole(found[0], name) or 0) if found else 0 for name in ("rows", "keys", "nulls")
        )
        names, complaints = ", ".join(column.name for column in questions.keys), []
        label = f"'{RecipeFields.keys.label}'"
        if nulls:
            complaints.append(f"{label} are {names}, with NULL in {counted(nulls, 'row')}.")
        if rows > keys:
            complaints.append(
                f"{label} are {names}, with the key of another row in {rows - keys:,} of {rows:,} rows: select "
                "columns that together differ in each row."
            )
        raise_for(complaints)
        self.rows = min(rows, questions.row_limit or rows)
        logger.info("The input has %s.", counted(rows, "row"))

    def make_tables(self, questions: Questions, described: str, run_id: str) -> None:
        """Makes the job's tables, and keeps what a run before has answered.

        Args:
            questions: What the table of questions is made of.
            described: What the answers depend on besides the settings.
            run_id: The run whose turn it is.
        """
        tables = self._tables
        self._forget_if_finished()
        with self._needs_rights():
            for statement in create_statements(tables.settings, self._settings, run_id):
                self._session.change(statement)
            self._session.change(questions.create(tables, job_key(self._settings, described)))
            self._session.change(drop(tables.stale))
            answer_type = "VARCHAR" if self._settings.is_chat else "ARRAY"
            self._session.change(create_answers(tables.answers, answer_type))
        if self._settings.retry_failures:
            self._session.change(f"DELETE FROM {tables.answers} WHERE ERROR IS NOT NULL")
        if not self._settings.is_chat:
            self._session.change(
                f"INSERT INTO {tables.answers} (ROW_KEY, PROMPT_KEY, ERROR) "
                f"SELECT Q.ROW_KEY, Q.PROMPT_KEY, '{NO_TEXT}' FROM {tables.questions} AS Q "
                f"WHERE COALESCE(Q.PROMPT, '') = '' AND {unanswered(tables)}"
            )

    def _forget_if_finished(self) -> None:
        """Answers of a run that came to its end are of use only to try its failures again."""
        answers = self._tables.answers
        try:
            rows = self._session.rows(
                f"SELECT COUNT(*) AS \"rows\" FROM {answers} AS A WHERE A.PROMPT_KEY = '{FINISHED}'"
            )
        except SqlError as error:
            if not error.is_absent:
                raise
            return
        if not (rows and cells.whole(rows[0], "rows")):
            logger.info("A run before has stopped: what it has answered is kept.")
        elif self._settings.retry_failures:
            self._session.change(f"DELETE FROM {answers} WHERE PROMPT_KEY = '{FINISHED}'")
        else:
            self._session.change(drop(answers))

    @contextmanager
    def _needs_rights(self) -> Iterator[None]:
        try:
            yield
        except SqlError as error:
            if not error.is_about_rights:
                raise
            schema = self._place.output.schema_sql
            raise SpcsError(
                f"The job's tables cannot be created in {schema}. {error.message}",
                f"Ask a Snowflake administrator: GRANT USAGE, CREATE TABLE ON SCHEMA {schema} TO ROLE "
                f"{grantee(self._session.whose().role)}.",
                place="SQL",
            ) from None
