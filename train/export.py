"""The trained model as a Hugging Face checkpoint folder. Every file appears whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from duplex_local.errors import ConfigError
from train.knowledge import topics
from train.model import MiniCPM, ModelConfig
from train.trainer import Run

__all__ = ["MAX_BYTES", "TOKENIZER_FILES", "read_checkpoint", "read_runs", "write_checkpoint"]

MAX_BYTES = 15_000_000
TOKENIZER_FILES = ("tokenizer.model", "added_tokens.json", "tokenizer_config.json")


def describe() -> str:
    """One or two sentences for the page."""
    return (
        f"A tiny demo model, trained from scratch on made-up dialogues: it knows {len(topics())} "
        "topics (planets, animals, food, cities, countries, music, inventions and people), some "
        "stories, counting, small sums, and nothing else."
    )


def write_checkpoint(model: MiniCPM, vocabulary: Path, out: Path, runs: Sequence[Run]) -> int:
    """Write the folder; returns its size in bytes. runs: what the model was trained in."""
    out.mkdir(parents=True, exist_ok=True)
    tensors = {
        f"model.{name}": value.detach().to("cpu", torch.bfloat16).contiguous()
        for name, value in model.state_dict().items()
    }
    config = {
        "architectures": ["MiniCPMForCausalLM"],
        **model.config.as_dict(),
        "hidden_act": "silu",
        "attention_bias": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "description": describe(),
        "training": list(runs),
    }
    for name in TOKENIZER_FILES:
        _replace(out / name, (vocabulary / name).read_bytes())
    _replace(out / "config.json", (json.dumps(config, indent=2) + "\n").encode())
    _replace(out / "model.safetensors", save(tensors, metadata={"format": "pt"}))
    size = sum(path.stat().st_size for path in out.iterdir() if path.is_file())
    if size > MAX_BYTES:
        raise ValueError(f"{out} has {size:,} bytes, more than {MAX_BYTES:,}: use a smaller model.")
    return size


def _replace(path: Path, data: bytes) -> None:
    part = path.with_name(path.name + ".part")
    part.write_bytes(data)
    os.replace(part, path)


def read_checkpoint(folder: Path) -> MiniCPM:
    """The model of a folder that `write_checkpoint` wrote, in float32.

    Raises:
        ConfigError: when there is none, or another kind of checkpoint.
    """
    files = ("config.json", "model.safetensors", *TOKENIZER_FILES)
    if lacking := [name for name in files if not (folder / name).is_file()]:
        raise ConfigError(f"There is no model in {folder}: it has no {lacking[0]}.")
    try:
        found = json.loads((folder / "config.json").read_text("utf-8"))
        sizes = {field.name: found[field.name] for field in fields(ModelConfig)}
        model = MiniCPM(ModelConfig(**sizes))
        tensors = load((folder / "model.safetensors").read_bytes())
        model.load_state_dict(
            {name.removeprefix("model."): value.float() for name, value in tensors.items()}
        )
    except (ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        why = str(error).splitlines()[0]
        raise ConfigError(
            f"{folder} is no checkpoint that `python -m train` made ({why})."
        ) from None
    return model


def read_runs(folder: Path) -> list[Run]:
    """The runs that made the checkpoint in a folder, the first one first."""
    found = json.loads((folder / "config.json").read_text("utf-8"))
    runs: list[Run] = found.get("training", [])  # absent before 2026-11-25
    return runs
