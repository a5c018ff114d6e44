"""Credentials that this process never sent, as servers' reasons and containers' logs quote them."""

from __future__ import annotations

import pytest

from spcs_llm.control.sql_refusals import sql_error, sql_error_in_text
from spcs_llm.errors import BadRequest
from spcs_llm.monitor.as_viewer import refusal
from spcs_llm.server_text.others_credentials import without_certain_credentials

URL = "https://upstream.example.com/v1/models/m:generate"
LONG = "0123456789abcdefghijklmnopqrstuv"


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        (f"404 for url '{URL}?key={LONG}'", f"404 for url '{URL}?key=…'"),
        (
            f"GET {URL}?api-version=2&subscription-key={LONG}&a=b",
            f"GET {URL}?api-version=2&subscription-key=…&a=b",
        ),
        (f"no image at {URL}?se=2026&sig={LONG}", f"no image at {URL}?se=2026&sig=…"),
        (f"no image at {URL}?X-Amz-Signature={LONG}", f"no image at {URL}?X-Amz-Signature=…"),
        ("params: {'api_key': 'pa55word', 'model': 'm'}", "params: {'api_key': …, 'model': 'm'}"),
        ('{"client_secret": "abcdefgh", "a": 1}', '{"client_secret": …, "a": 1}'),
        ("headers: {'authorization': 'Bearer abcdefgh'}", "headers: {'authorization': …}"),
        (f"OPENAI_API_KEY={LONG} is refused", "OPENAI_API_KEY=… is refused"),
        (f"bearer {LONG} is unknown", "bearer … is unknown"),
        (f"Incorrect API key provided: sk-proj-{LONG}.", "Incorrect API key provided: …."),
        (f"upstream says AIza{LONG}", "upstream says …"),
        ("cannot reach https://user:pa55word@host/v1", "cannot reach https://user:…@host/v1"),
        # nextcloud/whiteboard#1316, ContentSquare/chproxy#398: Redis, whose user has no name
        (f"cannot reach redis://:{LONG}@10.0.0.5:6379/0", "cannot reach redis://:…@10.0.0.5:6379/0"),
        # GitHub's documentation, "Supported secret scanning patterns"
        (
            f"no repository at https://ghs_{LONG}@github.com/org/m",
            "no repository at https://…@github.com/org/m",
        ),
        (f"refused: gho_{LONG}, ghu_{LONG}, ghr_{LONG}", "refused: …, …, …"),
        (f"refused: sk_live_{LONG}, rk_test_{LONG}, xapp-1-A0-{LONG}", "refused: …, …, …"),
        (f"refused: dckr_pat_{LONG}, npm_{LONG}, pypi-AgEI{LONG}", "refused: …, …, …"),
        (f"refused: r8_{LONG}, lsv2_pt_{LONG}, pplx-{LONG}, csk-{LONG}", "refused: …, …, …, …"),
        (f"refused: ya29.{LONG}, glrt-{LONG}, hf_{LONG}", "refused: …, …, …"),
        ("refused: dapi0123456789abcdef0123456789abcdef", "refused: …"),
        ("refused: ASIA2ABCDEFGHIJKLMNO", "refused: …"),
        (
            f"AccountName=a;AccountKey={LONG}==;EndpointSuffix=x",
            "AccountName=a;AccountKey=…;EndpointSuffix=x",
        ),
        (
            f"AWS4-HMAC-SHA256 SignedHeaders=host, Signature={LONG}",
            "AWS4-HMAC-SHA256 SignedHeaders=host, Signature=…",
        ),
        (f"headers: {{'Cookie': 'session={LONG}; theme=dark'}}", "headers: {'Cookie': '…'}"),
        # what only sounds like it
        ("the package 'hf_transfer' is missing for hf_overrides and hf_config_path", None),
        ("region asia-southeast1 of ASIA-PACIFIC", None),
        ("npm_config_registry, pypi-server-simple, csk-1", None),
        ("it listens at tcp://:5555, and http://[::1]:8000 is for a@b", None),
        ("Cookie: missing, Signature=2", None),
        ("Invalid API key: it must begin with a letter", None),
        ("unexpected token: 'abcdef' at 3", None),
        ("max_tokens: 4096 is too large", None),
        ("Bearer authentication is required, and basic information", None),
        ("Unknown stop token = [END]", None),
        (f"{URL}?version=2&page=12345678", None),
        ("authorization: missing", None),
        ("task-skipping and sk-ip", None),
    ],
)
def test_a_reason_is_shown_without_the_keys_of_others(reason: str, shown: str | None) -> None:
    shown = reason if shown is None else shown
    assert without_certain_credentials(reason) == shown
    error = BadRequest("It is refused.")
    error.quote(reason)
    assert error.message == f"It is refused: {shown.rstrip('. :')}."
    assert error.server_text == reason


@pytest.mark.parametrize(
    "text",
    [
        f"jdbc:snowflake://a.snowflakecomputing.com/?user=u&password={LONG}&db=x",
        f"Authorization: Bearer {LONG} is refused",
        f"{{'private_key': '{LONG}'}} is wrong",
        f"https://u:{LONG}@proxy:3128 is refused",
    ],
)
def test_what_snowflake_and_dss_say_is_shown_without_the_keys_of_others(text: str) -> None:
    """Messages of drivers quote the address that they connect to, with what is in it."""
    for error in (sql_error("SELECT 1", text, "000001"), sql_error_in_text("SELECT 1", text), refusal(text)):
        assert "…" in str(error)
        assert LONG not in str(error)
