"""`--verify` names the tensor that is wrong, and what it is instead; and good ones pass."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from convert.cli import main
from tests.convert.rewrite import Tensors, rewrite
from tests.convert.tiny import n_tiny_pieces, tiny_config, tiny_weights, write_tiny_checkpoint
from tests.convert.verifying import QUANTS, WIDE, Files, complaint

pytestmark = pytest.mark.usefixtures("one_child")


def unpermuted(tensors: Tensors) -> None:
    """Rows in the checkpoint's order: rows are quantized one by one, so they can be moved."""
    for name, n_heads in (("blk.1.attn_q.weight", 4), ("blk.1.attn_k.weight", 2)):
        rows = tensors[name]
        pairs = rows.reshape(n_heads, rows.shape[0] // n_heads // 2, 2, -1)
        tensors[name] = pairs.swapaxes(1, 2).reshape(rows.shape)


def swapped(tensors: Tensors) -> None:
    gate, up = "blk.0.ffn_gate.weight", "blk.0.ffn_up.weight"
    tensors[gate], tensors[up] = tensors[up], tensors[gate]


def upside_down(tensors: Tensors) -> None:
    tensors["blk.1.attn_output.weight"] = tensors["blk.1.attn_output.weight"][::-1]


def one_row(tensors: Tensors) -> None:
    embedding = tensors["token_embd.weight"]
    embedding[-2] = embedding[5]  # `<idle>` is the last but one


def swapped_norms(tensors: Tensors) -> None:
    one, other = "blk.0.attn_norm.weight", "blk.0.ffn_norm.weight"
    tensors[one], tensors[other] = tensors[other], tensors[one]


TENSOR_CASES: dict[str, tuple[Callable[[Tensors], None], tuple[str, ...]]] = {
    "q and k": (
        unpermuted,
        ("blk.1.attn_q.weight has its rows in", "q/k not permuted", "blk.1.attn_k.weight"),
    ),
    "gate and up": (
        swapped,
        (
            "blk.0.ffn_gate.weight holds what belongs into blk.0.ffn_up.weight",
            "blk.0.ffn_up.weight holds what belongs into blk.0.ffn_gate.weight",
        ),
    ),
    "flipped": (upside_down, ("blk.1.attn_output.weight has its rows in reverse order",)),
    "one row": (
        one_row,
        ("token_embd.weight has other rows than model.embed_tokens.weight: 1 of 462, row 460",),
    ),
    "norms": (swapped_norms, ("blk.0.attn_norm.weight holds what belongs into blk.0.ffn_norm",)),
}


@pytest.mark.parametrize("quant", QUANTS)
@pytest.mark.parametrize("case", TENSOR_CASES)
def test_tensors(
    case: str, quant: str, files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, paths = files
    change, expected = TENSOR_CASES[case]
    broken = rewrite(paths[quant], tmp_path / "broken.gguf", tensors=change)
    table, line = complaint(capsys, broken, checkpoint)
    assert "values         FAILED" in table
    assert all(part in line for part in expected)


def as_bf16(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Tensors], None]:
    """A change of the values of one BF16 matrix."""

    def tensors(data: Tensors) -> None:
        bf16 = gguf.GGMLQuantizationType.BF16
        values = gguf.quants.dequantize(data["blk.0.attn_output.weight"], bf16)
        data["blk.0.attn_output.weight"] = gguf.quants.quantize(change(values), bf16)

    return tensors


VALUE_CASES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str]] = {
    "sign": (lambda x: -x, "has the opposite sign"),
    "transposed": (lambda x: x.T, "is transposed"),
    "columns": (lambda x: x[:, ::-1], "has its columns in reverse order"),
    "factor": (lambda x: x / 2, "is 0.5 times model.layers.0.self_attn.o_proj.weight"),
    "noise": (lambda x: np.roll(x, 7), "differs from model.layers.0.self_attn.o_proj.weight by"),
    "last bit": (lambda x: np.where(x == x.max(), x * 1.01, x), "has other rows than"),
}


@pytest.mark.parametrize("case", VALUE_CASES)
def test_values(
    case: str, files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, paths = files
    change, expected = VALUE_CASES[case]
    broken = rewrite(paths["BF16"], tmp_path / "broken.gguf", tensors=as_bf16(change))
    assert f"blk.0.attn_output.weight {expected}" in complaint(capsys, broken, checkpoint)[1]


# -- factors ------------------------------------------------------------------------------------


def times(values: np.ndarray, factor: float, type_: gguf.GGMLQuantizationType) -> np.ndarray:
    """The scales of all blocks of a Q8_0, Q4_0 or Q4_K tensor, or all values of a BF16 one,
    multiplied."""
    if type_ == gguf.GGMLQuantizationType.BF16:
        product: np.ndarray = gguf.quants.quantize(
            gguf.quants.dequantize(values, type_) * np.float32(factor), type_
        )
        return product
    n_bytes = gguf.GGML_QUANT_SIZES[type_][1]
    n_scales = 2 if type_ == gguf.GGMLQuantizationType.Q4_K else 1  # of a block, float16
    blocks = values.reshape(-1, n_bytes).copy()
    scales = blocks[:, : 2 * n_scales].copy().view(np.float16) * np.float16(factor)
    blocks[:, : 2 * n_scales] = scales.view(np.uint8)
    scaled: np.ndarray = blocks.reshape(values.shape)
    return scaled


@pytest.fixture(scope="module")
def scalable(files: Files, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Good files whose scales `times` can find."""
    folder = tmp_path_factory.mktemp("scalable")
    assert main([str(files[0]), "--out", str(folder), "--name", "x", "--quant", "Q4_0"]) == 0
    return {**files[1], "Q4_0": folder / "x-Q4_0.gguf"}


@pytest.mark.parametrize("everywhere", [False, True])
@pytest.mark.parametrize("factor", [1.1, 1.2, 0.9])
@pytest.mark.parametrize("quant", ["BF16", "Q8_0", "Q4_0", "Q4_K_M"])
def test_factors(
    quant: str,
    factor: float,
    everywhere: bool,
    files: Files,
    scalable: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    types = {t.name: t.tensor_type for t in gguf.GGUFReader(scalable[quant]).tensors}
    possible = {gguf.GGMLQuantizationType[name] for name in ("BF16", "Q8_0", "Q4_0", "Q4_K")}

    def change(tensors: Tensors) -> None:
        for name, values in tensors.items():
            if types[name] in possible and (everywhere or name == "blk.1.ffn_up.weight"):
                tensors[name] = times(values, factor, types[name])

    broken = rewrite(scalable[quant], tmp_path / "broken.gguf", tensors=change)
    line = complaint(capsys, broken, files[0])[1]
    found = re.search(r"values: ([\w.]+) is ([\d.]+) times model\.", line)
    assert found and float(found[2]) == pytest.approx(factor, rel=0.005)
    assert everywhere or found[1] == "blk.1.ffn_up.weight"
    assert factor != 1.1 or "is 1.1 times" in line


# -- what cannot be -----------------------------------------------------------------------------


def constant(tensors: Tensors) -> None:
    tensors["blk.0.attn_norm.weight"][:] = 0.5


def zero_norm(tensors: Tensors) -> None:
    tensors["blk.1.ffn_norm.weight"][:] = 0


def zero_matrix(tensors: Tensors) -> None:
    tensors["blk.1.ffn_up.weight"][:] = 0


def zero_tail(tensors: Tensors) -> None:
    tensors["blk.1.ffn_up.weight"][-100:] = 0


def few_zero_rows(tensors: Tensors) -> None:
    tensors["blk.1.ffn_up.weight"][-6:] = 0


ZERO_CASES: dict[str, tuple[Callable[[Tensors], None], str, str]] = {
    "constant": (constant, "blk.0.attn_norm.weight is 0.5 everywhere", "differs from model."),
    "norm": (zero_norm, "blk.1.ffn_norm.weight is 0 everywhere", "is all zero, unlike model."),
    "matrix": (zero_matrix, "blk.1.ffn_up.weight is 0 everywhere", "is all zero, unlike model."),
    "tail": (zero_tail, "has zeros in 100 of 512 rows", "has only zeros in 100 of 512 rows"),
    "rows": (few_zero_rows, "has zeros in 6 of 512 rows", "has other rows than model."),
}


@pytest.mark.parametrize("quant", QUANTS)
@pytest.mark.parametrize("case", ZERO_CASES)
def test_zeros(
    case: str, quant: str, files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change, alone, against = ZERO_CASES[case]
    broken = rewrite(files[1][quant], tmp_path / "broken.gguf", tensors=change)
    assert alone in complaint(capsys, broken)[1]
    assert against in complaint(capsys, broken, files[0])[1]


def test_untrained_norms_and_unused_tokens_may_be(files: Files, tmp_path: Path) -> None:
    def change(tensors: Tensors) -> None:
        for name, values in tensors.items():
            if name.endswith("_norm.weight"):
                values[:] = 1
        tensors["token_embd.weight"][300:340] = 0

    path = rewrite(files[1]["Q8_0"], tmp_path / "good.gguf", tensors=change)
    assert main(["--verify", str(path)]) == 0


@pytest.mark.parametrize("dtype", ["F32", "F16"])
@pytest.mark.parametrize("name", ["blk.0.attn_norm.weight", "blk.0.ffn_up.weight"])
def test_the_rounding_to_bf16_is_exact(
    name: str, dtype: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One bit of one value, far below what rounding costs."""
    checkpoint = write_tiny_checkpoint(tmp_path / "x", dtype=dtype)
    assert main([str(checkpoint), "--out", str(tmp_path), "--quant", "BF16"]) == 0

    def change(tensors: Tensors) -> None:
        tensors[name].view(np.uint8).reshape(-1)[40] ^= 1

    broken = rewrite(tmp_path / "x-BF16.gguf", tmp_path / "broken.gguf", tensors=change)
    assert f"values: {name} " in complaint(capsys, broken, checkpoint)[1]


# -- heavy tails --------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["tied", "untied"])
@pytest.mark.parametrize("case", ["one embedding", "one channel", "both"])
def test_massive_rows_pass(case: str, form: str, tmp_path: Path) -> None:
    """As massive activations make them: all values equal, single logits far off by rounding."""
    config = tiny_config(
        hidden_size=256, intermediate_size=512, num_attention_heads=4, num_key_value_heads=2
    )
    weights = tiny_weights(config, tied=True)
    if case != "one channel":
        weights["model.embed_tokens.weight"][300] *= 100
    if case != "one embedding":
        weights["model.layers.1.mlp.down_proj.weight"][7] *= 1000
    if form == "untied":
        weights["lm_head.weight"] = tiny_weights(config, tied=False)["lm_head.weight"]
    checkpoint = write_tiny_checkpoint(tmp_path / "x", weights=weights, **WIDE)  # type: ignore[arg-type]
    quants = ["F32", "BF16", "F16"]
    assert main([str(checkpoint), "--out", str(tmp_path / "out"), "--quant", *quants]) == 0


# -- damage -------------------------------------------------------------------------------------


@pytest.mark.parametrize("quant", QUANTS)
def test_nan(quant: str, files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint, paths = files

    def change(tensors: Tensors) -> None:
        # BF16: a value; the others: the scale factor of a block, in float16.
        nan = b"\xc0\x7f" if quant == "BF16" else b"\x00\x7e"
        tensors["blk.1.ffn_up.weight"][7, :2] = np.frombuffer(nan, np.uint8)

    broken = rewrite(paths[quant], tmp_path / "broken.gguf", tensors=change)
    for against in (checkpoint, None):
        line = complaint(capsys, broken, against)[1]
        assert "blk.1.ffn_up.weight holds NaN or infinity" in line


TABLE_CASES: dict[str, tuple[Callable[[Tensors], object], str]] = {
    "missing": (lambda t: t.pop("blk.0.ffn_up.weight"), "blk.0.ffn_up.weight is missing"),
    "too many": (
        lambda t: t.update({"blk.9.ffn_up.weight": t["blk.0.ffn_up.weight"]}),
        "blk.9.ffn_up.weight does not belong there",
    ),
    "shape": (
        lambda t: t.update({"blk.0.ffn_up.weight": t["blk.0.ffn_up.weight"][:-1]}),
        "blk.0.ffn_up.weight has shape [511, 256], not [512, 256]",
    ),
}


@pytest.mark.parametrize("case", TABLE_CASES)
def test_tensor_table(
    case: str, files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint, paths = files
    change, expected = TABLE_CASES[case]
    broken = rewrite(paths["Q8_0"], tmp_path / "b.gguf", tensors=change)
    for against in (checkpoint, None):
        assert expected in complaint(capsys, broken, against)[1]


# -- a converter that writes something wrong ----------------------------------------------------


def test_a_bad_file_never_gets_its_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = write_tiny_checkpoint(tmp_path / "tiny")
    monkeypatch.setattr("convert.gguf_file.interleave_rotary_rows", lambda rows, heads: rows)
    assert main([str(checkpoint), "--out", str(tmp_path / "out"), "--quant", "Q8_0"]) == 1
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and "q/k not permuted" in line and "was removed" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("quant", QUANTS)
def test_the_logits_see_what_the_tensors_hide(
    quant: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same mistake in the writer and in the check of tensors: only the forward pass knows."""
    checkpoint = write_tiny_checkpoint(tmp_path / "tiny", **WIDE)  # type: ignore[arg-type]
    for module in ("gguf_file", "tensor_checks"):
        monkeypatch.setattr(f"convert.{module}.interleave_rotary_rows", lambda rows, heads: rows)
    assert main([str(checkpoint), "--out", str(tmp_path / "out"), "--quant", quant]) == 1
    assert "failed verification. logits: they are" in capsys.readouterr().err


NO_TROUBLE: dict[str, dict[str, Any]] = {
    "sharp logits": {"config": {"dim_model_base": 256}},
    "untied, grouped": {"tied": False, "n_heads": 8, "n_kv_heads": 2},
    "float32": {"dtype": "F32"},
    "float16": {"dtype": "F16"},
    "all logits equal": {"tied": False, "weights": {"lm_head.weight": "same"}},
    "a matrix of zeros": {"weights": {"model.layers.0.mlp.up_proj.weight": "zeros"}},
    "heavy tails": {"tied": False, "weights": {"lm_head.weight": "tails"}},
}


@pytest.mark.parametrize("case", NO_TROUBLE)
def test_any_random_checkpoint_passes(case: str, tmp_path: Path) -> None:
    changes = dict(NO_TROUBLE[case])
    shape = {"lm_head.weight": (n_tiny_pieces() + 2, 256)}
    fills: dict[str, Callable[[tuple[int, int]], np.ndarray]] = {
        "same": lambda shape: np.full(shape, 0.01, np.float32),
        "zeros": lambda shape: np.zeros(shape, np.float32),
        "tails": lambda shape: np.random.default_rng(0).standard_t(3, shape).astype(np.float32),
    }
    changes["weights"] = {
        name: fills[fill](shape.get(name, (512, 256)))
        for name, fill in changes.get("weights", {}).items()
    }
    checkpoint = write_tiny_checkpoint(tmp_path / "x", hidden=256, feed_forward=512, **changes)
    quants = ["BF16", "F16", "Q8_0", "Q4_K_M", "Q2_K"]
    assert main([str(checkpoint), "--out", str(tmp_path / "out"), "--quant", *quants]) == 0
