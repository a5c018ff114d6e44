"""The macros as DSS runs them, through the real client, against an account that answers SQL."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from dataikuapi import DSSClient
from dataikuapi.utils import DataikuException

from sandbox.dss import Dss, OAuthToken, SnowflakeConnection, SnowflakeLogin
from sandbox.snowflake import USER, Snowflake
from sandbox.snowflake.catalog import CALLER, CPU_POOL, GPU_POOL, WAREHOUSE
from tests.waiting import wait_for

ROOT = Path(__file__).parents[2]
PLUGIN = "snowpark-container-services-llm"
CONNECTION = {"snowflakeConnection": "account"}


class Scene:
    """A DSS with this plugin, a Snowflake account with two services, and the ways to sign in from one to the other."""

    def __init__(self, sf: Snowflake, dss: Dss, url: str) -> None:
        self.sf, self.dss = sf, dss
        durations = sf.world.catalog.durations
        durations.endpoint_provisioning = 0.0
        durations.suspending = durations.container_start = durations.model_loading = durations.node_start = (
            0.0
        )
        self.chat = sf.create_service("chat")
        self.embed = sf.create_service(
            "embed", protocol="MODEL_SERVING", kind="embedding", placed={"pool": CPU_POOL}
        )
        login = SnowflakeLogin(USER, access_token=sf.issue_oauth_token())
        connection = SnowflakeConnection("account", sf.account_url, {"*": login}, CALLER, WAREHOUSE)
        dss.create_sql_connection("account", connection)
        oauth = dss.create_preset(PLUGIN, "oauth-credentials", "sso", {})
        dss.set_user_credential("admin", oauth, "snowflake_oauth", OAuthToken(sf.issue_oauth_token()))
        token = dss.create_preset(PLUGIN, "programmatic-access-token", "pat")
        dss.set_user_credential("admin", token, "token", sf.create_pat())
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        sf.register_public_key(USER, _public(key))
        robot = {
            "user": USER,
            "privateKey": _private(key),
            "role": CALLER,
            "accountIdentifier": "myorg-myacct",
        }
        dss.create_preset(PLUGIN, "key-pair-credentials", "robot", robot)
        self.client = DSSClient(url, dss.create_api_key("admin"))

    @property
    def presets(self) -> dict[str, dict[str, Any]]:
        account = {"snowflakeAccountUrl": self.sf.account_url, "warehouse": WAREHOUSE}
        return {
            "connection": CONNECTION,
            "oauth": {**account, "oauth": {"mode": "PRESET", "name": "sso"}},
            "token": {
                **account,
                "authenticationMode": "PROGRAMMATIC_ACCESS_TOKEN",
                "programmaticAccessToken": {"mode": "PRESET", "name": "pat"},
            },
            "key pair": {
                **account,
                "authenticationMode": "KEY_PAIR",
                "keyPair": {"mode": "PRESET", "name": "robot"},
            },
        }

    def run(self, macro: str, config: Any, as_type: str = "json") -> Any:
        found = self.client.get_project("OPS").get_macro(f"pyrunnable_{PLUGIN}_spcs-llm-{macro}")
        return found.get_result(found.run(config), as_type=as_type)

    def table(self, macro: str, config: Any) -> list[dict[str, str]]:
        result = self.run(macro, config)
        names = [column["name"] for column in result["columns"]]
        return [dict(zip(names, record)) for record in result["records"]]

    def status(self, name: str) -> str:
        with self.sf.world.lock:
            catalog = self.sf.world.catalog
            now = catalog.settle()
            return catalog.service_named(name).shown_status(now)


def _public(key: rsa.RSAPrivateKey) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _private(key: rsa.RSAPrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


@pytest.fixture(scope="module")
def at() -> Iterator[Scene]:
    with contextlib.ExitStack() as undo:
        sf, dss = undo.enter_context(Snowflake()), undo.enter_context(Dss())
        dss.install_plugin(str(ROOT))
        scene = Scene(sf, dss, undo.enter_context(dss.serve()))
        yield scene
        assert not dss.violations


@pytest.mark.sample(1)
@pytest.mark.parametrize("way", ["connection", "oauth", "token", "key pair"])
def test_services_are_found_by_each_way_to_sign_in(at: Scene, way: str) -> None:
    chat, embed, rights = at.table("discover", at.presets[way])
    assert (chat["service"], chat["state"], chat["ready"]) == (
        "DATAIKU_SPCS.PUBLIC.CHAT",
        "RUNNING",
        "1 of 1",
    )
    assert chat["llmEndpointUrl"] == at.chat.url
    assert (chat["pool"], chat["family"], chat["poolCredits"], chat["poolCost"]) == (
        GPU_POOL,
        "GPU_NV_S",
        "0.57",
        "1.71",
    )
    assert embed["model"] == "DATAIKU_SPCS.PUBLIC.EMBED_MODEL version V1"
    assert f"user {USER}, role {CALLER}, warehouse {WAREHOUSE}" in rights["note"]


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "fault",
    [
        ("add_columns", {"columns": {"zzz_new": "x", "aaa_new": None}}),
        ("reverse_columns", {}),
        ("drop_columns", {"columns": ["is_async_job", "spec_digest", "managing_object_name", "updated_on"]}),
    ],
    ids=["grow", "reorder", "shrink"],
)
@pytest.mark.parametrize("way", ["connection"])
def test_no_column_is_read_wrongly_when_show_changes(at: Scene, way: str, fault: Any) -> None:
    before = at.table("discover", at.presets[way])
    kind, params = fault
    at.sf.statement_faults.arm(kind, "^SHOW", times=None, **params)
    try:
        assert at.table("discover", at.presets[way]) == before
    finally:
        at.sf.statement_faults.clear()


@pytest.mark.sample(1)
@pytest.mark.parametrize("way", ["connection", "token"])
def test_without_a_word_about_it_nothing_is_suspended(at: Scene, way: str) -> None:
    rows = at.table("suspend", {**at.presets[way], "services": "DATAIKU_SPCS.*.*"})
    assert [row["result"] for row in rows[:2]] == ["would change", "would change"]
    assert {row["pool"]: row["creditsPerHour"] for row in rows if row["result"] == "estimate"} == {
        GPU_POOL: "0.57",
        CPU_POOL: "0.06",
    }
    assert (at.status("CHAT"), at.status("EMBED")) == ("RUNNING", "RUNNING")


@pytest.mark.sample(1)
@pytest.mark.parametrize("way", ["connection", "token"])
def test_services_are_suspended_and_resumed_and_waited_for(at: Scene, way: str) -> None:
    config = {**at.presets[way], "services": "dataiku_spcs.public.CH*", "dryRun": False, "waitSeconds": 60.0}
    (row, *_) = at.table("suspend", config)
    assert (row["service"], row["after"], row["result"]) == (
        "DATAIKU_SPCS.PUBLIC.CHAT",
        "SUSPENDED",
        "changed",
    )
    assert (at.status("CHAT"), at.status("EMBED")) == ("SUSPENDED", "RUNNING")
    (row, *_) = at.table("resume", config)
    assert (row["after"], row["result"], row["note"]) == ("RUNNING", "changed", "")
    assert at.status("CHAT") == "RUNNING"


@pytest.mark.exhaustive
def test_a_connection_wins_over_a_preset_that_could_not_sign_in(at: Scene) -> None:
    broken = {"authenticationMode": "KEY_PAIR", "snowflakeAccountUrl": "https://nowhere.example"}
    assert len(at.table("discover", {**broken, **CONNECTION})) == 3


@pytest.mark.sample(1)
@pytest.mark.parametrize("way", ["connection", "token"])
def test_a_macro_that_may_not_suspend_fails_with_the_grant(at: Scene, way: str) -> None:
    with at.sf.world.lock:
        service = at.sf.world.catalog.services["DATAIKU_SPCS", "PUBLIC", "EMBED"]
        at.sf.world.catalog.grants.revoke("OPERATE", service.securable, CALLER)
    try:
        config = {**at.presets[way], "services": "DATAIKU_SPCS.PUBLIC.EMBED", "dryRun": False}
        with pytest.raises(DataikuException) as failed:
            at.run("suspend", config)
    finally:
        with at.sf.world.lock:
            at.sf.world.catalog.grants.grant("OPERATE", service.securable, CALLER)
    assert f"GRANT OPERATE ON SERVICE DATAIKU_SPCS.PUBLIC.EMBED TO ROLE {CALLER}" in str(failed.value)
    assert at.status("EMBED") == "RUNNING"


@pytest.mark.parametrize("way", ["connection"])
def test_an_empty_list_of_services_is_refused(at: Scene, way: str) -> None:
    with pytest.raises(DataikuException, match="'Services' is empty"):
        at.run("suspend", {**at.presets[way], "services": " "})


@pytest.mark.sample(1)
@pytest.mark.parametrize("way", ["connection", "token"])
def test_the_cost_report_is_html_with_the_accounts_figures(at: Scene, way: str) -> None:
    with at.sf.world.lock:
        catalog = at.sf.world.catalog
        if not catalog.usage.hours():
            catalog.usage.seed(14, catalog.pools[GPU_POOL])  # the same sum on each day of the week
        billed = sum(hour.credits for hour in catalog.usage.hours())
    page = at.run("cost-report", {**at.presets[way], "days": 30}, as_type="string").decode()
    assert f"{billed:,.1f} credits" in page
    assert "Not in this report" not in page
    assert "your contract" in page
    assert "<script" not in page


def test_a_report_without_the_grants_names_them_and_shows_what_runs(at: Scene) -> None:
    at.sf.statement_faults.arm(
        "error", "ACCOUNT_USAGE|ORGANIZATION_USAGE", times=None, code="002003", state="42S02",
        message="SQL compilation error: Object does not exist or not authorized.",
    )  # fmt: skip
    try:
        page = at.run("cost-report", at.presets["token"], as_type="string").decode()
    finally:
        at.sf.statement_faults.clear()
    for database_role in ("USAGE_VIEWER", "ORGANIZATION_BILLING_VIEWER"):
        assert f"GRANT DATABASE ROLE SNOWFLAKE.{database_role} TO ROLE {CALLER}" in page
    assert "What runs now" in page


def test_a_report_without_a_warehouse_names_the_field(at: Scene) -> None:
    page = at.run("cost-report", {**at.presets["token"], "warehouse": None}, as_type="string").decode()
    assert re.search(r"Warehouse", page)
    assert "What runs now" in page


@pytest.mark.sample(1)
@pytest.mark.parametrize("shape", ["bare", "wrapped", "rootModel only"])
@pytest.mark.parametrize("macro", ["suspend", "resume"])
def test_the_form_offers_the_services_that_the_role_sees(at: Scene, macro: str, shape: str) -> None:
    saved = {**CONNECTION, "listedServices": ["DATAIKU_SPCS.PUBLIC.GONE"]}
    offered = at.dss.form_choices(
        PLUGIN, f"spcs-llm-{macro}", "listedServices", CONNECTION, saved, shape=shape
    )
    assert {"value": "DATAIKU_SPCS.PUBLIC.CHAT", "label": "DATAIKU_SPCS.PUBLIC.CHAT (RUNNING)"} in offered
    assert shape == "rootModel only" or offered[0]["value"] == "DATAIKU_SPCS.PUBLIC.GONE"


def test_the_form_says_what_is_missing_and_never_fails(at: Scene) -> None:
    (line,) = at.dss.form_choices(PLUGIN, "spcs-llm-suspend", "listedServices", {}, {})
    assert "'Snowflake connection' is empty" in line["label"]
    (line,) = at.dss.form_choices(
        PLUGIN, "spcs-llm-suspend", "listedServices", {"snowflakeConnection": "gone"}, {}
    )
    assert "value" not in line


@pytest.mark.exhaustive
def test_progress_reaches_the_end(at: Scene) -> None:
    macro = at.client.get_project("OPS").get_macro(f"pyrunnable_{PLUGIN}_spcs-llm-discover")
    run_id = macro.run(CONNECTION, wait=False)
    run = at.dss.macro_run(run_id)
    wait_for(lambda: not macro.get_status(run_id)["running"])
    assert (run.target, run.progress) == ((100, "NONE"), 100)
