"""What became of a job, in the log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from spcs_llm.in_snowflake.estimate import Rate
from spcs_llm.in_snowflake.figures import counted, usd
from spcs_llm.in_snowflake.work import Work
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


def tell(report: Report, counts: Mapping[str, int], work: Work, rate: Rate) -> None:
    """Writes what became of the rows to the log.

    Args:
        report: What became of them.
        counts: What else was counted: tokens, and answers that were cut.
        work: What the run has worked on.
        rate: What ran meanwhile.
    """
    settings = work.settings
    speed = report.asked / report.seconds if report.seconds > 0 else 0.0
    hourly, spent = rate.usd_per_hour, report.cost
    cost = (
        "" if hourly is None or spent is None else f" At {usd(hourly)} an hour, that cost about {usd(spent)}."
    )
    logger.info(
        "%s: %s answered, %s failed. This run asked for %s in %s, %.1f rows a second.%s",
        counted(report.rows, "row"),
        *(f"{number:,}" for number in (report.answered, report.failed, report.asked)),
        duration(report.seconds),
        speed,
        cost,
    )
    if counts["tokens"]:
        logger.info("The service counted %s.", counted(counts["tokens"], "token"))
    if counts["cut"]:
        logger.warning(
            "'Maximum output tokens' (%d) has cut %s.",
            settings.max_tokens,
            counted(counts["cut"], "answer"),
        )
    if report.failed:
        logger.warning(
            "%s failed, with the reason in column %s of %s. To ask the model again, select 'Try failed rows again' and "
            "run the recipe; table %s keeps the answers until then.",
            counted(report.failed, "row"),
            settings.error,
            "the output" if work.place.failures is None else "'Failed rows'",
            work.tables.answers,
        )


def duration(seconds: float) -> str:
    """Seconds for people."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
