"""Steps about the service itself: how it answers, what Snowflake says of it, and the last lines of its log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from spcs_llm.control import statements
from spcs_llm.control.cells import text
from spcs_llm.control.container_logs import shown_lines
from spcs_llm.control.container_messages import hint_for_message, hint_for_pool, log_may_tell
from spcs_llm.control.diagnosis.finding import OK, WARNING, Outcome, ok, quoted, skipped, warning
from spcs_llm.control.diagnosis.subject import Subject
from spcs_llm.control.identifiers import QualifiedName
from spcs_llm.control.identifiers import quoted as in_sql
from spcs_llm.control.services import (
    GIVEN_UP,
    Container,
    Service,
    full_name,
    read_containers,
    read_pools,
    read_services,
)
from spcs_llm.control.session import Row, SqlSession
from spcs_llm.control.start_failures import start_failures
from spcs_llm.errors import ModelError, NotFound, SettingsError, SpcsError, SqlError
from spcs_llm.query_context import QueryContext
from spcs_llm.server_text.foreign_text import without_markup

_NO_SQL = "Not looked up."
_NOT_SEEN = "The user who calls the service cannot see its state, and does not have to."
_SELECT = "To see it, select a 'Snowflake connection' whose role has MONITOR on the service and on its compute pool."
_AGAIN = "Run the diagnosis again."
_SEE_CONTAINERS = "Ask a Snowflake administrator to run SHOW SERVICE CONTAINERS IN SERVICE <service>."
_TRUTH_VALUES = ("auto_resume", "is_public", "is_job", "is_exclusive")
_MAX_SEARCHED = 500
_MAX_LINE = 300
_LOG_LINES = 1000


class ServiceSteps:
    """What is known of the service from both sides.

    Args:
        subject: The model under diagnosis.
    """

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._session: SqlSession | None = None
        self._state: Outcome | None = None
        self._containers: list[Container] = []

    def state(self, context: QueryContext) -> Outcome:
        """What Snowflake says of the service: its state, its containers, its compute pool."""
        if self._subject.open_sql is None:
            return skipped(_NO_SQL, _SELECT)
        try:
            self._state = self._described(context)
        except SpcsError as error:
            if isinstance(error, SettingsError) and self._subject.sql_is_the_callers:
                return skipped(f"Not asked: {error.message}", error.hint or _SELECT)
            self._subject.facts.errors["SQL"] = error
            if self._subject.sql_is_the_callers:
                return skipped(f"{_NOT_SEEN} ({error.message})", _SELECT)
            return warning(f"It cannot be looked up: {error.message}", error.hint or _AGAIN)
        return self._state

    def answers(self, context: QueryContext) -> Outcome:
        """Whether the service answers through the ingress. If not, its state may say why."""
        facts = self._subject.facts
        if facts.spoken is not None:
            return ok("The service answers.")
        if facts.refusal is None or isinstance(facts.refusal, (NotFound, ModelError)):
            return ok("The service answers, though not as a model service: see the next step.")
        why = self._state.hint if self._state is not None else ""
        return Outcome.of(facts.refusal, why)

    def _described(self, context: QueryContext) -> Outcome:
        assert self._subject.open_sql is not None  # noqa: S101 - checked by the caller
        self._session = self._subject.open_sql()
        if self._subject.sql_is_the_callers:
            self._subject.facts.role = self._subject.facts.role or self._session.whose().role
        service = self._found(context)
        if service is None and (gateway := self._gateway()) is not None:
            self._subject.facts.gateway = gateway
            return Outcome(
                OK,
                f"The endpoint is that of gateway {gateway.sql}, which splits requests among services. Their state is"
                " not looked up.",
                f"To see which they are, run DESCRIBE GATEWAY {gateway.sql}.",
            )
        if service is None and self._subject.sql_is_the_callers:
            return skipped(_NOT_SEEN, _SELECT)
        if service is None:
            return Outcome(
                WARNING,
                f"No service that the role {quoted(self._session.whose().role or 'of the session')} may see has this"
                " endpoint.",
                "Ask a Snowflake administrator to compare 'LLM endpoint URL' with SHOW ENDPOINTS IN SERVICE <service>:"
                " a service that was dropped and created again has a new URL; or to grant the role of the Snowflake"
                " connection MONITOR on the service.",
            )
        return self._judged(service)

    # -- which service it is ---------------------------------------------------------------------------------

    def _found(self, context: QueryContext) -> Service | None:
        """The service that the form names, or the one whose endpoint it names."""
        named = self._subject.facts.service
        if named is not None:
            rows = self._rows(statements.show_named_service(named))
            found = read_services(rows, named.database, named.schema)
            return next((service for service in found if service.name == named), None)
        for service in read_services(self._rows(statements.show_services(statements.scope())))[
            :_MAX_SEARCHED
        ]:
            if context.remaining() <= 0:
                return None
            if service.serves and self._hosts & set(self._ingresses(service.name)):
                self._subject.facts.service = service.name
                return service
        return None

    def _ingresses(self, service: QualifiedName) -> Iterator[str]:
        try:
            rows = self._rows(statements.show_endpoints(service))
        except SqlError:
            return  # dropped meanwhile, or not for this role
        for row in rows:
            yield from _hosts_in(row)

    @property
    def _hosts(self) -> set[str]:
        url = self._subject.settings.endpoint.url
        return {url.host, url.netloc}

    def _gateway(self) -> QualifiedName | None:
        """The gateway whose endpoint the form names: Snowflake documentation, "SHOW GATEWAYS"."""
        assert self._session is not None  # noqa: S101 - opened by the caller
        try:
            rows = self._session.rows(statements.show_gateways(statements.scope()))
        except SqlError:
            return None  # an account without gateways may not know the statement
        names = (full_name(row) for row in rows if self._hosts & set(_hosts_in(row)))
        return next(filter(None, names), None)

    def _rows(self, statement: str) -> Sequence[Row]:
        assert self._session is not None  # noqa: S101 - opened by the caller
        rows = self._session.rows(statement)
        if rows:
            self._subject.facts.columns.setdefault(statements.kind(statement), tuple(rows[0]))
            forms = (row.get(column) for row in rows for column in _TRUTH_VALUES)
            self._subject.facts.booleans.update(form for form in forms if form is not None)
        return rows

    # -- how it is -------------------------------------------------------------------------------------------

    def _judged(self, service: Service) -> Outcome:
        told, hints = [f"{service.name.sql} is {service.status}"], list[str]()
        if service.current_instances is not None and service.target_instances is not None:
            told.append(f"{service.current_instances} of {service.target_instances} instances")
        troubled = service.status in GIVEN_UP
        if service.is_suspended:
            troubled = True
            hints.append(
                f"{'Wait: a request resumes it. ' if service.auto_resume else ''}To resume it now, run"
                f" {statements.resume(service.name)}, which needs OPERATE on the service."
            )
        else:
            troubled |= self._add_containers(service.name, told, hints)
        if service.pool:
            self._add_pool(service.pool, told, hints)
        hint = " ".join(dict.fromkeys(hint for hint in hints if hint))
        if not troubled:
            return Outcome(OK, f"{'; '.join(told)}.", hint)
        return Outcome(WARNING, f"{'; '.join(told)}.", hint or _SEE_CONTAINERS)

    def _add_containers(self, service: QualifiedName, told: list[str], hints: list[str]) -> bool:
        """Adds what SHOW SERVICE CONTAINERS says; returns whether a container is not ready, or was restarted."""
        try:
            self._containers = read_containers(self._rows(statements.show_containers(service)))
        except SqlError:
            told.append("its containers are not visible to the role of the Snowflake connection")
            hints.append(f"To see them: {statements.grant_monitor(service, self._whose_role())}.")
            return False
        failures = start_failures(self._session, service, self._containers) if self._session else []
        for container in self._containers:
            told.append(_description(container))
            if (not container.is_ready or container.restarts) and not (failures and log_may_tell(container)):
                status = "FAILED" if container.restarts else container.status
                hints.append(hint_for_message(container.message, status))
        told += map(str, failures)
        hints += [failure.hint for failure in failures]
        if not self._containers:
            told.append("it does not have a container yet")
        return not self._containers or any(not each.is_ready or each.restarts for each in self._containers)

    def _add_pool(self, name: str, told: list[str], hints: list[str]) -> None:
        try:
            pool = next(iter(read_pools(self._rows(statements.describe_pool(name)))), None)
        except SqlError:
            pool = None
        if pool is None:
            told.append(
                f"its compute pool {in_sql(name)} is not visible to the role of the Snowflake connection"
            )
            return
        why = f" ({quoted(pool.error_code, 10)}: {quoted(pool.message)})" if pool.error_code else ""
        told.append(
            f"compute pool {in_sql(name)} is {pool.state}, with {pool.active_nodes} of at most {pool.max_nodes} nodes"
            f" active{why}"
        )
        hints.append(hint_for_pool(in_sql(name), pool.state, pool.error_code))

    def _whose_role(self) -> str | None:
        return self._session.whose().role if self._session is not None else None

    # -- its log ---------------------------------------------------------------------------------------------

    def log(self, context: QueryContext) -> Outcome:
        """The last lines of the containers' logs, without those that may quote a request."""
        wanted = min(self._subject.log_lines, _LOG_LINES)
        service = self._subject.facts.service
        if wanted <= 0:
            with_connection = (
                "select a 'Snowflake connection', and " if self._subject.sql_is_the_callers else ""
            )
            return skipped(f"Not asked for: {with_connection}enter the number of lines as 'Log lines'.")
        if self._session is None or service is None or not self._containers:
            return skipped("The service does not have a container whose log can be read.")
        shown: list[str] = []
        several = len({container.instance_id for container in self._containers}) > 1
        for container in self._containers:
            found = self._rows(statements.logs(service, container.name, wanted, container.instance_id))
            lines = next((cell or "" for row in found for cell in row.values()), "").splitlines()[-wanted:]
            told = map(without_markup, shown_lines(lines, _MAX_LINE))
            whose = f" of instance {quoted(container.instance_id, 20)}" if several else ""
            shown.append(f"{quoted(container.name, 60)}{whose}: {' | '.join(told) or 'no lines'}")
        return ok(" || ".join(shown))


def _hosts_in(row: Row) -> Iterator[str]:
    for column in ("ingress_url", "privatelink_ingress_url"):
        yield (text(row, column) or "").lower().replace("_", "-")  # as `urls` reads the form's


def _description(container: Container) -> str:
    code = f", last exit code {quoted(container.last_exit_code, 20)}" if container.last_exit_code else ""
    message = f" ({quoted(container.message)})" if container.message else ""
    again = f", {container.restarts} restarts{code}" if container.restarts else ""
    return f"container {quoted(container.name, 60)} is {container.status}{message}{again}"
