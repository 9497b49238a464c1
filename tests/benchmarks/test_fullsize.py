"""The full-size benchmark, on a shape that takes a second."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import benchmarks.fullsize as fullsize
from benchmarks.fullsize import Plan, Quantized, main, run, within_limits
from benchmarks.fullsize_converting import Converted, Reference
from benchmarks.random_checkpoint import REAL, Shape, write_random_checkpoint
from benchmarks.reference_converter import ReferenceConverter
from convert.checkpoint import read_tensors
from convert.pipeline import load_model
from convert.recipe_list import MINICPM_DUPLEX
from convert.tensor import as_f32
from convert.tensor_map import n_params, required_tensors
from duplex_local.errors import BackendError, ConfigError

TINY = Shape(n_layers=1, hidden_size=64, feed_forward_size=96, n_heads=2, n_pieces=700)


def test_every_figure_is_measured_and_the_checkpoint_stays(tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run(Plan(out, TINY, ["Q8_0", "Q4_K_M:fallback"], n_conversions=1, n_rounds=2))
    assert [recipe["quant"] for recipe in result["recipes"]] == ["Q8_0", "Q4_K_M:fallback"]
    assert all(recipe["decode"] > 0 and recipe["prefill"] > 0 for recipe in result["recipes"])
    assert result["recipes"][0]["vs_first"] == 1
    bf16 = result["bf16"]
    assert bf16["size_bytes"] > 0 and result["within_limits"] == {}
    assert 0 < bf16["written_seconds"] + bf16["proved_seconds"] < bf16["seconds"]
    assert bf16["reference"] is None
    json.dumps(result)
    assert sorted(path.name for path in out.iterdir()) == [
        "added_tokens.json",
        "config.json",
        "model.safetensors",
        "tokenizer.model",
    ]
    load_model(out, "random", print)


def test_the_real_shape_is_minicpm_duplex() -> None:
    assert REAL.vocab_size == MINICPM_DUPLEX.vocab_size == 122_760
    shapes = [shape for _, _, shape, _ in required_tensors(MINICPM_DUPLEX)]
    assert REAL.size_bytes == 2 * n_params(shapes) == 2 * 2_724_897_024


def test_the_weights_are_random_and_spread_as_in_a_trained_layer(tmp_path: Path) -> None:
    write_random_checkpoint(tmp_path, TINY, None, lambda _: None)
    tensors = read_tensors(tmp_path)
    down = as_f32(tensors["model.layers.0.mlp.down_proj.weight"].read(), "BF16")
    up = as_f32(tensors["model.layers.0.mlp.up_proj.weight"].read(), "BF16")
    assert abs(down.std() * 96**0.5 - 1) < 0.05 and abs(up.std() * 64**0.5 - 1) < 0.05
    assert abs(np.corrcoef(down.ravel(), up.ravel())[0, 1]) < 0.1
    assert len({tensor.name for tensor in tensors.values()}) == len(list(TINY.tensors()))


def test_a_folder_with_something_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(ConfigError, match="is not empty"):
        run(Plan(tmp_path, TINY, ["Q8_0"]))
    assert (tmp_path / "mine").read_text() == "precious"


def test_a_tokenizer_that_is_not_there_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"There is no .*tokenizer\.model"):
        run(Plan(tmp_path / "out", TINY, ["Q8_0"], tokenizer=tmp_path))
    assert not (tmp_path / "out").exists()


def test_too_little_disk_space_is_said_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="GB are needed"):
        run(Plan(tmp_path / "out", replace(REAL, hidden_size=2304 * 10_000), ["Q8_0"]))
    assert not (tmp_path / "out").exists()


def test_ctrl_c_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def press(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(fullsize, "measure_rates", press)
    with pytest.raises(KeyboardInterrupt):
        run(Plan(tmp_path / "out", TINY, ["Q8_0"], n_conversions=1))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        ["--layers", "0"],
        ["--layers", "41"],
        ["--repeat", "4"],
        ["--quant", "Q9"],
        ["--quant", "Q8_0:Q9"],
    ],
)
def test_wrong_use(wrong: list[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as stop:
        main([str(tmp_path / "out"), *wrong])
    assert stop.value.code == 2 and not (tmp_path / "out").exists()


def converter(folder: Path, script: str) -> ReferenceConverter:
    """A stand-in for llama.cpp's, run by this interpreter; torch it finds beside itself."""
    folder.mkdir()
    (folder / "convert_hf_to_gguf.py").write_text(script)
    for package in ("torch", "transformers"):
        (folder / f"{package}.py").write_text("")
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{folder}" exec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    return ReferenceConverter(folder, str(python))


def test_llama_cpps_converter_takes_turns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = "import shutil, sys\nshutil.copytree(sys.argv[1], sys.argv[5] + '.d')\n"
    script += "open(sys.argv[5], 'wb').write(b'GGUF')\n"
    reference = converter(tmp_path / "llama.cpp", script)
    result = run(Plan(tmp_path / "out", TINY, [], n_conversions=1, reference=reference))
    found = result["bf16"]["reference"]
    assert found["seconds"] > 0 and found["peak_rss_bytes"] > 1_000_000
    assert 0 < found["written_vs"] < found["vs"]
    assert found["vs"] == pytest.approx(result["bf16"]["seconds"] / found["seconds"])
    fullsize._print(result)
    assert "llama.cpp's converter: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("script", "why"),
    [("raise SystemExit('no such model')", "failed: no such model"), ("pass", "failed: silently")],
)
def test_a_reference_that_fails(script: str, why: str, tmp_path: Path) -> None:
    reference = converter(tmp_path / "llama.cpp", script)
    with pytest.raises(BackendError, match=why):
        run(Plan(tmp_path / "out", TINY, [], n_conversions=1, reference=reference))
    assert not (tmp_path / "out").exists()


def test_a_reference_that_cannot_be_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"There is no .*convert_hf_to_gguf\.py"):
        ReferenceConverter(tmp_path, sys.executable).check()
    bare = converter(tmp_path / "llama.cpp", "")
    (bare.folder / "torch.py").write_text("raise ImportError")
    with pytest.raises(ConfigError, match="lacks what"):
        run(Plan(tmp_path / "out", TINY, [], reference=bare))
    with pytest.raises(ConfigError, match="Cannot run"):
        replace(bare, python=str(tmp_path / "nothing")).check()
    assert not (tmp_path / "out").exists()


def test_limits() -> None:
    good = Converted(1, 10.0, 11.0, 6.0, 3.0, 10.0, 1.0, 1.1, 100_000_000, None)
    recipe = Quantized("Q8_0", 1, 8.5, 1.0, 800_000_000, 1, 1, 1, 1, 1)
    assert all(within_limits(good, [recipe]).values())
    slow = replace(good, vs_copy=1.6, python_peak_rss_bytes=800_000_000)
    assert within_limits(slow, [replace(recipe, peak_rss_bytes=1_400_000_000)]) == {
        "converting_vs_copy": False,
        "python_memory": False,
        "quantizing_memory": False,
    }
    for ratio, fast in ((0.59, True), (0.61, False)):
        measured = replace(slow, reference=Reference(20.0, ratio, ratio, 0.3, 1))
        assert within_limits(measured, [])["converting_vs_reference"] is fast
        assert "converting_vs_copy" not in within_limits(measured, [])
