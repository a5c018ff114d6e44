"""A job inside Snowflake, from its settings to its outputs. It may stop anywhere: the next run goes on from there."""

from __future__ import annotations

import logging
import time
import uuid
from dataclasses import replace
from typing import Any, Callable

from spcs_llm.control import cells
from spcs_llm.control.families import PriceList
from spcs_llm.control.services import Service
from spcs_llm.errors import SpcsError, SqlError
from spcs_llm.in_snowflake.completion import Completion
from spcs_llm.in_snowflake.engine import Engine, Statements
from spcs_llm.in_snowflake.estimate import Rate, check_limit, read_rate
from spcs_llm.in_snowflake.form import JobSettings
from spcs_llm.in_snowflake.insertion import answers_of
from spcs_llm.in_snowflake.model_call import (
    find_call,
    find_service,
    make_ready,
    statements_at_once,
    uses_messages,
)
from spcs_llm.in_snowflake.place import Place
from spcs_llm.in_snowflake.preparation import Preparation
from spcs_llm.in_snowflake.questions import Questions
from spcs_llm.in_snowflake.refused_slices import Remedy, remedy
from spcs_llm.in_snowflake.report import Report, duration, tell
from spcs_llm.in_snowflake.session import JobSession
from spcs_llm.in_snowflake.signature import Call
from spcs_llm.in_snowflake.work_tables import HASHES, Slice, unanswered, work_tables

logger = logging.getLogger(__name__)

PROBE_ROWS, SAMPLE_ROWS = 4, 16


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
        preparation = Preparation(self._settings, self._session, self._place, self._tables)
        logger.info("Statements run as %s.", preparation.whose())
        service = find_service(self._session, self._settings)
        questions = preparation.plan()
        call = find_call(self._session, self._settings)
        logger.info(
            "Engine SERVICE: %s takes %s. %s",
            call.function,
            call.form.value,
            "AUTO selects it, as it is the only engine of this version."
            if self._settings.engine == "AUTO"
            else "",
        )
        preparation.make_tables(questions, call, self._run_id)
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
            duration(seconds),
            f"{rate}"[:1].upper() + f"{rate}"[1:],
            "" if cost is None else f"The rest costs about USD {cost:,.2f}.",
        )
        check_limit(self._settings.cost_limit, cost, left, rate)

    def _finish(self, questions: Questions, rate: Rate, asked: int, began: float) -> Report:
        counts = Completion(self._settings, self._session, self._place, self._tables).complete(questions)
        seconds = self._clock() - began
        report = Report(
            counts["rows"], counts["answered"], counts["failed"], asked, seconds, rate.cost(seconds)
        )
        tell(report, counts, self._settings.max_tokens, self._tables.answers)
        return report
