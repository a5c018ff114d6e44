"""The recipe *Run a model inside Snowflake*, with what DSS provides handed in by its own file."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable

from spcs_llm.control.families import price_list
from spcs_llm.errors import SettingsError
from spcs_llm.in_snowflake.datasets import Dataset, UnfitDataset, current_schema, read_dataset
from spcs_llm.in_snowflake.form import read_settings
from spcs_llm.in_snowflake.job import run_job
from spcs_llm.in_snowflake.place import Place
from spcs_llm.in_snowflake.report import Report
from spcs_llm.in_snowflake.session import Executor, JobSession
from spcs_llm.in_snowflake.stopping import ends_on_termination
from spcs_llm.in_snowflake.work import Work
from spcs_llm.server_text.log_lines import one_line_logger

logger = one_line_logger(__name__)

INPUT, OUTPUT, FAILURES = "input", "output", "failures"
_LABELS = {INPUT: "Input", OUTPUT: "Output", FAILURES: "Failed rows"}


@dataclass(frozen=True)
class DatasetOfDss:
    """A dataset of the recipe.

    Attributes:
        name: Its full name.
        location: What `Dataset.get_location_info()` returns.
        config: What `Dataset.get_config()` returns.
    """

    name: str
    location: Any
    config: Any


@dataclass(frozen=True)
class Dss:
    """What DSS provides.

    Attributes:
        executor: Makes a `dataiku.SQLExecutor2` for a connection.
        write: Writes the rows of a query to a dataset, by `SQLExecutor2.exec_recipe_fragment`: the dataset's name, the
            query, and statements to run before it in the same session.
    """

    executor: Callable[[str], Executor]
    write: Callable[[str, str, list[str]], None]


def run_recipe(
    config: Any,
    datasets: Mapping[str, Sequence[DatasetOfDss]],
    dss: Dss,
    sleep: Callable[[float], Any] = time.sleep,  # noqa: TID251 - a job waits here, no query does
) -> Report:
    """Runs the recipe.

    Args:
        config: The form's values.
        datasets: The datasets by role: input, output, failures.
        dss: What DSS provides.
        sleep: Makes pauses.

    Returns:
        What became of the rows.

    Raises:
        SpcsError: If the job cannot be done, or not now. What was answered is kept for the next run.
    """
    found, complaints = _read_datasets(datasets)
    settings = None
    try:
        settings = read_settings(config)
    except SettingsError as error:
        complaints.append(error.message)
    if complaints or settings is None:
        raise SettingsError(" ".join(complaints), "Correct the settings of the recipe.")
    output = found[OUTPUT]
    session = JobSession(
        lambda: dss.executor(output.connection),
        warehouse=settings.warehouse,
        tag={"recipe": "in-snowflake", "output": output.name},
    )
    needs_default = any(not (dataset.database and dataset.schema) for dataset in found.values())
    database, schema = current_schema(session) if needs_default else ("", "")
    tables = {role: dataset.located(database, schema) for role, dataset in found.items()}
    for role, table in tables.items():
        if not (table.database and table.schema):
            raise SettingsError(
                f"{_LABELS[role]} '{found[role].name}' has no database or schema, and its connection has none either.",
                "Enter them in the settings of the dataset, or ask a DSS administrator to set them in the connection.",
            )

    # Only now: one may name the database that the other has from its connection.
    if len(set(tables.values())) < len(tables):
        raise SettingsError(
            "Two of the datasets are the same table.",
            "Select another dataset for one of them, or enter another table in its settings.",
        )

    def write(role: str, query: str, before: list[str]) -> None:
        dss.write(found[role].name, query, before)

    place = Place(tables[INPUT], tables[OUTPUT], tables.get(FAILURES), write)
    with ends_on_termination():
        return run_job(Work(settings, session, place, price_list(), sleep=sleep))


def _read_datasets(datasets: Mapping[str, Sequence[DatasetOfDss]]) -> tuple[dict[str, Dataset], list[str]]:
    found: dict[str, Dataset] = {}
    complaints: list[str] = []
    for role, label in _LABELS.items():
        given = datasets.get(role) or []
        if not given and role != FAILURES:
            complaints.append(f"{label} is missing: select a dataset.")
        for one in given[:1]:
            try:
                found[role] = read_dataset(one.name, one.location, one.config, label)
            except UnfitDataset as problem:
                complaints.append(str(problem))
    connections = {dataset.connection for dataset in found.values()}
    if len(connections) > 1:
        listed = ", ".join(
            f"{_LABELS[role]} '{dataset.name}' on {dataset.connection}" for role, dataset in found.items()
        )
        complaints.append(
            f"All datasets must be on one connection, so that no row leaves Snowflake: {listed}."
        )
    return found, complaints
