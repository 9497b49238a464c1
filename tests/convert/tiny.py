"""A tiny MiniCPM-shaped checkpoint that llama.cpp runs, written without torch.

write_tiny_checkpoint(tmp_path / "tiny")
write_tiny_checkpoint(tmp_path / "tiny", form="safetensors", n_kv_heads=1, dtype="F32")
"""

from __future__ import annotations

import functools
import io
import json
import struct
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np

HIDDEN, FEED_FORWARD, N_LAYERS = 64, 96, 2
ADDED = ("<idle>", "<s0>")

_LINES = (
    "<用户>hello there, how are you?<AI>I am fine, thank you.",
    "<用户>what time is it now,<AI>it is half past ten!",
    "<用户>stop,<用户>wait,<AI>[all right]<AI>|yes|",
    "<用户>你好，今天天气怎么样？<AI>今天天气很好。",
    "<用户>tell me a story about the sea<AI>once there was a ship...",
    "AI AI AI 用户 用户 用户 AI, 用户, AI. 用户.",
)


@functools.cache
def tiny_tokenizer_model() -> bytes:
    """A sentencepiece model with MiniCPM's settings and a few hundred pieces."""
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_LINES * 20),
        model_writer=model,
        model_type="bpe",
        vocab_size=460,
        character_coverage=1.0,
        byte_fallback=True,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        split_digits=True,
        user_defined_symbols=["\n", "...", "。。。"],
        num_threads=1,
        minloglevel=2,
    )
    return model.getvalue()


@functools.cache
def n_tiny_pieces() -> int:
    import sentencepiece

    return int(
        sentencepiece.SentencePieceProcessor(model_proto=tiny_tokenizer_model()).get_piece_size()
    )


def tiny_config(**changes: Any) -> dict[str, Any]:
    """config.json of the tiny checkpoint; a change to None removes the key."""
    config: dict[str, Any] = {
        "architectures": ["MiniCPMForCausalLM"],
        "bos_token_id": 1,
        "eos_token_id": 2,
        "hidden_act": "silu",
        "hidden_size": HIDDEN,
        "intermediate_size": FEED_FORWARD,
        "max_position_embeddings": 1024,
        "num_attention_heads": 2,
        "num_hidden_layers": N_LAYERS,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-5,
        "rope_scaling": None,
        "torch_dtype": "bfloat16",
        "vocab_size": n_tiny_pieces() + len(ADDED),
        "scale_emb": 12,
        "dim_model_base": 16,
        "scale_depth": 1.4,
        **changes,
    }
    return {key: value for key, value in config.items() if value is not None}


def tiny_weights(config: Mapping[str, Any], tied: bool, seed: int = 0) -> dict[str, np.ndarray]:
    """Random float32 weights by checkpoint name, sized so that the logits differ clearly."""
    rng = np.random.default_rng(seed)
    hidden, feed_forward = config["hidden_size"], config["intermediate_size"]
    kv_rows = hidden // config["num_attention_heads"] * config["num_key_value_heads"]

    def matrix(rows: int, columns: int) -> np.ndarray:
        return np.asarray(rng.normal(0, columns**-0.5, (rows, columns)), np.float32)

    def norm() -> np.ndarray:
        return rng.uniform(0.5, 1.5, hidden).astype(np.float32)

    weights = {"model.embed_tokens.weight": matrix(config["vocab_size"], hidden)}
    for i in range(config["num_hidden_layers"]):
        layer = {
            "self_attn.q_proj": matrix(hidden, hidden),
            "self_attn.k_proj": matrix(kv_rows, hidden),
            "self_attn.v_proj": matrix(kv_rows, hidden),
            "self_attn.o_proj": matrix(hidden, hidden),
            "mlp.gate_proj": matrix(feed_forward, hidden),
            "mlp.up_proj": matrix(feed_forward, hidden),
            "mlp.down_proj": matrix(hidden, feed_forward),
            "input_layernorm": norm(),
            "post_attention_layernorm": norm(),
        }
        weights |= {f"model.layers.{i}.{name}.weight": value for name, value in layer.items()}
    weights["model.norm.weight"] = norm()
    embedding = weights["model.embed_tokens.weight"]
    weights["lm_head.weight"] = embedding if tied else matrix(*embedding.shape)
    return weights


def write_tiny_checkpoint(
    directory: Path,
    *,
    form: str = "bin",
    dtype: str = "BF16",
    n_shards: int = 1,
    n_heads: int = 2,
    n_kv_heads: int | None = None,
    tied: bool = True,
    hidden: int = HIDDEN,
    feed_forward: int = FEED_FORWARD,
    added: Sequence[str] = ADDED,
    config: Mapping[str, Any] | None = None,
    weights: Mapping[str, np.ndarray | None] | None = None,
    seed: int = 0,
) -> Path:
    """Write a complete checkpoint and return `directory`.

    form: "bin" (pytorch_model.bin) or "safetensors".
    dtype: of the stored tensors: "BF16", "F16" or "F32".
    config: changes to config.json; None removes a key.
    weights: float32 tensors to put in place of the random ones; None removes one.
    """
    settings = tiny_config(
        hidden_size=hidden,
        intermediate_size=feed_forward,
        num_attention_heads=n_heads,
        num_key_value_heads=n_kv_heads or n_heads,
        vocab_size=n_tiny_pieces() + len(added),
    )
    tensors = tiny_weights(settings, tied, seed) | dict(weights or {})
    kept = {name: value for name, value in tensors.items() if value is not None}
    directory.mkdir(parents=True)
    write_json(directory / "config.json", tiny_config(**{**settings, **(config or {})}))
    ids = {text: n_tiny_pieces() + i for i, text in enumerate(added)}
    write_json(directory / "added_tokens.json", ids)
    (directory / "tokenizer.model").write_bytes(tiny_tokenizer_model())
    _write_weights(directory, kept, form, dtype, n_shards)
    return directory


def write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def _write_weights(
    directory: Path, tensors: Mapping[str, np.ndarray], form: str, dtype: str, n_shards: int
) -> None:
    stem, write = {
        "bin": ("pytorch_model.bin", write_bin),
        "safetensors": ("model.safetensors", write_safetensors),
    }[form]
    if n_shards == 1:
        write(directory / stem, tensors, dtype)
        return
    base, suffix = stem.split(".")
    weight_map: dict[str, str] = {}
    for shard in range(n_shards):
        file = f"{base}-{shard + 1:05}-of-{n_shards:05}.{suffix}"
        names = list(tensors)[shard::n_shards]
        write(directory / file, {name: tensors[name] for name in names}, dtype)
        weight_map |= dict.fromkeys(names, file)
    write_json(directory / f"{stem}.index.json", {"weight_map": weight_map})


def encoded(values: np.ndarray, dtype: str) -> bytes:
    """float32 values as the bytes of a stored tensor."""
    if dtype == "BF16":
        return bytes(gguf.quants.quantize(values, gguf.GGMLQuantizationType.BF16).data)
    return values.astype({"F16": "<f2", "F32": "<f4"}[dtype]).tobytes()


def write_safetensors(path: Path, tensors: Mapping[str, np.ndarray], dtype: str) -> None:
    """By the safetensors package where it can: its numpy side has no bfloat16."""
    import safetensors.numpy

    if dtype == "BF16":
        data = {name: (value.shape, encoded(value, dtype)) for name, value in tensors.items()}
        write_bf16_safetensors(path, data)
        return
    kind = {"F16": np.float16, "F32": np.float32}[dtype]
    safetensors.numpy.save_file({n: v.astype(kind) for n, v in tensors.items()}, path)


def write_bf16_safetensors(
    path: Path, tensors: Mapping[str, tuple[tuple[int, ...], bytes]]
) -> None:
    """{name: (shape, bytes)} as safetensors of bfloat16."""
    header, end = {}, 0
    for name, (shape, data) in tensors.items():
        start, end = end, end + len(data)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    content = b"".join(data for _, data in tensors.values())
    path.write_bytes(struct.pack("<Q", len(text)) + text + content)


def write_bin(path: Path, tensors: Mapping[str, np.ndarray], dtype: str) -> None:
    """As torch.save writes a state dict: tensors that are one object share one storage."""
    storages: dict[int, np.ndarray] = {}
    views = {}
    for name, value in tensors.items():
        storages.setdefault(id(value), value)
        views[name] = (list(storages).index(id(value)), value.shape)
    write_torch_archive(
        path,
        pickle_of(views, dtype),
        [encoded(value, dtype) for value in storages.values()],
    )


def write_torch_archive(path: Path, data_pkl: bytes, storages: Sequence[bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("pytorch_model/data.pkl", data_pkl)
        archive.writestr("pytorch_model/byteorder", b"little")
        for key, data in enumerate(storages):
            archive.writestr(f"pytorch_model/data/{key}", data)


_STORAGE = {"BF16": "BFloat16Storage", "F16": "HalfStorage", "F32": "FloatStorage"}


def pickle_of(views: Mapping[str, tuple[int, tuple[int, ...]]], dtype: str) -> bytes:
    """{name: (storage key, shape)} as the opcodes torch.save produces (protocol 2)."""
    storage_type = b"ctorch\n" + _STORAGE[dtype].encode() + b"\n"
    items = b""
    for name, (key, shape) in views.items():
        strides = [int(np.prod(shape[axis + 1 :])) for axis in range(len(shape))]
        storage = b"(" + _text("storage") + storage_type + _text(str(key)) + _text("cpu")
        storage += _int(int(np.prod(shape))) + b"tQ"
        arguments = storage + _int(0) + _tuple(shape) + _tuple(strides)
        arguments += b"\x89" + b"ccollections\nOrderedDict\n)R"
        items += _text(name) + b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tR"
    return b"\x80\x02}(" + items + b"u."


def _text(text: str) -> bytes:
    data = text.encode("utf-8")
    return b"X" + struct.pack("<I", len(data)) + data


def _int(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def _tuple(values: Sequence[int]) -> bytes:
    return b"(" + b"".join(map(_int, values)) + b"t"
