"""The macro *Diagnose an endpoint*: its fields besides those of a model, and what `runnable.py` calls."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from spcs_llm.control.diagnosis import report
from spcs_llm.control.diagnosis.diagnosis import Diagnosis
from spcs_llm.control.diagnosis.query_steps import CHAT, EMBED, RERANK
from spcs_llm.control.diagnosis.record import as_text, record
from spcs_llm.control.diagnosis.subject import Subject
from spcs_llm.control.identifiers import NotAName, QualifiedName, qualified
from spcs_llm.control.macro_form import SignInSettings, role_of
from spcs_llm.control.open_session import Dss, open_session
from spcs_llm.control.session import SqlSession
from spcs_llm.errors import SettingsError
from spcs_llm.form_fields import ChoiceField, FlagField, FormValues, TextField, WholeField
from spcs_llm.server_text.log_lines import one_line_logger
from spcs_llm.settings import FIELDS, CredentialSettings
from spcs_llm.urls import is_snowflakes

logger = one_line_logger(__name__)

FIND_OUT = "AUTOMATIC"
_SQL_SECONDS = 50.0
_ENTER_ACCOUNT = (
    "To see it with the rights of your token, enter 'Snowflake account URL'. Or select a 'Snowflake connection' whose"
    " role has MONITOR on the service and on its compute pool."
)
_KINDS = {"CHAT": CHAT, "EMBEDDING": EMBED, "RERANKING": RERANK}


class DIAGNOSE_FIELDS:  # noqa: N801 - as settings.FIELDS
    """The fields that the form has besides those of a model."""

    capability = ChoiceField("capability", "Capability", FIND_OUT, choices=lambda: (FIND_OUT, *_KINDS))
    connection = TextField("snowflakeConnection", "Snowflake connection", None)
    service = TextField("serviceName", "Service name", None)
    log_lines = WholeField[int]("logLines", "Log lines", 0, least=0, most=1000)
    fail_on_problem = FlagField("failOnProblem", "Fail if there is a problem", False)


@dataclass(frozen=True)
class Surroundings:
    """What DSS gives a macro.

    Attributes:
        dss: What sessions and sign-ins need of it.
        version: Reads the version of DSS.
    """

    dss: Dss
    version: Callable[[], str | None] = lambda: None


class DiagnoseMacro:
    """One run of the macro.

    Args:
        config: The form's values, as DSS hands them over. They may be anything.
        surroundings: What DSS gives.
    """

    def __init__(self, config: Any, surroundings: Surroundings) -> None:
        self._surroundings = surroundings
        self._config: Mapping[str, Any] = config if isinstance(config, Mapping) else {}
        form = FormValues(self._config)
        capability = DIAGNOSE_FIELDS.capability.read(form)
        self._connection = DIAGNOSE_FIELDS.connection.read(form)
        if self._connection is None:
            form.leave_out(DIAGNOSE_FIELDS.service, DIAGNOSE_FIELDS.log_lines)
        service = _service(form)
        log_lines = DIAGNOSE_FIELDS.log_lines.read(form)
        self._fails = DIAGNOSE_FIELDS.fail_on_problem.read(form)
        self._subject = Subject(
            self._config,
            surroundings.dss.access_token,
            self._open_sql,
            capability=_KINDS.get(capability),
            service=service,
            log_lines=log_lines,
            sql_is_the_callers=self._connection is None,
            problem=form.error() if form.complaints else None,
        )
        self._diagnosis = Diagnosis(self._subject)

    @property
    def count(self) -> int:
        """The number of steps, for the progress."""
        return self._diagnosis.count

    def run(self, progress: Callable[[int], None] = lambda count: None) -> list[list[str]]:
        """Takes all steps.

        Args:
            progress: Told how many steps have been taken.

        Returns:
            The rows of the table, with the columns of `report.COLUMNS`.

        Raises:
            ProblemsFound: If a step failed and *Fail if there is a problem* is set.
        """
        for count, _ in enumerate(self._diagnosis.run(), 1):
            progress(count)
        findings = self._diagnosis.findings
        line = as_text(record(self._subject, findings, self._version()))
        logger.info("Record of the diagnosis: %s", line)
        if self._fails and self._diagnosis.first_problem is not None:
            raise report.ProblemsFound(report.text(findings, line))
        return report.rows(findings, line)

    def _open_sql(self) -> SqlSession:
        """A session of the Snowflake connection; without one, of the user who calls the service."""
        if self._connection is not None:
            settings = SignInSettings(self._connection, None, None, None)
        else:
            credential = self._own_credential()
            settings = SignInSettings(None, credential, role_of(credential), None)
        return open_session(settings, self._surroundings.dss, _SQL_SECONDS)

    def _own_credential(self) -> CredentialSettings:
        credential, form = self._subject.settings.credential, FormValues(self._config)
        account = credential.account or FIELDS.account.read(form)
        if account is None and form.get(FIELDS.account.name) is not None:
            raise form.error()
        if account is None:
            raise SettingsError(
                "'Snowflake account URL' is empty, and so is 'Snowflake connection'.", _ENTER_ACCOUNT
            )
        if not is_snowflakes(account):
            raise SettingsError("'Snowflake account URL' does not name a host of Snowflake.")
        return replace(credential, account=account)

    def _version(self) -> str | None:
        with contextlib.suppress(Exception):  # DSS's own code: the record does without
            return self._surroundings.version()
        return None


def _service(form: FormValues) -> QualifiedName | None:
    text = DIAGNOSE_FIELDS.service.read(form)
    if text is None:
        return None
    try:
        return qualified(text)
    except NotAName as problem:
        form.complain(DIAGNOSE_FIELDS.service, str(problem))
        return None
