"""Loggers of which each record is one line of visible characters.

Names of services, roles and users are somebody else's texts as well: in double quotes they may have line ends and
escape sequences, and DSS writes what is logged into its own log as it is.
"""

from __future__ import annotations

import logging

from spcs_llm.server_text.foreign_text import plain

_MOST = 20_000  # characters: a record of the diagnosis is one line


class _OneLine(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if not text.isprintable():
            record.msg, record.args = plain(text, _MOST), None
        return True


def one_line_logger(name: str) -> logging.Logger:
    """The logger of this name, whose records are one line each.

    Args:
        name: The name: `__name__` of the module that logs.

    Returns:
        The logger, which is the same for the same name.
    """
    logger = logging.getLogger(name)  # noqa: TID251 - all others are made here
    if not logger.filters:
        logger.addFilter(_OneLine())
    return logger
