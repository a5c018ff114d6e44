"""The statements that clients run around a session, and those that show and work services.

Columns: Snowflake docs, SHOW SERVICES, SHOW ENDPOINTS, SHOW SERVICE CONTAINERS, ALTER SERVICE. Any other
statement is refused as one that does not compile: code 001003, as the connector's `errorcode` and Snowflake's messages
have it.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Sequence

from sandbox.snowflake.endpoint import Endpoint
from sandbox.snowflake.refusals import Refusal
from sandbox.snowflake.world import Session, World

Rows = tuple[Sequence[str], list[list["str | None"]]]

DATABASE, SCHEMA = "DATAIKU_SPCS", "PUBLIC"
STATUS = {"running": "RUNNING", "suspended": "SUSPENDED"}
PROVISIONING = "Endpoints provisioning in progress... check back in a few minutes"

SERVICE_COLUMNS = ("name", "status", "database_name", "schema_name", "compute_pool", "auto_resume", "comment")
ENDPOINT_COLUMNS = ("name", "port", "port_range", "protocol", "is_public", "ingress_url")
CONTAINER_COLUMNS = (
    "database_name", "schema_name", "service_name", "service_status", "instance_id", "instance_status",
    "container_name", "status", "message", "image_name", "restart_count", "start_time",
)  # fmt: skip


def run_statement(world: World, session: Session, text: str) -> dict[str, object]:
    """The `data` of a query reply, in the JSON result format; raises `Refusal` for an unknown service or statement."""
    for pattern, act in STATEMENTS:
        found = pattern.match(text.strip().rstrip(";"))
        if found:
            return _reply(session, act(world, session, *found.groups()))
    word = (text.split() or ["<EOF>"])[0]
    raise Refusal("001003", f"SQL compilation error:\nsyntax error line 1 at position 0 unexpected '{word}'.")


def _select_one(world: World, session: Session) -> Rows:
    return ["1"], [["1"]]


def _set_parameter(world: World, session: Session, name: str, value: str) -> Rows:
    session.parameters[name.upper()] = value
    return ["status"], [["Statement executed successfully."]]


def _show_services(world: World, session: Session) -> Rows:
    rows: list[list[str | None]] = [
        [name.upper(), _status(endpoint), DATABASE, SCHEMA, "POOL", "true", None]
        for name, endpoint in world.services.items()
    ]
    return SERVICE_COLUMNS, rows


def _show_endpoints(world: World, session: Session, name: str) -> Rows:
    endpoint = _service(world, name)
    public_name = {"PREDICT": "predict", "MODEL_SERVING": "inference"}.get(endpoint.protocol, "api")
    url = PROVISIONING if endpoint.provisioning else endpoint.host
    return ENDPOINT_COLUMNS, [[public_name, "5000", None, "HTTP", "true", url]]


def _show_containers(world: World, session: Session, name: str) -> Rows:
    endpoint = _service(world, name)
    status = _status(endpoint)
    if endpoint.state in ("suspended", "no_hosts"):
        return CONTAINER_COLUMNS, []
    ready = "READY" if endpoint.state == "running" else "PENDING"
    row = [
        DATABASE,
        SCHEMA,
        endpoint.name.upper(),
        status,
        "0",
        ready,
        "model",
        ready,
        None,
        "image",
        "0",
        None,
    ]
    return CONTAINER_COLUMNS, [row]


def _alter_service(world: World, session: Session, name: str, verb: str) -> Rows:
    _service(world, name).set_state("running" if verb.upper() == "RESUME" else "suspended")
    return ["status"], [["Statement executed successfully."]]


def _service(world: World, qualified: str) -> Endpoint:
    wanted = qualified.split(".")[-1].strip('"').upper()
    for name, endpoint in world.services.items():
        if name.upper() == wanted:
            return endpoint
    message = f"SQL compilation error:\nService '{wanted}' does not exist or not authorized."
    raise Refusal("002003", message)


def _status(endpoint: Endpoint) -> str:
    return STATUS.get(endpoint.state, "PENDING")


STATEMENTS: list[tuple[re.Pattern[str], Callable[..., Rows]]] = [
    (re.compile(r"select\s+1$", re.I), _select_one),
    (re.compile(r"alter\s+session\s+set\s+(\w+)\s*=\s*'?([^'\s]+)'?$", re.I), _set_parameter),
    (re.compile(r"show\s+services\b", re.I), _show_services),
    (re.compile(r"show\s+endpoints\s+in\s+service\s+(\S+)", re.I), _show_endpoints),
    (re.compile(r"show\s+service\s+containers\s+in\s+service\s+(\S+)", re.I), _show_containers),
    (re.compile(r"alter\s+service\s+(?:if\s+exists\s+)?(\S+)\s+(suspend|resume)$", re.I), _alter_service),
]


def _reply(session: Session, found: Rows) -> dict[str, object]:
    columns, rows = found
    return {
        "parameters": [{"name": "CLIENT_SESSION_KEEP_ALIVE", "value": False}],
        "rowtype": [_column(name) for name in columns],
        "rowset": rows,
        "total": len(rows),
        "returned": len(rows),
        "queryId": str(uuid.uuid4()),
        "databaseProvider": None,
        "finalDatabaseName": None,
        "finalSchemaName": None,
        "finalWarehouseName": None,
        "finalRoleName": session.role,
        "numberOfBinds": 0,
        "arrayBindSupported": False,
        "statementTypeId": 4096,
        "version": 1,
        "sendResultTime": 0,
        "queryResultFormat": "json",
    }


def _column(name: str) -> dict[str, object]:
    return {
        "name": name,
        "database": "",
        "schema": "",
        "table": "",
        "nullable": True,
        "type": "text",
        "byteLength": 16_777_216,
        "length": 16_777_216,
        "scale": None,
        "precision": None,
        "collation": None,
    }
