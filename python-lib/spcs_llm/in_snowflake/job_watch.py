"""Looks at an inference job until it has ended: states, progress, cost, and why it failed or does not start."""

from __future__ import annotations

from dataclasses import dataclass

from spcs_llm.control import statements
from spcs_llm.control.container_messages import hint_for_message, hint_for_pool
from spcs_llm.control.identifiers import quoted
from spcs_llm.control.services import read_pools
from spcs_llm.control.start_failures import start_failures
from spcs_llm.errors import ServiceError, ServiceStarting, SettingsError, SpcsError, SqlError
from spcs_llm.in_snowflake.estimate import Rate
from spcs_llm.in_snowflake.figures import counted, usd
from spcs_llm.in_snowflake.inference_job import InferenceJobs, JobName, is_live
from spcs_llm.in_snowflake.refused_slices import Remedy, remedy, told
from spcs_llm.in_snowflake.report import duration
from spcs_llm.in_snowflake.work import Work
from spcs_llm.server_text.log_lines import one_line_logger

logger = one_line_logger(__name__)

PENDING_SECONDS = 1800.0  # snowflake-ml-python's own tests give a job half an hour
PROGRESS_SECONDS = 300.0  # between two counts of rows, which need a warehouse
MISSES = 40  # looks in succession that fail by themselves, ten minutes at least: a job is worth waiting for Snowflake
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 15.0


class JobFailed(Exception):
    """A job has ended in another way than it should.

    Attributes:
        error: What the recipe is to raise.
        may_be_the_input: Whether the rows may be the reason.
    """

    def __init__(self, error: SpcsError, *, may_be_the_input: bool) -> None:
        super().__init__(str(error))
        self.error = error
        self.may_be_the_input = may_be_the_input


@dataclass
class _Seen:
    """What was seen of a job: since when it is looked at, when its rows were counted, and since when it runs."""

    began: float
    counted: float
    ran_since: float | None = None
    told: str = ""


class Watch:
    """Looks at a job until it has ended.

    Args:
        work: The questions.
        jobs: The jobs.
        rate: What runs meanwhile.
    """

    def __init__(self, work: Work, jobs: InferenceJobs, rate: Rate) -> None:
        self._work = work
        self._jobs = jobs
        self._rate = rate
        self._began = work.clock()

    def until_the_end(self, name: JobName) -> None:
        """Waits.

        Args:
            name: The job.

        Raises:
            JobFailed: If it has not ended well.
            SpcsError: If it must not go on, or Snowflake cannot be asked.
        """
        seen = _Seen(began=self._work.clock(), counted=self._work.clock())
        pause, misses = _FIRST_PAUSE, 0
        while True:
            self._check_cost(name)
            try:
                if self._has_ended(name, seen):
                    return
                misses = 0
            except SqlError as error:
                misses += 1
                if misses > MISSES or remedy(error) not in (Remedy.REPEAT, Remedy.SHORTEN):
                    raise
                logger.info("Inference job %s cannot be looked at: %s", name, told(error))
            self._work.sleep(pause)
            pause = min(_LONGEST_PAUSE, pause * 1.5)

    def _has_ended(self, name: JobName, seen: _Seen) -> bool:
        """Looks once, and says in the log what is new."""
        state, now = self._jobs.state(name), self._work.clock()
        if not is_live(state):
            self._check_end(name, state)
            return True
        if state == "RUNNING" and seen.ran_since is None:
            seen.ran_since = now
        seen.told = self._tell_state(name, state, seen.told, now - seen.began)
        if seen.ran_since is None and now - seen.began > PENDING_SECONDS:
            raise self._pending_too_long(name, now - seen.began)
        if now - seen.counted > PROGRESS_SECONDS:
            seen.counted = now
            self._work.check_turn()
            self._tell_progress(name, now, seen.ran_since)
        return False

    def _check_end(self, name: JobName, state: str) -> None:
        if state == "DONE":
            logger.info("Inference job %s is done.", name)
            return
        full = self._jobs.full_name(name).sql
        if state != "FAILED":
            what = "was dropped" if state in ("DELETED", "DELETING") else f"is {state}"
            raise JobFailed(
                ServiceError(
                    f"Inference job {full} {what} before its end, and not by this run.",
                    "Run the recipe again to go on: what it has answered is kept.",
                ),
                may_be_the_input=False,
            )
        found = self._jobs.containers(name)
        ended = [container for container in found if not container.is_ready and container.status != "DONE"]
        failures = start_failures(self._work.session, self._jobs.full_name(name), ended)
        reasons = [*map(str, ended), *map(str, failures)]
        told_by = "; ".join(reasons) or "no container says why"
        hints = dict.fromkeys(
            [failure.hint for failure in failures]
            or [hint_for_message(container.message, container.status) for container in ended]
        )
        raise JobFailed(
            ServiceError(
                f"Inference job {full} has failed: {told_by}.",
                " ".join(
                    [
                        *filter(None, hints),
                        "If a row makes the model fail, engine SERVICE finds it. Run the recipe again to go on: what "
                        "was answered is kept.",
                    ]
                ),
            ),
            may_be_the_input=not failures
            and not any("memory" in hint or "image" in hint.lower() for hint in hints),
        )

    def _tell_state(self, name: JobName, state: str, before: str, seconds: float) -> str:
        """Logs a state that is new, with what the containers say while it is not running."""
        said = state
        if state != "RUNNING":
            said += "".join(f"; {container}" for container in self._jobs.containers(name)[:1])
        if said != before:
            logger.info("Inference job %s is %s after %s.", name, said, duration(seconds))
        return said

    def _tell_progress(self, name: JobName, now: float, ran_since: float | None) -> None:
        cost = self._rate.cost(now - self._began)
        so_far = "" if cost is None else f" So far this costs about {usd(cost)}."
        if ran_since is None or not self._jobs.results(name).files:
            logger.info("Inference job %s has no results yet.%s", name, so_far)
            return
        rows = self._jobs.count(name)
        logger.info(
            "Inference job %s has results for %s, %.1f a second.%s",
            name,
            counted(rows, "row"),
            rows / max(1.0, now - ran_since),
            so_far,
        )

    def _check_cost(self, name: JobName) -> None:
        limit = self._work.settings.cost_limit
        cost = self._rate.cost(self._work.clock() - self._began)
        if limit is not None and cost is not None and cost > limit:
            raise SettingsError(
                f"'Cost limit' is {usd(limit)}, and inference job {name} has cost about that much: it is stopped.",
                "Raise 'Cost limit', and run the recipe again: what was answered is kept.",
            )

    def _pending_too_long(self, name: JobName, seconds: float) -> SpcsError:
        found = self._jobs.containers(name)
        containers = "; ".join(map(str, found))
        pool = self._work.settings.pool or ""
        hints = [hint_for_message(container.message) for container in found]
        try:
            for described in read_pools(self._work.session.rows(statements.describe_pool(pool))):
                hints.append(hint_for_pool(quoted(pool), described.state, described.error_code))
        except SpcsError:
            pass
        return ServiceStarting(
            f"Inference job {self._jobs.full_name(name).sql} has not started after {duration(seconds)}, and is "
            f"stopped{f': {containers}' if containers else ''}.",
            " ".join(dict.fromkeys(filter(None, hints))) or "Look at the compute pool in Snowsight.",
        )
