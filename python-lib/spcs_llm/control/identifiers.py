"""Names of Snowflake's objects: as people type them, as SHOW prints them, and as a statement has them.

A name typed without quotes is in upper case; SHOW prints names without quotes (Snowflake documentation, "Identifier
requirements", "Reserved & limited keywords"). Nothing that a person or a server wrote reaches a statement in another
way than through `quoted` and `literal`.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from spcs_llm.urls import INVISIBLE

_PLAIN = re.compile(r"[A-Z_][A-Z0-9_$]{0,254}")
_UNQUOTED = re.compile(r"[A-Za-z_][A-Za-z0-9_$]{0,254}")
# Unrolled: a choice in a repetition takes a hundred bytes for each character.
_IN_QUOTES = r'"(?=[^"\x00]|"")[^"\x00]*(?:""[^"\x00]*)*"'
_QUOTED = re.compile(_IN_QUOTES)
_PART = re.compile(rf'({_IN_QUOTES}|[^."\s]+)(?:\.|$)')
_RESERVED = re.compile(
    r"ACCOUNT|ALL|ALTER|AND|ANY|AS|BETWEEN|BY|CASE|CAST|CHECK|COLUMN|CONNECT|CONNECTION|CONSTRAINT|"
    r"CREATE|CROSS|CURRENT|CURRENT_DATE|CURRENT_TIME|CURRENT_TIMESTAMP|CURRENT_USER|DATABASE|DELETE|"
    r"DISTINCT|DROP|ELSE|EXISTS|FALSE|FOLLOWING|FOR|FROM|FULL|GRANT|GROUP|GSCLUSTER|HAVING|ILIKE|IN|"
    r"INCREMENT|INNER|INSERT|INTERSECT|INTO|IS|ISSUE|JOIN|LATERAL|LEFT|LIKE|LOCALTIME|LOCALTIMESTAMP|"
    r"MINUS|NATURAL|NOT|NULL|OF|ON|OR|ORDER|ORGANIZATION|QUALIFY|REGEXP|REVOKE|RIGHT|RLIKE|ROW|ROWS|"
    r"SAMPLE|SCHEMA|SELECT|SET|SOME|START|TABLE|TABLESAMPLE|THEN|TO|TRIGGER|TRUE|TRY_CAST|UNION|"
    r"UNIQUE|UPDATE|USING|VALUES|VIEW|WHEN|WHENEVER|WHERE|WITH"
)


class NotAName(ValueError):
    """A text that is not a name; the message says why, to follow the text's label."""


class QualifiedName(NamedTuple):
    """The full name of an object in a schema, each part as SHOW prints it."""

    database: str
    schema: str
    name: str

    @property
    def sql(self) -> str:
        """The name as a statement has it."""
        return ".".join(quoted(part) for part in self)

    @property
    def schema_sql(self) -> str:
        """The name of its schema, with the database, as a statement has it."""
        return f"{quoted(self.database)}.{quoted(self.schema)}"

    def __str__(self) -> str:
        return self.sql


def grantee(role: str | None) -> str:
    """A role as a GRANT has it, from its name as SHOW prints it; a placeholder if it is not known."""
    return quoted(role) if role else "<role>"


def quoted(name: str) -> str:
    """A name as a statement has it.

    Args:
        name: The name as SHOW prints it.

    Returns:
        The name, in double quotes where it needs them.
    """
    if _PLAIN.fullmatch(name) and not _RESERVED.fullmatch(name):
        return name
    return '"' + name.replace('"', '""').replace("\x00", "") + '"'


def typed(text: str) -> str:
    """Reads a name that a person typed.

    Args:
        text: A name, in double quotes if it is case-sensitive.

    Returns:
        The name as SHOW prints it.

    Raises:
        NotAName: If it is not a name.
    """
    text = _visible(text)
    if _QUOTED.fullmatch(text):
        return text[1:-1].replace('""', '"')
    if _UNQUOTED.fullmatch(text):
        return text.upper()
    raise NotAName(
        "is not a name of Snowflake: use letters, digits and underscores, or put the name in double quotes"
    )


def parts(text: str) -> list[str]:
    """A dotted name's parts, as they were typed. Dots within double quotes do not part.

    Args:
        text: What a person typed, or a server wrote.

    Returns:
        The parts; an empty list if the text is not a dotted name.
    """
    text = _visible(text)
    found, at = [], 0
    while at < len(text):
        match = _PART.match(text, at)
        if match is None:
            return []
        found.append(match[1])
        at = match.end()
    return [] if text.endswith(".") else found


def _visible(text: str) -> str:
    """Without what nobody sees who copies a name. What stands in double quotes is the name as it is."""
    return (text if '"' in text else INVISIBLE.sub("", text)).strip()


def qualified(text: str) -> QualifiedName:
    """Reads the full name of an object in a schema.

    Args:
        text: DATABASE.SCHEMA.NAME.

    Returns:
        The name.

    Raises:
        NotAName: If it is not a name of three parts.
    """
    names = parts(text)
    if len(names) != 3:
        raise NotAName("must have three parts: DATABASE.SCHEMA.NAME")
    return QualifiedName(*(typed(name) for name in names))


def literal(text: str) -> str:
    """A text as a literal of a statement."""
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
