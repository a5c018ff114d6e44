"""The words that a record may have besides its own. What a server, a form or an account chose is shown if it is one."""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


HEADERS = _words(
    "accept-ranges access-control-allow-origin age allow alt-svc cache-control connection content-disposition"
    " content-encoding content-language content-length content-security-policy content-security-policy-report-only"
    " content-type cross-origin-embedder-policy cross-origin-opener-policy cross-origin-resource-policy date etag"
    " expires keep-alive last-modified link location permissions-policy pragma proxy-authenticate referrer-policy"
    " retry-after server server-timing set-cookie strict-transport-security trailer transfer-encoding upgrade vary via"
    " warning www-authenticate x-cache x-content-type-options x-envoy-decorator-operation x-envoy-overloaded"
    " x-envoy-ratelimited x-envoy-upstream-service-time x-frame-options x-powered-by x-process-time"
    " x-ratelimit-limit-requests x-ratelimit-limit-tokens x-ratelimit-remaining-requests"
    " x-ratelimit-remaining-tokens x-request-id x-snowflake-request-id x-xss-protection"
)
CONTENT_TYPES = _words(
    "application/json application/jsonl application/octet-stream application/problem+json application/x-ndjson"
    " multipart/mixed text/event-stream text/html text/plain"
) | {""}
# Snowflake documentation of SHOW SERVICES, SHOW ENDPOINTS, SHOW SERVICE CONTAINERS and DESCRIBE COMPUTE POOL.
COLUMNS = _words(
    "active_nodes application auto_resume auto_suspend_secs backup_instance_families budget comment compute_pool"
    " container_name created_on creation_time current_instances database_name dns_name error_code"
    " external_access_integrations idle_nodes image_digest image_name ingress_url instance_family instance_id"
    " instance_status ip_address is_async_job is_exclusive is_job is_public is_upgrading last_exit_code"
    " last_restart_time managing_object_domain managing_object_name max_instances max_nodes message min_instances"
    " min_nodes min_ready_instances name num_jobs num_services owner owner_role_type placement_group port port_range"
    " privatelink_ingress_url protocol query_warehouse restart_count resumed_on schema_name service_name"
    " service_status spec spec_digest start_time state status status_message suspended_on target_instances"
    " target_nodes updated_on"
)
TYPES = _words("NoneType OAuthCredentials bool bytes dict float int list str tuple mappingproxy OrderedDict")
BOOLEANS = _words("true false TRUE FALSE True False 1 0 Y N t f")
OTHER = "other"


def word(value: object, known: frozenset[str]) -> str:
    """A value if it is one of the known words; "other" if not."""
    return value if isinstance(value, str) and value in known else OTHER
