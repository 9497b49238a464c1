"""Recipes: which type each tensor gets, and what `--list` says of a machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from convert.cli import DEFAULT_CHECKPOINT, main
from convert.hyperparameters import Hyperparameters
from convert.llama_process import LlamaProcess
from convert.quants import (
    DEFAULT_QUANT,
    RECIPES,
    estimated_bytes,
    known_quants,
    overrides,
    quant_name,
)
from convert.recipe_list import (
    MINICPM_DUPLEX,
    choices,
    kv_bytes,
    recipe_table,
    recommend,
)
from convert.tensor_map import n_params, required_tensors
from duplex_local.errors import BackendError
from tests.convert.tiny import write_tiny_checkpoint
from tests.convert.verifying import Files


def down_types(path: Path) -> list[str]:
    """Types of the ffn_down matrices, layer by layer."""
    tensors = {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(path).tensors}
    return [kind for name, kind in sorted(tensors.items()) if "ffn_down" in name]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_ffn_down_is_what_the_recipe_says(recipe: Any, tmp_path: Path) -> None:
    checkpoint = write_tiny_checkpoint(tmp_path / "tiny")  # 96 columns, 2 layers
    assert main([str(checkpoint), "--quant", recipe.name, "--out", str(tmp_path / "out")]) == 0
    more = recipe.ffn_down_more or recipe.ffn_down
    found = down_types(tmp_path / "out" / f"tiny-{recipe.name}.gguf")
    assert found == [recipe.ffn_down, more]  # the last layer gets more bits


def test_what_is_no_recipe_is_left_to_llama_cpp(tmp_path: Path) -> None:
    checkpoint = write_tiny_checkpoint(tmp_path / "tiny")
    assert main([str(checkpoint), "--quant", "Q4_1", "--out", str(tmp_path / "out")]) == 0
    assert down_types(tmp_path / "out" / "tiny-Q4_1.gguf") == ["Q4_1", "Q4_1"]


def test_columns_that_fit_no_block_do_not_stop_a_recipe(tmp_path: Path) -> None:
    """40 is no multiple of 32: llama.cpp keeps such a matrix in F16."""
    rng = np.random.default_rng(0)
    shapes = {"gate_proj": (40, 64), "up_proj": (40, 64), "down_proj": (64, 40)}
    weights = {
        f"model.layers.{i}.mlp.{name}.weight": rng.normal(0, 0.1, shape).astype(np.float32)
        for i in range(2)
        for name, shape in shapes.items()
    }
    checkpoint = write_tiny_checkpoint(
        tmp_path / "tiny", config={"intermediate_size": 40}, weights=weights
    )
    assert main([str(checkpoint), "--quant", "Q4_K_M", "--out", str(tmp_path / "out")]) == 0
    assert down_types(tmp_path / "out" / "tiny-Q4_K_M.gguf") == ["F16", "F16"]


def test_overrides_name_every_layer_once() -> None:
    chosen = overrides("Q4_K_M", MINICPM_DUPLEX)
    assert sorted(chosen.values()) == [8, 20]  # GGML_TYPE_Q8_0, GGML_TYPE_IQ4_NL
    hits = [
        [kind for pattern, kind in chosen.items() if re.search(pattern, f"blk.{i}.ffn_down.weight")]
        for i in range(40)
    ]
    assert all(len(kinds) == 1 for kinds in hits)
    # As llama.cpp: the first and last eighth, and every third between.
    more = [*range(5), *range(7, 35, 3), *range(35, 40)]
    assert [i for i, kinds in enumerate(hits) if kinds == [8]] == more
    assert not any(re.search(pattern, "blk.1.ffn_down.bias") for pattern in chosen)


def test_where_k_quants_fit_nothing_is_overridden() -> None:
    fits = replace(MINICPM_DUPLEX, feed_forward_size=768)
    assert overrides("Q4_K_M", fits) == {}
    assert overrides("F16", MINICPM_DUPLEX) == {}


def test_recipes_are_known_quants_best_first() -> None:
    names = [recipe.name for recipe in RECIPES]
    assert DEFAULT_QUANT in names and [quant_name(name.lower()) for name in names] == names
    assert set(names) <= set(known_quants())
    sizes = [recipe.bits_per_weight for recipe in RECIPES]
    assert sizes == sorted(sizes, reverse=True)


def test_every_name_that_is_offered_can_be_made(files: Files, tmp_path: Path) -> None:
    source = str(files[1]["BF16"])
    with LlamaProcess() as llama:
        for quant, ftype in known_quants().items():
            llama.ask("quantize", source, str(tmp_path / quant), ftype, {})


def test_the_room_that_is_asked_for_is_a_tenth_more_than_what_list_shows() -> None:
    shapes = [shape for _, _, shape, _ in required_tensors(MINICPM_DUPLEX)]
    bf16_bytes = 2 * n_params(shapes)
    for choice in choices(MINICPM_DUPLEX, None):
        room = estimated_bytes(choice.recipe.name, bf16_bytes)
        assert room == pytest.approx(1.1 * choice.size_bytes)
    assert estimated_bytes("Q4_1", 16) == 6  # no recipe


def test_a_type_llama_cpp_does_not_know_is_one_line(tmp_path: Path) -> None:
    checkpoint = write_tiny_checkpoint(tmp_path / "tiny")
    assert main([str(checkpoint), "--quant", "BF16", "--out", str(tmp_path)]) == 0
    source, target = str(tmp_path / "tiny-BF16.gguf"), str(tmp_path / "x.gguf")
    with LlamaProcess() as llama, pytest.raises(BackendError, match="quantize"):
        llama.ask("quantize", source, target, 9999, {"ffn_down": 8})


def test_the_kv_cache_is_360_kib_a_token() -> None:
    assert kv_bytes(MINICPM_DUPLEX, 1) == 40 * 2 * 2304 * 2 == 360 * 1024


def fitting(memory_bytes: int | None, hparams: Hyperparameters = MINICPM_DUPLEX) -> str | None:
    best, reason = recommend(choices(hparams, memory_bytes))
    assert reason
    return best.recipe.name if best else None


def test_the_recommendation_follows_the_memory() -> None:
    assert fitting(32 * 10**9) == DEFAULT_QUANT
    assert fitting(None) == DEFAULT_QUANT
    assert fitting(2 * 10**9) is None
    needed = {c.recipe.name: c.memory_bytes for c in choices(MINICPM_DUPLEX, None)}
    assert fitting(int(needed["Q4_K_S"] / 0.7) + 10) == "Q4_K_S"
    small = replace(MINICPM_DUPLEX, n_layers=2)
    assert fitting(2 * 10**9, small) == DEFAULT_QUANT


def test_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:8]] == [recipe.name for recipe in RECIPES]
    assert lines[-1].startswith("Recommended: ")
    checkpoint = write_tiny_checkpoint(tmp_path / "tiny")
    assert main(["--list", str(checkpoint)]) == 0
    assert "1,024 tokens" in capsys.readouterr().out  # the tiny model's context


def test_a_hub_id_whose_shape_is_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list", "someone/else"]) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert captured.err.startswith("error: The shape of someone/else is not known here.")
    assert main(["--list", DEFAULT_CHECKPOINT]) == 0


def test_a_reader_that_closes_the_pipe_is_no_traceback() -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "convert", "--list"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


def test_blas_has_one_thread_unless_the_user_says_otherwise() -> None:
    code = (
        "import os, sys, convert.__main__ as command; sys.argv[1:] = ['--list']; "
        "assert 'numpy' not in sys.modules, 'too late'; command._run(); "
        "print(os.environ['OPENBLAS_NUM_THREADS'], os.environ['MKL_NUM_THREADS'])"
    )
    env = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    env["MKL_NUM_THREADS"] = "3"
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.stdout.endswith("\n1 3\n"), done.stderr


def test_list_of_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list", "nowhere"]) == 1
    assert capsys.readouterr().err.startswith("error: There is no folder nowhere")


def test_a_small_machine_is_told_so() -> None:
    lines = recipe_table(MINICPM_DUPLEX, 4 * 10**9)
    assert all(re.search(r" (yes|no) ", line) for line in lines[1:8])
    assert "Recommended: none (even Q3_K_M does not fit" in recipe_table(MINICPM_DUPLEX, 10**9)[-1]
    assert " ?   " in recipe_table(MINICPM_DUPLEX, None)[1]
