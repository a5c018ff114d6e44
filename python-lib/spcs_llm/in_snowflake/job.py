"""A job inside Snowflake, from its settings to its outputs. It may stop anywhere: the next run goes on from there."""

from __future__ import annotations

from spcs_llm.errors import SqlError
from spcs_llm.in_snowflake.completion import Completion
from spcs_llm.in_snowflake.engine import Answered, Engine
from spcs_llm.in_snowflake.engine_choice import choose_engine
from spcs_llm.in_snowflake.preparation import Preparation
from spcs_llm.in_snowflake.questions import Questions
from spcs_llm.in_snowflake.refused_slices import without_values
from spcs_llm.in_snowflake.report import Report, tell
from spcs_llm.in_snowflake.work import Work
from spcs_llm.server_text.log_lines import one_line_logger

logger = one_line_logger(__name__)


def run_job(work: Work) -> Report:
    """Runs a job. Whatever statement of it fails, no error quotes a cell: the input may be a view that cannot be read.

    Args:
        work: What it works on.

    Returns:
        What became of the rows.

    Raises:
        SpcsError: If the job cannot be done, or not now. What was answered is kept for the next run.
    """
    try:
        return _run(work)
    except SqlError as error:
        raise without_values(error) from None


def _run(work: Work) -> Report:
    began = work.clock()
    preparation = Preparation(work.settings, work.session, work.place, work.tables)
    logger.info("Statements run as %s.", preparation.whose())
    questions = preparation.plan()
    engine = choose_engine(work, preparation.rows)
    preparation.make_tables(questions, engine.described, work.run_id)
    finished = False
    try:
        report = _answered(work, engine, questions, began)
        finished = True
        return report
    finally:
        engine.close(finished=finished)


def _answered(work: Work, engine: Engine, questions: Questions, began: float) -> Report:
    try:
        answered = engine.answer()
        work.check_turn()
        return _completed(work, questions, answered, began)
    except SqlError as error:
        if error.is_absent:
            work.check_turn()  # another run replaces and drops these tables
        raise


def _completed(work: Work, questions: Questions, answered: Answered, began: float) -> Report:
    counts = Completion(work.settings, work.session, work.place, work.tables).complete(questions)
    seconds = work.clock() - began
    cost = answered.rate.cost(seconds)
    report = Report(counts["rows"], counts["answered"], counts["failed"], answered.asked, seconds, cost)
    tell(report, counts, work, answered.rate)
    return report
