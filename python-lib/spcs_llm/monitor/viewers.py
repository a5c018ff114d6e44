"""Who looks at the page, by DSS's own identity of the browser, and what they may do.

Calls: Dataiku developer guide, "Authenticate calls from a webapp" (`get_auth_info_from_browser_headers`). A public
webapp is seen by people whom DSS does not know: none of them may change anything.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable

Identify = Callable[[Mapping[str, str]], Any]  # a request's headers -> what DSS says of the user
_KEPT_SECONDS, _KEPT = 30.0, 1000
_SESSION_HEADERS = ("cookie", "authorization", "x-dku-apiticket")


@dataclass(frozen=True)
class Viewer:
    """Somebody who looks at the page.

    Attributes:
        user: The user of DSS; None if DSS does not know who it is.
        groups: The user's groups.
    """

    user: str | None
    groups: frozenset[str] = frozenset()

    def is_operator(self, operator_groups: tuple[str, ...]) -> bool:
        """Whether the viewer may suspend and resume services."""
        return self.user is not None and not self.groups.isdisjoint(operator_groups)


NOBODY = Viewer(None)


class Viewers:
    """Knows who sends a request. Thread-safe.

    Args:
        identify: Asks DSS whose browser sent these headers. It raises whatever it likes if it knows nobody.
        clock: Seconds that never go back.
    """

    def __init__(self, identify: Identify, clock: Callable[[], float] = time.monotonic) -> None:
        self._identify = identify
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._known: dict[bytes, tuple[Viewer, float]] = {}

    def viewer(self, headers: Mapping[str, str], *, fresh: bool = False) -> Viewer:
        """Who sends a request.

        Args:
            headers: The request's headers.
            fresh: Whether DSS must be asked now; otherwise what it said in the last 30 s is good enough.

        Returns:
            The viewer.
        """
        mark = self._mark(headers)
        if not fresh:
            with self._lock:
                viewer, at = self._known.get(mark, (NOBODY, float("-inf")))
            if self._clock() - at < _KEPT_SECONDS:
                return viewer
        viewer = self._asked(headers)
        with self._lock:
            if len(self._known) >= _KEPT:
                self._known.clear()
            self._known[mark] = (viewer, self._clock())
        return viewer

    def csrf_token(self, viewer: Viewer) -> str:
        """What a request that changes something has to bring along, and another site cannot read."""
        return hmac.new(self._key, (viewer.user or "").encode(), hashlib.sha256).hexdigest()

    def is_csrf_token(self, viewer: Viewer, text: str | None) -> bool:
        """Whether a request brings the viewer's token."""
        return hmac.compare_digest(self.csrf_token(viewer).encode(), (text or "").encode())

    def _asked(self, headers: Mapping[str, str]) -> Viewer:
        try:
            info = self._identify(dict(headers))
            user, groups = info.get("authIdentifier"), info.get("groups")
        except Exception:  # noqa: BLE001 - DSS's client raises for a browser that is not signed in
            return NOBODY
        if not isinstance(user, str) or not user:
            return NOBODY
        listed = groups if isinstance(groups, (list, tuple)) else ()
        return Viewer(user, frozenset(group for group in listed if isinstance(group, str)))

    def _mark(self, headers: Mapping[str, str]) -> bytes:
        """Stands for a browser, without keeping its cookies. Where it has none, any header may name its user."""
        lines = [(name.lower(), value) for name, value in sorted(headers.items())]
        of_session = [line for line in lines if line[0] in _SESSION_HEADERS]
        told = "\n".join(f"{name}:{value}" for name, value in of_session or lines)
        return hmac.new(self._key, told.encode("utf-8", "surrogatepass"), hashlib.sha256).digest()
