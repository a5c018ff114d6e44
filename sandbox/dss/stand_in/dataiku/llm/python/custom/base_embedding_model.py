"""The older place of the embedding base class."""

from dataiku.llm.python.bases import BaseEmbeddingModel

__all__ = ["BaseEmbeddingModel"]
