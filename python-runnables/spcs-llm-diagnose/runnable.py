"""The macro Diagnose an endpoint. DSS copies this file by itself: what it does is in python-lib."""

from dataiku.runnables import ResultTable, Runnable

from spcs_llm.control.diagnosis.macro import DiagnoseMacro, Surroundings
from spcs_llm.control.diagnosis.report import COLUMNS
from spcs_llm.control.open_session import Dss


def _access_token(credentials):
    """The user's OAuth access token: from DSS 14.5 on, DSS refreshes it when it is about to expire."""
    from dataiku.core.plugin import OAuthCredentials

    return OAuthCredentials(credentials).access_token


def _executor(connection):
    from dataiku import SQLExecutor2

    return SQLExecutor2(connection=connection)


def _version():
    import dataiku

    return dataiku.api_client().get_instance_info().raw.get("dssVersion")


class DiagnoseEndpoint(Runnable):
    def __init__(self, project_key, config, plugin_config):
        self.macro = DiagnoseMacro(config, Surroundings(Dss(_executor, _access_token), _version))

    def get_progress_target(self):
        return (self.macro.count, "NONE")

    def run(self, progress_callback):
        table = ResultTable()
        table.set_name("Diagnosis")
        rows = self.macro.run(progress_callback)
        for name, label in COLUMNS:
            table.add_column(name, label, "STRING")
        for row in rows:
            table.add_record(row)
        return table
