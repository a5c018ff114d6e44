"""Slices of the questions, some at once, each a statement that Snowflake runs on a service.

A slice is sized by the measured rate, so that its statement takes a minute or two, or less on a warehouse that ends it
before: a stop loses no more than that, and DSS's connection does not fall silent for too long. If the service refuses a
slice, the slice is divided until only the rows that it refuses are left; they become failures, and the others are
answered.
"""

from __future__ import annotations

import random
import threading
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from spcs_llm.errors import ServiceError, ServiceStarting, SpcsError, SqlError
from spcs_llm.in_snowflake.figures import counted
from spcs_llm.in_snowflake.refused_slices import (
    Remedy,
    is_too_long,
    remedy,
    row_reason,
    told,
    without_values,
)
from spcs_llm.in_snowflake.work import Work
from spcs_llm.in_snowflake.work_tables import HASHES, Slice
from spcs_llm.server_text.log_lines import one_line_logger

logger = one_line_logger(__name__)

SLICE_SECONDS = 75.0  # what a statement should take
LEAST_SECONDS = 5.0  # the same, on a warehouse that ends statements early
GROWTH = 4.0  # by how much a slice may be larger than the one before
REFUSED_IN_A_ROW = 25  # rows without any answer in between: then it is the service, not the rows
TRIES = 4  # of one slice, where another try may help
WAITS = 20  # for a service that is away, of up to half a minute each
NULL_WAITS = (
    10  # of a run, for a service that returns NULL: one that has just started does so for two minutes
)
# Of a run, for a model that loads: an answer that still says so is then taken for one about rows.
LOADING_WAITS = 60
_PAUSE, _LONGEST_PAUSE = 2.0, 30.0
_NULL = "The service returned NULL: it failed, or took too long."


@dataclass
class Progress:
    """What has been done in this run.

    Attributes:
        rows: Rows that the statements were for.
        failed: Rows that failed although they had a statement to themselves.
        busy_seconds: Seconds of the statements that answered.
        refused_seconds: Seconds of those after which a slice was divided, or its rows failed.
    """

    rows: int = 0
    failed: int = 0
    busy_seconds: float = 0.0
    refused_seconds: float = 0.0

    @property
    def seconds_per_row(self) -> float:
        """Seconds of a statement for one row that it answers."""
        return self.busy_seconds / self.rows if self.rows else 0.0

    @property
    def seconds_of_all_per_row(self) -> float:
        """Seconds of statements for one row, answered or failed: what a row costs."""
        rows = self.rows + self.failed
        return (self.busy_seconds + self.refused_seconds) / rows if rows else 0.0


@dataclass
class _Shared:
    """What the threads share, under `lock`."""

    queue: deque[Slice] = field(default_factory=deque)
    cursor: int = 0
    width: float = 0.0
    seconds: float = SLICE_SECONDS
    refused: list[Slice] = field(default_factory=list)
    waits: Counter[str] = field(default_factory=Counter)
    error: BaseException | None = None


@dataclass
class _Course:
    """What became of a slice so far: tries, waits for the service, and whether a part of it was answered."""

    tries: int = 0
    waits: int = 0
    some: bool = False


class SliceRunner:
    """Answers questions slice by slice.

    Args:
        work: The questions.
        answer: The statement that asks the model for a slice's unanswered questions, and inserts what it answers.
        parallel: How many statements may run at once.
        wait_for_service: Returns when the service is ready; raises if it does not become so.

    Attributes:
        parallel: How many statements may run at once.
        progress: What has been done.
    """

    def __init__(
        self,
        work: Work,
        answer: Callable[[Slice], str],
        parallel: int,
        wait_for_service: Callable[[], None] = lambda: None,
    ) -> None:
        self._work = work
        self._answer = answer
        self.parallel = parallel
        self._wait_for_service = wait_for_service
        self._lock = threading.Lock()
        self._shared = _Shared()
        self.progress = Progress()

    def run_slice(self, part: Slice) -> None:
        """Answers one slice and whatever it is divided into.

        Args:
            part: The slice.

        Raises:
            SpcsError: If somebody has to do something before the job can go on.
        """
        left = deque([part])
        while left:
            left.extendleft(reversed(self._attempt(left.popleft())))

    def run_all(self, total: int) -> None:
        """Answers all questions.

        Args:
            total: How many questions there are, answered or not.

        Raises:
            SpcsError: As `run_slice`. Statements that other threads have begun are waited for.
        """
        per_row = self.progress.seconds_per_row
        rows = self._shared.seconds / per_row if per_row > 0 else 1000.0
        share = max(1, total)
        self._shared.width = max(1.0, min(HASHES / self.parallel, HASHES * rows / share))
        threads = [
            threading.Thread(target=self._run_thread, args=(share,), name=f"spcs-llm-slice-{i}", daemon=True)
            for i in range(self.parallel)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._shared.error is not None:
            raise self._shared.error

    def _run_thread(self, total: int) -> None:
        try:
            while (part := self._next()) is not None:
                rows, seconds = self.progress.rows, self.progress.busy_seconds
                self.run_slice(part)
                self._resize(total, self.progress.rows - rows, self.progress.busy_seconds - seconds)
        except BaseException as error:  # noqa: BLE001 - the thread that waits raises it
            with self._lock:
                self._shared.error = self._shared.error or error

    def _next(self) -> Slice | None:
        with self._lock:
            shared = self._shared
            if shared.error is not None or shared.cursor >= HASHES:
                return None
            low = shared.cursor
            # The last slices are smaller, so that no thread waits long for another; but each costs statements.
            width = min(shared.width, max(1.0, shared.width / 8, (HASHES - low) / self.parallel))
            high = min(HASHES, low + max(1, int(width)))
            if HASHES - high < width / 2:
                high = HASHES
            shared.cursor = high
            return Slice(low, high)

    def _resize(self, total: int, rows: int, seconds: float) -> None:
        """Sizes the next slices by all that has been measured. Concurrent threads' figures do no harm here."""
        if rows <= 0 or seconds <= 0:
            return
        with self._lock:
            wanted = HASHES * (self._shared.seconds * rows / seconds) / total
            self._shared.width = max(1.0, min(wanted, self._shared.width * GROWTH))

    def _attempt(self, part: Slice) -> list[Slice]:
        """Answers a slice, or says into which it is to be divided."""
        course = _Course()
        rows = self._work.pending(part)
        while rows > 0:
            began = self._work.clock()
            try:
                self._work.session.change(self._answer(part))
            except SpcsError as error:
                taken = self._work.clock() - began
                found = self._after_failure(error, part, rows, taken, course)
            else:
                left = self._work.pending(part)
                taken = self._work.clock() - began
                if left < rows:
                    self._count(rows - left, taken)
                    course.some = True
                    rows = left
                    continue
                found = self._after_null(part, rows, course)
            if found is not None:
                self._count_refused(taken)
                return found
            longest = min(_LONGEST_PAUSE, _PAUSE * 2 ** (course.tries + course.waits))
            self._work.sleep(random.uniform(0, longest))  # noqa: S311 - not used for security
            rows = self._work.pending(part)
        return []

    def _after_failure(
        self, error: SpcsError, part: Slice, rows: int, taken: float, course: _Course
    ) -> list[Slice] | None:
        """What to do instead of the slice; None to try it again."""
        helps = remedy(error)
        logger.info("A statement for %s failed: %s", counted(rows, "row"), told(error))
        if is_too_long(error):
            self._shorten(taken)
        if helps is Remedy.LOAD and self._may_wait("loading", LOADING_WAITS):
            course.waits += 1
            self._wait_for_service()
            return None
        if helps in (Remedy.DIVIDE, Remedy.SHORTEN, Remedy.LOAD):
            return self._divided(part, rows, error)
        if helps is Remedy.WAIT:
            course.waits += 1
            self._wait(course.waits, error)
            return None
        course.tries += 1
        if helps is Remedy.STOP or course.tries == TRIES:
            raise without_values(error) from None
        return None

    def _after_null(self, part: Slice, rows: int, course: _Course) -> list[Slice] | None:
        """The same, where none of the rows has an answer. It is their own fault if others of the slice have answers."""
        logger.info("The service returned NULL for %s.", counted(rows, "row"))
        if course.some and course.tries:
            self._fail(part, rows, _NULL)
            return []
        course.tries += 1
        if not course.some and not self._may_wait("null", NULL_WAITS):
            return self._divided(part, rows, ServiceError(_NULL))
        self._wait_for_service()
        return None

    def _may_wait(self, what: str, most: int) -> bool:
        """Whether a service that answers in vain may still be starting."""
        with self._lock:
            self._shared.waits[what] += 1
            return self._shared.waits[what] <= most

    def _shorten(self, taken: float) -> None:
        """Sizes the next slices by half of the time after which a statement was ended."""
        with self._lock:
            shared = self._shared
            seconds = max(LEAST_SECONDS, min(shared.seconds, taken / 2))
            shared.width = max(1.0, shared.width * seconds / shared.seconds)
            shared.seconds = seconds

    def _wait(self, waits: int, error: SpcsError) -> None:
        if waits > WAITS:
            raise ServiceStarting(
                f"The service is away, or has too much to do. {told(error)}",
                "Read its logs, and run the recipe again when it answers: rows that were answered are kept.",
            )
        self._wait_for_service()

    def _divided(self, part: Slice, rows: int, error: SpcsError) -> list[Slice]:
        if rows > 1 and not part.is_one_hash:
            return list(part.halves())
        self._fail(part, rows, row_reason(error) if isinstance(error, SqlError) else error.message)
        with self._lock:
            self._shared.refused.append(part)
            refused = list(self._shared.refused)
        if len(refused) >= REFUSED_IN_A_ROW:
            self._work.forget(refused)
            raise ServiceError(
                f"The service refuses every row: {len(refused)} in succession. {told(error)}",
                "Read the service's logs, correct the model or the prompt, and run the recipe again: rows that were "
                "answered are kept.",
            )
        return []

    def _fail(self, part: Slice, rows: int, reason: str) -> None:
        self._work.fail(reason, part)
        with self._lock:
            self.progress.failed += rows

    def _count_refused(self, seconds: float) -> None:
        with self._lock:
            self.progress.refused_seconds += seconds

    def _count(self, rows: int, seconds: float) -> None:
        with self._lock:
            self.progress.rows += rows
            self.progress.busy_seconds += seconds
            self._shared.refused.clear()
            done = self.progress.rows + self.progress.failed
        speed = rows / max(seconds, 0.001)
        logger.info(
            "%s in %.1f s, %.1f a second; %s in this run so far.",
            counted(rows, "row"),
            seconds,
            speed,
            counted(done, "row"),
        )
