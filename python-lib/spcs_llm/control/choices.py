"""The services that the forms of *Suspend services* and *Resume services* offer, beside the field to type them into."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from spcs_llm.control.form_choices import SECONDS, Choice, Listed, form_values, with_chosen
from spcs_llm.control.macro_form import MacroFields, read_sign_in_settings
from spcs_llm.control.open_session import Dss, open_session
from spcs_llm.control.services import listed_services
from spcs_llm.form_fields import FormValues

_SERVICES = Listed("services", "Type their names, or a pattern.")


def service_choices(payload: Any, config: Any, dss: Dss, seconds: float = SECONDS) -> list[Choice]:
    """The services to choose from.

    Args:
        payload: What DSS says of the form, with the values as typed now under `rootModel`.
        config: The values as saved, with presets resolved; sometimes within another `config`.
        dss: What DSS provides.
        seconds: How long to wait for Snowflake.

    Returns:
        The chosen ones first, and lines without a value that explain.
    """
    values = form_values(payload, config)
    chosen = MacroFields.listed_services.read(FormValues(values)) or ()
    return with_chosen(_SERVICES.within(seconds, lambda: _services(values, dss, seconds)), chosen)


def _services(values: Mapping[str, Any], dss: Dss, seconds: float) -> Iterable[tuple[str, str]]:
    form = FormValues(values)
    settings = read_sign_in_settings(form)
    if form.complaints:
        raise form.error()
    services, _ = listed_services(open_session(settings, dss, seconds))
    return [(service.name.sql, f"{service.name.sql} ({service.status})") for service in services]
