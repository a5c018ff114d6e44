"""The variables of the batch gateway, and that its document lists them as they are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from batch_gateway.settings import VARIABLES, read_settings
from spcs_llm.errors import SettingsError
from spcs_llm.form_fields import Field
from spcs_llm.settings import NoSignIn

HERE = {"LLM_ENDPOINT_URL": "http://127.0.0.1:8000/v1"}
DOCUMENT = Path(__file__).parents[2] / "docs" / "batch-gateway.md"


def test_only_the_model_servers_address_must_be_set() -> None:
    settings = read_settings(HERE)
    assert str(settings.model.endpoint.url) == "http://127.0.0.1:8000"
    assert settings.model.credential.sign_in == NoSignIn()
    assert (settings.parallelism, settings.port, settings.limits.max_body) == (16, 9090, 32 << 20)


def test_values_are_text_as_an_environment_has_them() -> None:
    settings = read_settings(
        {**HERE, "MAX_PARALLELISM": "4", "ANSWER_WITHIN_SECONDS": "1.5", "MODEL_NAME": " chat "}
    )
    assert (settings.parallelism, settings.limits.answer_within) == (4, 1.5)
    assert settings.model.protocol.model_name == "chat"


@pytest.mark.parametrize(
    ("variables", "complaint"),
    [
        ({"LLM_ENDPOINT_URL": ""}, "'LLM_ENDPOINT_URL' is empty"),
        (
            {"LLM_ENDPOINT_URL": "https://a-o-b.snowflakecomputing.app"},
            "'LLM_ENDPOINT_URL' must be an address of this",
        ),
        ({"MAX_PARALLELISM": "0"}, "'MAX_PARALLELISM' must be a whole number"),
        ({"ANSWER_WITHIN_SECONDS": "30"}, "'ANSWER_WITHIN_SECONDS' must be a number from 0.1 to 29 seconds"),
        ({"HEALTH_PATH": "health"}, "'HEALTH_PATH' must begin"),
        ({"MAX_HELD_MEGABYTES": "8"}, "'MAX_HELD_MEGABYTES' must be at least"),
        ({"LOG_LEVEL": "TRACE"}, "'LOG_LEVEL' must be one of"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_wrong_is_named_by_its_variable(variables: dict[str, str], complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint):
        read_settings({**HERE, **variables})


def test_the_document_lists_every_variable_with_its_default() -> None:
    text = DOCUMENT.read_text(encoding="utf-8").partition("| variable | default |")[2]
    listed = dict(re.findall(r"^\| `([A-Z_]+)` \| (\S*) ?\|", text, re.MULTILINE))
    known = {
        field.name: ""
        if field.absent is None
        else f"{field.absent:g}"
        if isinstance(field.absent, float)
        else str(field.absent)
        for field in vars(VARIABLES).values()
        if isinstance(field, Field)
    }
    assert listed == known
