"""Training itself, for seconds: on from a checkpoint, and what is refused."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training needs torch: pip install -e '.[train]'")

import torch

from train.export import TOKENIZER_FILES, read_checkpoint, write_checkpoint
from train.mix import main as mix
from train.model import MiniCPM, ModelConfig
from train.trainer import LoopConfig, Trainer

IDLE = 3
ROOT = Path(__file__).parents[2]
SMALL = ("--minutes", "0.1", "--rows", "1")
FIRST_RUN = {"tokens": 1000, "steps": 10, "minutes": 1.5, "device": "an abacus",
             "validation_loss": 9.9, "half": False}  # fmt: skip


def train(*arguments: object) -> subprocess.CompletedProcess[str]:
    """In a process of its own: threads and memory are set for training there."""
    command = [sys.executable, "-m", "train", *map(str, arguments), *SMALL]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110)


def make(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Training without its long evaluation."""
    code = "import sys; from train.__main__ import make, parse; make(parse(sys.argv[1:]))"
    command = [sys.executable, "-c", code, *map(str, arguments), *SMALL]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110)


def test_going_on_from_a_checkpoint_keeps_its_vocabulary_and_tells_both_runs(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    small = MiniCPM(ModelConfig(num_hidden_layers=1, max_position_embeddings=256))
    write_checkpoint(small, ROOT / "models/demo", first, [FIRST_RUN])
    (tmp_path / "work").mkdir()
    done = make("--start", first, "--out", second, "--work", tmp_path / "work")
    assert done.returncode == 0, done.stderr
    told, run = json.loads((second / "config.json").read_text("utf-8"))["training"]
    assert told == FIRST_RUN
    assert run["tokens"] == run["steps"] * 256 > 0
    for name in TOKENIZER_FILES:
        assert (second / name).read_bytes() == (first / name).read_bytes()
    # The best weights are kept, and those of the beginning count.
    held = [float(loss) for loss in re.findall(r"held ([0-9.]+)", done.stdout)]
    assert len(held) >= 2 and run["validation_loss"] == min(held) < held[0]
    before, after = read_checkpoint(first), read_checkpoint(second)
    assert not before.embed_tokens.weight.equal(after.embed_tokens.weight)


@pytest.mark.parametrize(
    "arguments, said",
    [
        (("--start", "nowhere"), "There is no model in nowhere: it has no config.json."),
        (("--resume",), "There is no run to resume"),
    ],
)
def test_what_cannot_begin_says_so_in_one_line(tmp_path, arguments, said):
    done = train(*arguments, "--out", tmp_path / "out", "--work", tmp_path / "work")
    assert done.returncode == 1
    assert said in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_mix_lies_between_the_weights_and_says_so(tmp_path, capsys):
    ends = {"before": [FIRST_RUN], "after": [FIRST_RUN, FIRST_RUN | {"tokens": 5}]}
    small = ModelConfig(num_hidden_layers=1, max_position_embeddings=256)
    for name, runs in ends.items():
        write_checkpoint(MiniCPM(small), ROOT / "models/demo", tmp_path / name, runs)
    folders = [str(tmp_path / name) for name in ("before", "after", "mixed")]
    assert mix([*folders[:2], "--share", "0.25", "--out", folders[2]]) == 0
    one, other, mixed = (read_checkpoint(Path(folder)).norm.weight for folder in folders)
    assert mixed.allclose(0.75 * one + 0.25 * other, atol=0.01)
    one, other, mixed = (read_checkpoint(Path(folder)).embed_tokens.weight for folder in folders)
    assert mixed.allclose(0.75 * one + 0.25 * other, atol=0.001) and not mixed.allclose(one)
    *runs, told = json.loads((tmp_path / "mixed/config.json").read_text("utf-8"))["training"]
    assert runs == ends["after"]
    assert told == {"share": 0.25, "mixed_with_run": 1, "half": False}
    # The other way round they have nothing to do with each other.
    assert mix([folders[1], folders[0], "--out", str(tmp_path / "wrong")]) == 1
    assert "was not trained from" in capsys.readouterr().err
    assert not (tmp_path / "wrong").exists()


@pytest.fixture
def trainer():
    config = LoopConfig(minutes=1, rows=1, length=4, silence_weight=0.5)
    small = MiniCPM(ModelConfig(num_hidden_layers=1, max_position_embeddings=4))
    return Trainer(small, config, IDLE, torch.device("cpu"))


def batch_of(*labels: int) -> torch.Tensor:
    """One row of four tokens in one conversation."""
    return torch.tensor([[[5, 6, 7, 8], [*labels], [0, 1, 2, 3], [0] * 4, [1] * 4]])


def test_silence_weighs_less_than_a_word_in_training_and_not_in_validation(trainer):
    idle, word = batch_of(IDLE, -1, -1, -1), batch_of(-1, 9, -1, -1)
    one, other = (trainer.loss(batch).item() for batch in (idle, word))
    both = batch_of(IDLE, 9, -1, -1)
    weighted = trainer.loss(both, trainer.token_weights).item()
    assert weighted == pytest.approx((0.5 * one + other) / 1.5, rel=1e-5)
    assert trainer.validate([both]) == pytest.approx((one + other) / 2, rel=1e-5)


def test_the_best_weights_of_a_resumed_run_are_judged_by_the_lists_of_today(trainer):
    batch = batch_of(IDLE, 9, 10, -1)
    expected = trainer.validate([batch])
    trainer.best_loss = 0.0  # by easier lists
    with torch.no_grad():
        trainer.model.embed_tokens.weight.mul_(3)
    trainer.judge_best([batch])
    assert trainer.best_loss == pytest.approx(expected, rel=1e-5)
    assert trainer.validate([batch]) != pytest.approx(expected, rel=1e-3)  # the model goes on
