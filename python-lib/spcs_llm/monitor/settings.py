"""The settings of the webapp, as its form in DSS leaves them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from spcs_llm.control.macro_form import MacroFields
from spcs_llm.form_fields import Field, FormValues, Unfit, WholeField, texts_in


@dataclass(frozen=True)
class GroupsField(Field["tuple[str, ...]"]):
    """Names of groups: a list, or a text with a name on each line or between commas."""

    kinds: ClassVar[tuple[str, ...]] = ("STRINGS",)

    def _parsed(self, value: Any) -> tuple[str, ...]:
        listed = value.replace(",", "\n").splitlines() if isinstance(value, str) else value
        names = texts_in(listed)
        if names is None:
            raise Unfit("must be names of groups")
        return tuple(dict.fromkeys(name.strip() for name in names if name.strip()))


class MonitorFields:
    """The fields of the form. Those that macros have as well are the same objects."""

    connection = MacroFields.connection
    role = MacroFields.role
    warehouse = MacroFields.warehouse
    operator_groups = GroupsField("operatorGroups", "Operator groups", ())
    days = WholeField[int]("days", "Days", 30, most=90)
    credit_price = MacroFields.credit_price


@dataclass(frozen=True)
class MonitorSettings:
    """What the webapp looks at, and who may change something.

    Attributes:
        connection: The Snowflake connection of DSS.
        role: The role, as SHOW prints it; None for the connection's.
        warehouse: The warehouse, as SHOW prints it; None for the connection's.
        operator_groups: Members of these groups of DSS may suspend and resume services.
        days: How many days of cost to show.
        credit_price: USD for a credit; None for the contract's, where it is visible.
    """

    connection: str
    role: str | None
    warehouse: str | None
    operator_groups: tuple[str, ...]
    days: int
    credit_price: float | None


def read_monitor(config: Any) -> MonitorSettings:
    """Reads the form of the webapp.

    Args:
        config: What DSS hands over. It may be anything.

    Returns:
        The settings.

    Raises:
        SettingsError: If any of them is wrong. It has every complaint.
    """
    form = FormValues(config)
    connection = MonitorFields.connection.read(form)
    if connection is None and not form.complaints:
        form.complain(MonitorFields.connection, "is empty: select a connection in the webapp's settings")
    settings = MonitorSettings(
        connection or "",
        MonitorFields.role.read(form),
        MonitorFields.warehouse.read(form),
        MonitorFields.operator_groups.read(form),
        MonitorFields.days.read(form),
        MonitorFields.credit_price.read(form),
    )
    if form.complaints:
        raise form.error()
    return settings
