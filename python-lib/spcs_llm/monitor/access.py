"""Who sends a request to the webapp's backend, and whether that is somebody who may."""

from __future__ import annotations

from collections.abc import Mapping

from flask import request

from spcs_llm.errors import SpcsError
from spcs_llm.monitor.viewers import Viewer, Viewers

CSRF_HEADER = "X-CSRF-Token"


class Access:
    """Asked within a request.

    Args:
        viewers: Knows who sends a request.
        operator_groups: Members of these groups of DSS may suspend and resume services.
    """

    def __init__(self, viewers: Viewers, operator_groups: tuple[str, ...]) -> None:
        self._viewers = viewers
        self._operator_groups = operator_groups

    def viewer(self) -> Viewer:
        """Who sends this request; `NOBODY` if DSS does not know."""
        return self._viewers.viewer(_headers())

    def is_operator(self, viewer: Viewer) -> bool:
        """Whether somebody may suspend and resume services."""
        return viewer.is_operator(self._operator_groups)

    def csrf_token(self, viewer: Viewer) -> str | None:
        """What requests that change something must bring along; None for somebody whom DSS does not know."""
        return self._viewers.csrf_token(viewer) if viewer.user is not None else None

    def known(self) -> str:
        """The user who sends this request; refused if DSS does not know."""
        return _user(self.viewer())

    def writer(self) -> str:
        """The user who sends this request; refused if DSS does not know, or if another site's page sends it."""
        return _user(self._writer())

    def operator(self) -> str:
        """The user who sends this request; refused unless a member of the operator groups."""
        viewer = self._writer()
        if not self.is_operator(viewer):
            raise SpcsError(
                "Your groups may look at services, and not suspend or resume them.",
                "Ask the owner of this webapp to add one of your groups to 'Operator groups' in its settings.",
                status=403,
                place="webapp",
            )
        return _user(viewer)

    def _writer(self) -> Viewer:
        viewer = self._viewers.viewer(_headers(), fresh=True)
        _user(viewer)
        if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
            raise SpcsError(
                "This request comes from another site.", "Open the webapp in DSS.", status=403, place="webapp"
            )
        token = request.headers.get(CSRF_HEADER)
        if not request.is_json or not self._viewers.is_csrf_token(viewer, token):
            raise SpcsError(
                "This request does not come from the page.", "Reload the page.", status=403, place="webapp"
            )
        return viewer


def _user(viewer: Viewer) -> str:
    if viewer.user is None:
        raise SpcsError(
            "DSS does not know who you are.",
            "Sign in to DSS, and open this page again.",
            status=401,
            place="webapp",
        )
    return viewer.user


def _headers() -> Mapping[str, str]:
    return dict(request.headers)
