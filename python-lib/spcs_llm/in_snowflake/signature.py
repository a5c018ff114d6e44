"""How a model is called: what a function of a service takes, as SHOW FUNCTIONS lists it, and the call.

Signatures of the registry: snowflake-ml-python 2.6.0, `model/openai_signatures.py` and the handlers of `model/models`.
The columns of SHOW FUNCTIONS IN SERVICE are not published: `arguments` is read as SHOW FUNCTIONS writes it for other
functions, `NAME(TYPE, …) RETURN TYPE`, or as a JSON list of names and types.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from spcs_llm.control import cells
from spcs_llm.control.identifiers import QualifiedName, literal, quoted
from spcs_llm.control.session import Row
from spcs_llm.control.statements import scope

_ARGUMENTS = re.compile(r"\((.*)\)\s*RETURNS?\b", re.IGNORECASE | re.DOTALL)
_TEXT = ("VARCHAR", "STRING", "TEXT", "CHAR")
CHAT_COLUMNS = 10


class Form(Enum):
    """What a function takes."""

    PARAMS = "messages, and settings by their names"
    COLUMNS = "messages and nine settings, all of them"
    OPTIONS = "messages, and an object of settings"
    TEXT = "a text"
    TEXT_OPTIONS = "a text, and an object of settings"
    TEXT_SYSTEM_OPTIONS = "a text, a system prompt, and an object of settings"


@dataclass(frozen=True)
class Function:
    """A function that Snowflake lists.

    Attributes:
        name: Its name, as SHOW prints it.
        arguments: The types of its arguments, in capitals; None if they cannot be read.
        argument_names: Their names, as far as they are listed.
    """

    name: str
    arguments: tuple[str, ...] | None
    argument_names: tuple[str, ...] = ()


class UnfitFunction(ValueError):
    """A function that the recipe cannot call; the message says why."""


def functions_in_service(service: QualifiedName) -> str:
    """The statement that lists the methods of the model that a service serves. It needs USAGE on the service."""
    return f"SHOW FUNCTIONS IN SERVICE {service.sql}"


def user_functions(function: QualifiedName) -> str:
    """The statement that lists the functions of one name. `_` in the name stands for any character."""
    return f"SHOW USER FUNCTIONS LIKE {literal(function.name)} {scope(function.database, function.schema)}"


def read_functions(rows: Iterable[Row]) -> list[Function]:
    """Reads the rows of SHOW FUNCTIONS."""
    return [Function(name, *_arguments(row)) for row in rows if (name := cells.text(row, "name")) is not None]


def _arguments(row: Row) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """The types, and the names where they are listed."""
    listed = cells.json_value(row, "arguments")
    if isinstance(listed, list):
        known = [argument for argument in listed if isinstance(argument, dict)]
        types = tuple(_without_details(str(argument.get("type", ""))).upper() for argument in known)
        names = tuple(str(argument["name"]) for argument in known if argument.get("name"))
        return types, names if len(names) == len(types) else ()
    match = _ARGUMENTS.search(cells.text(row, "arguments") or "")
    if match is None:
        return None, ()
    written = _without_details(match[1])
    parts = [part.replace("DEFAULT", "").split() for part in written.split(",") if part.strip()]
    names = tuple(part[0] for part in parts if len(part) == 2)
    return tuple(part[-1].upper() for part in parts if part), names if len(names) == len(parts) else ()


def _without_details(types: str) -> str:
    """Types without sizes and what is within them: `VARCHAR(16777216)`, `ARRAY(OBJECT(role VARCHAR))`."""
    kept, depth = [], 0
    for piece in re.split(r"([()])", types):
        if piece in ("(", ")"):
            depth = max(0, depth + (1 if piece == "(" else -1))
        elif not depth:
            kept.append(piece)
    return "".join(kept)


def form_of(function: Function, *, chat: bool) -> Form:
    """How to call a function.

    Args:
        function: The function.
        chat: Whether it is to chat, or to embed.

    Returns:
        The form of its arguments.

    Raises:
        UnfitFunction: If it takes something else.
    """
    types = function.arguments
    if types is None:
        return Form.PARAMS if chat else Form.TEXT
    first = types[0] if types else ""
    if chat and first == "ARRAY":
        if len(types) == 2 and types[1] in ("OBJECT", "VARIANT"):
            return Form.OPTIONS
        # With params, Snowflake may list the optional ones or not; the ten columns are all of them, too.
        return Form.PARAMS if len(types) != CHAT_COLUMNS else Form.COLUMNS
    if first in _TEXT:
        if len(types) == 2 and types[1] in ("OBJECT", "VARIANT"):
            return Form.TEXT_OPTIONS
        if chat and len(types) == 3 and types[1] in _TEXT and types[2] in ("OBJECT", "VARIANT"):
            return Form.TEXT_SYSTEM_OPTIONS
        return Form.TEXT
    wanted = "messages (ARRAY) or a text (VARCHAR)" if chat else "a text (VARCHAR)"
    raise UnfitFunction(f"takes {', '.join(types) or 'nothing'}, and not {wanted}")


@dataclass(frozen=True)
class Sampling:
    """Settings of an answer that are numbers, which a statement may hold."""

    temperature: float | None
    max_tokens: int


@dataclass(frozen=True)
class Call:
    """A call of the model.

    Attributes:
        function: The function as a statement has it: `DB.SCHEMA.SERVICE!METHOD` or `DB.SCHEMA.FUNCTION`.
        form: What it takes.
        sampling: Settings of the answers; None for embeddings.
        parts: Whether the content of a message is a list of parts, as the registry's first signature has it.
        stops: Whether the table of settings has stop sequences.
        structured: Whether the table of settings has a response format.
    """

    function: str
    form: Form
    sampling: Sampling | None = None
    parts: bool = True
    stops: bool = False
    structured: bool = False

    @property
    def sql(self) -> str:
        """The expression, over a row of the questions (Q) and of the settings (P). Its value is a VARIANT."""
        return f"TO_VARIANT({self.function}({self._arguments()}))"

    def _arguments(self) -> str:
        if self.form is Form.TEXT:
            return self.text
        if self.form is Form.TEXT_OPTIONS:
            return f"{self.text}, {self._options()}"
        if self.form is Form.TEXT_SYSTEM_OPTIONS:
            return f"Q.PROMPT, IFF(P.HEAD_TEXT = '', NULL, P.HEAD_TEXT), {self._options()}"
        if self.form is Form.OPTIONS:
            return f"{self.messages}, {self._options()}"
        if self.form is Form.COLUMNS:
            return ", ".join([self.messages, *self._columns()])
        named = {"MESSAGES": self.messages, **self._settings()}
        return ", ".join(f"{name} => {expression}" for name, expression in named.items())

    @property
    def text(self) -> str:
        """The expression for the prompt as one text."""
        return "Q.PROMPT" if self.sampling is None else "P.HEAD_TEXT || Q.PROMPT"

    @property
    def messages(self) -> str:
        """The expression for the conversation, as ARRAY."""
        content = "Q.PROMPT"
        head = "P.HEAD"
        if self.parts:
            content = f"ARRAY_CONSTRUCT(OBJECT_CONSTRUCT('type', 'text', 'text', {content}))"
            head = "P.HEAD_PARTS"
        return (
            f"ARRAY_APPEND(PARSE_JSON({head})::ARRAY, OBJECT_CONSTRUCT('role', 'user', 'content', {content}))"
        )

    def _settings(self) -> dict[str, str]:
        """Only what is set, but always the number of tokens: the registry's default of 250 cuts answers."""
        if self.sampling is None:
            return {}
        settings = {"MAX_COMPLETION_TOKENS": str(self.sampling.max_tokens)}
        if self.sampling.temperature is not None:
            settings["TEMPERATURE"] = f"{self.sampling.temperature!r}::FLOAT"
        if self.stops:
            settings["STOP"] = "PARSE_JSON(P.STOP)::ARRAY"
        if self.structured:
            settings["RESPONSE_FORMAT"] = "PARSE_JSON(P.RESPONSE_FORMAT)::OBJECT"
        return settings

    def _columns(self) -> list[str]:
        """Every setting, with the registry's own defaults."""
        settings = {
            "TEMPERATURE": "1.0::FLOAT",
            "MAX_COMPLETION_TOKENS": "",
            "STOP": "ARRAY_CONSTRUCT()",
            "N": "1",
            "STREAM": "FALSE",
            "TOP_P": "1.0::FLOAT",
            "FREQUENCY_PENALTY": "0.0::FLOAT",
            "PRESENCE_PENALTY": "0.0::FLOAT",
            "RESPONSE_FORMAT": "NULL::OBJECT",
        }
        return list({**settings, **self._settings()}.values())

    def _options(self) -> str:
        if self.sampling is None:
            return "OBJECT_CONSTRUCT()"
        named = {name.lower(): expression for name, expression in self._settings().items()}
        return f"OBJECT_CONSTRUCT({', '.join(f'{literal(n)}, {e}' for n, e in named.items())})"


def method_of(service: QualifiedName, method: str) -> str:
    """A method of a service as a statement has it."""
    return f"{service.sql}!{quoted(method)}"
