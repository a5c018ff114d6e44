"""What became of a job, in the log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from spcs_llm.server_text.log_lines import one_line_logger

logger = one_line_logger(__name__)


@dataclass(frozen=True)
class Report:
    """What became of the rows.

    Attributes:
        rows: All rows of the job.
        answered: Rows in the output with an answer.
        failed: Rows that failed.
        asked: Rows that this run asked the model for.
        seconds: How long the run took.
        cost: USD for that time; None if it is not known.
    """

    rows: int
    answered: int
    failed: int
    asked: int
    seconds: float
    cost: float | None


def tell(report: Report, counts: Mapping[str, int], max_tokens: int, answers: str) -> None:
    """Writes what became of the rows to the log.

    Args:
        report: What became of them.
        counts: What else was counted: tokens, and answers that were cut.
        max_tokens: The most tokens of an answer.
        answers: The table that keeps the answers if rows failed.
    """
    speed = report.asked / report.seconds if report.seconds > 0 else 0.0
    cost = "" if report.cost is None else f" At the rate above this costs about USD {report.cost:,.2f}."
    logger.info(
        "%s rows: %s answered, %s failed. This run asked for %s in %s, %.1f rows a second.%s",
        *(f"{number:,}" for number in (report.rows, report.answered, report.failed, report.asked)),
        duration(report.seconds),
        speed,
        cost,
    )
    if counts["tokens"]:
        logger.info("The service counted %s tokens.", f"{counts['tokens']:,}")
    if counts["cut"]:
        logger.warning(
            "%s answers were cut at 'Maximum output tokens' (%d).",
            f"{counts['cut']:,}",
            max_tokens,
        )
    if report.failed:
        logger.warning(
            "%s rows failed. Their reasons are in the output. Select 'Try failed rows again' and run the recipe "
            "again to try them; table %s keeps the answers until then.",
            f"{report.failed:,}",
            answers,
        )


def duration(seconds: float) -> str:
    """Seconds for people."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
