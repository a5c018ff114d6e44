"""A job inside Snowflake, from its settings to its outputs. It may stop anywhere: the next run goes on from there."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Callable

from spcs_llm.control import cells
from spcs_llm.control.families import PriceList
from spcs_llm.control.identifiers import QualifiedName, quoted
from spcs_llm.control.services import Service
from spcs_llm.control.session import Row
from spcs_llm.errors import ModelError, SettingsError, SpcsError, SqlError
from spcs_llm.in_snowflake import outputs as output_queries
from spcs_llm.in_snowflake.engine import Engine, Statements
from spcs_llm.in_snowflake.estimate import Rate, check_limit, read_rate
from spcs_llm.in_snowflake.form import VECTOR, JobSettings, RecipeFields, raise_for
from spcs_llm.in_snowflake.input_columns import columns_statement, read_columns
from spcs_llm.in_snowflake.insertion import answers_of
from spcs_llm.in_snowflake.model_call import (
    find_call,
    find_service,
    make_ready,
    statements_at_once,
    uses_messages,
)
from spcs_llm.in_snowflake.outputs import Outputs
from spcs_llm.in_snowflake.questions import Questions, job_key, plan_questions
from spcs_llm.in_snowflake.refused_slices import Remedy, remedy
from spcs_llm.in_snowflake.session import JobSession
from spcs_llm.in_snowflake.settings_table import create_statements
from spcs_llm.in_snowflake.signature import Call
from spcs_llm.in_snowflake.work_tables import (
    HASHES,
    Slice,
    WorkTables,
    create_answers,
    drop,
    unanswered,
    work_tables,
)

logger = logging.getLogger(__name__)

PROBE_ROWS, SAMPLE_ROWS = 4, 16
FINISHED = "FINISHED"
_OTHER_TYPE = "Expression type does not match column data type"  # Snowflake's words of code 002023

Write = Callable[[str, str, "list[str]"], None]


@dataclass(frozen=True)
class Place:
    """Where a job reads and writes.

    Attributes:
        input: The input table.
        output: The output table.
        failures: The table of failed rows; None if there is no dataset for them.
        write: Lets DSS write a query's rows to an output: "output" or "failures", the query, the statements before it.
    """

    input: QualifiedName
    output: QualifiedName
    failures: QualifiedName | None
    write: Write


@dataclass(frozen=True)
class Report:
    """What became of the rows.

    Attributes:
        rows: All rows of the job.
        answered: Rows in the output with an answer.
        failed: Rows that failed.
        asked: Rows that this run asked the model for.
        seconds: How long the run took.
        cost: USD for that time; None if it is not known.
    """

    rows: int
    answered: int
    failed: int
    asked: int
    seconds: float
    cost: float | None


class Job:
    """One run of a recipe.

    Args:
        settings: The settings.
        session: Runs the statements.
        place: Where it reads and writes.
        prices: What a node of each instance family costs.
        clock: Seconds that never go back.
        sleep: Makes pauses.
    """

    def __init__(
        self,
        settings: JobSettings,
        session: JobSession,
        place: Place,
        prices: PriceList,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Any] = time.sleep,  # noqa: TID251 - a job waits here, no query does
    ) -> None:
        self._settings = settings
        self._session = session
        self._place = place
        self._prices = prices
        self._clock = clock
        self._sleep = sleep
        self._tables = work_tables(place.output, chat=settings.is_chat)
        self._run_id = uuid.uuid4().hex
        self._has_resumed = False

    def run(self) -> Report:
        """Runs the job.

        Returns:
            What became of the rows.

        Raises:
            SpcsError: If the job cannot be done, or not now. What was answered is kept for the next run.
        """
        began = self._clock()
        logger.info("Statements run as %s.", self._whose())
        service = find_service(self._session, self._settings)
        questions = self._plan()
        call = find_call(self._session, self._settings)
        logger.info(
            "Engine SERVICE: %s takes %s. %s",
            call.function,
            call.form.value,
            "AUTO selects it, as it is the only engine of this version."
            if self._settings.engine == "AUTO"
            else "",
        )
        self._prepare(questions, call)
        try:
            self._ready()
            return self._answered(questions, call, service, began)
        finally:
            if self._has_resumed:
                logger.warning(
                    "Service %s was resumed for this job. It runs, and bills, until it suspends itself or is "
                    "suspended.",
                    self._settings.service.sql,
                )

    def _answered(self, questions: Questions, call: Call, service: Service, began: float) -> Report:
        engine = self._engine(call, statements_at_once(service))
        rate = read_rate(self._session, service, self._prices, self._settings.credit_price)
        try:
            asked = self._answer(engine, call, rate)
            engine.check_turn()
            return self._finish(questions, rate, asked, began)
        except SqlError as error:
            if error.is_absent:
                engine.check_turn()  # another run replaces and drops these tables
            raise

    # -- before anything is asked ----------------------------------------------------------------------

    def _whose(self) -> str:
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

    def _plan(self) -> Questions:
        table = self._place.input
        columns = read_columns(self._session.rows(columns_statement(table)))
        if not columns:
            raise SettingsError(
                f"The input table {table.sql} does not exist, or the role may not read it.",
                f"Build the input dataset, or ask a Snowflake administrator: GRANT SELECT ON TABLE {table.sql} TO ROLE "
                "<role>.",
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
            complaints.append(f"{label} are {names}, and {nulls:,} rows have no value there.")
        if rows > keys:
            complaints.append(
                f"{label} are {names}, and {rows - keys:,} of {rows:,} rows have the key of another row: select "
                "columns that together differ in each row."
            )
        raise_for(complaints)
        logger.info("The input has %s rows.", f"{rows:,}")

    def _prepare(self, questions: Questions, call: Call) -> None:
        """Makes the job's tables, and keeps what a run before has answered."""
        tables = self._tables
        self._forget_if_finished()
        with self._needs_rights():
            for statement in create_statements(tables.settings, self._settings, self._run_id):
                self._session.change(statement)
            described = f"{call.function} {call.form.name} {call.sampling}"
            self._session.change(questions.create(tables, job_key(self._settings, described)))
            self._session.change(drop(tables.stale))
            answer_type = "VARCHAR" if self._settings.is_chat else "ARRAY"
            self._session.change(create_answers(tables.answers, answer_type))
        if self._settings.retry_failures:
            self._session.change(f"DELETE FROM {tables.answers} WHERE ERROR IS NOT NULL")
        if not self._settings.is_chat:
            self._session.change(
                f"INSERT INTO {tables.answers} (ROW_KEY, PROMPT_KEY, ERROR) "
                f"SELECT Q.ROW_KEY, Q.PROMPT_KEY, 'The text is NULL or empty.' FROM {tables.questions} AS Q "
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
            schema = f"{quoted(self._place.output.database)}.{quoted(self._place.output.schema)}"
            raise SpcsError(
                f"The job's tables cannot be created in {schema}. {error.message}",
                f"Ask a Snowflake administrator: GRANT USAGE, CREATE TABLE ON SCHEMA {schema} TO ROLE <role>.",
                place="SQL",
            ) from None

    # -- asking ----------------------------------------------------------------------------------------

    def _ready(self) -> None:
        self._has_resumed |= make_ready(
            self._session, self._settings.service, self._prices, self._sleep, self._clock
        )

    def _engine(self, call: Call, parallel: int) -> Engine:
        statements = Statements(self._tables, lambda part: self._insert(call, part), self._run_id)
        return Engine(self._session, statements, parallel, self._ready, self._clock, self._sleep)

    def _insert(self, call: Call, part: Slice) -> str:
        """The statement that asks for a slice's unanswered questions.

        Functions of services are volatile by default (Snowflake documentation, "CREATE FUNCTION"), so that Snowflake
        calls them once for each row, however often the response is referred to.

        Args:
            call: The call of the model.
            part: The slice.

        Returns:
            An INSERT.
        """
        tables = self._tables
        asked = (
            f"SELECT Q.ROW_KEY, Q.PROMPT_KEY, {call.sql} AS RESPONSE "
            f"FROM {tables.questions} AS Q CROSS JOIN {tables.settings} AS P "
            f"WHERE P.RUN_ID = '{self._run_id}' AND {part.condition} AND {unanswered(tables)}"
        )
        return answers_of(self._settings, tables, asked)

    def _answer(self, engine: Engine, call: Call, rate: Rate) -> int:
        """Measures a sample, checks the cost, and answers the rest. Returns how many rows were asked for."""
        pending = engine.pending()
        if pending == 0:
            logger.info("Every row has been answered before.")
            return 0
        form = self._probed(engine, call)
        if form is not call:
            engine = self._engine(form, engine.parallel)
        sample = engine.sample(SAMPLE_ROWS)
        if sample is not None:
            engine.run_slice(sample)
            self._estimate(engine, rate)
            engine.run_all(self._total())
        return pending

    def _total(self) -> int:
        rows = self._session.rows(f'SELECT COUNT(*) AS "rows" FROM {self._tables.questions} AS Q')
        return (cells.whole(rows[0], "rows") or 0) if rows else 0

    def _probed(self, engine: Engine, call: Call) -> Call:
        """The call in the form that the model takes: the content of a message as parts, or as text."""
        forms = [call, replace(call, parts=False)] if uses_messages(call) else [call]
        for rows, after in ((PROBE_ROWS, 0), (1, 0), (1, HASHES // 2)):
            part = engine.sample(rows, after)
            if part is None:
                continue
            for form in forms:
                try:
                    self._session.change(self._insert(form, part))
                except SpcsError as error:
                    if remedy(error) is Remedy.DIVIDE:
                        continue
                    if remedy(error) is Remedy.STOP:
                        raise
                    self._ready()
                    break
                return form
        return call

    def _estimate(self, engine: Engine, rate: Rate) -> None:
        left, per_row = engine.pending(), engine.progress.seconds_per_row
        seconds = left * per_row / engine.parallel
        cost = rate.cost(seconds)
        logger.info(
            "%s rows are left. The sample took %.3f s for a row; with %d at once, the rest takes about %s. %s. %s",
            f"{left:,}",
            per_row,
            engine.parallel,
            _duration(seconds),
            f"{rate}"[:1].upper() + f"{rate}"[1:],
            "" if cost is None else f"The rest costs about USD {cost:,.2f}.",
        )
        check_limit(self._settings.cost_limit, cost, left, rate)

    # -- when all is answered --------------------------------------------------------------------------

    def _finish(self, questions: Questions, rate: Rate, asked: int, began: float) -> Report:
        counts = self._counts()
        self._write(Outputs(self._settings, questions, self._tables, self._dimensions()))
        self._check_outputs(counts)
        self._clean_up(counts["failed"])
        seconds = self._clock() - began
        report = Report(
            counts["rows"], counts["answered"], counts["failed"], asked, seconds, rate.cost(seconds)
        )
        self._tell(report, counts)
        return report

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
        self._place.write("output", written.answers(with_failures=not apart), self._session.before_writing)
        if apart:
            self._place.write("failures", written.failures(), self._session.before_writing)

    def _counts(self) -> dict[str, int]:
        rows = self._session.rows(output_queries.summary(self._tables))
        row: Row = rows[0] if rows else {}
        counts = {
            name: cells.whole(row, name) or 0 for name in ("rows", "answered", "failed", "cut", "tokens")
        }
        missing = counts["rows"] - counts["answered"] - counts["failed"]
        if missing:
            raise ModelError(
                f"{missing:,} rows have neither an answer nor a failure.",
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
                    f"Output {table.sql} has {found} rows, and the job has {count} rows for it.",
                    "Set the output of the recipe to overwrite instead of append, and run the recipe again: no row is "
                    "asked again.",
                )

    def _clean_up(self, failed: int) -> None:
        """Drops the job's tables. With failures, the answers stay for a run that tries those again."""
        tables: WorkTables = self._tables
        for table in (tables.questions, tables.settings):
            self._session.change(drop(table))
        if failed:
            self._session.change(
                f"INSERT INTO {tables.answers} (ROW_KEY, PROMPT_KEY, ERROR) SELECT '', '{FINISHED}', NULL"
            )
        else:
            self._session.change(drop(tables.answers))

    def _tell(self, report: Report, counts: dict[str, int]) -> None:
        speed = report.asked / report.seconds if report.seconds > 0 else 0.0
        cost = "" if report.cost is None else f" At the rate above this costs about USD {report.cost:,.2f}."
        logger.info(
            "%s rows: %s answered, %s failed. This run asked for %s in %s, %.1f rows a second.%s",
            *(f"{number:,}" for number in (report.rows, report.answered, report.failed, report.asked)),
            _duration(report.seconds),
            speed,
            cost,
        )
        if counts["tokens"]:
            logger.info("The service counted %s tokens.", f"{counts['tokens']:,}")
        if counts["cut"]:
            logger.warning(
                "%s answers were cut at 'Maximum output tokens' (%d).",
                f"{counts['cut']:,}",
                self._settings.max_tokens,
            )
        if report.failed:
            logger.warning(
                "%s rows failed. Their reasons are in the output. Select 'Try failed rows again' and run the recipe "
                "again to try them; table %s keeps the answers until then.",
                f"{report.failed:,}",
                self._tables.answers,
            )


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
