"""Takes steps in their order, within a time, and says of those that cannot be taken what they wait for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from spcs_llm.control.diagnosis.finding import FAILED, WARNING, Finding, Outcome, skipped
from spcs_llm.errors import NetworkError, QueryTimeout, ServiceStarting, SpcsError, place_in_code
from spcs_llm.query_context import QueryContext
from spcs_llm.server_text.log_lines import one_line_logger

logger = one_line_logger(__name__)

_GRACE_SECONDS = 2.0  # that a step has to tell by itself that its time is up


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        name: Its name in the result.
        take: Takes it, in the time that the context has. It may raise SpcsError, which is a failure.
        needs: The names of earlier steps that must not have failed.
        seconds: The longest that it may take.
        overdue: What to do if it does not end in that time.
        fallback: What to do about a failure that does not say so itself.
        optional: Whether queries work without what it looks at: then that is a warning, and not a failure.
    """

    name: str
    take: Callable[[QueryContext], Outcome]
    needs: tuple[str, ...] = ()
    seconds: float = 30.0
    overdue: str = ""
    fallback: str = ""
    optional: bool = False


def findings_of(
    steps: Sequence[Step], seconds: float, clock: Callable[[], float] = time.monotonic
) -> Iterator[Finding]:
    """Takes the steps.

    Args:
        steps: The steps, in their order.
        seconds: The longest that all of them may take.
        clock: Seconds that never go back.

    Yields:
        A finding for each step, as soon as it is there.
    """
    deadline = clock() + seconds
    blocked: dict[str, str] = {}  # what did not work, with the step that has to be corrected first
    for step in steps:
        began = clock()
        cause = next((blocked[name] for name in step.needs if name in blocked), None)
        if cause is not None:
            blocked[step.name] = cause
            outcome = skipped(f"Waits for the step '{cause}', which has to work first.")
        elif deadline - began <= 0:
            blocked[step.name] = step.name
            outcome = skipped(f"The diagnosis has taken the {seconds:g} s that it may take.")
        else:
            outcome = _taken(step, min(step.seconds, deadline - began))
            if outcome.result == FAILED:
                blocked[step.name] = step.name
        finding = Finding(step.name, outcome, clock() - began)
        logger.info("Diagnosis: '%s' is %s after %.2f s.", step.name, finding.result, finding.seconds)
        yield finding


def _taken(step: Step, seconds: float) -> Outcome:
    """Takes a step in another thread: the system's resolver and DSS's own code have no deadline that can be set."""
    done: list[Outcome] = []
    thread = threading.Thread(
        target=lambda: done.append(_outcome(step, QueryContext(seconds))), name="diagnosis", daemon=True
    )
    thread.start()
    thread.join(seconds + _GRACE_SECONDS)
    outcome = done[0] if done else Outcome(FAILED, _overdue(seconds), step.overdue)
    return replace(outcome, result=WARNING) if step.optional and outcome.result == FAILED else outcome


def _tells_why(error: SpcsError | None) -> bool:
    """Whether the last failure before the time was up is the reason for it."""
    if isinstance(error, NetworkError):
        return not error.silent
    return error is not None and (error.transient or isinstance(error, ServiceStarting))


def _overdue(seconds: float) -> str:
    return f"This had not ended after {seconds:.3g} s, the time that the step has."


def _outcome(step: Step, context: QueryContext) -> Outcome:
    try:
        return step.take(context)
    except QueryTimeout as error:
        if _tells_why(context.last_error) or not step.overdue or context.remaining() > 0:
            return Outcome.of(error)
        return Outcome(FAILED, _overdue(context.seconds), step.overdue, error)
    except SpcsError as error:
        error.forget_server_text()
        return Outcome.of(error, "" if error.hint else step.fallback)
    except Exception as error:  # noqa: BLE001 - a diagnosis that breaks off tells nothing
        return Outcome(
            FAILED,
            f"This step of the diagnosis failed unexpectedly ({place_in_code(error)}).",
            "Please report this to the plugin's authors.",
        )
