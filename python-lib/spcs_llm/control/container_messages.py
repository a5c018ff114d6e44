"""What the messages of SHOW SERVICE CONTAINERS and the states of pools mean, and what to do about them.

Messages: Snowflake documentation, "Snowpark Container Services: monitoring services" (platform events) and "Working
with services"; codes of pools: "DESCRIBE COMPUTE POOL".
"""

from __future__ import annotations

import re

from spcs_llm.control.services import Container

_SEE_LOG = (
    "Read the container's log, also that of the container before its last restart: SYSTEM$GET_SERVICE_LOGS."
)
_ENDED = (
    "The program of the container has ended, and a service must not end: read its log, and correct the command and the"
    " arguments in the service's specification."
)
_READINESS = (
    "Wait if the model is still loading. If it stays like this, correct the path or the port of readinessProbe in the"
    " service's specification."
)
_MESSAGES = tuple(
    (re.compile(pattern, re.IGNORECASE), hint)
    for pattern, hint in (
        (
            r"nodes? (?:are|is)? ?being provisioned|node\(s\) are being provisioned",
            "Wait: the compute pool is starting a node, which takes minutes, and longer for a GPU.",
        ),
        (r"completed successfully", _ENDED),
        (r"waiting to start", "Wait: the container is starting."),
        (
            r"unschedulable",
            "Ask a Snowflake administrator to raise MAX_NODES of the compute pool, or to lower the resources that the"
            " service's specification requests: no node has room for it.",
        ),
        (r"readiness probe", _READINESS),
        (
            r"failed to pull image",
            "Correct the image's path in the service's specification, or ask a Snowflake administrator to grant the"
            " service's owner READ on the image repository. Images must be built for linux/amd64, or for linux/arm64 if"
            " the compute pool is of a family GEN_ARM.",
        ),
        (r"image name uses an invalid format", "Correct the image's path in the service's specification."),
        (
            r"oom ?killed|out of memory",
            "Raise the memory that the service's specification requests, or serve a smaller model.",
        ),
        (r"fatal error|application error|while (?:running|starting)|exit code", _SEE_LOG),
    )
)
_STATES = {
    "FAILED": _SEE_LOG,
    "DONE": _ENDED,
    "UNKNOWN": "Snowflake cannot find out how the container is. If it stays like this, contact Snowflake Support.",
}
_POOL_CODES = {
    "392507": "Snowflake has no capacity for this instance family at the moment. Wait, or ask a Snowflake administrator"
    " to set BACKUP_INSTANCE_FAMILIES of the compute pool.",
    "392508": "Ask a Snowflake administrator to raise MAX_NODES of the compute pool: services wait for a node.",
}
_POOL_STATES = {
    "SUSPENDED": "Ask a Snowflake administrator to run ALTER COMPUTE POOL {pool} RESUME, or to set AUTO_RESUME of the"
    " compute pool.",
    "STARTING": "Wait: the compute pool is starting a node.",
    "RESIZING": "Wait: the compute pool is starting or stopping nodes.",
    "STOPPING": "Wait until the compute pool has stopped, then resume it.",
}


def hint_for_message(message: str, status: str = "") -> str:
    """What to do about a container.

    Args:
        message: The column `message`, in Snowflake's words.
        status: The column `status`.

    Returns:
        The hint; "" for a message that calls for nothing, or that is not known.
    """
    known = next((hint for pattern, hint in _MESSAGES if pattern.search(message)), "")
    return known or _STATES.get(status.upper(), "")


def log_may_tell(container: Container) -> bool:
    """Whether a container has run and failed, or is not ready, without that Snowflake says why."""
    if container.is_ready and not container.restarts:
        return False
    status = "FAILED" if container.restarts else container.status
    return hint_for_message(container.message, status) in (_SEE_LOG, _ENDED, _READINESS)


def hint_for_pool(pool: str, state: str, code: str = "") -> str:
    """What to do about a compute pool.

    Args:
        pool: Its name, as SQL takes it.
        state: The column `state`.
        code: The column `error_code` of DESCRIBE COMPUTE POOL.

    Returns:
        The hint; "" for a pool that works.
    """
    return _POOL_CODES.get(code) or _POOL_STATES.get(state.upper(), "").format(pool=pool)
