"""What is done to services, and what became of each."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from spcs_llm.control.services import SUSPENDED


class Verb(Enum):
    """What is done to services."""

    SUSPEND = "suspend"
    RESUME = "resume"

    @property
    def done(self) -> str:
        """The past participle, for sentences."""
        return "suspended" if self is Verb.SUSPEND else "resumed"

    def is_in_place(self, status: str) -> bool:
        """Whether a service in this state needs no change."""
        return (status in SUSPENDED) is (self is Verb.SUSPEND)


class Outcome(Enum):
    """What became of a service, or of a pattern."""

    WOULD_CHANGE = "would change"
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    WAITING = "not finished"
    FAILED = "failed"


@dataclass(frozen=True)
class Operated:
    """A service, or a pattern that fits none, and what became of it.

    Attributes:
        name: The service's full name, or the pattern.
        pool: The compute pool that it runs on.
        before: Its state before.
        after: Its state in the end.
        outcome: What became of it.
        note: A reason, and what to do.
    """

    name: str
    pool: str
    before: str
    after: str
    outcome: Outcome
    note: str = ""
