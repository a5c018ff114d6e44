"""What a form of DSS offers to choose from, as Snowflake lists it.

DSS asks while the form is open: this never fails and never takes long. A line that only explains has no value.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Callable

from spcs_llm.errors import SpcsError
from spcs_llm.server_text.foreign_text import plain

SECONDS = 4.0
_MOST = 500

Choice = Mapping[str, str]


@dataclass(frozen=True)
class Listed:
    """What a field offers.

    Attributes:
        plural: What the things are called.
        otherwise: What to do if one is not listed, as a sentence.
    """

    plural: str
    otherwise: str

    def within(self, seconds: float, read: Callable[[], Iterable[tuple[str, str]]]) -> list[Choice]:
        """Asks Snowflake in another thread, which is left behind if that takes too long.

        Args:
            seconds: How long to wait.
            read: Returns the things' names with their labels. It may raise.

        Returns:
            The choices, or one line that explains why the list is empty.
        """
        found: list[list[Choice]] = []

        def ask() -> None:
            try:
                found.append(self._choices(list(read())))
            except SpcsError as error:
                found.append([_line(f"{error.message} {error.hint}")])
            except Exception as error:  # noqa: BLE001 - a form that fails shows nothing
                reason = type(error).__name__
                found.append([_line(f"The {self.plural} cannot be listed ({reason}). {self.otherwise}")])

        thread = threading.Thread(target=ask, name="spcs-llm-choices", daemon=True)
        thread.start()
        thread.join(seconds)
        if found:
            return found[0]
        return [_line(f"Snowflake takes too long to list the {self.plural}. {self.otherwise}")]

    def _choices(self, names: list[tuple[str, str]]) -> list[Choice]:
        choices: list[Choice] = [{"value": value, "label": plain(label)} for value, label in names[:_MOST]]
        if len(names) > _MOST:
            choices.append(_line(f"{len(names) - _MOST:,} more are not listed. {self.otherwise}"))
        return choices or [_line(f"The role sees no {self.plural}.")]


def with_chosen(found: list[Choice], chosen: Iterable[str]) -> list[Choice]:
    """Puts what is chosen already, and was not found, before what was found."""
    names = {choice.get("value") for choice in found}
    return [
        *({"value": name, "label": plain(f"{name} (chosen)")} for name in chosen if name not in names),
        *found,
    ]


def form_values(payload: Any, config: Any) -> dict[str, Any]:
    """The form's values as they are now.

    Args:
        payload: What DSS says of the form, with the values as typed now under `rootModel`.
        config: The values as saved, with presets resolved; sometimes within another `config`.

    Returns:
        The typed ones over the saved ones. Of a preset, only the saved value is resolved.
    """
    saved = config if isinstance(config, Mapping) else {}
    if isinstance(saved.get("config"), Mapping):
        saved = saved["config"]
    typed = payload.get("rootModel") if isinstance(payload, Mapping) else None
    typed = typed if isinstance(typed, Mapping) else {}
    now = {
        name: value for name, value in typed.items() if not isinstance(value, Mapping) or name not in saved
    }
    return {**saved, **now}


def _line(text: str) -> Choice:
    return {"label": plain(text)}
