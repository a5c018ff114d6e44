"""DSS with the plugin installed, joined to a Snowflake account: all on loopback."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import dataikuapi

from sandbox.dss import Dss, OAuthToken, SnowflakeConnection, SnowflakeLogin
from sandbox.dss.webapps import RunningWebapp
from sandbox.snowflake import USER, PublicEndpoint, Snowflake
from sandbox.snowflake.catalog import CALLER, WAREHOUSE

PROJECT = "DEMO"
VIEWER = "BOB"  # looks at the webapp; ALICE may also suspend and resume
_PLUGIN = Path(__file__).parents[1]


class Instance:
    """Ready when entered, gone when left: DSS, a Snowflake account, and ALICE signed in by OAuth.

    plugin: its folder, or a zip of it. plugin_config: the plugin's settings. Further arguments are those of `Dss`.
    `client` is the real one, with ALICE's API key; `dss` and `snowflake` are what stands in, `login` is the preset.
    """

    def __init__(
        self,
        plugin: Path = _PLUGIN,
        version: str = "15.0",
        plugin_config: Mapping[str, Any] | None = None,
        **dss: Any,
    ) -> None:
        self._plugin = plugin
        self._plugin_config = plugin_config
        self._version = version
        self._dss_options = dss

    def __enter__(self) -> Instance:
        with contextlib.ExitStack() as undo:
            self.snowflake = undo.enter_context(Snowflake())
            self.dss = undo.enter_context(Dss(self._version, clock=self.snowflake.clock, **self._dss_options))
            self.plugin_id = self.dss.install_plugin(self._plugin, self._plugin_config).id
            self._sign_in()
            self.url = undo.enter_context(self.dss.serve())
            self.api_key = self.dss.create_api_key(USER)
            self.client = dataikuapi.DSSClient(self.url, self.api_key)
            self.project = self.client.get_project(PROJECT)
            # The first to go: DSS would wait for the answers to queries under way.
            undo.callback(self.snowflake.close)
            self._undo = undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.close()

    def add_model(self, name: str, capability: str, service: PublicEndpoint, **params: Any) -> Any:
        """Adds a model to the connection `snowflake`; returns the client's handle on it.

        params: the component's, besides the sign-in and both URLs; None leaves one of those out.
        """
        common = {
            "oauth": "snowflake",
            "snowflakeAccountUrl": self.snowflake.account_url,
            "llmEndpointUrl": service.url,
        }
        model = {"id": name, "capability": capability, "params": {**common, **params}}
        (llm_id,) = self.dss.create_connection("snowflake", self.plugin_id, models=[model])
        return self.llm(llm_id)

    def add_sql_connection(self, name: str) -> None:
        """A Snowflake connection of DSS, for SQL in ALICE's name; she may run all macros of the project from now on."""
        connection = SnowflakeConnection(
            name,
            self.snowflake.account_url,
            {"*": SnowflakeLogin(USER, access_token=lambda: self.snowflake.issue_oauth_token(USER))},
            warehouse=WAREHOUSE,
        )
        self.dss.create_sql_connection(name, connection)
        self.dss.give_rights(USER, PROJECT, "ADMIN")

    def macro(self, component: str) -> Any:
        """The client's handle on a macro of the plugin."""
        return self.project.get_macro(f"pyrunnable_{self.plugin_id}_{component}")

    def run_macro(self, component: str, **params: Any) -> Any:
        """Runs a macro as ALICE, with its form filled in. Gives a table as dicts, and any other result as text."""
        macro = self.macro(component)
        run_id = macro.run({**self.dss.form_defaults(self.plugin_id, component), **params})
        if macro.get_definition()["resultType"] != "RESULT_TABLE":
            return macro.get_result(run_id, as_type="string").decode()
        table = macro.get_result(run_id, as_type="json")
        names = [column["name"] for column in table["columns"]]
        return [dict(zip(names, record)) for record in table["records"]]

    def start_webapp(self) -> RunningWebapp:
        """The webapp *Model services*, over a Snowflake connection of DSS. ALICE is an operator, BOB is not."""
        login = SnowflakeLogin(USER, access_token=self.snowflake.issue_oauth_token())
        account = SnowflakeConnection("account", self.snowflake.account_url, {"*": login}, CALLER, WAREHOUSE)
        self.dss.create_sql_connection("account", account)
        self.dss.put_in_groups(USER, "operators", "people")
        self.dss.put_in_groups(VIEWER, "people")
        for user in (USER, VIEWER):
            self.dss.give_rights(user, PROJECT, "READ_CONF")
        config = {"snowflakeConnection": "account", "operatorGroups": ["operators"]}
        return self.dss.start_webapp(
            self.plugin_id, "spcs-llm-services", PROJECT, config, impersonates=["people"]
        )

    def llm(self, llm_id: str) -> Any:
        """The client's handle on a model."""
        return self.project.get_llm(llm_id)

    def _sign_in(self) -> None:
        account_url = self.snowflake.account_url
        self.login = self.dss.create_preset(
            self.plugin_id,
            "oauth-credentials",
            "snowflake",
            {
                "authorizationEndpoint": f"{account_url}/oauth/authorize",
                "tokenEndpoint": f"{account_url}/oauth/token-request",
                "scope": "refresh_token session:role:DATAIKU_SPCS_ROLE",
            },
        )
        self.dss.set_user_credential(USER, self.login, "snowflake_oauth", self._access_token)

    def _access_token(self) -> OAuthToken:
        """What DSS gets when a user's access token is about to expire."""
        lifetime = self.snowflake.world.lifetimes.oauth_access
        return OAuthToken(self.snowflake.issue_oauth_token(USER), self.snowflake.clock() + lifetime)
