"""The services, models and compute pools that the recipe's form offers, beside the fields to type one into."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable

from spcs_llm.control import statements
from spcs_llm.control.form_choices import SECONDS, Choice, Listed, form_values, with_chosen
from spcs_llm.control.identifiers import quoted
from spcs_llm.control.services import read_models, read_pools, read_services
from spcs_llm.in_snowflake.form import RecipeFields
from spcs_llm.in_snowflake.session import Executor, JobSession


def found_choices(
    payload: Any, config: Any, executor: Callable[[], Executor], seconds: float = SECONDS
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
    chosen = form_values(payload, config).get(field)
    found = _KINDS[field].within(seconds, executor)
    return with_chosen(found, [chosen] if chosen and isinstance(chosen, str) else [])


def input_dataset(inputs: Any) -> str | None:
    """The full name of the recipe's input, of what DSS hands to a form; None if it does not."""
    listed: Sequence[Any] = inputs if isinstance(inputs, (list, tuple)) else []
    for one in listed:
        if isinstance(one, Mapping) and isinstance(one.get("fullName"), str):
            return str(one["fullName"])
    return None


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

    def within(self, seconds: float, executor: Callable[[], Executor]) -> list[Choice]:
        def read() -> list[tuple[str, str]]:
            executor()  # what DSS refuses here is not about what is listed
            return sorted(self.names(JobSession(executor)))

        return Listed(self.plural, "Type a name.").within(seconds, read)


_KINDS = {
    RecipeFields.listed_service.name: _Kind("services", _services),
    RecipeFields.listed_model.name: _Kind("models", _models),
    RecipeFields.listed_pool.name: _Kind("compute pools", _pools),
}
