"""A DSS with the recipe *Run a model inside Snowflake*, and an account with a service and tables."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sandbox.dss import Dss, SnowflakeConnection, SnowflakeLogin
from sandbox.dss.recipes import RecipeRun
from sandbox.snowflake import USER, Snowflake
from sandbox.snowflake.catalog import CALLER, DATABASE, SCHEMA, WAREHOUSE

ROOT = Path(__file__).parents[2]
PLUGIN, RECIPE, PROJECT = "snowpark-container-services-llm", "spcs-llm-in-snowflake", "JOBS"
CHAT, EMBED = f"{DATABASE}.{SCHEMA}.CHAT", f"{DATABASE}.{SCHEMA}.EMBED"
PROMPT = {"task": "CHAT", "service": CHAT, "keyColumns": ["id"], "promptTemplate": "{{text}}"}


class Scene:
    """What a test needs: `run` the recipe, and look at `output` and `failures` as the administrator."""

    def __init__(self, sf: Snowflake, dss: Dss, **chat: Any) -> None:
        self.sf, self.dss = sf, dss
        durations = sf.world.catalog.durations
        durations.suspending = durations.container_start = durations.model_loading = durations.node_start = (
            0.0
        )
        self.chat = sf.create_service("chat", protocol="MODEL_SERVING", **chat)
        self.embed = sf.create_service(
            "embed", protocol="MODEL_SERVING", signature="embedding", kind="embedding"
        )
        sf.clock.advance(600)
        sf.tables.allow(DATABASE, SCHEMA)
        login = SnowflakeLogin(USER, access_token=lambda: sf.issue_oauth_token())
        for name in ("account", "other"):
            connection = SnowflakeConnection(
                name, sf.account_url, {"*": login}, CALLER, WAREHOUSE, DATABASE, SCHEMA
            )
            dss.create_sql_connection(name, connection)
        for name in ("input", "output", "failures"):
            dss.create_dataset(PROJECT, name, "account", name.upper(), catalog=DATABASE, schema=SCHEMA)

    def fill(
        self, rows: Sequence[Sequence[object]], columns: Mapping[str, str] | None = None, name: str = "INPUT"
    ) -> None:
        columns = columns or {"id": "NUMBER", "text": "VARCHAR"}
        self.sf.tables.create(name, columns, rows, database=DATABASE, schema=SCHEMA)

    def start(self, params: Mapping[str, Any], *, failures: bool = True, **roles: Sequence[str]) -> RecipeRun:
        datasets = {"input": ["input"], "output": ["output"], "failures": ["failures"] if failures else []}
        return self.dss.start_recipe(PLUGIN, RECIPE, {**datasets, **roles}, params, project_key=PROJECT)

    def run(self, params: Mapping[str, Any], *, failures: bool = True, **roles: Sequence[str]) -> RecipeRun:
        run = self.start(params, failures=failures, **roles)
        assert run.done.wait(100)
        return run

    def succeed(self, params: Mapping[str, Any], **how: Any) -> RecipeRun:
        run = self.run(params, **how)
        assert run.failure is None, f"{run.failure}\n{run.log}"
        return run

    def fail(self, params: Mapping[str, Any], **how: Any) -> str:
        run = self.run(params, **how)
        assert run.failure is not None
        return run.failure

    def table(self, name: str) -> list[dict[str, Any]]:
        return self.sf.tables.rows(f'SELECT * FROM "{DATABASE}"."{SCHEMA}"."{name}"')

    @property
    def output(self) -> list[dict[str, Any]]:
        return self.table("OUTPUT")

    @property
    def failures(self) -> list[dict[str, Any]]:
        return self.table("FAILURES")

    @property
    def work_tables(self) -> list[str]:
        return [key[2] for key in self.sf.tables.known if key[2].startswith("SPCS_LLM_")]


@contextlib.contextmanager
def scene(**chat: Any) -> Iterator[Scene]:
    with Snowflake() as sf, Dss() as dss:
        dss.install_plugin(str(ROOT))
        with dss.serve():
            made = Scene(sf, dss, **chat)
            yield made
            assert not dss.violations
