"""A checkpoint's folder: its JSON files, and the tensors of its weight files by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from convert.safetensors_file import read_safetensors_file
from convert.tensor import StoredTensor
from convert.torch_file import read_torch_file
from convert.untrusted import MAX_JSON_BYTES, parse_json, read_whole
from duplex_local.errors import ModelFileError

__all__ = ["find_folder", "needed_files", "read_json", "read_tensors"]

_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)
_Reader = Callable[[Path], dict[str, StoredTensor]]

# In order of preference: (single file, index of several files, reader).
_FORMS: tuple[tuple[str, str, _Reader], ...] = (
    ("model.safetensors", "model.safetensors.index.json", read_safetensors_file),
    ("pytorch_model.bin", "pytorch_model.bin.index.json", read_torch_file),
)

_NEEDED = ("config.json", "tokenizer.model")
_OPTIONAL = ("added_tokens.json", "tokenizer_config.json")


def find_folder(source: str) -> Path | None:
    """The folder that `source` names, None when there is none but it may be a hub id.

    Raises:
        ModelFileError: when it is neither.
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
    if _HUB_ID.fullmatch(source):
        return None
    raise ModelFileError(
        f"There is no folder {source}. Give the folder that holds config.json, or a hub id "
        "(owner/name)."
    )


def needed_files(names: Iterable[str], where: str) -> list[str]:
    """Those of the `names` that a conversion reads; safetensors rather than pickles.

    Raises:
        ModelFileError: when a file is lacking without which there is nothing to convert.
    """
    names = set(names)
    if lacking := [name for name in _NEEDED if name not in names]:
        raise ModelFileError(
            f"{where} has no {lacking[0]}. Give a complete MiniCPM checkpoint, not a GGUF file or "
            "an adapter."
        )
    found = [name for name in (*_NEEDED, *_OPTIONAL) if name in names]
    for single, index, _ in _FORMS:
        if single in names:
            return [*found, single]
        if index in names:
            stem, suffix = single.split(".")
            shard = re.compile(rf"{stem}-[0-9]+-of-[0-9]+\.{suffix}")
            return [*found, index, *sorted(filter(shard.fullmatch, names))]
    raise ModelFileError(
        f"{where} has no weights that can be converted: neither {_FORMS[0][0]} nor {_FORMS[1][0]}. "
        "Give another checkpoint."
    )


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
