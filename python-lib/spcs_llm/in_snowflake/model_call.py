"""Finds out how the chosen service is called, and makes it ready to answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from spcs_llm.control.families import PriceList
from spcs_llm.control.identifiers import QualifiedName, grantee
from spcs_llm.control.operate import operate
from spcs_llm.control.operated import Outcome, Verb
from spcs_llm.control.service_patterns import Pattern
from spcs_llm.control.services import Service, named_service
from spcs_llm.control.session import SqlSession
from spcs_llm.errors import ServiceStarting, SettingsError, SqlError
from spcs_llm.in_snowflake.form import JobSettings
from spcs_llm.in_snowflake.registry_model import METHODS
from spcs_llm.in_snowflake.signature import (
    Call,
    Form,
    Function,
    Sampling,
    UnfitFunction,
    form_of,
    functions_in_service,
    method_of,
    read_functions,
    user_functions,
)
from spcs_llm.server_text.log_lines import one_line_logger

logger = one_line_logger(__name__)

COLD_START_SECONDS = 1800.0
MOST_AT_ONCE = 8


def find_service(session: SqlSession, name: QualifiedName) -> Service:
    """The service of the form.

    Args:
        session: Runs the statement.
        name: Its name.

    Returns:
        The service.

    Raises:
        SettingsError: If the role sees none of this name.
    """
    try:
        service = named_service(session, name)
    except SqlError as error:
        if not error.is_about_rights:
            raise
        service = None
    if service is None:
        identity = session.whose()
        usage = f"GRANT USAGE ON SERVICE {name.sql} TO ROLE {grantee(identity.role)}"
        raise SettingsError(
            f"'Service': role {identity.said_role} sees no service {name.sql}.",
            f"Correct the name, or ask a Snowflake administrator: {usage}, and USAGE on its database and schema.",
        )
    return service


def find_call(session: SqlSession, settings: JobSettings, service: QualifiedName) -> Call:
    """How the service is called.

    Args:
        session: Runs the statement.
        settings: The settings.
        service: The service.

    Returns:
        The call.

    Raises:
        SettingsError: If the service has no such method, or one that takes something else.
    """
    sampling = Sampling(settings.temperature, settings.max_tokens) if settings.is_chat else None
    if settings.function is not None:
        known, sql = _user_functions(session, settings.function), settings.function.sql
    else:
        known = _methods(session, settings, service)
        sql = method_of(service, known[0].name)
    form = _form(known, settings)
    return Call(sql, form, sampling, stops=bool(settings.stops), structured=settings.schema is not None)


def _form(known: list[Function], settings: JobSettings) -> Form:
    """The form of the first function that fits: of one name, there may be some with different arguments."""
    problems = []
    for function in known:
        try:
            return form_of(function, chat=settings.is_chat)
        except UnfitFunction as problem:
            problems.append(problem)
    raise SettingsError(f"'Method or function' is {known[0].name}, which {problems[0]}.")


def _methods(session: SqlSession, settings: JobSettings, service: QualifiedName) -> list[Function]:
    wanted = settings.method or METHODS[settings.is_chat]
    try:
        known = read_functions(session.rows(functions_in_service(service)))
    except SqlError as error:
        logger.info("The methods of %s cannot be listed: %s", service.sql, error.message)
        known = []
    fitting = [function for function in known if function.name.upper() == wanted.upper()]
    if known and not fitting:
        names = ", ".join(dict.fromkeys(function.name.upper() for function in known))
        raise SettingsError(f"'Method or function' is {wanted}, and {service.sql} has only {names}.")
    return fitting or [Function(wanted, None)]


def _user_functions(session: SqlSession, name: QualifiedName) -> list[Function]:
    known = [f for f in read_functions(session.rows(user_functions(name))) if f.name == name.name]
    if not known:
        identity = session.whose()
        grant = f"GRANT USAGE ON FUNCTION {name.sql}(…) TO ROLE {grantee(identity.role)}"
        raise SettingsError(
            f"'Method or function': role {identity.said_role} sees no function {name.sql}.",
            f"Correct the name, or ask a Snowflake administrator: {grant}.",
        )
    return known


def uses_messages(call: Call) -> bool:
    """Whether the call has messages, whose content some models take as text and others as parts."""
    return call.form in (Form.PARAMS, Form.COLUMNS, Form.OPTIONS)


def statements_at_once(service: Service) -> int:
    """How many statements the instances of a service can take at once."""
    counts = (service.current_instances, service.min_instances, 1)
    return min(MOST_AT_ONCE, max(count or 0 for count in counts))


def make_ready(
    session: SqlSession,
    name: QualifiedName,
    prices: PriceList,
    sleep: Callable[[float], Any] = time.sleep,  # noqa: TID251 - a job waits here, no query does
    clock: Callable[[], float] = time.monotonic,
) -> bool:
    """Resumes the service if it is suspended, and waits until its containers are ready.

    Args:
        session: Runs the statements.
        name: The service.
        prices: What a node of each instance family costs.
        sleep: Makes the pauses between two looks.
        clock: Seconds that never go back.

    Returns:
        Whether it was suspended, and was resumed here.

    Raises:
        ServiceStarting: If it is not ready in time, or may not be resumed.
    """
    service = named_service(session, name)
    if service is not None and not service.is_suspended:
        return False
    logger.info("Service %s is suspended: it is resumed now, which starts billing.", name.sql)
    done = operate(
        session,
        Verb.RESUME,
        [Pattern.of(name)],
        prices,
        dry_run=False,
        wait=COLD_START_SECONDS,
        sleep=sleep,
        clock=clock,
    )
    for one in done.services:
        if one.outcome in (Outcome.FAILED, Outcome.WAITING):
            raise ServiceStarting(f"Service {name.sql} is suspended and does not start. {one.note}")
    return True
