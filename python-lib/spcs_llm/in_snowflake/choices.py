"""The services that the recipe's form offers, beside the field to type one into.

DSS calls this while a form is open: it never fails and never takes long. A line that only explains has no value.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, Callable

from spcs_llm.control import statements
from spcs_llm.control.services import read_services
from spcs_llm.errors import SpcsError
from spcs_llm.in_snowflake.form import RecipeFields
from spcs_llm.in_snowflake.session import Executor, JobSession
from spcs_llm.server_text.foreign_text import plain

_SECONDS = 4.0
_MOST = 500

Choice = Mapping[str, str]


def service_choices(
    payload: Any, config: Any, executor: Callable[[], Executor], seconds: float = _SECONDS
) -> list[Choice]:
    """The services to choose from.

    Args:
        payload: What DSS says of the form, with the values as typed now under `rootModel`.
        config: The values as saved; sometimes within another `config`.
        executor: Makes a `SQLExecutor2` of the input's connection. It may raise.
        seconds: How long to wait for Snowflake.

    Returns:
        The chosen one first, and lines without a value that explain.
    """
    chosen = _chosen(payload, config)
    found = _within(seconds, executor)
    known = {choice.get("value") for choice in found}
    if chosen is None or chosen in known:
        return found
    return [{"value": chosen, "label": f"{chosen} (chosen)"}, *found]


def input_dataset(inputs: Any) -> str | None:
    """The full name of the recipe's input, of what DSS hands to a form; None if it does not."""
    listed: Sequence[Any] = inputs if isinstance(inputs, (list, tuple)) else []
    for one in listed:
        if isinstance(one, Mapping) and isinstance(one.get("fullName"), str):
            return str(one["fullName"])
    return None


def _chosen(payload: Any, config: Any) -> str | None:
    name = RecipeFields.listed_service.name
    saved = config if isinstance(config, Mapping) else {}
    if isinstance(saved.get("config"), Mapping):
        saved = saved["config"]
    typed = payload.get("rootModel") if isinstance(payload, Mapping) else None
    typed = typed if isinstance(typed, Mapping) else {}
    value = typed.get(name, saved.get(name))
    return value if isinstance(value, str) and value else None


def _within(seconds: float, executor: Callable[[], Executor]) -> list[Choice]:
    """Asks in another thread, which is left behind if Snowflake takes too long."""
    found: list[list[Choice]] = []

    def ask() -> None:
        try:
            executor()  # what DSS refuses here is not about the services
            found.append(_listed(JobSession(executor)))
        except SpcsError as error:
            found.append([_line(f"{error.message} {error.hint}")])
        except Exception as error:  # noqa: BLE001 - a form that fails shows nothing
            found.append([_line(f"The services cannot be listed ({type(error).__name__}). Type a name.")])

    thread = threading.Thread(target=ask, name="spcs-llm-choices", daemon=True)
    thread.start()
    thread.join(seconds)
    return found[0] if found else [_line("Snowflake takes too long to list the services. Type a name.")]


def _listed(session: JobSession) -> list[Choice]:
    services = sorted(
        (s for s in read_services(session.rows(statements.show_services(statements.scope()))) if s.serves),
        key=lambda service: service.name,
    )
    choices: list[Choice] = [
        {"value": s.name.sql, "label": plain(f"{s.name.sql} ({s.status})")} for s in services[:_MOST]
    ]
    if len(services) > _MOST:
        choices.append(_line(f"{len(services) - _MOST:,} more are not listed: type a name."))
    return choices or [_line("The role sees no service.")]


def _line(text: str) -> Choice:
    return {"label": plain(text)}
