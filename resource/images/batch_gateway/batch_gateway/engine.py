"""The model server beside the gateway: the threads that ask it, and its health."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from batch_gateway.batches import Batch
from batch_gateway.logs import fields
from batch_gateway.settings import GatewaySettings
from batch_gateway.tasks import Answer, Chat, Complete, Embed, Task
from spcs_llm.connections import Connections
from spcs_llm.errors import NetworkError, SpcsError
from spcs_llm.http.endpoint import Endpoint
from spcs_llm.http.request import HttpRequest
from spcs_llm.http.retry import RetryPolicy
from spcs_llm.http.token_source import NoToken
from spcs_llm.http.transport import Transport
from spcs_llm.model import Model
from spcs_llm.query_context import QueryContext
from spcs_llm.server_text.log_lines import one_line_logger
from spcs_llm.snowflake.ingress import IngressErrors
from spcs_llm.snowflake.login_errors import SignInKind

logger = one_line_logger(__name__)

_HEALTH_SECONDS = 5.0


class Engine:
    """Asks the model server for the rows of batches, as many at once as it can take.

    Attributes:
        tasks: What can be asked, by path.

    Args:
        settings: The gateway's.
    """

    def __init__(self, settings: GatewaySettings) -> None:
        model = Model(settings.model, connections=Connections())
        every: list[Task] = [Chat(model), Complete(model), Embed(model, settings.rows_per_request)]
        self.tasks = {task.path: task for task in every}
        self._threads = ThreadPoolExecutor(settings.parallelism, thread_name_prefix="row")
        self._health = Endpoint(
            Transport(settings.model.endpoint.url, 2),
            NoToken(),
            IngressErrors(SignInKind.NONE),
            retry=RetryPolicy(attempts=1, cold_start=0.0),
        )
        self._health_path = settings.health_path

    def is_healthy(self) -> bool:
        """Whether the model server says that it is ready. One that has no path for that is, if it answers."""
        try:
            self._health.send_for_body(
                HttpRequest(self._health_path, method="GET"), QueryContext(_HEALTH_SECONDS)
            )
        except SpcsError as error:
            return error.status is not None and error.status < 500
        return True

    async def run(self, batch: Batch) -> None:
        """Asks for the rows of a batch that have no answer yet, and settles the batch.

        Rows wait for their turn in the order in which batches come. A batch whose rows cannot be asked, because the
        model server is away, has no result but an outage: its caller asks again.

        Args:
            batch: The batch.
        """
        loop = asyncio.get_running_loop()
        task = self.tasks[batch.path]
        places = batch.unanswered()
        calls = [
            loop.run_in_executor(
                self._threads, self._ask, batch, task, places[start : start + task.rows_per_call]
            )
            for start in range(0, len(places), task.rows_per_call)
        ]
        for call in asyncio.as_completed(calls):
            for place, answer in await call:
                batch.take(place, answer)
        batch.settle(batch.outage())

    def _ask(self, batch: Batch, task: Task, places: Sequence[int]) -> list[tuple[int, Answer]]:
        """In a thread: the answers to some rows; none if it is of no use to ask on."""
        if batch.halted:
            return []
        answers = list(zip(places, task.ask([batch.rows[place] for place in places])))
        if not any(answer.is_outage for _, answer in answers):
            return answers
        if not self.is_healthy():
            if not batch.halted:
                batch.halted = True
                logger.warning("The model server is not healthy", extra=fields(batch=batch.name))
            return answers
        found: list[tuple[int, Answer]] = []
        for place, answer in answers:
            if len(places) > 1 and isinstance(answer.error, NetworkError):  # another row may have broken it
                found += self._ask(batch, task, [place])
            elif answer.is_outage and _is_the_rows_own(answer, batch.runs):
                found.append((place, replace(answer, is_outage=False)))
            else:
                found.append((place, answer))
        return found

    def close(self) -> None:
        """Drops the rows that wait. Those that are being asked are not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _is_the_rows_own(answer: Answer, run: int) -> bool:
    """Whether a failure is a row's fault, though it looks like an outage: the model server is healthy.

    A row whose connection broke off has been tried several times already. One that was told "not now" gets another run.

    Args:
        answer: The row's.
        run: The number of the batch's run, from 1.

    Returns:
        Whether it is.
    """
    return isinstance(answer.error, NetworkError) or run > 1
