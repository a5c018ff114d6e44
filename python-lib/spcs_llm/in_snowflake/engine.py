"""The engine SERVICE: slices of the questions, some at once, each a statement that Snowflake runs on the service.

A slice is sized by the measured rate, so that its statement takes a minute or two: a stop loses no more than that, and
DSS's connection does not fall silent for too long. If the service refuses a slice, the slice is divided until only the
rows that it refuses are left; they become failures, and the others are answered.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from spcs_llm.control import cells
from spcs_llm.errors import ServiceError, ServiceStarting, SpcsError, SqlError
from spcs_llm.in_snowflake.refused_slices import Remedy, remedy, row_reason, told, without_values
from spcs_llm.in_snowflake.session import JobSession
from spcs_llm.in_snowflake.settings_table import whose_turn
from spcs_llm.in_snowflake.work_tables import HASHES, Slice, WorkTables, unanswered

logger = logging.getLogger(__name__)

SLICE_SECONDS = 75.0  # what a statement should take
GROWTH = 4.0  # by how much a slice may be larger than the one before
REFUSED_IN_A_ROW = 25  # rows without any answer in between: then it is the service, not the rows
TRIES = 4  # of one slice, where another try may help
WAITS = 20  # for a service that is away, of up to half a minute each
_PAUSE, _LONGEST_PAUSE = 2.0, 30.0


@dataclass
class Progress:
    """What has been done in this run.

    Attributes:
        rows: Rows that the statements were for.
        failed: Rows that failed although they had a statement to themselves.
        busy_seconds: Seconds of all statements together.
    """

    rows: int = 0
    failed: int = 0
    busy_seconds: float = 0.0

    @property
    def seconds_per_row(self) -> float:
        """Seconds of a statement for one row."""
        return self.busy_seconds / self.rows if self.rows else 0.0


@dataclass(frozen=True)
class Statements:
    """The statements of an engine.

    Attributes:
        tables: The job's tables.
        answer: Asks the model for the unanswered questions of a slice, and inserts what it answers.
        run_id: The run, in hexadecimal digits.
    """

    tables: WorkTables
    answer: Callable[[Slice], str]
    run_id: str

    def pending(self, part: Slice) -> str:
        """The query for how many questions of a slice are unanswered."""
        return (
            f'SELECT COUNT(*) AS "rows" FROM {self.tables.questions} AS Q '
            f"WHERE {part.condition} AND {unanswered(self.tables)}"
        )

    def first(self, rows: int, after: int) -> str:
        """The query for the hash of the last of the first unanswered questions from a hash on."""
        return (
            'SELECT TO_VARCHAR(MAX(F.HASH)) AS "last" FROM (SELECT Q.HASH '
            f"FROM {self.tables.questions} AS Q WHERE Q.HASH >= {after} AND {unanswered(self.tables)} "
            f"ORDER BY Q.HASH LIMIT {rows}) AS F"
        )

    def fail(self, part: Slice, reason: str) -> str:
        """Makes the unanswered questions of a slice failures."""
        digits = reason.encode("utf-8", "replace").hex()
        return (
            f"INSERT INTO {self.tables.answers} (ROW_KEY, PROMPT_KEY, ERROR) "
            f"SELECT Q.ROW_KEY, Q.PROMPT_KEY, HEX_DECODE_STRING('{digits}') FROM {self.tables.questions} AS Q "
            f"WHERE {part.condition} AND {unanswered(self.tables)}"
        )

    def forget(self, parts: Sequence[Slice]) -> str:
        """Lets the failures of slices be questions again."""
        conditions = " OR ".join(f"({part.condition})" for part in parts)
        return (
            f"DELETE FROM {self.tables.answers} WHERE ERROR IS NOT NULL AND ROW_KEY IN "
            f"(SELECT Q.ROW_KEY FROM {self.tables.questions} AS Q WHERE {conditions})"
        )


@dataclass
class _Shared:
    """What the threads share, under `lock`."""

    queue: deque[Slice] = field(default_factory=deque)
    cursor: int = 0
    width: float = 0.0
    refused: list[Slice] = field(default_factory=list)
    error: BaseException | None = None


class Engine:
    """Answers the questions of a job.

    Args:
        session: Runs the statements; many at once.
        statements: The statements.
        parallel: How many statements may run at once.
        wait_for_service: Returns when the service is ready; raises if it does not become so.
        clock: Seconds that never go back.
        sleep: Makes pauses before another try.
    """

    def __init__(
        self,
        session: JobSession,
        statements: Statements,
        parallel: int,
        wait_for_service: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Any] = time.sleep,  # noqa: TID251 - a job waits here, no query does
    ) -> None:
        self._session = session
        self._statements = statements
        self._parallel = parallel
        self._wait_for_service = wait_for_service
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._shared = _Shared()
        self.progress = Progress()

    def pending(self, part: Slice | None = None) -> int:
        """How many questions of a slice, or of all, are unanswered."""
        rows = self._session.rows(self._statements.pending(part or Slice(0, HASHES)))
        return (cells.whole(rows[0], "rows") or 0) if rows else 0

    @property
    def parallel(self) -> int:
        """How many statements run at once."""
        return self._parallel

    def sample(self, rows: int, after: int = 0) -> Slice | None:
        """The slice of the first unanswered questions from a hash on; None if there are none."""
        found = self._session.rows(self._statements.first(rows, after))
        last = cells.text(found[0], "last") if found else None
        return None if last is None else Slice(after, int(last.partition(".")[0]) + 1)

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
        rows = SLICE_SECONDS / per_row if per_row > 0 else 1000.0
        share = max(1, total)
        self._shared.width = max(1.0, min(HASHES / self._parallel, HASHES * rows / share))
        threads = [
            threading.Thread(target=self._work, args=(share,), name=f"spcs-llm-slice-{i}", daemon=True)
            for i in range(self._parallel)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self._shared.error is not None:
            raise self._shared.error

    def _work(self, total: int) -> None:
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
            width = min(shared.width, max(1.0, shared.width / 8, (HASHES - low) / self._parallel))
            high = min(HASHES, low + max(1, int(width)))
            if HASHES - high < width / 2:
                high = HASHES
            shared.cursor = high
            return Slice(low, high)

    def _resize(self, total: int, rows: int, seconds: float) -> None:
        """Sizes the next slices by all that has been measured. Concurrent threads' figures do no harm here."""
        if rows <= 0 or seconds <= 0:
            return
        wanted = HASHES * (SLICE_SECONDS * rows / seconds) / total
        with self._lock:
            self._shared.width = max(1.0, min(wanted, self._shared.width * GROWTH))

    def _attempt(self, part: Slice) -> list[Slice]:
        """Answers a slice, or says into which it is to be divided."""
        tries = waits = 0
        while (rows := self._asked_for(part)) > 0:
            began = self._clock()
            try:
                self._session.change(self._statements.answer(part))
            except SpcsError as error:
                helps = remedy(error)
                logger.info("A statement for %d rows failed: %s", rows, told(error))
                if helps in (Remedy.DIVIDE, Remedy.SHORTEN):
                    return self._divided(part, rows, error)
                if helps is Remedy.WAIT:
                    waits += 1
                    self._wait(waits, error)
                else:
                    tries += 1
                    if helps is Remedy.STOP or tries == TRIES:
                        raise without_values(error) from None
                self._sleep(random.uniform(0, min(_LONGEST_PAUSE, _PAUSE * 2 ** (tries + waits))))  # noqa: S311
                continue
            self._count(rows, self._clock() - began)
            return []
        return []

    def _asked_for(self, part: Slice) -> int:
        self.check_turn()
        return self.pending(part)

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
        self._session.change(self._statements.fail(part, row_reason(error)))
        with self._lock:
            self._shared.refused.append(part)
            self.progress.failed += rows
            refused = list(self._shared.refused)
        if len(refused) >= REFUSED_IN_A_ROW:
            self._session.change(self._statements.forget(refused))
            raise ServiceError(
                f"The service refuses every row: {len(refused)} in succession. {told(error)}",
                "Read the service's logs, correct the model or the prompt, and run the recipe again: rows that were "
                "answered are kept.",
            )
        return []

    def _count(self, rows: int, seconds: float) -> None:
        with self._lock:
            self.progress.rows += rows
            self.progress.busy_seconds += seconds
            self._shared.refused.clear()
            done = self.progress.rows + self.progress.failed
        speed = rows / max(seconds, 0.001)
        logger.info(
            "%d rows in %.1f s, %.1f a second; %d rows in this run so far.", rows, seconds, speed, done
        )

    def check_turn(self) -> None:
        """Makes sure that no other run has begun.

        Raises:
            SpcsError: If one has.
        """
        try:
            rows = self._session.rows(whose_turn(self._statements.tables.settings))
        except SqlError as error:
            if not error.is_absent:
                raise
            rows = []
        if not rows or rows[0].get("run") != self._statements.run_id:
            raise SpcsError(
                "Another run of this recipe has begun, so this one stops.",
                "Nothing is lost: the other run goes on from what this one has answered.",
            )
