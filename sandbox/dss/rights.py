"""Who may do what: administrators everything, others what they have been given in a project."""

from __future__ import annotations

from collections.abc import Iterable

_IMPLIED = {"ADMIN": {"ADMIN", "WRITE_CONF", "READ_CONF"}, "WRITE_CONF": {"WRITE_CONF", "READ_CONF"}}


class NotAllowedError(Exception):
    """The user lacks a right; the text names it."""


class Rights:
    """Rights of users in projects."""

    def __init__(self, administrators: Iterable[str]) -> None:
        self._administrators = set(administrators)
        self._given: dict[tuple[str, str], set[str]] = {}

    def is_admin(self, user: str) -> bool:
        return user in self._administrators

    def give(self, user: str, project_key: str, permissions: Iterable[str]) -> None:
        """ADMIN includes WRITE_CONF, which includes READ_CONF."""
        held = self._given.setdefault((user, project_key), set())
        for permission in permissions:
            held |= _IMPLIED.get(permission, {permission})

    def require(self, user: str, project_key: str, permissions: Iterable[str]) -> None:
        """Raises NotAllowedError."""
        if self.is_admin(user):
            return
        missing = set(permissions) - self._given.get((user, project_key), set())
        if missing:
            raise NotAllowedError(
                f"User {user} does not have {', '.join(sorted(missing))} on project {project_key}"
            )
