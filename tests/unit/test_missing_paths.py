"""Which errors of a missing path name another reason: then the service is not asked what else it has."""

from __future__ import annotations

import pytest

from spcs_llm.errors import NotFound, ServiceError
from spcs_llm.protocols.missing_paths import names_its_reason


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (404, "The model `qwen` does not exist."),  # vLLM
        (404, 'model "qwen" not found, try pulling it first'),  # Ollama
        (501, "response_format json_schema is not implemented: schema-to-grammar conversion is missing"),
        (405, "tools need the server's option --jinja"),
    ],
)
def test_a_reason_other_than_the_path_is_recognised(status: int, reason: str) -> None:
    error = ServiceError("The service fails.", status=status)
    error.quote(reason)
    assert names_its_reason(error)
    assert names_its_reason(error.again())  # a copy has lost the server's own words


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (404, ""),
        (404, "Not Found"),
        (404, "File Not Found"),
        (405, "Method Not Allowed"),
        (501, ""),
        (501, "Not Implemented"),
        (501, "Unsupported method ('POST')"),  # Python's http.server
        (404, "Cannot POST /v1/rerank"),  # Express
    ],
)
def test_a_missing_path_is_not_taken_for_another_reason(status: int, reason: str) -> None:
    error = NotFound("The service has no such path or model (HTTP 404).", status=status)
    error.quote(reason)
    assert not names_its_reason(error)
