"""Group commit: queries that come while a request is in flight share the next one."""

from spcs_llm.batching.batch import BatchSpec
from spcs_llm.batching.batcher import Batcher

__all__ = ["BatchSpec", "Batcher"]
