"""The engine JOB: an inference job of Snowflake over the questions that have no answer, on separate nodes.

It is started without waiting for its end, and looked at from time to time. If the recipe is killed meanwhile, the job
goes on, and the next run takes its results. If the recipe fails or is stopped, it ends the job.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from spcs_llm.control.identifiers import grantee, quoted
from spcs_llm.errors import ModelError, ServiceStarting, SettingsError, SpcsError, SqlError
from spcs_llm.in_snowflake.engine import NOTHING_LEFT, Answered, Engine
from spcs_llm.in_snowflake.estimate import Rate, check_limit, read_rate
from spcs_llm.in_snowflake.figures import counted, rows_left, usd
from spcs_llm.in_snowflake.inference_job import InferenceJobs, JobName, Results, is_live
from spcs_llm.in_snowflake.job_statement import MAX_CHARACTERS, JobStart
from spcs_llm.in_snowflake.job_watch import JobFailed, Watch
from spcs_llm.in_snowflake.questions import question_key
from spcs_llm.in_snowflake.refused_slices import Remedy, remedy, told
from spcs_llm.in_snowflake.registry_model import Unavailable, find_model, find_pool, gpus_of_node
from spcs_llm.in_snowflake.signature import Form, Sampling
from spcs_llm.in_snowflake.work import Superseded, Work
from spcs_llm.server_text.log_lines import one_line_logger

logger = one_line_logger(__name__)

JOBS_FOR_A_ROW = 2  # after which a row without a result is a failure
STARTS = 8  # of one job, while its image is built: each statement has nine minutes
ROWS_OF_A_REPLICA = 100_000
_MISSING = "The inference job returned no answer for the row, also when it was asked again."
_EXISTS = "002002"


class JobEngine(Engine):
    """Answers questions by inference jobs.

    Args:
        work: The questions. Its settings have a model and a compute pool.

    Raises:
        SettingsError: If something that the job needs is missing: all of it at once.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._jobs = InferenceJobs(work)
        settings, session = work.settings, work.session
        complaints = [problem] if (problem := unfit_place(work)) else []
        if settings.model is None or settings.pool is None:
            raise SettingsError("Engine JOB needs a model and a compute pool.")
        try:
            self._model = find_model(session, settings, settings.model)
        except Unavailable as problem_of_model:
            complaints.append(str(problem_of_model))
        try:
            self._pool = find_pool(session, settings.pool)
            self._gpus = gpus_of_node(session, self._pool, work.prices)
        except Unavailable as problem_of_pool:
            complaints.append(str(problem_of_pool))
        if complaints:
            raise SettingsError(" ".join(complaints), "Correct the settings of the recipe.")
        self._takes_parts: bool | None = None  # until a job has results
        self._key = question_key(settings, self.described)[:8].upper()
        logger.info(
            "Engine JOB: version %s of model %s takes %s, on compute pool %s with %s.",
            self._model.version,
            self._model.name.sql,
            self._model.form.value,
            quoted(self._pool.name),
            f"{counted(self._gpus, 'GPU')} in a node" if self._gpus else "CPUs",
        )

    @property
    def described(self) -> str:
        model, settings = self._model, self._work.settings
        sampling = Sampling(settings.temperature, settings.max_tokens) if settings.is_chat else None
        return f"{model.name.sql} {model.version} {model.function.name} {model.form.name} {sampling}"

    def answer(self) -> Answered:
        """Takes what jobs of earlier runs have answered, and starts another job for the rest."""
        work = self._work
        rows = work.pending()
        replicas = self._replicas(rows)
        rate = read_rate(
            work.session, self._pool.name, work.prices, work.settings.credit_price, nodes=replicas
        )
        if rows == 0:
            logger.info(NOTHING_LEFT)
            return Answered(0, rate)
        self._tell_cost(rows, rate)
        with self._needs_rights():
            self._jobs.make_stage()
            self._jobs.folders()  # which another role's stage of this name refuses
        watch = Watch(work, self._jobs, rate)
        try:
            self._answer_rest(watch, self._taken_over(watch), replicas)
        except JobFailed as failure:
            raise failure.error from None
        return Answered(rows, rate)

    def close(self, *, finished: bool) -> None:
        if finished:
            self._jobs.discard_all()

    # -- jobs in succession ------------------------------------------------------------------------

    def _taken_over(self, watch: Watch) -> list[JobName]:
        """Takes the results of jobs that earlier runs have left, and ends those for other settings.

        Args:
            watch: Waits for those that are still running.

        Returns:
            The jobs for these settings, in their order.
        """
        jobs, found = self._jobs, self._jobs.found()
        names = sorted({*found, *jobs.folders()}, key=lambda name: name.number)
        for name in names:
            if name.key != self._key:
                logger.info("Inference job %s was for other settings, and is dropped.", name)
            elif name in found and is_live(found[name].status):
                logger.info("Inference job %s of an earlier run is still running, and is waited for.", name)
                self._run(name, watch)
                continue
            else:
                logger.info("The results of inference job %s of an earlier run are taken.", name)
                self._note_form(name, jobs.take(name))
                self._work.check_turn()
            jobs.discard(name)
        return [name for name in names if name.key == self._key]

    def _answer_rest(self, watch: Watch, earlier: list[JobName], replicas: int) -> None:
        """Starts one job after another until each question has an answer or a failure."""
        work = self._work
        number = max((name.number for name in earlier), default=0)
        asked = 0
        while (left := work.pending()) > 0:
            if asked == JOBS_FOR_A_ROW:
                logger.warning("%d inference jobs gave no result for %s.", asked, counted(left, "row"))
                work.fail(_MISSING)
                return
            number = self._ask(watch, number + 1, replicas)
            if work.pending() == left:
                raise ModelError(
                    f"An inference job was given {counted(left, 'row')}, and has ended without a single answer.",
                    "Read the log of the job in Snowsight, and correct the model, or use engine SERVICE.",
                )
            asked += 1

    def _ask(self, watch: Watch, number: int, replicas: int) -> int:
        """Runs a job, in the form that the model is known to take; else with parts, and then with text.

        Args:
            watch: Waits for the end.
            number: The number of the job.
            replicas: How many replicas it has.

        Returns:
            The number of the last job.

        Raises:
            JobFailed: If it does not end well: with the reason of the first job.
        """
        failures: list[JobFailed] = []
        for parts in self._forms():
            name = JobName(self._work.tables.mark, self._key, parts, number)
            full = self._jobs.full_name(name)
            try:
                self._run(
                    name, watch, JobStart(full, self._pool.name, self._model, self._gpus, replicas, parts)
                )
                return number
            except JobFailed as failure:
                failures.append(failure)
                if self._takes_parts is not None or not failure.may_be_the_input:
                    break
            logger.info(
                "Inference job %s failed without a result. The content of messages may be the reason.", name
            )
            number += 1
        raise failures[0]

    def _forms(self) -> tuple[bool, ...]:
        """Whether the content of messages is a list of parts, in the order in which it is tried."""
        if self._takes_parts is not None:
            return (self._takes_parts,)
        return (True, False) if self._model.form in (Form.PARAMS, Form.COLUMNS) else (True,)

    def _note_form(self, name: JobName, results: Results) -> None:
        """A job with results had the form that the model takes."""
        if results.files:
            self._takes_parts = name.parts

    def _run(self, name: JobName, watch: Watch, start: JobStart | None = None) -> None:
        """Runs a job to its end, and takes its results. One that failed is kept until the next run, for its log.

        Args:
            name: The job.
            watch: Waits for its end.
            start: What to start it with; None if it runs already.

        Raises:
            JobFailed: If it did not end well. Its results were taken.
            SpcsError: If it must not go on. It was dropped, and its results are kept for the next run.
        """
        try:
            if start is not None:
                self._start(start, name)
            watch.until_the_end(name)
        except JobFailed:
            self._work.check_turn()
            self._note_form(name, self._jobs.take(name))
            raise
        except BaseException as error:
            self._cancel(name, error)
            raise
        self._work.check_turn()
        results = self._jobs.take(name)
        self._note_form(name, results)
        self._work.check_turn()  # where another run has begun meanwhile, nothing was taken
        if not results.is_complete:
            logger.warning("Inference job %s did not say that its results are complete.", name)
        self._jobs.discard(name)

    def _start(self, start: JobStart, name: JobName) -> None:
        work = self._work
        work.check_turn()
        statement = start.sql(work.settings, work.tables, work.run_id)
        if len(statement) > MAX_CHARACTERS:
            raise SettingsError(
                "'JSON schema' and 'Stop sequences' are too long for engine JOB, whose statement holds them.",
                "Shorten them, or use engine SERVICE.",
            )
        logger.info(
            "Inference job %s is started with %s. The first job of a model waits until its image is built, "
            "which takes minutes.",
            start.name.sql,
            counted(start.replicas, "replica"),
        )
        for _ in range(STARTS):
            try:
                with self._needs_rights():
                    work.session.rows(statement)
                return
            except SqlError as error:
                if error.code == _EXISTS:
                    logger.info("Inference job %s has been started before.", name)
                    return
                if remedy(error) not in (Remedy.SHORTEN, Remedy.REPEAT):
                    raise
                logger.info("The statement that starts the job did not end: %s", told(error))
                if self._jobs.state(name) != "DELETED":
                    return
        raise ServiceStarting(
            f"Inference job {start.name.sql} was not started in {STARTS} attempts: its image may still be built.",
            "Look for services named MODEL_BUILD_… in the schema of the model, and run the recipe again when they have "
            "ended.",
        )

    def _cancel(self, name: JobName, error: BaseException) -> None:
        """Drops a job, unless another run follows it. Its results stay on the stage for the next run."""
        if isinstance(error, Superseded):
            return
        try:
            self._work.check_turn()
            if self._jobs.state(name) == "DELETED":
                return  # it was never started
            self._jobs.drop(name)
        except Superseded:
            return
        except SpcsError as failure:
            logger.warning(
                "Inference job %s cannot be dropped, so it may go on and bill: drop it by DROP SERVICE. %s",
                self._jobs.full_name(name).sql,
                told(failure),
            )
            return
        logger.warning(
            "Inference job %s does not run any more. What it has written is kept for the next run.", name
        )

    # -- what it needs and costs -------------------------------------------------------------------

    def _replicas(self, rows: int) -> int:
        """One for each 100,000 rows, as far as the pool has nodes that do nothing else."""
        free = max(1, self._pool.max_nodes - self._pool.active_nodes)
        return max(1, min(free, -(-rows // ROWS_OF_A_REPLICA)))

    def _tell_cost(self, rows: int, rate: Rate) -> None:
        limit = self._work.settings.cost_limit
        logger.info(
            "%s. An inference job cannot be measured before it runs, and takes minutes to start. %s.%s",
            rows_left(rows),
            rate.sentence,
            "" if limit is None else f" It is stopped when it has cost about {usd(limit)}.",
        )
        check_limit(limit, rate.cost(0), rows, rate)

    @contextmanager
    def _needs_rights(self) -> Iterator[None]:
        """Names the grant that is missing. Snowflake's words say on what kind of object."""
        try:
            yield
        except SqlError as error:
            if not error.is_about_rights:
                raise
            schema = self._work.place.output.schema_sql
            pool, model = quoted(self._pool.name), self._model.name.sql
            by_kind = {
                "compute pool": f"GRANT USAGE ON COMPUTE POOL {pool}",
                "model": f"GRANT USAGE ON MODEL {model}",
                "stage": f"GRANT READ, WRITE ON STAGE {self._work.tables.stage}",
                "schema": f"GRANT USAGE, CREATE STAGE, CREATE SERVICE ON SCHEMA {schema}",
            }
            words = error.server_text.lower()
            grants = [grant for kind, grant in by_kind.items() if kind in words] or list(by_kind.values())
            whose = grantee(self._work.session.whose().role)
            raise SpcsError(
                f"The inference job cannot be started. {error.message}",
                f"Ask a Snowflake administrator: {'; '.join(f'{grant} TO ROLE {whose}' for grant in grants)}. A job "
                "also needs READ on the image repository of the model.",
                place="SQL",
            ) from None


def unfit_place(work: Work) -> str:
    """Why no job can be in the schema of the output; empty if one can."""
    place = work.place.output
    odd = [part for part in (place.database, place.schema) if quoted(part).startswith('"')]
    if not odd:
        return ""
    return (
        f"Engine JOB cannot be used for an output in {place.database}.{place.schema}: Snowflake does not take jobs in "
        f"a database or schema whose name needs double quotes, as {odd[0]} does."
    )
