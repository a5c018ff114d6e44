"""The engine SERVICE: functions of a service that runs, or is resumed, called by statements of a warehouse."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from spcs_llm.control.identifiers import QualifiedName, grantee
from spcs_llm.errors import SpcsError, SqlError
from spcs_llm.in_snowflake.engine import NOTHING_LEFT, Answered, Engine
from spcs_llm.in_snowflake.estimate import Rate, check_limit, read_rate
from spcs_llm.in_snowflake.figures import rows_left, usd
from spcs_llm.in_snowflake.inference_job import InferenceJobs
from spcs_llm.in_snowflake.insertion import answers_of
from spcs_llm.in_snowflake.model_call import (
    find_call,
    find_service,
    make_ready,
    statements_at_once,
    uses_messages,
)
from spcs_llm.in_snowflake.refused_slices import Remedy, remedy
from spcs_llm.in_snowflake.report import duration
from spcs_llm.in_snowflake.sample import check_sample
from spcs_llm.in_snowflake.signature import Call
from spcs_llm.in_snowflake.slice_runner import LOADING_WAITS, SliceRunner
from spcs_llm.in_snowflake.work import Work
from spcs_llm.in_snowflake.work_tables import HASHES, Slice, unanswered
from spcs_llm.server_text.log_lines import one_line_logger

logger = one_line_logger(__name__)

PROBE_ROWS, SAMPLE_ROWS = 4, 16
LOADING_PAUSE = 10.0  # seconds


class ServiceEngine(Engine):
    """Answers questions by a service.

    Args:
        work: The questions.
        name: The service.

    Raises:
        SettingsError: If the role sees no such service, or the service has no function for the task.
    """

    def __init__(self, work: Work, name: QualifiedName) -> None:
        self._work = work
        self._name = name
        self._service = find_service(work.session, name)
        self._call = find_call(work.session, work.settings, name)
        self._has_resumed = False
        logger.info("Engine SERVICE: %s takes %s.", self._call.function, self._call.form.value)

    @property
    def described(self) -> str:
        return f"{self._call.function} {self._call.form.name} {self._call.sampling}"

    def answer(self) -> Answered:
        """Measures a sample, checks the cost, and answers the rest."""
        work = self._work
        InferenceJobs(work).discard_all()  # a run before may have had the engine JOB
        pending = work.pending()
        if pending == 0:  # before a suspended service is resumed, which would bill for nothing
            logger.info(NOTHING_LEFT)
            return Answered(0, self._rate())
        self._ready()
        rate = self._rate()
        with self._needs_rights():
            call = self._probed()
        runner = SliceRunner(
            work, lambda part: self._insert(call, part), statements_at_once(self._service), self._ready
        )
        sample = work.sample(SAMPLE_ROWS)
        if sample is not None:
            runner.run_slice(sample)
            if (left := work.pending()) > 0:
                check_sample(work, pending - left)
                self._estimate(runner, rate, left)
                runner.run_all(work.total())
        return Answered(pending, rate)

    def close(self, *, finished: bool) -> None:
        if self._has_resumed:
            logger.warning(
                "Service %s was resumed for this job. It runs, and bills, until it suspends itself or is suspended.",
                self._name.sql,
            )

    def _rate(self) -> Rate:
        work = self._work
        return read_rate(work.session, self._service.pool, work.prices, work.settings.credit_price)

    def _ready(self) -> None:
        work = self._work
        self._has_resumed |= make_ready(work.session, self._name, work.prices, work.sleep, work.clock)

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
        tables = self._work.tables
        asked = (
            f"SELECT Q.ROW_KEY, Q.PROMPT_KEY, {call.sql} AS RESPONSE "
            f"FROM {tables.questions} AS Q CROSS JOIN {tables.settings} AS P "
            f"WHERE P.RUN_ID = '{self._work.run_id}' AND {part.condition} AND {unanswered(tables)}"
        )
        return answers_of(self._work.settings, tables, asked)

    def _probed(self) -> Call:
        """The call in the form that the model takes: the content of a message as parts, or as text."""
        call = self._call
        forms = [call, replace(call, parts=False)] if uses_messages(call) else [call]
        for rows, after in ((PROBE_ROWS, 0), (1, 0), (1, HASHES // 2)):
            part = self._work.sample(rows, after)
            if part is None:
                continue
            for form in forms:
                error = self._tried(form, part)
                if error is None:
                    return form
                helps = remedy(error)
                if helps is Remedy.DIVIDE:
                    continue
                if helps is Remedy.STOP:
                    raise error
                self._ready()
                break
        return call

    def _tried(self, form: Call, part: Slice) -> SpcsError | None:
        """Why a slice is not answered in a form, by a model that has had time to load; None if it is answered."""
        for waits in range(LOADING_WAITS):
            try:
                self._work.session.change(self._insert(form, part))
            except SpcsError as error:
                failure = error
            else:
                return None
            if remedy(failure) is not Remedy.LOAD:
                break
            if waits == 0:
                logger.info("The service answers, and its model not yet: it is waited for.")
            self._work.check_turn()
            self._work.sleep(LOADING_PAUSE)
        return failure

    @contextmanager
    def _needs_rights(self) -> Iterator[None]:
        """Names the grant that is missing: Snowflake does not concede that there is a function."""
        try:
            yield
        except SqlError as error:
            if not error.is_unknown_function:
                raise
            function, service = self._work.settings.function, self._name.sql
            role = grantee(self._work.session.whose().role)
            grant = (
                f"GRANT SERVICE ROLE {service}!INFERENCE_SERVICE_FUNCTION_USAGE TO ROLE {role}"
                if function is None
                else f"GRANT USAGE ON FUNCTION {function.sql}(…) TO ROLE {role}"
            )
            raise SpcsError(
                f"{self._call.function} does not exist, or the role may not call it. {error.message}",
                f"Correct 'Method or function', or ask a Snowflake administrator: {grant}.",
                place=SqlError.place,
            ) from None

    def _estimate(self, runner: SliceRunner, rate: Rate, left: int) -> None:
        # Refused rows count as well: if the sample had no others, the rest would seem to cost nothing.
        per_row = runner.progress.seconds_of_all_per_row
        seconds = left * per_row / runner.parallel
        cost = rate.cost(seconds)
        logger.info(
            "%s. The sample took %.3f s for a row; with %d at once, the rest takes about %s. %s. %s",
            rows_left(left),
            per_row,
            runner.parallel,
            duration(seconds),
            rate.sentence,
            "" if cost is None else f"The rest costs about {usd(cost)}.",
        )
        check_limit(self._work.settings.cost_limit, cost, left, rate)
