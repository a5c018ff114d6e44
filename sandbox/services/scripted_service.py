"""The scripted model behind one of the protocols, in this process."""

from __future__ import annotations

from typing import Any

from sandbox.services.local import LocalService
from sandbox.services.model_serving import model_serving_app
from sandbox.services.openai_scripted import openai_app
from sandbox.services.predict import predict_app
from sandbox.services.scripted import ScriptedModel, Stats

SERVERS = {"PREDICT": predict_app, "MODEL_SERVING": model_serving_app, "OPENAI": openai_app}
MODEL_OPTIONS = frozenset(ScriptedModel.__init__.__kwdefaults__ or {}) | {"kind"}


class ScriptedService(LocalService):
    """`options` go to the model (see `ScriptedModel`) or to the server; `stats` can be read at any time."""

    def __init__(self, protocol: str = "PREDICT", **options: Any) -> None:
        self.model = ScriptedModel(**{k: v for k, v in options.items() if k in MODEL_OPTIONS})
        server: Any = SERVERS[protocol]
        app = server(self.model, **{k: v for k, v in options.items() if k not in MODEL_OPTIONS})
        super().__init__(app, "scripted-service")

    @property
    def stats(self) -> Stats:
        return self.model.stats
