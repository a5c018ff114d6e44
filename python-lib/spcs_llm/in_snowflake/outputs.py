"""The queries whose rows DSS writes to the outputs, and those that check what was written."""

from __future__ import annotations

from dataclasses import dataclass

from spcs_llm.control.identifiers import QualifiedName, quoted
from spcs_llm.in_snowflake.answer_fields import AnswerField, value
from spcs_llm.in_snowflake.form import VECTOR, JobSettings
from spcs_llm.in_snowflake.questions import Questions
from spcs_llm.in_snowflake.work_tables import WorkTables, best_answers


@dataclass(frozen=True)
class Outputs:
    """What the outputs are made of.

    Attributes:
        settings: The settings.
        questions: The questions.
        tables: The job's tables.
        dimensions: The length of the vectors; None for chats.
        as_text: Whether arrays, objects and vectors are written as JSON text: DSS may make text columns for them.
    """

    settings: JobSettings
    questions: Questions
    tables: WorkTables
    dimensions: int | None = None
    as_text: bool = False

    def answers(self, *, with_failures: bool) -> str:
        """The query for the output.

        Args:
            with_failures: Whether failed rows are in it too, with their reasons, as there is no dataset for them.

        Returns:
            A SELECT without WITH, which DSS could not turn into an INSERT.
        """
        columns = [*self._kept(), *self._answer_columns()]
        where = "WHERE R.ERROR IS NULL"
        if with_failures:
            columns.append(f"R.ERROR AS {self._error}")
            where = ""
        return self._query(columns, where)

    def failures(self) -> str:
        """The query for the failed rows, each with its reason."""
        return self._query([*self._kept(), f"R.ERROR AS {self._error}"], "WHERE R.ERROR IS NOT NULL")

    @property
    def _error(self) -> str:
        return quoted(self.settings.error)

    def _kept(self) -> list[str]:
        return [
            f"{column.in_text_column(f'Q.K_{i}') if self.as_text else f'Q.K_{i}'} AS {quoted(column.name)}"
            for i, column in enumerate(self.questions.kept)
        ]

    def _answer_columns(self) -> list[str]:
        settings = self.settings
        if settings.fields:
            return [
                f"{self._field(i, field)} AS {quoted(field.name)}" for i, field in enumerate(settings.fields)
            ]
        answer = self._good("R.ANSWER")
        if self.dimensions is not None:
            answer = self._vector(answer, self.dimensions)
        return [f"{answer} AS {quoted(settings.output)}"]

    def _field(self, position: int, field: AnswerField) -> str:
        found = self._good(value(position, "TRY_PARSE_JSON(R.ANSWER)", "PARSE_JSON(P.FIELDS)"))
        if self.as_text and field.column_type in ("ARRAY", "OBJECT"):
            return f"TO_JSON({found})"
        return f"{found}::{field.column_type}"

    def _vector(self, answer: str, dimensions: int) -> str:
        if self.as_text:
            return f"TO_JSON({answer})"
        return f"{answer}::VECTOR(FLOAT, {dimensions})" if self.settings.vector_type == VECTOR else answer

    @staticmethod
    def _good(expression: str) -> str:
        return f"IFF(R.ERROR IS NULL, {expression}, NULL)"

    def _query(self, columns: list[str], where: str) -> str:
        tables = self.tables
        return (
            f"SELECT {', '.join(columns)} FROM {tables.questions} AS Q "
            f"JOIN ({best_answers(tables)}) AS R ON R.ROW_KEY = Q.ROW_KEY "
            f"CROSS JOIN {tables.settings} AS P {where}"
        ).rstrip()


def summary(tables: WorkTables) -> str:
    """The query for what became of the questions."""
    return (
        'SELECT COUNT(*) AS "rows", COUNT_IF(R.ERROR IS NULL AND R.ROW_KEY IS NOT NULL) AS "answered", '
        "COUNT_IF(R.ERROR IS NOT NULL) AS \"failed\", COUNT_IF(R.FINISH_REASON = 'length' AND R.ERROR IS NULL) "
        'AS "cut", '
        f'SUM(R.TOKENS) AS "tokens" FROM {tables.questions} AS Q '
        f"LEFT JOIN ({best_answers(tables)}) AS R ON R.ROW_KEY = Q.ROW_KEY"
    )


def dimensions(tables: WorkTables) -> str:
    """The query for the lengths of the vectors that are written: another model may have left others."""
    return (
        'SELECT MIN(ARRAY_SIZE(R.ANSWER)) AS "least", MAX(ARRAY_SIZE(R.ANSWER)) AS "most" '
        f"FROM ({best_answers(tables)}) AS R WHERE R.ERROR IS NULL"
    )


def count(table: QualifiedName) -> str:
    """The query for how many rows a table has."""
    return f'SELECT COUNT(*) AS "rows" FROM {table.sql}'
