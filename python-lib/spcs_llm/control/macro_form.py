"""The forms of the macros: each field written down once, and read as the forms and the API of DSS leave it.

The fields for signing in are those of a model (`settings.FIELDS`), so that a preset serves both. The API of DSS fills
in no defaults: what a field means when it is absent stands here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from spcs_llm.control.identifiers import NotAName, typed
from spcs_llm.control.service_patterns import Pattern
from spcs_llm.form_fields import (
    ChoiceField,
    Field,
    FlagField,
    FormValues,
    NumberField,
    TextField,
    Unfit,
    WholeField,
    texts_in,
)
from spcs_llm.settings import FIELDS, CredentialSettings, KeyPairSignIn, read_sign_in
from spcs_llm.urls import is_snowflakes

_MAX_NAMED = 5
ACCOUNT, DATABASE, SCHEMA = "ACCOUNT", "DATABASE", "SCHEMA"

T = TypeVar("T")


@dataclass(frozen=True)
class NameField(Field["str | None"]):
    """A name of Snowflake's: in capitals unless it is in double quotes."""

    kinds: ClassVar[tuple[str, ...]] = ("STRING",)

    def _parsed(self, value: Any) -> str | None:
        if not isinstance(value, str):
            raise Unfit("must be text")
        try:
            return typed(value)
        except NotAName as problem:
            raise Unfit(str(problem)) from None


@dataclass(frozen=True)
class OptionalNumberField(Field["float | None"]):
    """A number that may be left open.

    Attributes:
        most: The upper bound, which is a good value itself.
    """

    most: float = 0.0

    kinds: ClassVar[tuple[str, ...]] = ("DOUBLE",)

    def _parsed(self, value: Any) -> float | None:
        return NumberField(self.name, self.label, 0.0, most=self.most)._parsed(value)


@dataclass(frozen=True)
class LinesField(Field["tuple[str, ...] | None"]):
    """Texts: a list, or one text with one on each line."""

    kinds: ClassVar[tuple[str, ...]] = ("TEXTAREA",)

    def _parsed(self, value: Any) -> tuple[str, ...]:
        texts = texts_in(value if isinstance(value, list) else [value])
        if texts is None:
            raise Unfit("must be text")
        lines = [line.strip() for text in texts for line in text.splitlines()]
        return tuple(line for line in lines if line)


@dataclass(frozen=True)
class ChoicesField(LinesField):
    """What was chosen from a list; a name in it may have a line end. Callers of DSS's API give one text as well."""

    kinds: ClassVar[tuple[str, ...]] = ("MULTISELECT",)

    def _parsed(self, value: Any) -> tuple[str, ...]:
        texts = texts_in(value)
        return super()._parsed(value) if texts is None else tuple(texts)


class MacroFields:
    """The fields that macros have besides those of `settings.FIELDS`."""

    connection = TextField("snowflakeConnection", "Snowflake connection", None)
    role = NameField("role", "Role", None)
    warehouse = NameField("warehouse", "Warehouse", None)
    scope = ChoiceField("scope", "Where to look", ACCOUNT, choices=lambda: (ACCOUNT, DATABASE, SCHEMA))
    database = NameField("database", "Database", None)
    schema = NameField("schema", "Schema", None)
    services = LinesField("services", "Services", None)
    listed_services = ChoicesField("listedServices", "Services found", None)
    dry_run = FlagField("dryRun", "Only show what would be done", True)
    wait = NumberField("waitSeconds", "Wait", 0.0, most=7200, unit=" seconds")
    days = WholeField[int]("days", "Days", 30, most=365)
    credit_price = OptionalNumberField("creditPrice", "Cost of a credit", None, most=10_000)


# What a scope does not read, and the form hides for it.
_NEEDLESS: Mapping[str, tuple[Field[Any], ...]] = {
    ACCOUNT: (MacroFields.database, MacroFields.schema),
    DATABASE: (MacroFields.schema,),
    SCHEMA: (),
}
SIGN_IN_FIELDS: tuple[Field[Any], ...] = (
    MacroFields.connection,
    FIELDS.sign_in,
    FIELDS.oauth,
    FIELDS.key_pair,
    FIELDS.token,
    FIELDS.account,
    MacroFields.role,
    MacroFields.warehouse,
)


@dataclass(frozen=True)
class SignInSettings:
    """Whose rights a macro uses.

    Attributes:
        connection: A Snowflake connection of DSS; None if the plugin's own sign-in is used.
        credential: The plugin's own sign-in; None if a connection is used.
        role: The role, as SHOW prints it; None for the default one.
        warehouse: The warehouse, as SHOW prints it; None for the default one.
    """

    connection: str | None
    credential: CredentialSettings | None
    role: str | None
    warehouse: str | None


@dataclass(frozen=True)
class Scope:
    """Where to look for services.

    Attributes:
        database: The only database to look into; None for all.
        schema: The only schema to look into; None for all.
    """

    database: str | None = None
    schema: str | None = None


@dataclass(frozen=True)
class DiscoverSettings:
    """The form of the macro *Discover services*."""

    sign_in: SignInSettings
    scope: Scope


@dataclass(frozen=True)
class OperateSettings:
    """The form of the macros *Suspend services* and *Resume services*.

    Attributes:
        services: Which services are meant.
        dry_run: Whether nothing is to be changed.
        wait: Seconds to wait until the services are in their new state; 0 for not at all.
    """

    sign_in: SignInSettings
    services: tuple[Pattern, ...]
    dry_run: bool
    wait: float


@dataclass(frozen=True)
class CostSettings:
    """The form of the macro *Cost report*.

    Attributes:
        days: How many days to look back.
        credit_price: The price of a credit; None for that of the contract, where it is visible.
    """

    sign_in: SignInSettings
    days: int
    credit_price: float | None


def read_discover(config: Any) -> DiscoverSettings:
    """Reads the form of the macro *Discover services*.

    Args:
        config: What DSS hands over. It may be anything.

    Returns:
        The settings.

    Raises:
        SettingsError: If any of them is wrong. It holds every complaint.
    """
    return _read(config, lambda form: DiscoverSettings(read_sign_in_settings(form), _scope(form)))


def read_operate(config: Any) -> OperateSettings:
    """Reads the form of the macros *Suspend services* and *Resume services*.

    Args:
        config: What DSS hands over. It may be anything.

    Returns:
        The settings.

    Raises:
        SettingsError: If any of them is wrong. It holds every complaint.
    """
    return _read(
        config,
        lambda form: OperateSettings(
            read_sign_in_settings(form),
            _services(form),
            MacroFields.dry_run.read(form),
            MacroFields.wait.read(form),
        ),
    )


def read_cost(config: Any) -> CostSettings:
    """Reads the form of the macro *Cost report*.

    Args:
        config: What DSS hands over. It may be anything.

    Returns:
        The settings.

    Raises:
        SettingsError: If any of them is wrong. It holds every complaint.
    """
    return _read(
        config,
        lambda form: CostSettings(
            read_sign_in_settings(form), MacroFields.days.read(form), MacroFields.credit_price.read(form)
        ),
    )


def read_sign_in_settings(form: FormValues) -> SignInSettings:
    """Reads whose rights to use. A Snowflake connection wins over the plugin's own sign-in.

    Args:
        form: What the form left, which takes the complaints.

    Returns:
        The settings. After a complaint they are of no use.
    """
    connection = MacroFields.connection.read(form)
    role, warehouse = MacroFields.role.read(form), MacroFields.warehouse.read(form)
    if connection is not None or form.complaints_about(MacroFields.connection):
        return SignInSettings(connection, None, role, warehouse)
    if not any(form.get(field.name) for field in (FIELDS.oauth, FIELDS.key_pair, FIELDS.token)):
        form.complain(
            MacroFields.connection, "is empty: select a connection, or sign in with a preset of this plugin"
        )
        return SignInSettings(None, None, role, warehouse)
    sign_in, account = read_sign_in(form), FIELDS.account.read(form)
    if account is not None and not is_snowflakes(account):
        form.complain(
            FIELDS.account,
            "names a host that is not Snowflake's, and your token would be sent there. Enter the account's own URL, or"
            f" use '{MacroFields.connection.label}'",
        )
    if sign_in is None or account is None:
        return SignInSettings(None, None, role, warehouse)
    credential = CredentialSettings(sign_in, account)
    return SignInSettings(None, credential, role or role_of(credential), warehouse)


def role_of(credential: CredentialSettings) -> str | None:
    """The role that the sign-in itself names; None for the user's default role, or that of the token."""
    return credential.sign_in.role if isinstance(credential.sign_in, KeyPairSignIn) else None


def _read(config: Any, read: Callable[[FormValues], T]) -> T:
    form = FormValues(config)
    settings = read(form)
    if form.complaints:
        raise form.error()
    return settings


def _scope(form: FormValues) -> Scope:
    scope = MacroFields.scope.read(form)
    form.leave_out(*_NEEDLESS[scope])
    database, schema = MacroFields.database.read(form), MacroFields.schema.read(form)
    if scope != ACCOUNT and form.get(MacroFields.database.name) is None:
        form.complain(MacroFields.database, "is empty: enter the database to look into")
    if scope == SCHEMA and form.get(MacroFields.schema.name) is None:
        form.complain(MacroFields.schema, "is empty: enter the schema to look into")
    return Scope(database, schema)


def _services(form: FormValues) -> tuple[Pattern, ...]:
    """The lines of the field, and what was chosen from the list beside it."""
    patterns = _patterns(form, MacroFields.services, Pattern.read)
    patterns += _patterns(form, MacroFields.listed_services, Pattern.chosen)
    found = tuple(dict.fromkeys(patterns))
    if not found and not form.complaints_about(MacroFields.services, MacroFields.listed_services):
        form.complain(
            MacroFields.services,
            "is empty: enter full names (DATABASE.SCHEMA.SERVICE), one on each line; * stands for any characters",
        )
    return found


def _patterns(form: FormValues, field: LinesField, read: Callable[[str], Pattern]) -> list[Pattern]:
    found: list[Pattern] = []
    unfit: list[str] = []
    for line in field.read(form) or ():
        if line.startswith("#"):
            continue
        try:
            found.append(read(line))
        except NotAName:
            unfit.append(f"'{line}'")
    if unfit:
        more = f" and {len(unfit) - _MAX_NAMED} more" if len(unfit) > _MAX_NAMED else ""
        form.complain(
            field,
            f"has what is not a full name: {', '.join(unfit[:_MAX_NAMED])}{more}. Write DATABASE.SCHEMA.SERVICE, one on"
            " each line, with each part in double quotes that has other characters than letters, digits and"
            " underscores. * stands for any characters, as in ML.PROD.*",
        )
    return found
