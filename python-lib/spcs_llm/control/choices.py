"""The services that the forms of *Suspend services* and *Resume services* offer, beside the field to type them into.

DSS calls this while a form is open: it never fails and never takes long. A line that only explains has no value.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from spcs_llm.control.macro_form import MacroFields, read_sign_in_settings
from spcs_llm.control.open_session import Dss, open_session
from spcs_llm.control.services import listed_services
from spcs_llm.errors import SpcsError
from spcs_llm.form_fields import FormValues
from spcs_llm.server_text.foreign_text import plain

_SECONDS = 4.0
_MOST = 500

Choice = Mapping[str, str]


def service_choices(payload: Any, config: Any, dss: Dss, seconds: float = _SECONDS) -> list[Choice]:
    """The services to choose from.

    Args:
        payload: What DSS says of the form, with the values as typed now under `rootModel`.
        config: The values as saved, with presets resolved; sometimes within another `config`.
        dss: What DSS provides.
        seconds: How long to wait for Snowflake.

    Returns:
        The chosen ones first, and lines without a value that explain.
    """
    values = _values(payload, config)
    kept = MacroFields.listed_services.read(FormValues(values)) or ()
    found = _within(seconds, values, dss)
    names = {choice["value"] for choice in found if "value" in choice}
    return [*({"value": name, "label": f"{name} (chosen)"} for name in kept if name not in names), *found]


def _values(payload: Any, config: Any) -> Mapping[str, Any]:
    saved = config if isinstance(config, Mapping) else {}
    inner = saved.get("config")
    if isinstance(inner, Mapping):
        saved = inner
    typed = payload.get("rootModel") if isinstance(payload, Mapping) else None
    typed = typed if isinstance(typed, Mapping) else {}
    # Of a preset, only the saved value is resolved.
    now = {
        name: value for name, value in typed.items() if not isinstance(value, Mapping) or name not in saved
    }
    return {**saved, **now}


def _within(seconds: float, values: Mapping[str, Any], dss: Dss) -> list[Choice]:
    """Asks in another thread, which is left behind if Snowflake takes too long."""
    found: list[list[Choice]] = []

    def ask() -> None:
        try:
            found.append(_listed(values, dss, seconds))
        except SpcsError as error:
            found.append([_line(f"{error.message} {error.hint}")])
        except Exception as error:  # noqa: BLE001 - a form that fails shows nothing
            found.append(
                [_line(f"The services cannot be listed ({type(error).__name__}). Type their names.")]
            )

    thread = threading.Thread(target=ask, name="spcs-llm-choices", daemon=True)
    thread.start()
    thread.join(seconds)
    return found[0] if found else [_line("Snowflake takes too long to list the services. Type their names.")]


def _listed(values: Mapping[str, Any], dss: Dss, seconds: float) -> list[Choice]:
    form = FormValues(values)
    settings = read_sign_in_settings(form)
    if form.complaints:
        return [_line(form.complaints[0])]
    session = open_session(settings, dss, seconds)
    services, _ = listed_services(session)
    choices: list[Choice] = [
        {"value": s.name.sql, "label": plain(f"{s.name.sql} ({s.status})")} for s in services[:_MOST]
    ]
    if len(services) > _MOST:
        choices.append(
            _line(f"{len(services) - _MOST:,} more are not listed: type their names, or a pattern.")
        )
    return choices or [_line("The role sees no service.")]


def _line(text: str) -> Choice:
    return {"label": plain(text)}
