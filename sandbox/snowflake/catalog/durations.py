"""How long things take in the account, in seconds on the clock of the account."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Durations:
    """Shorter than in a real account, so that a demo need not wait; tests change them or advance the clock.

    A real account takes up to 30 s to suspend a service, minutes to provision a node and two to five minutes to
    provision an endpoint (Snowflake docs, working with services; tutorials). A statement is answered within 45 s, or
    with a handle to ask again with (Snowflake docs, SQL API; snowflake-connector-python 4.8.1). Usage views are up to
    180 minutes late (Snowflake docs, SNOWPARK_CONTAINER_SERVICES_HISTORY). The first job of a model waits for its image
    (Snowflake docs, EXECUTE INFERENCE JOB SERVICE).
    """

    suspending: float = 1.0
    container_start: float = 2.0
    model_loading: float = 1.0
    node_start: float = 5.0
    pool_stopping: float = 1.0
    endpoint_provisioning: float = 120.0
    statement_wait: float = 45.0
    usage_latency: float = 2 * 3600.0
    result_retention: float = 24 * 3600.0
    image_build: float = 0.0
