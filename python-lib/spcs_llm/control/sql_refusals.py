"""Why Snowflake refuses a statement, as an error with a hint.

Codes: snowflake-connector-python 4.8.1, and Snowflake documentation, "SQL API: handling responses". DSS and Snowpark
hand over a text in which a code may stand or not; sentences are matched by their beginning, because Snowflake has
been adding its own hints behind them. Only Snowflake's own words are read: neither a value that it quotes, nor what a
service answered, says why a statement is refused.
"""

from __future__ import annotations

import re

from spcs_llm.control.statements import kind
from spcs_llm.errors import SqlError
from spcs_llm.server_text.foreign_text import MAX_TEXT, error_code, plain
from spcs_llm.snowflake.login_errors import hint_for_refusal

_CODE_AND_STATE = re.compile(r"\b(\d{6}) \(([0-9A-Z]{5})\)")
CODE = re.compile(r"\b(00[0-9]{4}|39[0-9]{4})\b")
_STATE = re.compile(r"[0-9A-Z]{5}")
_CODE_BEFORE = re.compile(r"\b(\d{6})(?: \(([0-9A-Z]{5})\))?: ")
_NOISE = re.compile(
    r"^(?:\(\d{4}\): |[0-9a-f-]{36}: |\d{6}(?: \([0-9A-Z]{5}\))?: |[\w.]{1,100}(?:Exception|Error): |Query failed: ?)+"
)
# What a service has answered follows: Snowflake documentation, "Troubleshooting external functions", has both forms.
_SAID_BY_SERVICE = re.compile(
    r"remote service error:|\b(?:external|service) function .{1,300}?\. Error:(?=\s{0,4}['`]?\d{3}\b)", re.I
)
_QUOTED = re.compile(r"(?<!\w)(?:'[^']*'|\"[^\"]*\"|`[^`]*`)")
_OPENS_QUOTE, _CLOSE_QUOTES = re.compile(r"(?<!\w)['\"`\[{]"), "'\"`]}"
# What Snowflake says of data, which it quotes: its documentation, "Conversion functions" and "Data types", and users'
# reports. Each sentence has its own code, from 100037 on; the one here stands for all of them.
_ABOUT_DATA = re.compile(
    r"is not recognized|is too long and would be truncated|exceeded by string|failed to cast|out of representable range"
    r"|is out of range|error parsing \w|invalid utf-?8|duplicate row detected|can't parse '"
    r"|not a legal (?:hex|base64)-encoded|\bdml operation to table\b",
    re.I,
)
_DATA = ("100038", "22018")
# What Snowflake says -> its code and state.
_SENTENCES = (
    (re.compile(r"does not exist or not authorized", re.I), "002003", "42S02"),
    (re.compile(r"object does not exist, or operation cannot be performed", re.I), "002043", "02000"),
    (re.compile(r"insufficient privileges", re.I), "003001", "42501"),
    (re.compile(r"unknown (?:user-defined )?function", re.I), "002141", "42601"),
    (re.compile(r"requested role", re.I), "003013", "42501"),
    (re.compile(r"no active warehouse", re.I), "000606", "57P03"),
    (re.compile(r"does not have a current database", re.I), "090105", "22000"),
    (re.compile(r"syntax error line", re.I), "001003", "42000"),
    (re.compile(r"invalid identifier", re.I), "000904", "42000"),
    (
        re.compile(r"OAuth access token (?:expired|invalid)|invalid OAuth access token", re.I),
        "390318",
        "08001",
    ),
    (re.compile(r"incorrect username or password", re.I), "390100", "08001"),
    (re.compile(r"session no longer exists", re.I), "390111", "08001"),
    (re.compile(r"authentication token has expired", re.I), "390114", "08001"),
    (re.compile(r"account is suspended|free trial has ended", re.I), "000666", "57014"),
    (re.compile(r"resource monitor .{0,200}exceeded its quota", re.I), "090073", "22000"),
    (re.compile(r"reached its statement or warehouse timeout|statement timeout", re.I), "000630", "57014"),
)
_ROLE = (
    "Enter a role that is granted to the user in 'Role', and a warehouse that it may use in 'Warehouse'. With OAuth,"
    " the role must be the one in the scope."
)
_HINTS = {
    "000606": "Enter a warehouse that the role may use in 'Warehouse'.",
    "000630": "Ask for less, such as one schema or fewer days, or use a larger warehouse.",
    "000604": "It was cancelled in Snowflake. Run it again.",
    "000666": "Ask a Snowflake administrator to enter a method of payment for the account.",
    "001003": "This account does not know the statement. Update the plugin, or report it to the plugin's authors.",
    "000904": "This account's view has other columns. Report it to the plugin's authors.",
    "002003": "Ask a Snowflake administrator to grant the role a privilege on it, or correct the name.",
    "002043": "Ask a Snowflake administrator to grant the role a privilege on it, or correct the name.",
    "003001": "Ask a Snowflake administrator to grant the role the privilege.",
    "003013": _ROLE,
    "090073": "Ask a Snowflake administrator to raise the quota of the resource monitor, or enter another warehouse in"
    " 'Warehouse'.",
    "090105": "Enter a database.",
    **dict.fromkeys(("390111", "390112", "390114"), "The session has ended. Run it again."),
    "390189": _ROLE,
    "390201": _ROLE,
}

# The same for sentences that come with various codes, or without one. The first five are about how DSS signs in.
_HINTS_BY_WORDS = (
    (
        re.compile(
            r"JWT token is invalid|incorrect username or password|programmatic access token is (?:invalid|expired)",
            re.I,
        ),
        "Ask a DSS administrator to correct the user and credential of the Snowflake connection. If each user has"
        " separate credentials, enter yours again under Profile > Credentials.",
    ),
    (
        re.compile(
            r"\bMFA (?:authentication|with \w{1,20}) is required|\bmulti-?factor authentication is required",
            re.I,
        ),
        "Ask a DSS administrator to use a key pair or OAuth instead of a password in the Snowflake connection.",
    ),
    (
        re.compile(r"\bUSE ROLE (?:is )?not allowed", re.I),
        "Leave 'Role' empty: the Snowflake connection signs in for one role only.",
    ),
    (
        re.compile(r"specified in the connect string", re.I),
        "Ask a DSS administrator to correct the role of the Snowflake connection, or a Snowflake administrator to run"
        " GRANT ROLE <role> TO USER <user>.",
    ),
    (
        re.compile(r"\bnot listed in the access token", re.I),
        "Ask a DSS administrator to correct the role or the OAuth scope of the Snowflake connection, which must name"
        " the role, and a Snowflake administrator to allow the role in the security integration.",
    ),
    (
        re.compile(r"warehouse .{0,260} is suspended", re.I),
        "Ask a Snowflake administrator to set AUTO_RESUME of the warehouse, or enter another one in 'Warehouse'.",
    ),
    (
        re.compile(r"exceeds compute pool instance capacity", re.I),
        "Enter a compute pool whose nodes are larger, or ask for fewer resources.",
    ),
    (
        re.compile(r"can only support services of type", re.I),
        "Enter a compute pool that a Snowflake administrator has created: Snowflake's own pools run only some kinds of"
        " services.",
    ),
    (
        re.compile(r"only supports images? for amd64", re.I),
        "Build the image for linux/amd64 (docker build --platform linux/amd64), and push it again.",
    ),
    (
        re.compile(r"requested (?:database|schema) does not exist", re.I),
        "Ask a DSS administrator to correct the database and schema of the Snowflake connection, or a Snowflake"
        " administrator to grant the role USAGE on them.",
    ),
    (
        re.compile(r"exceeded the max number of rows", re.I),
        "Enter a database or a schema: SHOW lists a limited number of objects.",
    ),
    (
        # Large results do not come from the account's host.
        re.compile(r"\bresult chunk\b|\bdownload of #chunk", re.I),
        "Run it again. If it fails again, let the DSS server reach the hosts that SELECT SYSTEM$ALLOWLIST() lists as"
        " STAGE: Snowflake hands over large results there.",
    ),
    (
        re.compile(r"\btrial accounts?\b", re.I),
        "A trial account does not have Snowpark Container Services: use another account.",
    ),
)


def sql_error(
    statement: str, message: object, code: object = None, sqlstate: object = None, status: int | None = None
) -> SqlError:
    """The error of a statement that Snowflake refuses.

    Args:
        statement: The statement, of which the error says the kind only.
        message: Snowflake's own words.
        code: Snowflake's code, as a text or a number.
        sqlstate: The state of the SQL standard.
        status: The HTTP status, if there was one.

    Returns:
        The error.
    """
    words = plain(message or "", MAX_TEXT).rstrip(". ")
    known = error_code(code)
    known = known.zfill(6) if known else None
    state = sqlstate if isinstance(sqlstate, str) and _STATE.fullmatch(sqlstate) else None
    if known is None:
        known, its_state = _code_by_words(said_by_snowflake(words))
        state = state or its_state
    reason = _without_values(said_by_snowflake(words))
    told = f" (code {known})" if known and known not in words else ""
    what = kind(statement)
    return SqlError(
        f"Snowflake refuses {what}: {words or 'no reason given'}{told}.",
        next((hint for said, hint in _HINTS_BY_WORDS if said.search(reason)), "")
        or _HINTS.get(known or "")
        or hint_for_refusal(known or "", reason),
        code=known,
        sqlstate=state,
        statement_kind=what,
        status=status,
    )


def sql_error_in_text(statement: str, text: str) -> SqlError:
    """The error in a text that DSS or Snowpark passes on.

    Args:
        statement: The statement that failed.
        text: The text of an exception.

    Returns:
        The error, with the code where the text has one.
    """
    text = plain(text, 4 * MAX_TEXT)
    return sql_error(statement, _NOISE.sub("", text), *_code_in(text))


def said_by_snowflake(words: str) -> str:
    """The part of a refusal that is Snowflake's own: what follows is what a service has answered."""
    answer = _SAID_BY_SERVICE.search(words)
    return words if answer is None else words[: answer.end()]


def said_by_service(words: str) -> str | None:
    """What a service has answered, where a refusal quotes that; else None."""
    answer = _SAID_BY_SERVICE.search(words)
    return None if answer is None else words[answer.end() :].lstrip()


def without_quoted(words: str) -> str:
    """A refusal without what it quotes. A value may have quotes in it, so the last one ends what the first begins.

    Args:
        words: Snowflake's words.

    Returns:
        The words, with "…" instead of everything from the first opening quote to the last closing one.
    """
    opened = _OPENS_QUOTE.search(words)
    if opened is None:
        return words
    closed = max(words.rfind(quote) for quote in _CLOSE_QUOTES)
    is_cut = words.rstrip(".").endswith("…")
    rest = words[closed:] if closed > opened.start() and not is_cut else ""
    return f"{words[: opened.end()]}…{rest}"


def _without_values(words: str) -> str:
    """The words with each quoted name or value apart, so that those between two names can be read."""
    return _QUOTED.sub("'…'", words)


def _code_in(text: str) -> tuple[str | None, str | None]:
    """Snowflake's code and state in a text: never from what it quotes, where six digits may be a user's."""
    words = said_by_snowflake(text)
    lead = _NOISE.match(words)
    if lead is not None and (code := _CODE_BEFORE.search(lead[0])) is not None:
        return code[1], code[2]
    by_words = _code_by_words(words)
    if by_words == _DATA:
        return by_words
    outside = without_quoted(words)
    if (code := _CODE_AND_STATE.search(outside)) is not None:
        return code[1], code[2]
    if by_words[0] is None and (code := CODE.search(outside)) is not None:
        return code[0], None
    return by_words


def _code_by_words(words: str) -> tuple[str | None, str | None]:
    """The code and the state of what Snowflake says."""
    if _ABOUT_DATA.search(words):
        return _DATA
    reason = _without_values(words)
    known = ((code, state) for sentence, code, state in _SENTENCES if sentence.search(reason))
    return next(known, (None, None))
