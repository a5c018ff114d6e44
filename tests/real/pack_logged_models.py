"""Packs two models as `Registry.log_model` of snowflake-ml-python 1.5.4 did: a pipeline, and a SentenceTransformer.

Run by the Python of that environment: `pack_logged_models.py SMOLLM2 MINILM FOLDER` writes chat.zip and embedding.zip.
"""

import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import pandas
import transformers
from sentence_transformers import SentenceTransformer
from snowflake.ml.model._packager import model_packager

END_OF_TURN = "<|im_end|>"


def pipeline(smollm2: Path, folder: Path) -> Any:
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(_older_tokenizer(smollm2, folder)), eos_token=END_OF_TURN, pad_token=END_OF_TURN
    )
    model = transformers.AutoModelForCausalLM.from_pretrained(smollm2)
    options = {"max_new_tokens": 32, "do_sample": False, "return_full_text": False}
    return transformers.pipeline("text-generation", model=model, tokenizer=tokenizer, **options)


def _older_tokenizer(smollm2: Path, folder: Path) -> Path:
    """The tokenizer's file with each merge as a text, which is how the tokenizers of that time read them."""
    described = json.loads((smollm2 / "tokenizer.json").read_text(encoding="utf-8"))
    merges = described["model"]["merges"]
    described["model"]["merges"] = [merge if isinstance(merge, str) else " ".join(merge) for merge in merges]
    file = folder / "tokenizer.json"
    file.write_text(json.dumps(described), encoding="utf-8")
    return file


def pack(name: str, model: Any, folder: Path, **more: Any) -> None:
    unpacked = folder / name
    options = {"embed_local_ml_library": False, "relax_version": True}
    model_packager.ModelPackager(str(unpacked)).save(name=name, model=model, options=options, **more)
    with zipfile.ZipFile(folder / f"{name}.zip", "w", zipfile.ZIP_STORED) as archive:
        for path in unpacked.rglob("*"):
            archive.write(path, path.relative_to(unpacked))


def main() -> None:
    smollm2, minilm, folder = map(Path, sys.argv[1:])
    pack("chat", pipeline(smollm2, folder), folder)
    embedder = SentenceTransformer(str(minilm))
    pack("embedding", embedder, folder, sample_input_data=pandas.DataFrame({"sentences": ["one"]}))


main()
