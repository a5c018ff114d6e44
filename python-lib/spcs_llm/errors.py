"""What can go wrong and where, and what to do about it.

    SpcsError
    ├── SettingsError        settings   the model's settings in the DSS connection, or its presets
    ├── QueryError           query      the query asks what this service or protocol cannot take
    ├── QueryTimeout         (varies)   the query's own time is up
    ├── NetworkError         network    no answer came: DNS, refused, reset, silent, proxy
    │   └── TlsError         network    the certificate is not accepted
    ├── LoginError           login      Snowflake refuses the credential, or its account does not answer as one
    │   └── SessionExpired   login      a session or master token has expired: a new one helps
    ├── IngressError         ingress    Snowflake's gateway in front of the service
    │   ├── GatewayDown      ingress    it fails by itself: another try may succeed
    │   ├── TokenRefused     ingress    the token is not accepted: a new one may help
    │   ├── AccessDenied     ingress    the token is good, the role or the network is not
    │   │   └── Blocked      ingress    a firewall denies the request, maybe for what it holds
    │   └── ServiceStarting  ingress    the service is suspended, starting or restarting: waiting helps
    │       └── ModelLoading service    the container runs, and loads its model
    ├── ServiceError         service    the container answers with an error
    │   ├── BadRequest       service    it refuses this request (400, 422)
    │   ├── NotFound         service    no such path or model (404), or access hidden behind a 404
    │   ├── RequestTooLarge  service    413, or out of memory
    │   ├── ServiceBusy      service    429
    │   └── ServiceDown      service    502, 503, 504
    ├── ModelError           model      it answered, but not with an answer
    │   └── UnusableVector   model      a text's vector cannot be used: sent by itself, it may get one
    └── SqlError             SQL        Snowflake refuses a statement of the control plane

Every text is safe to show and to log. What no error may hold is taken out when its texts are set: credentials that
this process has sent, what is certainly one of somebody else's, control characters, markup, line ends. Users' texts are
masked by whoever quotes a server.
"""

from __future__ import annotations

import copy
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from spcs_llm.server_text.foreign_text import MAX_MESSAGE, plain, without_markup
from spcs_llm.server_text.others_credentials import without_certain_credentials
from spcs_llm.server_text.redaction import without_secrets


def place_in_code(error: BaseException) -> str:
    """Where an unexpected error was raised, without its text, which may quote anything."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {Path(frame.filename).name}, line {frame.lineno}"


# Statuses that pass: RFC 9110, those that networks in front of a server add (520 to 524, 529), and Groq's 498.
BUSY_STATUSES = (429, 498, 529)
DOWN_STATUSES = (502, 503, 520, 521, 522, 523)
SILENT_STATUSES = (408, 504, 524)
# About the connection, and not the request: RFC 9110, section 15.5.20, and RFC 8470, section 5.2.
MISDIRECTED = 421
CONNECTION_STATUSES = (MISDIRECTED, 425)


class SpcsError(Exception):
    """Base of all errors.

    Attributes:
        message: One sentence that says what failed.
        hint: Another one that says what to do; it may be empty.
        status: The HTTP status that told, if any.
        code: Snowflake's numeric code as text, if it gave one.
        request_id: The gateway's id of the request, for Snowflake's support.
        retry_after: Seconds that the server asks to wait, if it said so.
        place: Where it failed, as in the table of this module.
        transient: Whether another try soon may succeed.
        server_text: The server's own words, not masked, for code that decides by them what to do next. They may quote
            a user's text: they are in no text of the error, nor in its `repr`, its `vars`, its copies and its pickle.
    """

    __slots__ = ("_server_text", "_unquoted")
    _server_text: str | None
    _unquoted: str | None
    place = "plugin"
    transient = False

    def __init__(
        self,
        message: str,
        hint: str = "",
        *,
        status: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        place: str | None = None,
    ) -> None:
        super().__init__(self._made_safe(message), _safe(hint))
        self._server_text = self._unquoted = None
        self.status = status
        self.code = code
        self.request_id = request_id
        self.retry_after = retry_after
        if place is not None:
            self.place = place

    # The two texts are kept in `args` alone, where `repr` and pickle read them: a text that was masked is masked there.

    @property
    def message(self) -> str:
        return str(self.args[0])

    @message.setter
    def message(self, text: str) -> None:
        self.args = (self._made_safe(text), *self.args[1:])

    @staticmethod
    def _made_safe(message: str) -> str:
        return without_markup(without_certain_credentials(_safe(message)))

    @property
    def hint(self) -> str:
        return str(self.args[1])

    @hint.setter
    def hint(self, text: str) -> None:
        self.args = (self.message, _safe(text))

    @property
    def is_silence(self) -> bool:
        """Whether somebody waited for too long: a smaller request may do."""
        return self.status in SILENT_STATUSES

    @property
    def server_text(self) -> str:
        """The server's own words where this error quotes any; the message otherwise."""
        return self.message if self._server_text is None else self._server_text

    @property
    def quotation(self) -> str:
        """What the message shows of the server's words; "" if it shows none. Copies have it, too."""
        if self._unquoted is None:
            return ""
        return self.message.partition(f"{self._unquoted.rstrip('.')}: ")[2]

    def quote(self, server_text: str, shown: str | None = None) -> None:
        """Adds a server's words to the message.

        Args:
            server_text: The words, as the server said them.
            shown: What may be shown of them; None for all.
        """
        self._server_text = server_text
        if self._unquoted is None:
            self._unquoted = self.message
        words = without_certain_credentials(plain(server_text if shown is None else shown)).rstrip(". :")
        self.message = f"{self._unquoted.rstrip('.')}: {words}." if words else self._unquoted

    def note_unquoted(self, message: str) -> None:
        """Says what the message would be without any of a server's words, where it holds some by another way.

        Args:
            message: That message.
        """
        self._unquoted = self._made_safe(message)

    def mask_quotation(self, mask: Callable[[str], str]) -> None:
        """Shows of the server's words only what a mask leaves. The server's words themselves stay to be read.

        Args:
            mask: Takes a text, and returns what may be shown of it.
        """
        if self._server_text is None:
            self.message = mask(self.message)
        else:
            self.quote(self._server_text, mask(self._server_text))

    def forget_server_text(self) -> None:
        self._server_text = None

    def __reduce__(self) -> tuple[Any, ...]:
        """For copies and pickles, which call no `__init__`: that of a subclass may take other arguments."""
        return _without_init, (type(self), self.args), self.__dict__

    def __str__(self) -> str:
        text = f"[{self.place}] {self.message}"
        if self.request_id:
            text += f" (request id {self.request_id})"
        return f"{text} {self.hint}".rstrip()

    def again(self) -> SpcsError:
        """A copy to raise in another thread: an exception object carries one thread's traceback."""
        error = copy.copy(self).with_traceback(None)
        error._unquoted = self._unquoted
        return error

    def without_quotation(self) -> SpcsError:
        """A copy that says what failed and nothing of what the server said: for those who did not ask for it."""
        error = self.again()
        if self._unquoted is not None:
            error.message = self._unquoted
        return error


def _without_init(kind: type[SpcsError], args: tuple[str, str]) -> SpcsError:
    error = kind.__new__(kind, *args)
    error._server_text = error._unquoted = None
    return error


def _safe(text: Any) -> str:
    """A text of an error, of which a server may have chosen a part."""
    return without_secrets(plain(text, MAX_MESSAGE))


class SettingsError(SpcsError):
    """The model's settings in the DSS connection, or its presets, are wrong."""

    place = "settings"

    @staticmethod
    def _made_safe(message: str) -> str:
        return _safe(message)  # our own words, which have `<org>` in them


class QueryError(SpcsError):
    """The query asks for what this service or protocol cannot take."""

    place = "query"


class QueryTimeout(SpcsError):
    """The query's own time is up."""

    place = "service"


class NetworkError(SpcsError):
    """No answer came.

    Attributes:
        silent: Whether the connection was made, but nothing came.
        reset: Whether the connection was closed before a byte of the answer.
        stale: Whether that connection was kept alive from before: servers close idle ones.
    """

    place = "network"
    stale = False

    def __init__(
        self,
        message: str,
        hint: str = "",
        *,
        transient: bool = True,
        silent: bool = False,
        reset: bool = False,
    ) -> None:
        super().__init__(message, hint)
        self.transient = transient
        self.silent = silent
        self.reset = reset

    @property
    def is_silence(self) -> bool:
        return self.silent


class TlsError(NetworkError):
    """The certificate of the host is not accepted."""


class LoginError(SpcsError):
    """Snowflake refuses the credential, or its account does not answer as one."""

    place = "login"


class SessionExpired(LoginError):
    """A session or master token has expired. A new one helps."""


class IngressError(SpcsError):
    """Snowflake's gateway in front of the service refuses the request."""

    place = "ingress"


class GatewayDown(IngressError):
    """Snowflake's gateway fails by itself.

    Snowflake documentation, "Service network communications": a client is to try 5xx of an ingress endpoint again.
    """

    transient = True


class TokenRefused(IngressError):
    """The gateway does not accept the token. A new one may help."""


class AccessDenied(IngressError):
    """The token is good, but the role or the network is not."""


class Blocked(AccessDenied):
    """A proxy or firewall denies the request, maybe for what it holds."""


class ServiceStarting(IngressError):
    """The service is suspended, starting or restarting. Waiting helps."""


class ServiceError(SpcsError):
    """The container answers with an error."""

    place = "service"


class BadRequest(ServiceError):
    """The container refuses this request (400, 422)."""


class NotFound(ServiceError):
    """The container has no such path or model (404), or a 404 hides that access is denied."""


class RequestTooLarge(ServiceError):
    """The request is too large for the container (413), or it is out of memory."""


class ServiceBusy(ServiceError):
    """The container has too many requests (429, 529)."""

    transient = True


class ServiceDown(ServiceError):
    """The service cannot answer now (502, 503, 504, and the statuses that networks in front of it add)."""

    transient = True


class ModelLoading(ServiceStarting, ServiceError):
    """The container runs, and loads its model. Waiting helps."""

    place = "service"


class ModelError(SpcsError):
    """The service answered, but not with an answer."""

    place = "model"


class UnusableVector(ModelError):
    """A text got zeros or values that are not finite instead of a vector. Sent by itself, it may get one.

    Some models return NaN for texts that they pad to the length of a longer one, and servers zeros under load.
    """


class SqlError(SpcsError):
    """Snowflake refuses a statement of the control plane. No text of it quotes the statement.

    Attributes:
        code: Snowflake's code, six digits, such as 002003; None if the session does not tell it.
        sqlstate: The five characters of the SQL standard, such as 42S02; None if the session does not tell it.
        statement_kind: The statement's verb and object, such as SHOW SERVICES.
    """

    place = "SQL"
    unknown_kind = "statement"

    def __init__(
        self,
        message: str,
        hint: str = "",
        *,
        code: str | None = None,
        sqlstate: str | None = None,
        statement_kind: str = unknown_kind,
        status: int | None = None,
    ) -> None:
        super().__init__(message, hint, code=code, status=status)
        self.sqlstate = sqlstate
        self.statement_kind = statement_kind

    @property
    def is_absent(self) -> bool:
        """Whether the object does not exist or the role may not see it: Snowflake does not say which."""
        return self.code in ("002003", "002043") or (
            self.code is None and self.sqlstate in ("42S02", "02000")
        )

    @property
    def is_unknown_function(self) -> bool:
        """The same of a function: the code depends on the account's bundle of changes, and on whose function it is."""
        return self.code in ("002139", "002140", "002141")

    @property
    def lacks_privilege(self) -> bool:
        """Whether the role sees the object, and lacks the privilege for this."""
        return self.code == "003001" or (self.code is None and self.sqlstate == "42501")

    @property
    def is_about_rights(self) -> bool:
        """Whether a grant may help, or another name."""
        return self.is_absent or self.lacks_privilege

    @property
    def may_lock_user(self) -> bool:
        """Whether it is a wrong password: Snowflake locks a user after some of them in succession."""
        return self.code == "390100"

    @property
    def lacks_warehouse(self) -> bool:
        """Whether the statement needs a warehouse and the session has none that it may use."""
        return self.code == "000606" or (self.code is None and self.sqlstate == "57P03")
