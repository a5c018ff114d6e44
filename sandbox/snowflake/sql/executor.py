"""Runs statements, each in a thread: for both protocols, which only differ in how they ask and encode."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sandbox.snowflake.sql.errors import SqlError
from sandbox.snowflake.sql.reader import Reader
from sandbox.snowflake.sql.results import MULTIPLE, Column, Result, listing
from sandbox.snowflake.sql.run import Run
from sandbox.snowflake.sql.statement_faults import StatementFault, StatementFaults, changed, error_of
from sandbox.snowflake.sql.statements import HANDLERS, SESSION_STATEMENTS, WAITING, statement_of
from sandbox.snowflake.sql.tokens import Token, split, statements_of
from sandbox.snowflake.world import Session, World

KEPT = 2000


@dataclass(eq=False)
class Execution:
    """A statement, or several as one, from its submission to its result. created_on: seconds since the epoch."""

    handle: str
    text: str
    session: Session
    created_on: float
    timeout: float | None = None
    sessionless: bool = False
    request: str | None = None
    result: Result | None = None
    error: SqlError | None = None
    parts: list[Execution] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)
    stop: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    waiters: list[Callable[[], None]] = field(default_factory=list)

    @property
    def status(self) -> str:
        """As the monitoring resource of the connectors' protocol names it."""
        if not self.done.is_set():
            return "RUNNING"
        return "SUCCESS" if self.error is None else "FAILED_WITH_ERROR"

    async def ended(self, seconds: float) -> None:
        """Wait for the end, at most the given number of real seconds, without holding up the event loop."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()

        def tell() -> None:
            loop.call_soon_threadsafe(_finish, waiter)

        with self.lock:
            if self.done.is_set():
                return
            self.waiters.append(tell)
        await asyncio.wait({waiter}, timeout=seconds)

    def end(self) -> None:
        with self.lock:
            self.done.set()
            waiters, self.waiters = self.waiters, []
        for tell in waiters:
            with contextlib.suppress(RuntimeError):  # the sandbox is closing
                tell()


def _finish(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


class Executor:
    """The statements of one account. Executions are kept, so that their results can be asked for again."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.faults = StatementFaults()
        self.statements: list[str] = []
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Execution] = OrderedDict()
        self._by_request: dict[tuple[str, str], Execution] = {}

    # -- submitting ------------------------------------------------------------------------------------

    def submit(
        self,
        session: Session,
        text: str,
        *,
        bindings: Sequence[object] = (),
        count: int = 1,
        timeout: float | None = None,
        request: str | None = None,
        remember: str | None = None,
        sessionless: bool = False,
        describe_only: bool = False,
    ) -> Execution:
        """Begin a statement, or hand out the one that the same request began before.

        count: how many statements the text must hold, 0 for any number; request: what identifies a repetition, and is
        None if it may not be recognised as one; remember: the same for later repetitions; sessionless: without USE
        and the like outside several statements.
        """
        with self._lock:
            known = self._by_request.get((session.user, request)) if request else None
            if known is not None:
                self.world.counters.add("statement_repeated")
                return known
            execution = self._begun(session, text, timeout, sessionless)
            execution.request = request or remember
            if execution.request:
                self._by_request[session.user, execution.request] = execution
        self.world.counters.add("statement")
        self.statements.append(text)
        work = threading.Thread(
            target=self._work,
            args=(execution, bindings, count, describe_only),
            name="sandbox-statement",
            daemon=True,
        )
        work.start()
        return execution

    def run(self, session: Session, text: str, bindings: Sequence[object] = ()) -> Result:
        """Run a statement to its end; raises `SqlError`."""
        execution = self.submit(session, text, bindings=bindings)
        execution.done.wait()
        if execution.error is not None:
            raise execution.error
        assert execution.result is not None
        return execution.result

    def close(self) -> None:
        """Let statements that wait end."""
        with self._lock:
            for execution in self._kept.values():
                execution.stop.set()

    @property
    def running(self) -> int:
        """How many statements have not ended."""
        with self._lock:
            return sum(not execution.done.is_set() for execution in self._kept.values())

    def find(self, handle: str) -> Execution | None:
        with self._lock:
            found = self._kept.get(handle)
        old = (
            found is not None
            and found.created_on < self.world.clock() - self.world.durations.result_retention
        )
        return None if old else found

    def cancel(self, execution: Execution) -> bool:
        """Whether it was still running, and is now cancelled."""
        running = not execution.done.is_set()
        execution.stop.set()
        execution.done.wait(5)
        return running and execution.error is not None and execution.error.code == "000604"

    def cancel_request(self, user: str, request: str) -> bool:
        execution = self._by_request.get((user, request))
        return execution is not None and self.cancel(execution)

    def _begun(self, session: Session, text: str, timeout: float | None, sessionless: bool) -> Execution:
        handle = f"01{uuid.uuid4()!s:.6}{str(uuid.uuid4())[8:]}"
        execution = Execution(handle, text, session, self.world.clock(), timeout, sessionless)
        self._kept[handle] = execution
        while len(self._kept) > KEPT:
            _, oldest = self._kept.popitem(last=False)
            self._by_request.pop((oldest.session.user, oldest.request or ""), None)
        return execution

    # -- running ---------------------------------------------------------------------------------------

    def _work(
        self, execution: Execution, bindings: Sequence[object], count: int, describe_only: bool
    ) -> None:
        try:
            result = self._results(execution, bindings, count)
            execution.result = Result(result.columns, (), result.kind) if describe_only else result
        except SqlError as error:
            execution.error = error
        except Exception as error:  # a mistake of the sandbox's own must reach the client too
            execution.error = SqlError("000603", "XX000", f"SQL execution internal error:\n{error!r}")
        finally:
            execution.session.query_ids.append(execution.handle)
            execution.end()

    def _results(self, execution: Execution, bindings: Sequence[object], count: int) -> Result:
        statements = statements_of(execution.text)
        if not statements:
            raise SqlError("000900", "42601", "SQL compilation error:\nEmpty SQL statement.")
        if count not in (0, len(statements)):
            text = (
                f"Actual statement count {len(statements)} did not match the desired statement count {count}."
            )
            raise SqlError("000008", "0A000", text)
        if len(statements) == 1 and count == 1:
            return self._one(execution, statements[0], bindings)
        for tokens in statements:
            self._part(execution, tokens)
        return listing(
            (Column("multiple statement execution"),),
            [["Multiple statements executed successfully."]],
            MULTIPLE,
        )

    def _part(self, whole: Execution, tokens: list[Token]) -> None:
        text = " ".join(token.text for token in tokens[:-1])
        with self._lock:
            part = self._begun(whole.session, text, whole.timeout, False)
        part.stop = whole.stop
        whole.parts.append(part)
        try:
            part.result = self._one(part, tokens, ())
        except SqlError as error:
            part.error = error
            raise
        finally:
            whole.session.query_ids.append(part.handle)
            part.end()

    def _one(self, execution: Execution, tokens: list[Token], bindings: Sequence[object]) -> Result:
        """A statement, or several in a chain of ->>, whose last one has the result."""
        run = self._run_for(execution)
        met = self.faults.take(execution.text)
        for fault in met:
            self._strike(fault, run, execution)
        result = None
        for link in split(tokens, "->>"):
            result = self._link(execution, Reader(link, bindings), run)
            run.piped.insert(0, result)
        assert result is not None
        for fault in met:
            if fault.kind not in ("error", "slow"):
                result = changed(result, fault)
        return result

    def _run_for(self, execution: Execution) -> Run:
        with self.world.lock:
            now = self.world.catalog.settle()
            may = self.world.catalog.grants.view(execution.session.role)
        began = execution.created_on
        deadline = None if execution.timeout is None else began + execution.timeout
        return Run(
            self.world, execution.session, now, may, began, self._result_of, execution.stop, deadline,
            text=execution.text, query_id=execution.handle,
        )  # fmt: skip

    def _strike(self, fault: StatementFault, run: Run, execution: Execution) -> None:
        if fault.kind == "error":
            raise error_of(fault)
        if fault.kind == "slow":
            run.wait_until(lambda: False, run.began + float(fault.params.get("seconds", 60)))

    def _link(self, execution: Execution, reader: Reader, run: Run) -> Result:
        words = statement_of(reader)
        if execution.sessionless and words in SESSION_STATEMENTS:
            raise SqlError("000002", "0A000", f"Unsupported feature '{words}'.")
        if words in WAITING:
            return HANDLERS[words](reader, run)
        with self.world.lock:
            return HANDLERS[words](reader, run)

    def _result_of(self, handle: str) -> Result | None:
        found = self.find(handle)
        return None if found is None else found.result
