"""The macro *Resume services*. DSS copies this file by itself: everything else is in python-lib."""

from dataiku.runnables import ResultTable, Runnable

from spcs_llm.control.macros import resume_services
from spcs_llm.control.open_session import Dss


def _executor(connection):
    from dataiku import SQLExecutor2

    return SQLExecutor2(connection=connection)


def _access_token(credentials):
    """The user's OAuth access token: from DSS 14.5 on, DSS refreshes it when it is about to expire."""
    from dataiku.core.plugin import OAuthCredentials

    return OAuthCredentials(credentials).access_token


class ResumeServices(Runnable):
    def __init__(self, project_key, config, plugin_config):
        self.config = config

    def get_progress_target(self):
        return (100, "NONE")

    def run(self, progress_callback):
        table = resume_services(
            self.config, Dss(_executor, _access_token), lambda percent: progress_callback(int(percent))
        )
        return table.shown_in(ResultTable())
