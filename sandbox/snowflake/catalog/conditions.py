"""What can be wrong with a service, by name: how its container, its log and its ingress show it.

Messages: Snowflake docs, monitoring services, "platform events" and "working with services". Which status of the
service goes with which message is an inference, except for jobs; so is the answer of the ingress.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Condition:
    """A trouble of a service's main container.

    placed: false if the container is never started. service_status: what SHOW SERVICES prints. ingress: the state that
    a call meets (see `endpoint.STATES`).
    """

    status: str
    message: str
    service_status: str = "PENDING"
    ingress: str = "no_hosts"
    placed: bool = True
    restart_count: int = 0
    last_exit_code: int | None = None
    log: tuple[str, ...] = ()


CONDITIONS = {
    "unschedulable": Condition("PENDING", "Unschedulable due to insufficient resources", placed=False),
    "readiness_failing": Condition(
        "PENDING", "Readiness probe is failing at path: /health, port: 8000", "RUNNING", "connect_error",
        log=("INFO: Loading weights",),
    ),
    "image_not_found": Condition("PENDING", "Failed to pull image"),
    "invalid_image_name": Condition("FAILED", "Provided image name uses an invalid format", "FAILED"),
    "fatal_start": Condition(
        "PENDING", "Encountered fatal error while starting container", restart_count=3, last_exit_code=127,
        log=("exec /app/start.sh: no such file or directory",),
    ),
    "fatal_running": Condition(
        "PENDING", "Encountered fatal error while running, check container logs", restart_count=5,
        last_exit_code=1, log=("RuntimeError: CUDA error: no kernel image is available for execution",),
    ),
    "fatal_retrying": Condition(
        "PENDING", "Encountered fatal error, retrying", restart_count=2, last_exit_code=1,
        log=("OSError: cannot load the weights",),
    ),
    "out_of_memory": Condition(
        "FAILED", "Container was OOMKilled due to resource usage", "FAILED", restart_count=4, last_exit_code=137,
        log=("INFO: Loading weights", "Killed"),
    ),
    "application_error": Condition(
        "FAILED", "User application error, check container logs", "FAILED", restart_count=1, last_exit_code=1,
        log=("ModuleNotFoundError: No module named 'vllm'",),
    ),
    "refused_input": Condition(
        "FAILED", "User application error, check container logs", "FAILED", restart_count=1, last_exit_code=1,
        log=("ValueError: the input does not have the columns of the signature",),
    ),
    "internal_error": Condition("UNKNOWN", "Internal error", "INTERNAL_ERROR"),
}  # fmt: skip

NODES_PROVISIONED = "Compute pool node(s) are being provisioned"
WAITING = "Waiting to start"
UNSCHEDULABLE = CONDITIONS["unschedulable"].message
READINESS = CONDITIONS["readiness_failing"].message
