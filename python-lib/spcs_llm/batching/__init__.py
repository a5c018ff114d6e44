"""Group commit: queries that come while a request is in flight share the next one."""

from spcs_llm.batching.batcher import Batcher
from spcs_llm.batching.request import Job

__all__ = ["Batcher", "Job"]
