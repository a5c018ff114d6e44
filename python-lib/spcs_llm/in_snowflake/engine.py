"""What an engine is: it answers the questions of a job. `engine_choice` chooses one.

Everything before, the questions, and everything after, the outputs, is the same for all engines.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from spcs_llm.in_snowflake.estimate import Rate

NOTHING_LEFT = "No row is left to ask the model for."


@dataclass(frozen=True)
class Answered:
    """What an engine has done.

    Attributes:
        asked: How many questions it has asked the model.
        rate: What ran meanwhile.
    """

    asked: int
    rate: Rate


class Engine(ABC):
    """Answers the questions of a job. It is made before the job's tables are, and changes nothing until `answer`."""

    @property
    @abstractmethod
    def described(self) -> str:
        """What the answers depend on besides the settings: answers are used again only for the same."""

    @abstractmethod
    def answer(self) -> Answered:
        """Answers the questions that have no answer yet.

        Returns:
            What was done. Each question has an answer or a failure now.

        Raises:
            SpcsError: If it cannot go on, or not now. What was answered is kept for the next run.
        """

    @abstractmethod
    def close(self, *, finished: bool) -> None:
        """Leaves nothing running that this run has started, and says in the log what is left.

        Args:
            finished: Whether the outputs are written, so that nothing needs to be kept.
        """
