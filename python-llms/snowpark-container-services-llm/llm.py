"""The classes that DSS finds by their base: one each for chat, embedding and reranking models."""

from dataiku.llm.python import BaseLLM

from spcs_llm.model import Model
from spcs_llm.query_context import log_steps
from spcs_llm.usage_log import logged

try:
    from dataiku.llm.python import BaseEmbeddingModel
except ImportError:
    try:  # where some versions of DSS 14 have it
        from dataiku.llm.python.custom.base_embedding_model import BaseEmbeddingModel
    except ImportError:
        BaseEmbeddingModel = None

try:
    from dataiku.llm.python import BaseRerankingModel
except ImportError:  # before DSS 15
    BaseRerankingModel = None


def _access_token(credentials):
    """The user's OAuth access token: from DSS 14.5 on, DSS refreshes it when it is about to expire."""
    from dataiku.core.plugin import OAuthCredentials

    return OAuthCredentials(credentials).access_token


class _Configured:
    def set_config(self, config, plugin_config):
        log_steps(plugin_config)
        self.model = logged(Model(config, _access_token), plugin_config)


class SpcsChatModel(_Configured, BaseLLM):
    def get_max_parallelism(self):
        return self.model.chat_parallelism

    def process(self, query, settings, trace):
        return self.model.complete(query, settings, trace)

    def process_stream(self, query, settings, trace):
        yield from self.model.stream(query, settings, trace)


if BaseEmbeddingModel is not None:

    class SpcsEmbeddingModel(_Configured, BaseEmbeddingModel):
        def get_max_parallelism(self):
            return self.model.row_parallelism

        def process(self, query, settings, trace):
            return self.model.embed(query, settings, trace)


if BaseRerankingModel is not None:

    class SpcsRerankingModel(_Configured, BaseRerankingModel):
        def get_max_parallelism(self):
            return self.model.row_parallelism

        def process(self, query, settings, trace):
            return self.model.rerank(query, settings, trace)
