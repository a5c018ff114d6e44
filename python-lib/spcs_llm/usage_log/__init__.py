"""The usage log: one line for each query, in a folder that an administrator names. Off unless one is named."""

from spcs_llm.usage_log.lines import UsageLine, endpoint_mark
from spcs_llm.usage_log.logged_model import logged
from spcs_llm.usage_log.reader import read_usage
from spcs_llm.usage_log.settings import usage_log_folder

__all__ = ["UsageLine", "endpoint_mark", "logged", "read_usage", "usage_log_folder"]
