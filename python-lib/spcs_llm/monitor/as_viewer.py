"""Asks DSS with the rights of whoever looks at the page, and never with those of the webapp's run-as user.

Calls: Dataiku developer guide, "Impersonation in webapps" (WebappImpersonationContext) and "LLM Mesh". Within the
context, `api_client()` is the viewer's. DSS is asked whose client it is, before anything else is asked.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Callable, TypeVar

from spcs_llm.errors import ServiceBusy, SpcsError
from spcs_llm.server_text.foreign_text import plain
from spcs_llm.server_text.redaction import without_private_text, without_secrets

T = TypeVar("T")
Carry = Callable[[Callable[[], None]], Callable[[], None]]
AT_ONCE, EACH_AT_ONCE = 6, 2
_IMPERSONATION = (
    "Ask a DSS administrator to let the webapp's run-as user impersonate your group: 'Impersonation in webapps', in the"
    " security settings of a group of that user."
)
_ELSEWHERE = (
    "If it is about a right or a credential, sign in under Profile > Credentials, or ask a DSS administrator."
)
_OURS = re.compile(r"\[(settings|login|network|ingress|service|model|query)] (.*)", re.DOTALL)


@dataclass(frozen=True)
class Mesh:
    """What is needed of DSS.

    Attributes:
        impersonation: Makes a `dataiku.WebappImpersonationContext`: within it, calls have the viewer's rights.
        client: `dataiku.api_client`.
        project_key: `dataiku.default_project_key`.
    """

    impersonation: Callable[[], AbstractContextManager[Any]]
    client: Callable[[], Any]
    project_key: Callable[[], str]


class AsViewer:
    """Calls that have a viewer's rights, within a request or in a thread that carries its context. Thread-safe.

    Args:
        mesh: What DSS provides.
    """

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self._lock = threading.Lock()
        self._queries: Counter[str] = Counter()

    def call(self, user: str, work: Callable[[Any], T], private: str = "") -> T:
        """Does something in the webapp's project as a viewer.

        Args:
            user: The viewer, as DSS named the browser's user.
            work: Called with a `dataikuapi` project.
            private: A text of the viewer's that no error may quote.

        Returns:
            What `work` returns.

        Raises:
            SpcsError: If DSS does not let the webapp act as this viewer, or refuses what is asked.
        """
        try:
            context = self._mesh.impersonation()
            context.__enter__()
        except Exception as error:  # noqa: BLE001 - DSS's own code
            raise SpcsError(
                f"DSS does not let this webapp act as you ({type(error).__name__}).",
                _IMPERSONATION,
                place="webapp",
            ) from None
        try:
            client = self._mesh.client()
            if client.get_auth_info().get("authIdentifier") != user:
                raise SpcsError(
                    "DSS does not let this webapp act as you: it answers as another user.",
                    _IMPERSONATION,
                    place="webapp",
                )
            return work(client.get_project(self._mesh.project_key()))
        except SpcsError:
            raise
        except Exception as error:  # noqa: BLE001 - DSS's own code
            raise refusal(str(error), private) from None
        finally:
            context.__exit__(None, None, None)

    def query(self, user: str, work: Callable[[Any], T], private: str = "") -> T:
        """Asks a model as a viewer: as `call`, while there is a place for one more query.

        Args:
            user: The viewer.
            work: Called with a `dataikuapi` project. It sends one query.
            private: A text of the viewer's that no error may quote.

        Returns:
            What `work` returns.

        Raises:
            ServiceBusy: If too many queries are under way.
            SpcsError: As `call`.
        """
        with self._place(user):
            return self.call(user, work, private)

    @contextmanager
    def _place(self, user: str) -> Iterator[None]:
        with self._lock:
            own, all_ = self._queries[user], sum(self._queries.values())
            if own >= EACH_AT_ONCE or all_ >= AT_ONCE:
                whose = f"{own} queries of yours" if own >= EACH_AT_ONCE else f"{all_} queries"
                raise ServiceBusy(
                    f"{whose} are being answered.",
                    "Try again when one has ended. A query that was cancelled ends when its model answers.",
                    place="webapp",
                )
            self._queries[user] += 1
        try:
            yield
        finally:
            with self._lock:
                self._queries[user] -= 1
                self._queries += Counter()  # drops users who have none


def refusal(text: str, private: str = "") -> SpcsError:
    """What DSS or LLM Mesh says of a failure, as an error.

    Args:
        text: What it says. LLM Mesh passes on the texts of this plugin's errors, which begin with a place and end with
            a hint.
        private: A text of the viewer's, which is masked.

    Returns:
        The error, at the place that the text names; at `webapp` if it names none.
    """
    shown = without_secrets(without_private_text(plain(text, 1000), {"messages": [{"content": private}]}))
    found = _OURS.search(shown)
    if found is not None:
        return SpcsError(found.group(2), place=found.group(1))
    return SpcsError(f"DSS refuses it: {shown}", _ELSEWHERE, place="webapp")
