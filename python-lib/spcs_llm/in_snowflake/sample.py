"""Whether the first rows of a job have answers: if none has, the others would cost as much, and have none either."""

from __future__ import annotations

from spcs_llm.control import cells
from spcs_llm.errors import ModelError
from spcs_llm.in_snowflake.work import Work
from spcs_llm.in_snowflake.work_tables import NO_TEXT, best_answers

_LEAST = 16  # rows
# How the reasons begin for answers that are of no use. What a service refuses is divided, and stops a job elsewhere.
_USELESS = ("The answer", "The field", "The vector", "The response", "All elements")


def check_sample(work: Work, asked: int) -> None:
    """Stops a job of whose first rows none has an answer that is of use. Run again as it is, it goes on.

    Args:
        work: The questions.
        asked: How many of them this run has asked.

    Raises:
        ModelError: If no row has such an answer, and none was asked before this run.
    """
    useless = " OR ".join(f"LEFT(R.ERROR, {len(begin)}) = '{begin}'" for begin in _USELESS)
    rows = work.session.rows(
        f'SELECT COUNT(*) AS "rows", COUNT_IF({useless}) AS "useless", COUNT_IF(R.ERROR IS NULL) AS "answered", '
        f'MIN(CASE WHEN {useless} THEN R.ERROR ELSE NULL END) AS "reason" '
        f"FROM ({best_answers(work.tables)}) AS R WHERE COALESCE(R.ERROR, '') <> '{NO_TEXT}'"
    )
    found, failed, answered = (
        cells.whole(rows[0], name) or 0 if rows else 0 for name in ("rows", "useless", "answered")
    )
    if answered or found > asked or failed < _LEAST:
        return
    raise ModelError(
        f"None of the first {found:,} rows has a usable answer, so the others are not asked. "
        f"{cells.text(rows[0], 'reason')}",
        "Correct the prompt, 'JSON schema', 'Maximum output tokens' or the model, and run the recipe again with 'Try "
        "failed rows again'. To ask for the other rows all the same, run the recipe again without it.",
    )
