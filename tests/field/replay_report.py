"""One report, replayed in one way through the whole plugin: everything that was not right about it."""

from __future__ import annotations

from tests.field.mesh import Field, trace_text
from tests.field.reports import Report
from tests.field.verdict import faults, leaks
from tests.field.without import replayed_without
from tests.logs import everything_logged


def replay(field: Field, report: Report, way: str) -> list[str]:
    """What is wrong, in a sentence each; nothing when all is right."""
    if report.without:
        return replayed_without(report.without, report.path, way)
    return replayed(field, report, way)


def replayed(field: Field, report: Report, way: str) -> list[str]:
    """The same in this process, whatever packages it has."""
    server = field.serve(report)
    secrets = [*field.secrets(), *report.secrets]
    if report.form.get("serviceApiKey"):
        secrets.append(report.form["serviceApiKey"])
    wrong: list[str] = []
    try:
        model = field.model(report, server)
        for number, query in enumerate(report.queries, 1):
            before = len(server.service_requests())
            with everything_logged() as log:
                outcome = field.ask(model, query, way)
            texts = {
                "the error": outcome.error or "",
                "the trace": trace_text(outcome),
                "the log": log.getvalue(),
            }
            found = faults(query.right_when(way), outcome, server, before) + leaks(secrets, texts)
            wrong += [f"query {number}: {fault}" for fault in found]
    finally:
        server.close_connections()
        wrong += field.settle()
    return wrong
