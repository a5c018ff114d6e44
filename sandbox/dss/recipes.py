"""Recipes: run in a process each, on datasets that are tables of SQL connections.

Source: DSS documentation, plugins, recipes, and "Performing SQL, Hive and Impala queries"; public copies of
`dataiku/core/sql.py` for `exec_recipe_fragment`. Which types DSS gives the columns of the table that it makes is not
published: `column_types` "text" has text for arrays and objects, "native" what the query has.
"""

from __future__ import annotations

import json
import re
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sandbox.dss.kernel_process import KernelEndedError, KernelFailedError, KernelProcess, Surroundings
from sandbox.dss.recipe_descriptor import Recipe
from sandbox.dss.sql_queries import SqlQueries
from sandbox.dss.sql_session import Column


class UnknownDatasetError(Exception):
    """There is no such dataset."""


class FragmentRefusedError(Exception):
    """What DSS does not turn into an INSERT in the database."""


@dataclass(frozen=True)
class SqlDataset:
    """A dataset on a SQL connection. catalog and schema: None for the connection's. mode: table or query."""

    name: str
    connection: str
    table: str
    catalog: str | None = None
    schema: str | None = None
    mode: str = "table"
    partitions: tuple[str, ...] = ()
    kind: str = "Snowflake"

    @property
    def sql(self) -> str:
        return ".".join(_quoted(part) for part in (self.catalog, self.schema, self.table) if part)

    def location(self) -> dict[str, Any]:
        info: dict[str, Any] = {
            "databaseType": self.kind,
            "connectionName": self.connection,
            "table": self.table,
            "quotedResolvedTableName": ".".join(_quoted(p) for p in (self.schema, self.table) if p),
        }
        info.update({k: v for k, v in (("catalog", self.catalog), ("schema", self.schema)) if v})
        return {"locationInfoType": "SQL", "info": info}

    def config(self) -> dict[str, Any]:
        params = {"connection": self.connection, "mode": self.mode, "table": self.table}
        params.update({k: v for k, v in (("catalog", self.catalog), ("schema", self.schema)) if v})
        dimensions = [{"name": name, "type": "value"} for name in self.partitions]
        return {
            "type": self.kind,
            "name": self.name.partition(".")[2],
            "params": params,
            "partitioning": {"dimensions": dimensions},
            "schema": {"columns": []},
        }


@dataclass
class RecipeRun:
    """One run. failure: what the recipe raised, as the job's page shows it; None for success."""

    id: str
    folder: Path
    done: threading.Event = field(default_factory=threading.Event)
    failure: str | None = None
    aborted: bool = False

    @property
    def log(self) -> str:
        path = self.folder / "kernel.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


@dataclass(frozen=True)
class _Flow:
    inputs: Sequence[SqlDataset]
    outputs: Sequence[SqlDataset]


class Recipes:
    """The datasets of all projects, and the runs of recipes."""

    def __init__(self, sql: SqlQueries, data_folder: Path, part: Callable[[Surroundings], None]) -> None:
        self._sql = sql
        self._data_folder = data_folder
        self._part = part
        self._datasets: dict[str, SqlDataset] = {}
        self._flows: dict[str, _Flow] = {}
        self._processes: dict[str, KernelProcess] = {}
        self._threads: list[threading.Thread] = []
        self.column_types = "text"

    def add(self, dataset: SqlDataset) -> None:
        self._datasets[dataset.name] = dataset

    def dataset(self, name: str) -> SqlDataset:
        try:
            return self._datasets[name]
        except KeyError:
            raise UnknownDatasetError(f"Dataset not found: {name}") from None

    def start(
        self,
        recipe: Recipe,
        roles: Mapping[str, Sequence[str]],
        config: Mapping[str, Any],
        plugin_config: Mapping[str, Any],
        surround: Callable[[Path], Surroundings],
    ) -> RecipeRun:
        """roles: full names of datasets by role. Raises UnknownDatasetError."""
        flow = {
            "in": _items(roles, [role.name for role in recipe.inputs]),
            "out": _items(roles, [role.name for role in recipe.outputs]),
        }
        run_id = uuid.uuid4().hex[:8]
        folder = self._data_folder / "jobs" / run_id
        folder.mkdir(parents=True)
        surroundings = surround(folder)
        self._flows[surroundings.ticket] = _Flow(
            *([self.dataset(item["fullName"]) for item in flow[way]] for way in ("in", "out"))
        )
        environment = {
            "DKU_CUSTOM_RECIPE_CONFIG": json.dumps(config),
            "DKU_CUSTOM_RECIPE_PLUGIN_CONFIG": json.dumps(plugin_config),
            "DKU_CUSTOM_RESOURCE_FOLDER": str(surroundings.python_lib.parent / "resource"),
            "DKU_FLOW_SPEC": json.dumps(flow),
        }
        order = {
            "kind": "recipe",
            "file": str(recipe.folder / "recipe.py"),
            "confined_to": None,
            "data_folder": str(self._data_folder),
            "has_fresh_oauth_credentials": True,
            "environment": environment,
        }
        run = RecipeRun(run_id, folder)
        process = KernelProcess(order, surroundings)
        self._processes[run_id] = process
        thread = threading.Thread(target=self._follow, args=(run, process, surroundings), daemon=True)
        self._threads.append(thread)
        thread.start()
        return run

    @contextmanager
    def flow(self, ticket: str, inputs: Sequence[str], outputs: Sequence[str]) -> Iterator[None]:
        """While it lasts, whoever has this ticket is a recipe with these datasets, without a separate process."""
        flow = self._flows[ticket] = _Flow(
            [self.dataset(n) for n in inputs], [self.dataset(n) for n in outputs]
        )
        try:
            yield
        finally:
            if self._flows.get(ticket) is flow:  # not one that began meanwhile
                del self._flows[ticket]

    def pid(self, run: RecipeRun) -> int:
        """The process of a run that has not ended."""
        return self._processes[run.id].pid

    def abort(self, run: RecipeRun) -> None:
        """Kills the process. There is no hook for the recipe."""
        run.aborted = True
        self._processes[run.id].end()

    def close(self) -> None:
        for process in self._processes.values():
            process.end()
        for thread in self._threads:
            thread.join(10)

    def execute_fragment(self, ticket: str, order: Mapping[str, Any], user: str, *, is_admin: bool) -> None:
        """INSERT INTO the output what a SELECT gives. Raises FragmentRefusedError, SqlError."""
        flow = self._flows.get(ticket)
        if flow is None:
            raise FragmentRefusedError("exec_recipe_fragment can only be called from a Python recipe")
        output = self.dataset(str(order.get("outputDataset")))
        if output not in flow.outputs:
            raise FragmentRefusedError(f"Dataset {output.name} is not an output of the recipe")
        for dataset in flow.inputs:
            if dataset.connection != output.connection or dataset.mode != "table":
                raise FragmentRefusedError(
                    f"Dataset {dataset.name} is not an SQL table dataset on {output.connection}"
                )
        query = str(order["query"]).strip()
        if not re.match(r"SELECT\b", query, re.IGNORECASE):
            raise FragmentRefusedError("The main statement of the fragment must be a SELECT")
        session = self._sql.open(output.connection, user, is_admin=is_admin)
        try:
            for statement in order.get("preQueries") or []:
                session.run(statement)
            described = session.run(f"SELECT * FROM ({query}) AS dku_query LIMIT 0")
            columns = described.columns if described else []
            kinds = ", ".join(f"{_quoted(column.name)} {self._type(column)}" for column in columns)
            session.run(f"CREATE OR REPLACE TABLE {output.sql} ({kinds})")
            names = ", ".join(_quoted(column.name) for column in columns)
            session.run(f"INSERT INTO {output.sql} ({names}) {query}")
            for statement in order.get("postQueries") or []:
                session.run(statement)
            session.run("COMMIT")
        finally:
            session.close()

    def _type(self, column: Column) -> str:
        kind = column.original_type.upper()
        if kind in ("VARIANT", "ARRAY", "OBJECT", "VECTOR"):
            return "VARCHAR" if self.column_types == "text" or kind == "VECTOR" else kind
        known = {
            "FIXED": "NUMBER(38, 0)", "REAL": "DOUBLE", "BOOLEAN": "BOOLEAN", "DATE": "DATE", "TIME": "TIME",
            "TIMESTAMP_NTZ": "TIMESTAMP_NTZ", "TIMESTAMP_LTZ": "TIMESTAMP_LTZ", "BINARY": "BINARY",
        }  # fmt: skip
        return "DOUBLE" if column.type == "double" else known.get(kind, "VARCHAR")

    def _follow(self, run: RecipeRun, process: KernelProcess, surroundings: Surroundings) -> None:
        try:
            process.result()
        except KernelFailedError as error:
            run.failure = str(error)
        except KernelEndedError as error:
            run.failure = "Aborted" if run.aborted else str(error)
        finally:
            self._flows.pop(surroundings.ticket, None)
            self._part(surroundings)
            run.done.set()


def _items(roles: Mapping[str, Sequence[str]], names: Sequence[str]) -> list[dict[str, str]]:
    return [{"role": role, "fullName": dataset} for role in names for dataset in roles.get(role, ())]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
