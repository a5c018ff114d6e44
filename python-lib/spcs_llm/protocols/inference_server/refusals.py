"""What a refusal by an inference server is about: how the query was put, or the model and the query itself."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from spcs_llm.errors import BadRequest, ServiceError, SpcsError

_ABOUT_FORM = re.compile(
    r"\bcolumns?\b|\bfeatures?\b|signature|schema|\bcontent\b|\btype\b|expected|concatenate", re.IGNORECASE
)
_ABOUT_COLUMNS = re.compile(r"\bcolumns?\b|\bfeatures?\b|signature", re.IGNORECASE)
_QUOTED = re.compile(r"['\"`]([A-Za-z_][A-Za-z0-9_]{0,127})['\"`]")
_NO_COLUMNS = frozenset(("str", "list", "dict", "role", "content", "type", "data", "params", "index"))
_SEE_SIGNATURE = (
    "Compare 'Method name' and 'Input column' with the model's signature: ModelVersion.show_functions()."
)
_MAX_READ = 20_000  # characters of an error


def may_be_about_form(error: SpcsError, known_columns: Collection[str] | None) -> bool:
    """Whether the service may take the query in another form.

    Args:
        error: The error that it answered with.
        known_columns: The columns of a form that it took before; None if it took none. Only an error that names one of
            these puts that form in doubt.

    Returns:
        True if another form is worth a try.
    """
    if known_columns is not None:
        return _is_refusal(error) and any(name in known_columns for name in columns_named(error))
    return isinstance(error, BadRequest) or (_is_refusal(error) and is_about_form(error))


def is_about_form(error: SpcsError) -> bool:
    """Whether the error speaks of columns, types or a signature."""
    return _ABOUT_FORM.search(_text(error)) is not None


def columns_named(error: SpcsError) -> list[str]:
    """The columns that an error names, such as one that is missing."""
    return [name for name in _QUOTED.findall(_text(error)) if name not in _NO_COLUMNS]


def wanted_column(error: SpcsError, sent: str) -> str | None:
    """Reads which column a service wants.

    Args:
        error: The error that the service answered with.
        sent: The name of the column that was sent.

    Returns:
        The name of the column that it requires instead of the one sent; None if its error does not name it.
    """
    if not _is_refusal(error) or _ABOUT_COLUMNS.search(_text(error)) is None:
        return None
    return next((name for name in columns_named(error) if name != sent), None)


def name_column(error: SpcsError, sent: str) -> None:
    """Puts in the hint that the column set in the connection is not the model's, if the error says so.

    Args:
        error: The error that the service answered with, whose hint is changed in place.
        sent: The name of the column in the connection.
    """
    wanted = wanted_column(error, sent)
    if wanted is not None:
        error.hint = f"Set 'Input column' to '{wanted}', the name that the model's signature has."


def most_telling(errors: Sequence[SpcsError]) -> SpcsError:
    """Chooses the error that says most.

    Args:
        errors: The errors that each form met, in order. There is at least one.

    Returns:
        The first that is not about the form, or else the first of all, whose hint then says where the model's
        signature is found.
    """
    error = next((error for error in errors if not is_about_form(error)), errors[0])
    if is_about_form(error):
        error.hint = f"{_SEE_SIGNATURE} {error.hint}".rstrip()
    return error


def _is_refusal(error: SpcsError) -> bool:
    return isinstance(error, BadRequest) or (type(error) is ServiceError and error.status == 500)


def _text(error: SpcsError) -> str:
    return error.server_text[:_MAX_READ]
