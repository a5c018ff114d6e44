"""The macros. Each takes the form's values and what DSS provides, and gives plain data or HTML.

What DSS shows is made of that in `python-runnables/<macro>/runnable.py`, which DSS copies without any other file.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from typing import Any, Callable

from spcs_llm.control.cost_report import Missing, make_report
from spcs_llm.control.cost_report_page import cost_report_page
from spcs_llm.control.discovery import discover
from spcs_llm.control.discovery_table import discovery_table
from spcs_llm.control.families import price_list
from spcs_llm.control.macro_form import read_cost, read_discover, read_operate
from spcs_llm.control.open_session import Dss, open_session
from spcs_llm.control.operate import operate
from spcs_llm.control.operated import Verb
from spcs_llm.control.operation_table import operation_table, raise_for_failures
from spcs_llm.control.plugin_estimates import plugin_estimates
from spcs_llm.control.session import Identity
from spcs_llm.control.table import Table
from spcs_llm.server_text.log_lines import one_line_logger
from spcs_llm.settings import FIELDS

logger = one_line_logger(__name__)

Progress = Callable[[float], object]  # takes a number from 0 to 100


def discover_services(config: Any, dss: Dss, progress: Progress = lambda percent: None) -> Table:
    """The macro *Discover services*.

    Args:
        config: The form's values.
        dss: What DSS provides.
        progress: Is told the percentage that is done.

    Returns:
        A row for each endpoint.

    Raises:
        SpcsError: If the form is wrong, or the services cannot be listed.
    """
    settings = read_discover(config)
    session = open_session(settings.sign_in, dss)
    found = discover(
        session,
        price_list(),
        database=settings.scope.database,
        schema=settings.scope.schema,
        workers=getattr(session, "parallelism", 1),
        progress=lambda share: progress(100 * share),
    )
    credential = settings.sign_in.credential
    url = str(credential.account) if credential and credential.account else _account_url(found.identity)
    table = discovery_table(found, url, FIELDS.credit_price.absent)
    logger.info("Found %d services with the rights of %s.", len(found.services), found.identity)
    return table


def suspend_services(config: Any, dss: Dss, progress: Progress = lambda percent: None) -> Table:
    """The macro *Suspend services*.

    Args:
        config: The form's values.
        dss: What DSS provides.
        progress: Is told the percentage that is done.

    Returns:
        A row for each service and each compute pool.

    Raises:
        SpcsError: If the form is wrong, the services cannot be listed, or one could not be suspended.
    """
    return _operate(Verb.SUSPEND, config, dss, progress)


def resume_services(config: Any, dss: Dss, progress: Progress = lambda percent: None) -> Table:
    """The macro *Resume services*.

    Args:
        config: The form's values.
        dss: What DSS provides.
        progress: Is told the percentage that is done.

    Returns:
        A row for each service and each compute pool.

    Raises:
        SpcsError: If the form is wrong, the services cannot be listed, or one could not be resumed.
    """
    return _operate(Verb.RESUME, config, dss, progress)


def cost_report(
    config: Any, dss: Dss, progress: Progress = lambda percent: None, plugin_config: Any = None
) -> str:
    """The macro *Cost report*.

    Args:
        config: The form's values.
        dss: What DSS provides.
        progress: Is told the percentage that is done.
        plugin_config: The plugin's settings, which name the folder of the usage log where it is on.

    Returns:
        HTML.

    Raises:
        SpcsError: If the form is wrong, or the session does not work.
    """
    settings, now = read_cost(config), datetime.now(timezone.utc)
    estimates = plugin_estimates(plugin_config, settings.days, now)
    report = make_report(
        open_session(settings.sign_in, dss),
        price_list(),
        days=settings.days,
        credit_price=settings.credit_price,
        default_price=FIELDS.credit_price.absent,
        now=now,
        estimates=None if isinstance(estimates, Missing) else estimates,
        progress=lambda share: progress(100 * share),
    )
    if isinstance(estimates, Missing):
        report = replace(report, missing=(*report.missing, estimates))
    return cost_report_page(report)


def _operate(verb: Verb, config: Any, dss: Dss, progress: Progress) -> Table:
    settings = read_operate(config)
    done = operate(
        open_session(settings.sign_in, dss),
        verb,
        settings.services,
        price_list(),
        dry_run=settings.dry_run,
        wait=settings.wait,
        progress=lambda share: progress(100 * share),
    )
    table = operation_table(done)
    for row in table.rows:
        logger.info("%s", " | ".join(cell for cell in row if cell))
    raise_for_failures(done)
    return table


def _account_url(identity: Identity) -> str | None:
    """The URL to type into a model's form. Underscores become dashes, as in the names of the host's certificate."""
    if identity.account is None:
        return None
    return f"https://{identity.account.lower().replace('_', '-')}.snowflakecomputing.com"
