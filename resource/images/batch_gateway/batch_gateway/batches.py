"""The batches that run, and those whose answers are kept: by the id that Snowflake gives a batch.

Snowflake sends a batch again, under the same id, when it was not answered in time or with a status that it tries again
(Snowflake documentation, "Service functions: troubleshooting"); the first one may still be running then. A batch that
is sent again joins the one that runs, or gets the answers that were kept.

All of this happens in the event loop's thread. Only `Batch.halted` and `Batch.rows` are read by others.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Callable

from batch_gateway.logs import fields
from batch_gateway.rows import Row, read_rows, write_rows
from batch_gateway.settings import Limits
from batch_gateway.tasks import Answer
from spcs_llm.errors import ServiceDown, SpcsError
from spcs_llm.server_text.log_lines import one_line_logger

logger = one_line_logger(__name__)

Key = tuple[str, str]  # path, id
_OVERHEAD = 2048  # bytes of a batch besides its rows and answers, about
# Of the time for which batches are kept: an answer that nobody has had yet is asked for by then.
_AWAITED = 0.1


class Full(Exception):
    """There is no room for another batch now."""


@dataclass(frozen=True)
class Received:
    """The rows of a request.

    Attributes:
        rows: The rows, in order.
        digest: Of the body that they came in.
        size: Bytes of that body.
    """

    rows: list[Row]
    digest: bytes
    size: int

    @classmethod
    def read(cls, body: bytes, most_arguments: int) -> Received:
        """Reads a request's body.

        Args:
            body: The body.
            most_arguments: How many arguments a row may have.

        Returns:
            Its rows.

        Raises:
            BadBatch: If it is not a batch of rows.
        """
        return cls(read_rows(body, most_arguments), hashlib.sha256(body).digest(), len(body))


class Batch:
    """One batch.

    Attributes:
        key: Its path and its id.
        rows: Its rows, until it is answered.
        digest: Of the body that it came in, to tell whether another body has the same rows.
        answers: What its rows got so far, in order.
        runs: How many times it was begun.
        halted: Whether no more of its rows are to be asked.
        waiters: How many requests wait for it.
        last_asked: When a request last waited for it, on the monotonic clock.
        result: The response's body, once it is answered.
        is_fetched: Whether a request was given it.
        failure: Why it cannot be answered now.
        running: Its run; None before the first.

    Args:
        key: Its path and its id.
        received: Its rows, as they came.
    """

    def __init__(self, key: Key, received: Received) -> None:
        rows = received.rows
        self.key = key
        self.rows: Sequence[Row] = rows
        self.digest = received.digest
        self.answers: list[Answer | None] = [None] * len(rows)
        self.runs = 0
        self.halted = False
        self.waiters = 0
        self.last_asked = self.began = time.monotonic()
        self.result: bytes | None = None
        self.is_fetched = False
        self.failure: SpcsError | None = None
        self.running: asyncio.Task[None] | None = None
        self._overhead = _OVERHEAD + 2 * len(key[1])
        self._size = received.size

    @property
    def path(self) -> str:
        return self.key[0]

    @property
    def name(self) -> str:
        """Its id, for logs."""
        return self.key[1]

    @property
    def is_running(self) -> bool:
        return self.running is not None and not self.running.done()

    @property
    def size(self) -> int:
        """Bytes that it holds, about: its id, its rows while it may need them, and its answers."""
        return self._overhead + (len(self.result) if self.result is not None else self._size)

    def take(self, place: int, answer: Answer) -> None:
        """Keeps a row's answer.

        Args:
            place: The row's place.
            answer: What it got; it takes the place of an earlier outage.
        """
        earlier = self.answers[place]
        self._size += len(answer.value) - (len(earlier.value) if earlier is not None else 0)
        self.answers[place] = answer

    def unanswered(self) -> list[int]:
        """The places of rows that have no answer, or none but an outage."""
        return [place for place, answer in enumerate(self.answers) if answer is None or answer.is_outage]

    def outage(self) -> SpcsError | None:
        """Why rows could not be asked; None if all were."""
        for answer in self.answers:
            if answer is not None and answer.is_outage:
                return answer.error
        if None in self.answers:
            return ServiceDown("The batch was given up, because nobody waited for it.", status=503)
        return None

    def settle(self, outage: SpcsError | None) -> None:
        """Ends a run.

        Args:
            outage: Why not all rows could be asked; None if each has its answer.
        """
        answers = [answer for answer in self.answers if answer is not None]
        failed = [answer.error for answer in answers if answer.error is not None]
        if outage is None:
            self.result = write_rows(self.rows, [answer.value for answer in answers])
            self.rows, self.answers = (), []
        self.failure = outage
        logger.log(
            logging.INFO if outage is None else logging.WARNING,
            "A batch is answered" if outage is None else "A batch cannot be answered now",
            extra=fields(
                path=self.path,
                batch=self.name,
                rows=len(answers),
                failed=len(failed),
                seconds=round(time.monotonic() - self.began, 3),
                run=self.runs,
                first_error=str(outage or failed[0]) if failed or outage else None,
            ),
        )


class Batches:
    """All batches. What is kept is bounded in time and in bytes.

    Args:
        limits: The bounds.
        run: Runs a batch, and settles it.
    """

    def __init__(self, limits: Limits, run: Callable[[Batch], Awaitable[None]]) -> None:
        self._limits = limits
        self._run = run
        self._batches: dict[Key, Batch] = {}
        self._reading = 0

    def __len__(self) -> int:
        return len(self._batches)

    @property
    def held(self) -> int:
        """Bytes of all batches, and of the bodies that are being read."""
        return self._reading + sum(batch.size for batch in self._batches.values())

    @property
    def queued_rows(self) -> int:
        return sum(len(batch.unanswered()) for batch in self._batches.values() if batch.is_running)

    @contextmanager
    def reading(self, key: Key) -> Iterator[Callable[[int], None]]:
        """Counts the bytes of a body while it is read. One that is sent again may be read where its answer fills all.

        Args:
            key: The batch's.

        Yields:
            What is to be called with the number of further bytes. It raises Full if there is no room for them.
        """
        counted = 0

        def count(size: int) -> None:
            nonlocal counted
            if key in self._batches:
                return
            self._make_room(size)
            counted += size
            self._reading += size

        try:
            yield count
        finally:
            self._reading -= counted

    def find(self, key: Key) -> Batch | None:
        return self._batches.get(key)

    def begin(self, key: Key, received: Received) -> Batch:
        """The batch of a request: the one that is there, or a new one.

        Args:
            key: Its path and its id.
            received: Its rows.

        Returns:
            The batch, which runs or is answered.

        Raises:
            Full: If too many rows wait already.
        """
        batch = self._batches.get(key)
        if batch is not None and batch.digest != received.digest:
            logger.warning("An id came with other rows than before", extra=fields(path=key[0], batch=key[1]))
            batch = None
        if batch is None:
            queued = self.queued_rows
            if queued and queued + len(received.rows) > self._limits.max_queued_rows:
                raise Full
            batch = Batch(key, received)
            self._batches[key] = batch
        self.resume(batch)
        return batch

    def resume(self, batch: Batch) -> None:
        """Runs a batch that neither runs nor is answered."""
        if batch.is_running or batch.result is not None:
            return
        batch.runs += 1
        batch.halted, batch.failure = False, None
        batch.running = asyncio.ensure_future(self._run_logged(batch))

    async def _run_logged(self, batch: Batch) -> None:
        try:
            await self._run(batch)
        except Exception:
            logger.exception("A batch failed unexpectedly", extra=fields(path=batch.path, batch=batch.name))

    async def wait(self, batch: Batch, seconds: float | None) -> None:
        """Waits until a batch is answered or fails.

        Args:
            batch: The batch.
            seconds: How long; None for as long as it takes.
        """
        if batch.running is None or not batch.is_running:
            return
        batch.waiters += 1
        try:
            await asyncio.wait({batch.running}, timeout=seconds)
        finally:
            batch.waiters -= 1
            batch.last_asked = time.monotonic()

    def forget(self, batch: Batch) -> None:
        """Keeps nothing of a batch."""
        if self._batches.get(batch.key) is batch:
            del self._batches[batch.key]

    def sweep(self) -> None:
        """Forgets what was kept for long enough, and gives up what runs for nobody."""
        now = time.monotonic()
        for batch in list(self._batches.values()):
            if batch.waiters or now - batch.last_asked < self._limits.keep:
                continue
            if not batch.is_running:
                self.forget(batch)
            elif not batch.halted:
                batch.halted = True
                logger.warning(
                    "A batch that nobody waits for is given up",
                    extra=fields(path=batch.path, batch=batch.name),
                )

    def _make_room(self, size: int) -> None:
        """Forgets kept answers, the oldest first, until there is room for that many more bytes."""
        excess = self.held + size - self._limits.max_held
        if excess <= 0:
            return
        for batch in self._expendable():
            excess -= batch.size
            self.forget(batch)
            if excess <= 0:
                return
        raise Full

    def _expendable(self) -> list[Batch]:
        """Batches that may be forgotten. After a 202, between two questions, an answer is missed: asking goes on."""
        awaited_since = time.monotonic() - _AWAITED * self._limits.keep
        idle = [
            batch
            for batch in self._batches.values()
            if not (batch.is_running or batch.waiters)
            and (batch.result is None or batch.is_fetched or batch.last_asked < awaited_since)
        ]
        return sorted(idle, key=lambda batch: not batch.is_fetched)
