"""A checkpoint's folder: its JSON files, and the tensors of its weight files by name."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from convert.safetensors_file import read_safetensors_file
from convert.tensor import StoredTensor
from convert.torch_file import read_torch_file
from convert.untrusted import MAX_JSON_BYTES, parse_json, read_whole
from duplex_local.errors import ModelFileError

__all__ = ["find_checkpoint", "read_json", "read_tensors"]

_HUB_ID = re.compile(r"\w[\w.-]*/(\w[\w.-]*)")
_Reader = Callable[[Path], dict[str, StoredTensor]]

# In order of preference: (single file, index of several files, reader).
_FORMS: tuple[tuple[str, str, _Reader], ...] = (
    ("model.safetensors", "model.safetensors.index.json", read_safetensors_file),
    ("pytorch_model.bin", "pytorch_model.bin.index.json", read_torch_file),
)


def find_checkpoint(source: str) -> Path:
    """The folder that `source` names.

    Raises:
        ModelFileError: when there is none; says how to get a checkpoint from the hub.
    """
    directory = Path(source)
    try:
        if directory.is_dir():
            return directory
        if directory.exists():
            raise ModelFileError(f"{source} is a file. Give the folder that holds config.json.")
    except (OSError, ValueError) as error:
        raise ModelFileError(
            f"Cannot open {source}: {error}. Give the folder that holds config.json."
        ) from None
    if hub_id := _HUB_ID.fullmatch(source):
        name = hub_id[1]
        raise ModelFileError(
            f"There is no folder {source}, and download is not built in yet. If it is a hub id: "
            f"`.venv/bin/hf download {source} --local-dir {name}`, then "
            f"`make convert CHECKPOINT={name}`."
        )
    raise ModelFileError(f"There is no folder {source}. Give the folder that holds config.json.")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from `path`.

    Raises:
        ModelFileError: when it is missing or not a JSON object.
    """
    try:
        content = parse_json(read_whole(path, MAX_JSON_BYTES))
    except FileNotFoundError:
        raise ModelFileError(
            f"There is no {path}. Give the folder of a complete MiniCPM checkpoint."
        ) from None
    except (OSError, ValueError) as error:
        raise ModelFileError(f"Cannot read {path}: {error}. Download it again.") from None
    if not isinstance(content, dict):
        raise ModelFileError(f"{path} is not a JSON object. Download it again.")
    return content


def read_tensors(directory: Path) -> dict[str, StoredTensor]:
    """All tensors of the checkpoint by name. Their bytes are not read yet.

    Raises:
        ModelFileError: when a weight file is missing or damaged.
    """
    for single, index, read in _FORMS:
        if (directory / single).is_file():
            return read(directory / single)
        if (directory / index).is_file():
            return _read_shards(directory, index, read)
    raise ModelFileError(
        f"{directory} holds no weights: neither model.safetensors nor pytorch_model.bin. "
        "Download the checkpoint again."
    )


def _read_shards(directory: Path, index: str, read: _Reader) -> dict[str, StoredTensor]:
    weight_map = read_json(directory / index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(
        isinstance(shard, str) for shard in weight_map.values()
    ):
        raise ModelFileError(f"{directory / index} has no weight_map. Download it again.")
    tensors: dict[str, StoredTensor] = {}
    for shard in sorted(set(weight_map.values())):
        # A name with a folder in it would read files outside the checkpoint.
        if Path(shard).name != shard or not (directory / shard).is_file():
            raise ModelFileError(
                f"{directory} lacks {shard}, which {index} names. Download the checkpoint again."
            )
        tensors.update(read(directory / shard))
    missing = sorted(set(weight_map) - set(tensors))
    if missing:
        raise ModelFileError(
            f"{missing[0]} is in none of the files that {index} names. "
            "Download the checkpoint again."
        )
    return tensors
