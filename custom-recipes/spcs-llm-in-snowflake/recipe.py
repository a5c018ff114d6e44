"""The recipe *Run a model inside Snowflake*. DSS runs this file as a script: everything else is in python-lib."""

import logging

import dataiku
from dataiku.customrecipe import get_input_names_for_role, get_output_names_for_role, get_recipe_config

from spcs_llm.in_snowflake.recipe import DatasetOfDss, Dss, run_recipe

logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")


def _dataset(name):
    dataset = dataiku.Dataset(name)
    return DatasetOfDss(name, dataset.get_location_info(), dataset.get_config())


def _executor(connection):
    return dataiku.SQLExecutor2(connection=connection)


def _write(output, query, before):
    """DSS owns the output: it makes the table and its schema, and inserts the rows inside Snowflake."""
    dataiku.SQLExecutor2.exec_recipe_fragment(dataiku.Dataset(output), query, pre_queries=before)


run_recipe(
    get_recipe_config(),
    {
        "input": [_dataset(name) for name in get_input_names_for_role("input")],
        "output": [_dataset(name) for name in get_output_names_for_role("output")],
        "failures": [_dataset(name) for name in get_output_names_for_role("failures")],
    },
    Dss(_executor, _write),
)
