"""The tables of a job: their names, which another run finds again, and their statements.

They are beside the output table, and named after it: `SPCS_LLM_<digest>_…`.

| table | rows |
| --- | --- |
| `…_SETTINGS` | one: whose turn it is, and the users' texts |
| `…_QUESTIONS` | one for each row of the input: key, prompt, and the columns to keep |
| `…_ANSWERS`, `…_VECTORS` | one for each row that was answered or failed; it survives a stop |

Engine JOB has a stage `…_RESULTS` and jobs `…_J<digest>_<number>` beside them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from spcs_llm.control.identifiers import QualifiedName

PREFIX = "SPCS_LLM_"
FINISHED = "FINISHED"  # instead of a PROMPT_KEY: the run that has the answers came to its end
NO_TEXT = "The text is NULL or empty."  # why a row is not embedded
HASHES = 2**64  # values of MD5_NUMBER_LOWER64


@dataclass(frozen=True)
class WorkTables:
    """The names of a job's tables, as statements have them.

    Attributes:
        stale: The table of answers that a job of the other task would have: its answers are of another type.
        stage: The stage for the results of engine JOB.
        mark: What all these names begin with, without database and schema.
    """

    settings: str
    questions: str
    answers: str
    stale: str
    stage: str
    mark: str


def work_tables(output: QualifiedName, *, chat: bool) -> WorkTables:
    """The tables of the job that writes an output table.

    Args:
        output: The output table.
        chat: Whether the answers are texts, or vectors.

    Returns:
        Their names.
    """
    mark = PREFIX + hashlib.sha256(output.sql.encode()).hexdigest()[:12].upper()
    answers, stale = ("ANSWERS", "VECTORS") if chat else ("VECTORS", "ANSWERS")

    def name(kind: str) -> str:
        return QualifiedName(output.database, output.schema, f"{mark}_{kind}").sql

    return WorkTables(name("SETTINGS"), name("QUESTIONS"), name(answers), name(stale), name("RESULTS"), mark)


def drop(table: str) -> str:
    """Drops a table of the job's."""
    return f"DROP TABLE IF EXISTS {table}"


def create_answers(table: str, answer_type: str) -> str:
    """Creates the table of answers, unless a run before has left one.

    Args:
        table: The table.
        answer_type: VARCHAR or ARRAY.

    Returns:
        The statement.
    """
    return (
        f"CREATE TRANSIENT TABLE IF NOT EXISTS {table} (ROW_KEY VARCHAR, PROMPT_KEY VARCHAR, ANSWER {answer_type}, "
        "ERROR VARCHAR, FINISH_REASON VARCHAR, TOKENS NUMBER(38, 0))"
    )


def best_answers(tables: WorkTables) -> str:
    """The query for one answer to each question: a good one rather than a failure, whatever was inserted twice."""
    return (
        f"SELECT Q.ROW_KEY, A.ANSWER, A.ERROR, A.FINISH_REASON, A.TOKENS FROM {tables.questions} AS Q "
        f"JOIN {tables.answers} AS A ON A.ROW_KEY = Q.ROW_KEY AND A.PROMPT_KEY = Q.PROMPT_KEY "
        "QUALIFY ROW_NUMBER() OVER (PARTITION BY Q.ROW_KEY ORDER BY IFF(A.ERROR IS NULL, 0, 1)) = 1"
    )


def unanswered(tables: WorkTables) -> str:
    """The condition for a question Q that has neither an answer nor a failure."""
    return (
        f"NOT EXISTS (SELECT 1 FROM {tables.answers} AS A "
        "WHERE A.ROW_KEY = Q.ROW_KEY AND A.PROMPT_KEY = Q.PROMPT_KEY)"
    )


@dataclass(frozen=True)
class Slice:
    """Questions by a range of their hashes, from `low` on and below `high`."""

    low: int
    high: int

    @property
    def condition(self) -> str:
        """The condition for a question Q of this slice."""
        return f"Q.HASH >= {self.low} AND Q.HASH < {self.high}"

    def halves(self) -> tuple[Slice, Slice]:
        """Two slices that together are this one."""
        middle = (self.low + self.high) // 2
        return Slice(self.low, middle), Slice(middle, self.high)

    @property
    def is_one_hash(self) -> bool:
        """Whether it cannot be divided."""
        return self.high - self.low <= 1


def slices(count: int) -> list[Slice]:
    """Slices of about the same number of questions, which together are all questions.

    Args:
        count: How many.

    Returns:
        The slices.
    """
    edges = [HASHES * i // count for i in range(count + 1)]
    return [Slice(low, high) for low, high in zip(edges, edges[1:])]
