"""What llama.cpp's own converter writes, tensor by tensor: the hashes of reference_tensors.json.

To make them again, with convert_hf_to_gguf.py in FOLDER (the source package of llama-cpp-python
has it in vendor/llama.cpp) and PYTHON an interpreter that has torch, transformers and
sentencepiece:

    python -m tests.convert.reference_tensors FOLDER PYTHON

The weights come from SHAKE-256, so they are the same everywhere and for ever.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from benchmarks.reference_converter import ReferenceConverter
from tests.convert.tiny import tiny_config, tiny_weights, write_tiny_checkpoint

STORED = Path(__file__).with_name("reference_tensors.json")
GOLDEN = Path(__file__).resolve().parents[2] / ".." / "shared" / "golden" / "tiny-checkpoint"

# Arguments of `write_tiny_checkpoint`. The golden checkpoint is tied, and holds its output matrix.
CASES: dict[str, dict[str, Any]] = {
    "bfloat16": {"dtype": "BF16"},
    "grouped heads": {"dtype": "BF16", "n_kv_heads": 2},
    "one key head": {"dtype": "BF16", "n_kv_heads": 1},
    "float32": {"dtype": "F32", "n_kv_heads": 2},
    "float16": {"dtype": "F16", "n_kv_heads": 2},
}


def write_checkpoint(case: str, folder: Path) -> Path:
    """A checkpoint of four heads with an output matrix of its own."""
    options = {"n_heads": 4, "n_kv_heads": 4, "tied": False, "form": "safetensors", **CASES[case]}
    config = tiny_config(num_attention_heads=4, num_key_value_heads=options["n_kv_heads"])
    shapes = {name: value.shape for name, value in tiny_weights(config, tied=False).items()}
    weights = {name: _values(name, shape) for name, shape in shapes.items()}
    return write_tiny_checkpoint(folder, weights=weights, **options)


def _values(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """From -1/8 to 1/8 in steps of 2^-18, which bfloat16 has to round; a norm's from 1/2 to 1."""
    stream = hashlib.shake_256(name.encode()).digest(2 * int(np.prod(shape)))
    values = np.frombuffer(stream, "<i2").reshape(shape).astype(np.float32) / np.float32(2**18)
    return values if len(shape) == 2 else np.float32(0.75) + 2 * values


def tensors_of(path: Path) -> dict[str, str]:
    """Type, shape and hash of every tensor of a GGUF."""
    return {
        tensor.name: f"{tensor.tensor_type.name} {tensor.shape.tolist()} "
        + hashlib.sha256(tensor.data.tobytes()).hexdigest()
        for tensor in gguf.GGUFReader(path).tensors
    }


def stored_tensors(case: str) -> Mapping[str, str]:
    """llama.cpp's, without an output matrix that only repeats the embedding."""
    tensors: dict[str, str] = json.loads(STORED.read_text("utf-8"))[case]
    if tensors["output.weight"] == tensors["token_embd.weight"]:
        del tensors["output.weight"]
    return tensors


def _make(reference: ReferenceConverter) -> dict[str, dict[str, str]]:
    reference.check()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        checkpoints = {case: write_checkpoint(case, folder / case) for case in CASES}
        checkpoints["golden"] = GOLDEN
        found = {}
        for case, checkpoint in checkpoints.items():
            reference.convert(checkpoint, folder / "reference.gguf")
            found[case] = tensors_of(folder / "reference.gguf")
        return found


if __name__ == "__main__":
    made = _make(ReferenceConverter(Path(sys.argv[1]), sys.argv[2]))
    STORED.write_text(json.dumps(made, indent=1) + "\n", "utf-8")
