"""From responses to rows of the table of answers: an INSERT around the SELECT that calls the model."""

from __future__ import annotations

from spcs_llm.in_snowflake.answer_fields import problem, value
from spcs_llm.in_snowflake.form import JobSettings
from spcs_llm.in_snowflake.responses import (
    answer_in,
    chat_problem,
    embedding_problem,
    finish_reason,
    is_there,
    json_in,
    text,
    tokens,
    vector,
)
from spcs_llm.in_snowflake.work_tables import WorkTables

_INTO = "(ROW_KEY, PROMPT_KEY, ANSWER, ERROR, FINISH_REASON, TOKENS)"


def answers_of(settings: JobSettings, tables: WorkTables, asked: str) -> str:
    """The statement that asks and keeps the answers.

    Args:
        settings: The settings.
        tables: The job's tables.
        asked: A SELECT of ROW_KEY, PROMPT_KEY and RESPONSE.

    Returns:
        An INSERT. What is used more than once is a column of a subquery, so that the statement stays short. Questions
        whose response is NULL stay questions.
    """
    into = f"INSERT INTO {tables.answers} {_INTO}"
    if not settings.is_chat:
        read = f"SELECT C.ROW_KEY, C.PROMPT_KEY, C.RESPONSE, {vector('C.RESPONSE')} AS ANSWER FROM ({asked}) AS C"
        error = embedding_problem("D.RESPONSE", "D.ANSWER")
        return (
            f"{into} SELECT D.ROW_KEY, D.PROMPT_KEY, D.ANSWER, {error}, NULL, NULL FROM ({read}) AS D "
            f"WHERE {is_there('D.RESPONSE')}"
        )
    read = (
        f"SELECT C.ROW_KEY, C.PROMPT_KEY, C.RESPONSE, {text('C.RESPONSE')} AS SAID, "
        f"{finish_reason('C.RESPONSE')} AS FINISH, {tokens('C.RESPONSE')} AS TOKENS FROM ({asked}) AS C"
    )
    read = _with_answer(answer_in("B.SAID"), f"({read}) AS B", "B")
    otherwise = "NULL"
    if settings.fields:
        read = _with_answer(json_in("A.ANSWER"), f"({read}) AS A", "A")
        read = (
            f"SELECT D.ROW_KEY, D.PROMPT_KEY, D.RESPONSE, D.ANSWER, D.FINISH, D.TOKENS, "
            f"TRY_PARSE_JSON(D.ANSWER) AS PARSED, PARSE_JSON(P.FIELDS) AS FIELDS "
            f"FROM ({read}) AS D CROSS JOIN {tables.settings} AS P"
        )
        names = [f"V_{position}" for position in range(len(settings.fields))]
        values = ", ".join(f"{value(i, 'E.PARSED', 'E.FIELDS')} AS {name}" for i, name in enumerate(names))
        read = (
            "SELECT E.ROW_KEY, E.PROMPT_KEY, E.RESPONSE, E.ANSWER, E.FINISH, E.TOKENS, E.PARSED, E.FIELDS, "
            f"{values} FROM ({read}) AS E"
        )
        otherwise = problem(settings.fields, "F.PARSED", [f"F.{name}" for name in names], "F.FIELDS")
    error = chat_problem("F.RESPONSE", "F.ANSWER", "F.FINISH", otherwise, structured=bool(settings.fields))
    return (
        f"{into} SELECT F.ROW_KEY, F.PROMPT_KEY, F.ANSWER, {error}, F.FINISH, F.TOKENS FROM ({read}) AS F "
        f"WHERE {is_there('F.RESPONSE')}"
    )


def _with_answer(answer: str, source: str, alias: str) -> str:
    """The columns of a subquery, with this expression as the answer."""
    others = ", ".join(
        f"{alias}.{name}" for name in ("ROW_KEY", "PROMPT_KEY", "RESPONSE", "FINISH", "TOKENS")
    )
    return f"SELECT {others}, {answer} AS ANSWER FROM {source}"
