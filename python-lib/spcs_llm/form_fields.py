"""Kinds of fields that a form of DSS has, and how a value that it leaves is read: a number as text, null, empty.

Each field is written down once, with its label, what an empty one means, and its bounds. A test holds `llm.json` to
that. What is wrong with a value is said in a sentence that begins with the field's label.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable, ClassVar, Generic, TypeVar

from spcs_llm.errors import SettingsError
from spcs_llm.urls import DSS_VARIABLE, HAS_VARIABLE, INVISIBLE, BaseUrl, UrlError, parse_hosts

T = TypeVar("T")
_ENCRYPTED = "e:AES:"


class Unfit(ValueError):
    """A value that a field cannot have; the message says why, to follow the field's label."""


def texts_in(value: Any) -> list[str] | None:
    """The texts of a list, without entries that were added and not filled in; None if it is not a list of texts."""
    if not isinstance(value, list) or not all(text is None or isinstance(text, str) for text in value):
        return None
    return [text for text in value if text]


class FormValues:
    """What a form left, and the complaints about it. After a complaint no value is of use.

    Attributes:
        complaints: One sentence for each value that is wrong.

    Args:
        values: The form's values by the fields' names. What is not a mapping counts as an empty form.
    """

    def __init__(self, values: Any) -> None:
        self._values: Mapping[str, Any] = values if isinstance(values, Mapping) else {}
        self._left_out: set[str] = set()
        self.complaints: list[str] = []

    def get(self, name: str) -> Any:
        """Reads a value.

        Args:
            name: The field's name.

        Returns:
            The value as it is; None for text that is blank, and for a field that is missing.
        """
        value = None if name in self._left_out else self._values.get(name)
        return None if isinstance(value, str) and not value.strip() else value

    def leave_out(self, *fields: Field[Any]) -> None:
        """Reads fields as empty that other fields make needless: the form hides them, and DSS keeps their values."""
        self._left_out.update(field.name for field in fields)

    def complain(self, field: Field[Any], problem: str) -> None:
        """Adds a complaint, once however often the field is read.

        Args:
            field: The field, which the complaint names by its label.
            problem: What is wrong, to follow the label, without a full stop.
        """
        complaint = f"'{field.label}' {problem}."
        if complaint not in self.complaints:
            self.complaints.append(complaint)

    def error(self) -> SettingsError:
        """The error that holds every complaint."""
        return SettingsError(" ".join(self.complaints))

    def complaints_about(self, *fields: Field[Any]) -> list[str]:
        """What is wrong with fields so far. One that is wrong is not empty as well."""
        beginnings = tuple(f"'{field.label}' " for field in fields)
        return [complaint for complaint in self.complaints if complaint.startswith(beginnings)]


@dataclass(frozen=True)
class Field(Generic[T]):
    """A field of the form.

    Attributes:
        name: As in `llm.json`.
        label: As in `llm.json`; complaints name the field by it.
        absent: What an empty field means, and one that an earlier version saved nothing for.
        fresh: What the form fills in for a new model, where that is something else than `absent`.
        kinds: The types in `llm.json` that the field may have.
    """

    name: str
    label: str
    absent: T
    fresh: T | None = None

    kinds: ClassVar[tuple[str, ...]] = ()

    def read(self, form: FormValues) -> T:
        """Reads the field's value. What is wrong with it becomes a complaint.

        Args:
            form: What the form left.

        Returns:
            The value; `absent` if the field is empty or wrong.
        """
        value = form.get(self.name)
        if value is None:
            return self.absent
        try:
            return self._parsed(value)
        except Unfit as problem:
            form.complain(self, str(problem))
            return self.absent

    def _parsed(self, value: Any) -> T:
        raise NotImplementedError


@dataclass(frozen=True)
class TextField(Field["str | None"]):
    """A text.

    Attributes:
        strip: Whether blanks around the text are of no matter.
    """

    strip: bool = True

    kinds: ClassVar[tuple[str, ...]] = ("STRING", "TEXTAREA", "PASSWORD")

    def _parsed(self, value: Any) -> str | None:
        text = _as_text(value)
        return text.strip() if self.strip else text


@dataclass(frozen=True)
class ModelTextField(TextField):
    """A text of an LLM connection, in which DSS replaces no variable, and which no other program reads `${…}` in."""

    def _parsed(self, value: Any) -> str | None:
        text = super()._parsed(value)
        if text is not None and DSS_VARIABLE.search(text):
            raise Unfit(HAS_VARIABLE)
        return text


_SCHEME = re.compile(r"(?:Authorization:\s*)?Bearer\s", re.IGNORECASE)


def bare_secret(text: str) -> str:
    """A key or a token without what is copied with it: characters that nobody sees, blanks and straight quotes."""
    return INVISIBLE.sub("", text).strip().strip("\"'").strip()


@dataclass(frozen=True)
class KeyField(TextField):
    """A key that is sent in a header, without what is copied with it."""

    def _parsed(self, value: Any) -> str | None:
        text = bare_secret(_as_text(value))
        if not text:
            raise Unfit("contains only quotation marks: paste the key")
        if _SCHEME.match(text):
            raise Unfit("begins with Bearer, which is not a part of the key: paste only the key")
        if not text.isprintable() or max(text, default="") > "\xff":
            raise Unfit(
                "has characters that cannot be sent: paste only the key, without quotation marks or line ends"
            )
        return text


@dataclass(frozen=True)
class FlagField(Field[bool]):
    """A checkbox: true or false, also as text, or 1 or 0."""

    kinds: ClassVar[tuple[str, ...]] = ("BOOLEAN",)

    def _parsed(self, value: Any) -> bool:
        if isinstance(value, str) and value.strip().lower() in ("true", "false"):
            return value.strip().lower() == "true"
        if value in (0, 1):
            return bool(value)
        raise Unfit("must be true or false")


@dataclass(frozen=True)
class ChoiceField(Field[str]):
    """One of several words.

    Attributes:
        choices: Gives the words. It is asked at each reading, as the registry of protocols may grow.
    """

    choices: Callable[[], tuple[str, ...]] = tuple

    kinds: ClassVar[tuple[str, ...]] = ("SELECT",)

    def _parsed(self, value: Any) -> str:
        choice = _as_text(value).strip().upper()
        if choice not in self.choices():
            raise Unfit(f"must be one of {', '.join(self.choices())}")
        return choice


@dataclass(frozen=True)
class NumberField(Field[float]):
    """A number.

    Attributes:
        least: The lower bound, which is a good value itself.
        most: The upper bound, which is a good value itself.
        unit: Follows the bounds in a complaint.
    """

    least: float = 0.0
    most: float = math.inf
    unit: str = ""

    kinds: ClassVar[tuple[str, ...]] = ("DOUBLE", "INT")

    def _parsed(self, value: Any) -> float:
        number = _as_number(value)
        if number is None or not self.least <= number <= self.most:
            raise Unfit(f"must be a number from {self.least:,g} to {self.most:,.15g}{self.unit}")
        return number


@dataclass(frozen=True)
class WholeField(Field[T]):
    """A whole number. T is int, or also None where an empty field leaves it open.

    Attributes:
        least: The lower bound, which is a good value itself.
        most: The upper bound, which is a good value itself.
    """

    least: int = 1
    most: int = 1

    kinds: ClassVar[tuple[str, ...]] = ("INT",)

    def _parsed(self, value: Any) -> T:
        number = _as_number(value)
        if number is None or number != int(number) or not self.least <= number <= self.most:
            raise Unfit(f"must be a whole number from {self.least} to {self.most}")
        return int(number)  # type: ignore[return-value]


@dataclass(frozen=True)
class UrlField(Field["BaseUrl | None"]):
    """An address that must be there.

    Attributes:
        parse: Reads an address from text. It raises a UrlError for one that cannot be used.
        fill_in: What to do about an empty one.
    """

    parse: Callable[[str], BaseUrl] = BaseUrl  # type: ignore[assignment]
    fill_in: str = ""

    kinds: ClassVar[tuple[str, ...]] = ("STRING",)

    def read(self, form: FormValues) -> BaseUrl | None:
        if form.get(self.name) is None:
            form.complain(self, f"is empty: {self.fill_in}")
            return None
        return super().read(form)

    def _parsed(self, value: Any) -> BaseUrl | None:
        try:
            return self.parse(_as_text(value))
        except UrlError as error:
            raise Unfit(str(error)) from None


@dataclass(frozen=True)
class HostsField(Field["tuple[str, ...] | None"]):
    """Host names, separated by commas."""

    kinds: ClassVar[tuple[str, ...]] = ("STRING",)

    def _parsed(self, value: Any) -> tuple[str, ...]:
        try:
            return parse_hosts(_as_text(value))
        except UrlError as error:
            raise Unfit(f"must be host names separated by commas, and {error}") from None


@dataclass(frozen=True)
class PresetField(Field["Mapping[str, Any] | None"]):
    """A preset that must be there: the values of its parameter set, as DSS resolves it.

    Attributes:
        why_a_preset: What a preset has, and values in the connection itself have not.
    """

    why_a_preset: str = ""

    kinds: ClassVar[tuple[str, ...]] = ("PRESET",)

    def read(self, form: FormValues) -> Mapping[str, Any] | None:
        value = form.get(self.name)
        if not value or value == {"mode": "NONE"}:
            form.complain(self, "is empty: select a preset")
            return None
        return super().read(form)

    def _parsed(self, value: Any) -> Mapping[str, Any]:
        if isinstance(value, Mapping) and value.get("mode") == "INLINE":
            raise Unfit(f"is defined inline: select a preset, {self.why_a_preset}")
        if not isinstance(value, Mapping) or value.get("mode") in ("PRESET", "NONE"):
            raise Unfit("names a preset that DSS did not resolve: select it again, and check who may use it")
        for entry in value.values():
            _check_decrypted(entry)
        return value


def _as_text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise Unfit("must be text")
    _check_decrypted(value)
    return str(value)


def _check_decrypted(value: Any) -> None:
    """Refuses what DSS stores for a password, with a prefix (Dataiku documentation, "The runtime databases").

    Plugins have received it instead of the password. A server would refuse it as a wrong one.

    Args:
        value: A value of the form.

    Raises:
        Unfit: If it is a password that is still encrypted.
    """
    if isinstance(value, str) and value.lstrip().startswith(_ENCRYPTED):
        raise Unfit(
            "contains a password or token that DSS did not decrypt: enter it again where it is stored, and save. An"
            " encrypted one that was copied from another DSS instance cannot be read"
        )


def _as_number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
