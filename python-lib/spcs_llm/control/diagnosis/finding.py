"""What a step of a diagnosis found, in words that are safe to show."""

from __future__ import annotations

from dataclasses import dataclass, field

from spcs_llm.errors import SettingsError, SpcsError
from spcs_llm.server_text.foreign_text import plain, without_markup
from spcs_llm.server_text.redaction import without_secrets

OK, WARNING, FAILED, SKIPPED = "ok", "warning", "failed", "skipped"
_MAX_TEXT = 4000


@dataclass(frozen=True)
class Outcome:
    """How a step ended.

    Attributes:
        result: One of `OK`, `WARNING`, `FAILED`, `SKIPPED`.
        seen: What was seen, in whole sentences.
        hint: What to do about it, and who can; "" where nothing has to be done.
        error: The error behind it, if there was one.
    """

    result: str
    seen: str
    hint: str = ""
    error: SpcsError | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "seen", _shown(self.seen))
        object.__setattr__(self, "hint", _shown(self.hint))

    @classmethod
    def of(cls, error: SpcsError, hint: str = "") -> Outcome:
        """The outcome of a step that an error ended.

        Args:
            error: The error.
            hint: What to do, where the step knows better than the error.

        Returns:
            The outcome.
        """
        told = f"[{error.place}] {error.message}"
        if error.request_id:
            told += f" (request id {error.request_id})"
        return cls(FAILED, told, hint or error.hint or _CORRECT_FORM[isinstance(error, SettingsError)], error)


_CORRECT_FORM = {
    True: "Correct the fields that are named here, in the model's settings of the DSS connection.",
    False: "",
}


def ok(seen: str) -> Outcome:
    """Nothing is wrong."""
    return Outcome(OK, seen)


def warning(seen: str, hint: str, error: SpcsError | None = None) -> Outcome:
    """Queries work, and something should be corrected all the same."""
    return Outcome(WARNING, seen, hint, error)


def skipped(seen: str, hint: str = "") -> Outcome:
    """The step does not apply, or could not be taken: `seen` says why."""
    return Outcome(SKIPPED, seen, hint)


@dataclass(frozen=True)
class Finding:
    """One line of a diagnosis.

    Attributes:
        step: The step's name.
        outcome: How it ended.
        seconds: How long it took.
    """

    step: str
    outcome: Outcome
    seconds: float

    @property
    def result(self) -> str:
        return self.outcome.result

    @property
    def seen(self) -> str:
        return self.outcome.seen

    @property
    def hint(self) -> str:
        return self.outcome.hint


def _shown(text: str) -> str:
    """Our own words have `<role>` in them; markup of a server does not come this far."""
    return without_secrets(plain(text, _MAX_TEXT))


def quoted(text: str, limit: int = 200) -> str:
    """A name or a text that somebody else wrote, as a part of a sentence."""
    return without_markup(plain(text, limit))
