"""Writes a GGUF again with something changed, by the gguf package alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np

# Raw tensor data by name: rows of bytes, or float32 vectors.
Tensors = dict[str, np.ndarray]


def rewrite(
    source: Path,
    target: Path,
    metadata: Mapping[str, Any] | None = None,
    tensors: Callable[[Tensors], object] | None = None,
) -> Path:
    """metadata: new values by key; None removes one, and a key that the file lacks is added.
    tensors: changes the dictionary it is given; a new name takes the type of
    `blk.0.ffn_up.weight`."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, "minicpm")
    changes = dict(metadata or {})
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key == "general.architecture":
            continue
        value = changes.pop(key, field.contents())
        if value is None:
            continue
        if field.types[0] == gguf.GGUFValueType.ARRAY:
            writer.add_array(key, value)
        else:
            writer.add_key_value(key, value, field.types[0])
    for key, value in changes.items():
        counts = type(value) is int
        kind = gguf.GGUFValueType.UINT32 if counts else gguf.GGUFValueType.get_type(value)
        writer.add_key_value(key, value, kind)
    types = {tensor.name: tensor.tensor_type for tensor in reader.tensors}
    data = {tensor.name: np.array(tensor.data) for tensor in reader.tensors}
    if tensors is not None:
        tensors(data)
    for name, values in data.items():
        type_ = types.get(name, types["blk.0.ffn_up.weight"])
        writer.add_tensor(name, np.ascontiguousarray(values), raw_dtype=type_)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target
