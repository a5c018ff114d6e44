"""The services, models and compute pools that the recipe's form offers, beside the fields to type one into.

DSS calls this while a form is open: it never fails and never takes long. A line that only explains has no value.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable

from spcs_llm.control import statements
from spcs_llm.control.identifiers import quoted
from spcs_llm.control.services import read_models, read_pools, read_services
from spcs_llm.errors import SpcsError
from spcs_llm.in_snowflake.form import RecipeFields
from spcs_llm.in_snowflake.session import Executor, JobSession
from spcs_llm.server_text.foreign_text import plain

_SECONDS = 4.0
_MOST = 500

Choice = Mapping[str, str]


def found_choices(
    payload: Any, config: Any, executor: Callable[[], Executor], seconds: float = _SECONDS
) -> list[Choice]:
    """The choices of one field.

    Args:
        payload: What DSS says of the form: the field under `parameterName`, the values as typed now under `rootModel`.
        config: The values as saved; sometimes within another `config`.
        executor: Makes a `SQLExecutor2` of the input's connection. It may raise.
        seconds: How long to wait for Snowflake.

    Returns:
        The chosen one first, and lines without a value that explain.
    """
    asked = payload.get("parameterName") if isinstance(payload, Mapping) else None
    field = asked if isinstance(asked, str) and asked in _KINDS else RecipeFields.listed_service.name
    chosen = _chosen(field, payload, config)
    found = _within(seconds, executor, _KINDS[field])
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


def _chosen(name: str, payload: Any, config: Any) -> str | None:
    saved = config if isinstance(config, Mapping) else {}
    if isinstance(saved.get("config"), Mapping):
        saved = saved["config"]
    typed = payload.get("rootModel") if isinstance(payload, Mapping) else None
    typed = typed if isinstance(typed, Mapping) else {}
    value = typed.get(name, saved.get(name))
    return value if isinstance(value, str) and value else None


def _within(seconds: float, executor: Callable[[], Executor], kind: _Kind) -> list[Choice]:
    """Asks in another thread, which is left behind if Snowflake takes too long."""
    found: list[list[Choice]] = []

    def ask() -> None:
        try:
            executor()  # what DSS refuses here is not about what is listed
            found.append(_listed(kind, JobSession(executor)))
        except SpcsError as error:
            found.append([_line(f"{error.message} {error.hint}")])
        except Exception as error:  # noqa: BLE001 - a form that fails shows nothing
            found.append(
                [_line(f"The {kind.plural} cannot be listed ({type(error).__name__}). Type a name.")]
            )

    thread = threading.Thread(target=ask, name="spcs-llm-choices", daemon=True)
    thread.start()
    thread.join(seconds)
    return found[0] if found else [_line(f"Snowflake takes too long to list the {kind.plural}. Type a name.")]


def _listed(kind: _Kind, session: JobSession) -> list[Choice]:
    names = sorted(kind.names(session))
    choices: list[Choice] = [{"value": value, "label": plain(label)} for value, label in names[:_MOST]]
    if len(names) > _MOST:
        choices.append(_line(f"{len(names) - _MOST:,} more are not listed: type a name."))
    return choices or [_line(f"The role sees no {kind.plural}.")]


def _services(session: JobSession) -> Iterable[tuple[str, str]]:
    for service in read_services(session.rows(statements.show_services(statements.scope()))):
        if service.serves:
            yield service.name.sql, f"{service.name.sql} ({service.status})"


def _models(session: JobSession) -> Iterable[tuple[str, str]]:
    return (
        (name.sql, name.sql) for name in read_models(session.rows(statements.show_models(statements.scope())))
    )


def _pools(session: JobSession) -> Iterable[tuple[str, str]]:
    for pool in read_pools(session.rows(statements.SHOW_POOLS)):
        yield quoted(pool.name), f"{quoted(pool.name)} ({pool.family}, {pool.state})"


@dataclass(frozen=True)
class _Kind:
    """What a field offers: how it is called, and the names with their labels."""

    plural: str
    names: Callable[[JobSession], Iterable[tuple[str, str]]]


_KINDS = {
    RecipeFields.listed_service.name: _Kind("services", _services),
    RecipeFields.listed_model.name: _Kind("models", _models),
    RecipeFields.listed_pool.name: _Kind("compute pools", _pools),
}


def _line(text: str) -> Choice:
    return {"label": plain(text)}
