"""Which services are meant: full names, in which `*` stands for any characters where a person typed it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from spcs_llm.control.identifiers import NotAName, QualifiedName, parts, qualified, typed
from spcs_llm.control.services import Service, listed_services
from spcs_llm.control.session import SqlSession
from spcs_llm.errors import SqlError


@dataclass(frozen=True)
class Pattern:
    """Names of services, one or many.

    Attributes:
        text: As it was typed.
        database: The database's name, where it is one; None for a pattern.
        schema: The schema's name, where it is one; None for a pattern.
        pieces: What the three names are made of, each cut at its stars.
    """

    text: str
    database: str | None
    schema: str | None
    pieces: tuple[tuple[str, ...], ...]

    @classmethod
    def read(cls, text: str) -> Pattern:
        """Reads a pattern.

        Args:
            text: DATABASE.SCHEMA.SERVICE, where `*` stands for any characters. Within double quotes it does as well.

        Returns:
            The pattern.

        Raises:
            NotAName: If it does not have three parts that are names.
        """
        names = parts(text)
        if len(names) != 3:
            raise NotAName("must have three parts: DATABASE.SCHEMA.SERVICE")
        shown = [_shown(name) for name in names]
        fixed = [name if "*" not in name else None for name in shown]
        pieces = tuple(tuple(name.split("*")) for name in shown)
        return cls(text, fixed[0], fixed[1] if fixed[0] else None, pieces)

    @classmethod
    def of(cls, name: QualifiedName) -> Pattern:
        """The pattern that only one service fits, whatever characters its name has."""
        return cls(name.sql, name.database, name.schema, tuple((part,) for part in name))

    @classmethod
    def chosen(cls, text: str) -> Pattern:
        """Reads what was chosen from a list of names, in which a star in double quotes is a part of the name.

        Args:
            text: A name as the list has it. Whoever calls DSS's API may give a pattern instead.

        Returns:
            The pattern.

        Raises:
            NotAName: As `read`.
        """
        try:
            return cls.of(qualified(text))
        except NotAName:
            return cls.read(text)

    def fits(self, name: QualifiedName) -> bool:
        """Whether a service has such a name."""
        return all(_is_made_of(pieces, part) for pieces, part in zip(self.pieces, name))


def _shown(name: str) -> str:
    """The name as SHOW prints it, with its stars."""
    if name.startswith('"'):
        return typed(name)
    return "*".join(typed(f"A{piece}")[1:] for piece in name.split("*")) if "*" in name else typed(name)


def _is_made_of(pieces: tuple[str, ...], name: str) -> bool:
    """Whether a name has these pieces in this order, with anything between them. Linear, whatever was typed."""
    if len(pieces) == 1:
        return name == pieces[0]
    first, *middle, last = pieces
    if len(name) < len(first) + len(last) or not (name.startswith(first) and name.endswith(last)):
        return False
    at, end = len(first), len(name) - len(last)
    for piece in middle:
        at = name.find(piece, at, end)
        if at < 0:
            return False
        at += len(piece)
    return True


def matching_services(session: SqlSession, patterns: Iterable[Pattern]) -> list[Service]:
    """The services that fit, each once. Each scope is listed once, and none that is within another.

    Args:
        session: Runs the statements.
        patterns: What the names must fit; one of them is enough.

    Returns:
        The services by name, without jobs and those that build models.

    Raises:
        SpcsError: If the services cannot be listed. A scope that the role may not see has none.
    """
    scopes = {(pattern.database, pattern.schema) for pattern in patterns}
    found: dict[QualifiedName, Service] = {}
    for database, schema in sorted(scopes, key=lambda scope: (scope[0] or "", scope[1] or "")):
        if (None, None) in scopes and database is not None:
            continue
        if (database, None) in scopes and schema is not None:
            continue
        try:
            listed, _ = listed_services(session, database, schema)
        except SqlError as error:
            if not error.is_about_rights:
                raise
            listed = []  # told by the patterns that fit nothing
        for service in listed:
            if any(pattern.fits(service.name) for pattern in patterns):
                found[service.name] = service
    return [found[name] for name in sorted(found)]
