"""The runbook of docs/operations.md: symptoms, and what the diagnosis itself says of each.

    make documents      writes the tables into docs/operations.md

Each symptom stands for a row of the table of faults: the fault is armed, the diagnosis is run, and its step and its hint
are what the runbook says. So no entry can differ from what a person will read in DSS.
"""

from __future__ import annotations

import re
from pathlib import Path

from sandbox.snowflake import Snowflake
from spcs_llm.control.container_messages import hint_for_message
from spcs_llm.control.start_failures import known
from tests.integration.diagnosis_faults import TABLE, account, diagnosed, key_of
from tests.integration.diagnosis_faults import Row as Fault

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "operations.md"
BEGIN, END = "<!-- runbook: begin -->\n", "<!-- runbook: end -->\n"

# ruff: noqa: E501 - a symptom is easier to compare with its neighbours than to read on its own
# What people see -> the name of the fault in `diagnosis_faults`.
SYMPTOMS = {
    "`[network]` … cannot be resolved": "host: no such name",
    "`[network]` … could not be reached in time; a firewall may be in between": "host: hanging_connect",
    "`[network]` … refuses connections": "host: refused",
    "Queries fail now and then with `closed the connection`": "predict: reset once",
    "`[login]` with 390303 or 390318: the access token is invalid or has expired": "login: refuse {'code': '390303', 'message': 'message of 390303'} on login",
    "`[login]` with 390186 or 390189: the role": "login: refuse {'code': '390189', 'message': 'message of 390189'} on login",
    "`[login]` with 390317: the role is not in the access token": "login: refuse {'code': '390317', 'message': 'message of 390317'} on login",
    "`[login]` with 390144 or 394304: the key pair": "login: refuse {'code': '394304', 'message': 'message of 394304'} on login",
    "`[login]` or `[ingress]` that names a network policy": "predict: network_policy ",
    "`[login]` does not answer as a Snowflake account": "login: html_200  on login",
    "`[login]` that says HTTP 5xx": "login: respond {'status': 503} on login",
    "Long jobs end with a session that has expired": "login: refuse {'code': '390114'} on token",
    "`[ingress]` asks for a sign-in, or refuses the token": "predict: redirect ",
    "`[ingress]` with 404, for every path": "predict: hidden_404 ",
    "`[ingress]` cannot find a service at this endpoint": "predict: host_recreated ",
    "`[ingress]` denies the role access": "predict: access_denied ",
    "`[ingress]` with 500": "predict: arrow_500 ",
    "Queries end after *Cold start wait*": "state: suspended",
    "`[service]` with 429": "predict: too_many_requests {'retry_after': '0'}",
    "`[service]` with 504 after 90 s": "predict: gateway_timeout ",
    "`[service]` with 401": "service: its key is missing",
    "`[service]` has none of the paths, or answers with a web page": "predict: html_200 ",
    "`[service]` speaks another protocol": "service: speaks another protocol",
    "`[service]` has no such method": "service: no such method",
    "`[service]` has no such model": "service: no such model",
    "`[service]` with 413, or a request of more than 1 MB": "predict: too_large ",
    "`[service]` with 500": "predict: respond {'status': 500, 'body': 'oops'}",
    "Nothing arrives at all": "predict: hang ",
    "The answer comes all at once, though the model streams": "openai: buffered",
    "The answer is never streamed": "service: refuses to stream",
    "Jobs are slower than the service could be": "service: several replicas, one request",
}  # fmt: skip
MESSAGES = (
    "Waiting to start",
    "Compute pool node(s) are being provisioned",
    "Unschedulable due to insufficient resources",
    "Readiness probe is failing at path: …, port: …",
    "Failed to pull image",
    "Provided image name uses an invalid format",
    "Encountered fatal error, retrying",
    "Encountered fatal error while starting container",
    "Encountered fatal error while running, check container logs",
    "Container was OOMKilled due to resource usage",
    "User application error, check container logs",
    "Completed successfully",
)


def section() -> str:
    """What stands between the marks of the page."""
    faults = {row.name: row for row in TABLE}
    with account() as snowflake:
        key = key_of(snowflake)
        rows = [
            f"| {symptom} | *{step}* | {_cell(hint)} |"
            for symptom, name in SYMPTOMS.items()
            for step, hint in (_said(snowflake, faults[name], key),)
        ]
    messages = [f"| `{message}` | {_cell(hint_for_message(message, 'PENDING'))} |" for message in MESSAGES]
    return "\n".join(
        [
            "| Symptom | Step that names it | What it says |",
            "| --- | --- | --- |",
            *rows,
            "",
            "With a *Snowflake connection* selected, the step *Service state* explains the messages of containers:",
            "",
            "| Message of the container | What to do |",
            "| --- | --- |",
            *messages,
            "",
            "If the message says no more than that a container has crashed, or that it is not ready, this step reads the end"
            " of its log, which needs MONITOR on the service, and says what it found there. No line of the log is shown. The"
            " notebook, the macro *Resume services* and the recipe do the same:",
            "",
            "| Reason in the log | What to do |",
            "| --- | --- |",
            *(f"| {_cell(failure.reason)} | {_cell(failure.hint)} |" for failure in known()),
            "",
        ]
    )


def _said(snowflake: Snowflake, fault: Fault, key: str) -> tuple[str, str]:
    found = next(each for each in diagnosed(snowflake, fault, key).findings if each.result == fault.result)
    hint = re.sub(
        r"'Max parallelism' to \d+: it is \d+ now", "'Max parallelism' to *n*: it is *m* now", found.hint
    )
    # The sandbox's role is known after the login, as yours will be.
    return fault.step, hint.replace("DATAIKU_SPCS_ROLE", "<role>")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def page_with(made: str) -> str:
    """The page with this section between the marks."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    return before + BEGIN + made + END + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(page_with(section()), encoding="utf-8")
