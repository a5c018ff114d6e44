"""Which engine answers the questions of a job."""

from __future__ import annotations

import logging

from spcs_llm.in_snowflake.engine import Engine
from spcs_llm.in_snowflake.form import AUTO
from spcs_llm.in_snowflake.service_engine import ServiceEngine
from spcs_llm.in_snowflake.work import Work

logger = logging.getLogger(__name__)


def choose_engine(work: Work) -> Engine:
    """Chooses the engine.

    Args:
        work: The questions.

    Returns:
        The engine, which is able to begin.

    Raises:
        SettingsError: If it cannot answer, with what it lacks.
    """
    if work.settings.engine == AUTO:
        logger.info("AUTO selects the engine SERVICE, as it is the only engine of this version.")
    return ServiceEngine(work, work.settings.service)
