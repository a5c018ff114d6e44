"""`BaseLLM` since 13, for custom LLMs since 14.1; the others came later (`sandbox.dss.release`)."""

from dataiku.llm.python.bases import BaseEmbeddingModel, BaseLLM, BaseRerankingModel, RetryableException

__all__ = ["BaseEmbeddingModel", "BaseLLM", "BaseRerankingModel", "RetryableException"]
