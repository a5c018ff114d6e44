"""What one run of a job works on: its settings, its tables, and the questions that have no answer yet."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import Any, Callable

from spcs_llm.control import cells
from spcs_llm.control.families import PriceList
from spcs_llm.control.session import Row
from spcs_llm.errors import SpcsError, SqlError
from spcs_llm.in_snowflake.form import JobSettings
from spcs_llm.in_snowflake.place import Place
from spcs_llm.in_snowflake.session import JobSession
from spcs_llm.in_snowflake.settings_table import whose_turn
from spcs_llm.in_snowflake.work_tables import HASHES, Slice, unanswered, work_tables
from spcs_llm.whole_characters import whole_characters

_ALL = Slice(0, HASHES)


class Superseded(SpcsError):
    """Another run of the recipe has begun: what this one has started is the other's now."""

    place = "SQL"

    def __init__(self) -> None:
        super().__init__(
            "Another run of this recipe has begun, so this one stops.",
            "Nothing is lost: the other run goes on from what this one has answered.",
        )


class Work:
    """The work of one run.

    Args:
        settings: The settings.
        session: Runs the statements; many at once.
        place: Where the job reads and writes.
        prices: What a node of each instance family costs.
        clock: Seconds that never go back.
        sleep: Makes pauses.

    Attributes:
        tables: The job's tables.
        run_id: The run, in hexadecimal digits.
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
        self.settings = settings
        self.session = session
        self.place = place
        self.prices = prices
        self.clock = clock
        self.sleep = sleep
        self.tables = work_tables(place.output, chat=settings.is_chat)
        self.run_id = uuid.uuid4().hex

    def total(self) -> int:
        """How many questions there are, answered or not."""
        rows = self.session.rows(f'SELECT COUNT(*) AS "rows" FROM {self.tables.questions} AS Q')
        return cells.whole(rows[0], "rows") or 0

    def pending(self, part: Slice = _ALL) -> int:
        """Counts the unanswered questions of a slice, and makes sure that no other run has begun.

        One statement for both, which goes before and after each slice.

        Args:
            part: The slice.

        Returns:
            How many.

        Raises:
            Superseded: If another run has begun.
        """
        rows = self.session.rows(
            'SELECT S.RUN_ID AS "run", C.PENDING AS "rows" FROM '
            f"{self.tables.settings} AS S CROSS JOIN (SELECT COUNT(*) AS PENDING FROM {self.tables.questions} AS Q "
            f"WHERE {part.condition} AND {unanswered(self.tables)}) AS C"
        )
        self._check_turn(rows)
        return cells.whole(rows[0], "rows") or 0

    def sample(self, rows: int, after: int = 0) -> Slice | None:
        """The slice of the first unanswered questions from a hash on; None if there are none."""
        found = self.session.rows(
            'SELECT TO_VARCHAR(MAX(F.HASH)) AS "last" FROM (SELECT Q.HASH '
            f"FROM {self.tables.questions} AS Q WHERE Q.HASH >= {after} AND {unanswered(self.tables)} "
            f"ORDER BY Q.HASH LIMIT {rows}) AS F"
        )
        last = cells.text(found[0], "last") if found else None
        return None if last is None else Slice(after, int(last.partition(".")[0]) + 1)

    def fail(self, reason: str, part: Slice = _ALL) -> None:
        """Makes the unanswered questions of a slice failures."""
        digits = whole_characters(reason).encode().hex()
        self.session.change(
            f"INSERT INTO {self.tables.answers} (ROW_KEY, PROMPT_KEY, ERROR) "
            f"SELECT Q.ROW_KEY, Q.PROMPT_KEY, HEX_DECODE_STRING('{digits}') FROM {self.tables.questions} AS Q "
            f"WHERE {part.condition} AND {unanswered(self.tables)}"
        )

    def forget(self, parts: Sequence[Slice]) -> None:
        """Lets the failures of slices be questions again."""
        conditions = " OR ".join(f"({part.condition})" for part in parts)
        self.session.change(
            f"DELETE FROM {self.tables.answers} WHERE ERROR IS NOT NULL AND ROW_KEY IN "
            f"(SELECT Q.ROW_KEY FROM {self.tables.questions} AS Q WHERE {conditions})"
        )

    def check_turn(self) -> None:
        """Makes sure that no other run has begun.

        Raises:
            Superseded: If one has.
        """
        try:
            rows = self.session.rows(whose_turn(self.tables.settings))
        except SqlError as error:
            if not error.is_absent:
                raise
            rows = []
        self._check_turn(rows)

    def _check_turn(self, rows: Sequence[Row]) -> None:
        if not rows or rows[0].get("run") != self.run_id:
            raise Superseded
