"""SQL on a connection of DSS, which runs it: start, stream, verify. Each call has its own database session.

Source: public copies of `dataiku/core/sql.py`; the three steps go through the public API, which has the same three.
Values cross as tab-separated text. So a NULL text arrives as "", and a data frame's types are what pandas makes of the
text: "007" becomes 7.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from dataiku.core.base import api_client


class SQLExecutor2:
    """`connection` is a connection's name. What `dataset` does is not stood in for."""

    def __init__(self, connection: str | None = None, dataset: Any = None) -> None:
        if connection and dataset:
            raise ValueError("only one of connection or dataset should be given")
        if dataset:
            raise NotImplementedError("this stand-in has connections only, no datasets")
        self._connection = connection

    @staticmethod
    def exec_recipe_fragment(
        output_dataset: Any,
        query: str,
        pre_queries: Sequence[str] = (),
        post_queries: Sequence[str] = (),
        overwrite_output_schema: bool = True,
        drop_partitioned_on_schema_mismatch: bool = False,
    ) -> None:
        """INSERT INTO … SELECT into an output of the recipe, whose table DSS makes. Only inside a recipe."""
        order = {
            "outputDataset": output_dataset.full_name,
            "query": query,
            "preQueries": list(pre_queries),
            "postQueries": list(post_queries),
            "overwriteOutputSchema": overwrite_output_schema,
        }
        api_client()._perform_json("POST", "/kernels/recipe-fragment", body=order)

    def query_to_iter(
        self,
        query: str,
        pre_queries: Sequence[str] | None = None,
        post_queries: Sequence[str] | None = None,
        extra_conf: Mapping[str, Any] | None = None,
        **script: Any,
    ) -> QueryReader:
        """Runs the statements in one session; without COMMIT in `post_queries` it is rolled back."""
        return QueryReader(self._name(), query, pre_queries, post_queries, extra_conf)

    def query_to_df(
        self,
        query: str,
        pre_queries: Sequence[str] | None = None,
        post_queries: Sequence[str] | None = None,
        extra_conf: Mapping[str, Any] | None = None,
        infer_from_schema: bool = False,
        parse_dates: bool = True,
        bool_as_str: bool = False,
        dtypes: Any = None,
        **script: Any,
    ) -> Any:
        """The rows as a data frame of pandas, which guesses the types unless `infer_from_schema` or `dtypes`."""
        import pandas as pd

        reader = QueryReader(self._name(), query, pre_queries, post_queries, extra_conf)
        if not reader.has_results:
            return pd.DataFrame()
        dates: list[str] = []
        if infer_from_schema:
            schema = reader.get_schema()
            dtypes = {column["name"]: _PANDAS_TYPES.get(column["type"], "object") for column in schema}
            if bool_as_str:
                dtypes = {name: "object" if kind == "bool" else kind for name, kind in dtypes.items()}
            moments = ("date", "dateonly", "datetimenotz")
            dates = [column["name"] for column in schema if column["type"] in moments] if parse_dates else []
        names = [column["name"] for column in reader.get_schema()]
        with reader.stream() as body:
            frame = pd.read_table(
                body, sep="\t", doublequote=True, quotechar='"', header=None, names=names, dtype=dtypes,
                parse_dates=dates or None,
            )  # fmt: skip
        reader.verify()
        return frame

    def _name(self) -> str:
        if not self._connection:
            raise ValueError("SQLExecutor2 not configured: either 'connection' or 'dataset' are required")
        return self._connection


class QueryReader:
    """The rows of a statement that has run."""

    def __init__(
        self,
        connection: str,
        query: str,
        pre_queries: Sequence[str] | None,
        post_queries: Sequence[str] | None,
        extra_conf: Mapping[str, Any] | None,
    ) -> None:
        self._client = api_client()
        order = {
            "connection": connection,
            "query": query,
            "preQueries": list(pre_queries or []),
            "postQueries": list(post_queries or []),
            "type": "sql",
            "extraConf": dict(extra_conf or {}),
        }
        self._started = self._client._perform_json("POST", "/sql/queries/", body=order)

    @property
    def has_results(self) -> bool:
        return bool(self._started["hasResults"])

    def get_schema(self) -> Any:
        """A list of columns: name, type of DSS, and `originalType`. A statement without rows has none: KeyError."""
        return self._started["schema"]

    def iter_tuples(self, log_every: int = -1, no_header: bool = False) -> Iterator[list[Any]]:
        """The rows; raises at their end for what failed on the way."""
        if not self.has_results:
            return
        casters = [_CASTERS.get(column["type"], str) for column in self.get_schema()]
        with self.stream() as body:
            lines = (line.decode("utf-8") for line in body)
            for row in csv.reader(lines, delimiter="\t", quotechar='"', doublequote=True):
                yield [_cast(caster, value) for caster, value in zip(casters, row)]
        self.verify()

    def stream(self) -> Any:
        query_id = self._started["queryId"]
        path = f"/sql/queries/{query_id}/stream"
        return self._client._perform_raw("GET", path, params={"format": "tsv-excel-noheader"}).raw

    def verify(self) -> None:
        self._client._perform_empty("GET", f"/sql/queries/{self._started['queryId']}/finish-streaming")


def _cast(caster: Callable[[str], Any], value: str) -> Any:
    try:
        return caster(value)
    except Exception:
        return None


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


_CASTERS: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(("tinyint", "smallint", "int", "bigint"), int),
    **dict.fromkeys(("float", "double"), float),
    **dict.fromkeys(("date", "dateonly", "datetimenotz"), _moment),
    "boolean": lambda text: text.lower() == "true",
}
_PANDAS_TYPES = {
    **dict.fromkeys(("tinyint", "smallint", "int", "bigint", "float", "double"), "float64"),
    "boolean": "bool",
}
