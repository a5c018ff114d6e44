"""A DSS with the recipe *Run a model inside Snowflake*, and an account with a service and tables."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from sandbox.dss import Dss, SnowflakeConnection, SnowflakeLogin
from sandbox.dss.recipes import RecipeRun
from sandbox.snowflake import USER, Snowflake
from sandbox.snowflake.catalog import CALLER, DATABASE, SCHEMA, WAREHOUSE
from spcs_llm.errors import SpcsError
from spcs_llm.in_snowflake.recipe import DatasetOfDss, run_recipe
from spcs_llm.in_snowflake.recipe import Dss as Dss_
from spcs_llm.in_snowflake.report import Report

ROOT = Path(__file__).parents[2]
PLUGIN, RECIPE, PROJECT = "snowpark-container-services-llm", "spcs-llm-in-snowflake", "JOBS"
CHAT, EMBED = f"{DATABASE}.{SCHEMA}.CHAT", f"{DATABASE}.{SCHEMA}.EMBED"
PROMPT = {"task": "CHAT", "service": CHAT, "keyColumns": ["id"], "promptTemplate": "{{text}}"}


OnStatement = Callable[[str], None]


class _Watched:
    """A SQLExecutor2 that says what it runs, before it does; what that raises, the recipe meets."""

    def __init__(self, executor: Any, on_statement: OnStatement) -> None:
        self._executor = executor
        self._on_statement = on_statement

    def query_to_iter(self, query: str, pre_queries: Any = None, post_queries: Any = None) -> Any:
        self._on_statement(query)
        found = self._executor.query_to_iter(query, pre_queries=pre_queries, post_queries=post_queries)
        if post_queries:
            self._on_statement("COMMIT")
        return found


class Scene:
    """What a test needs: `run` the recipe, and look at `output` and `failures` as the administrator."""

    def __init__(self, sf: Snowflake, dss: Dss, **chat: Any) -> None:
        self.sf, self.dss = sf, dss
        durations = sf.world.catalog.durations
        durations.suspending = durations.container_start = durations.model_loading = durations.node_start = (
            0.0
        )
        self.chat = sf.create_service("chat", protocol="MODEL_SERVING", **chat)
        self.text_chat = sf.create_service("text_chat", protocol="MODEL_SERVING", content="string")
        self.embed = sf.create_service(
            "embed", protocol="MODEL_SERVING", signature="embedding", kind="embedding"
        )
        sf.clock.advance(600)
        sf.tables.allow(DATABASE, SCHEMA)
        sf.tables.batches.pace = 0.001
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

    def here(
        self,
        params: Mapping[str, Any],
        *,
        failures: bool = True,
        on_statement: OnStatement = lambda text: None,
        sleep: Callable[[float], object] = lambda seconds: None,
    ) -> Report:
        """Runs the recipe's own function in this process, over the same HTTP, which takes a second less."""
        import dataiku

        names = [f"{PROJECT}.{name}" for name in ("input", "output", *(["failures"] if failures else []))]
        places = {name.partition(".")[2]: [self._described(name)] for name in names}

        def executor(connection: str) -> Any:
            return _Watched(dataiku.SQLExecutor2(connection=connection), on_statement)

        def write(name: str, query: str, before: list[str]) -> None:
            on_statement(query)
            dataiku.SQLExecutor2.exec_recipe_fragment(dataiku.Dataset(name), query, pre_queries=before)

        with self.dss.recipes.flow(os.environ["DKU_API_TICKET"], names[:1], names[1:]):
            return run_recipe(params, places, Dss_(executor, write), sleep=sleep)

    def _described(self, name: str) -> DatasetOfDss:
        dataset = self.dss.recipes.dataset(name)
        return DatasetOfDss(name, dataset.location(), dataset.config())

    def refuse(self, params: Mapping[str, Any], **how: Any) -> str:
        """What the recipe says to settings or circumstances that are wrong."""
        with pytest.raises(SpcsError) as refused:
            self.here(params, **how)
        return f"{refused.value.message} {refused.value.hint}"

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
    def model(self) -> Any:
        """The scripted model behind the chat service."""
        service: Any = self.chat.service
        return service.model

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
        with dss.serve() as url, _as_kernel(url, dss.create_api_key()):
            made = Scene(sf, dss, **chat)
            yield made
            assert not dss.violations


@contextlib.contextmanager
def _as_kernel(url: str, key: str) -> Iterator[None]:
    """What `dataiku` finds in the environment of a kernel, in that of this process."""
    address = urlsplit(url)
    found = {
        "DKU_BACKEND_PROTOCOL": address.scheme,
        "DKU_BACKEND_HOST": str(address.hostname),
        "DKU_BACKEND_PORT": str(address.port),
        "DKU_API_TICKET": key,
        "DKU_CURRENT_PROJECT_KEY": PROJECT,
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in found.items():
            patch.setenv(name, value)
        yield
