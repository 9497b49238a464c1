"""Make the bundled demo checkpoint: `python -m train [--data DIR] [--out models/demo]`.

`--start models/demo` goes on from a checkpoint instead of nothing: it learns what was changed in
the wordings and facts since, with fewer tokens.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from duplex_local.errors import ConfigError, exit_with_one_line

RATE = 3e-3
START_RATE = 1e-3  # what was learned must not be lost
REAL_DATA = "https://github.com/clinc/oos-eval and github.com/google-research-datasets/Disfl-QA"


@dataclass(frozen=True)
class Size:
    """What is trained where.

    minutes: of training. A batch is `rows` rows of `length` tokens. dropout: only where tokens
    are so many that wordings would be learned by heart (docs/log.md).
    """

    minutes: float
    rows: int
    length: int
    layers: int
    dropout: float = 0.0


ON_GPU = Size(minutes=4.2, rows=48, length=1024, layers=7, dropout=0.1)
ON_CPU = Size(minutes=150, rows=6, length=512, layers=5)
QUICK = Size(minutes=24, rows=6, length=512, layers=4)

SIZES = {  # what it is, and the least that works
    "minutes": ("training time", 0.1),
    "rows": ("rows in a batch", 1),
    "length": ("tokens in a row", 256),
    "layers": ("layers of the model", 1),
}


def _at_least(lowest: float, kind: type) -> Callable[[str], float]:
    def number(text: str) -> float:
        value: float = kind(text)
        if value < lowest:
            raise argparse.ArgumentTypeError(f"{text} is less than {lowest:g}")
        return value

    return number


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, help="folder with clinc150/ and disfl-qa/")
    parser.add_argument(
        "--out", type=Path, default=Path("models/demo"), help="is replaced (models/demo)"
    )
    parser.add_argument("--work", type=Path, default=Path("runs/train"), help="state of the run")
    parser.add_argument("--seed", type=int, default=0)
    for name, (text, lowest) in SIZES.items():
        gpu, cpu, quick = (getattr(size, name) for size in (ON_GPU, ON_CPU, QUICK))
        parser.add_argument(
            f"--{name}",
            type=_at_least(lowest, type(gpu)),
            help=f"{text} (on a GPU {gpu:g}, else {cpu:g}, with --quick {quick:g})",
        )
    parser.add_argument(
        "--rate",
        type=_at_least(1e-6, float),
        help=f"highest learning rate ({RATE:g}, with --start {START_RATE:g})",
    )
    parser.add_argument(
        "--start", type=Path, metavar="CHECKPOINT", help="its weights are the first; sets the size"
    )
    parser.add_argument("--quick", action="store_true", help="half an hour on two CPU cores")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --work")
    parser.add_argument(
        "--half", action="store_true", help="train on half of the wordings, judge by the other half"
    )
    parser.add_argument("--evaluate", action="store_true", help="only evaluate what is in --out")
    parser.add_argument(
        "--n", type=_at_least(1, int), default=30, metavar="N",
        help="conversations per family share in the evaluation (30)",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    if options.start is not None and options.layers is not None:
        parser.error("--layers cannot be chosen with --start: the checkpoint has its own")
    if options.rate is None:
        options.rate = RATE if options.start is None else START_RATE
    if options.data is not None and (lacking := missing_data(options.data)):
        parser.error(f"--data {options.data} has no {lacking}; it comes from {REAL_DATA}")
    return options


def missing_data(data: Path) -> str:
    """The first file of the real utterances that is not in the folder; empty: all are there."""
    files = ("clinc150/utterances.json", "disfl-qa/train.json", "disfl-qa/dev.json")
    return next((name for name in files if not (data / name).is_file()), "")


@exit_with_one_line
def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    if find_spec("torch") is None:
        raise ConfigError("Training needs torch. Install it: pip install -e '.[train]'.")
    if options.data is None:
        print(f"No --data: real utterances are left out. They come from {REAL_DATA}.")
    try:
        options.work.mkdir(parents=True, exist_ok=True)
        if not options.evaluate:
            make(options)
        judge(options)
    except OSError as error:
        raise ConfigError(
            f"Cannot use {error.filename}: {error.strerror}. Choose other folders with --work and "
            "--out."
        ) from None
    return 0


def size_for(options: argparse.Namespace, *, on_gpu: bool) -> Size:
    """The size of this run: that of the machine, changed by what was asked for."""
    size = QUICK if options.quick else ON_GPU if on_gpu else ON_CPU
    asked = {name: value for name in SIZES if (value := getattr(options, name)) is not None}
    return replace(size, **asked)


def make(options: argparse.Namespace) -> None:
    """Train and write the checkpoint."""
    import torch

    from train.export import read_checkpoint, write_checkpoint
    from train.loop import find_device, train
    from train.model import MiniCPM, ModelConfig
    from train.trainer import LoopConfig

    size = size_for(options, on_gpu=find_device().type == "cuda")
    torch.manual_seed(options.seed)
    if options.start is not None:
        model = read_checkpoint(options.start)
        size = replace(size, length=min(size.length, model.config.max_position_embeddings))
    else:
        # Positions that training never reached must not be used.
        model = MiniCPM(
            ModelConfig(num_hidden_layers=size.layers, max_position_embeddings=size.length)
        )
    vocabulary = _vocabulary(options)
    runs = _earlier_runs(options)
    config = LoopConfig(
        minutes=size.minutes,
        rows=size.rows,
        length=size.length,
        rate=options.rate,
        warmup_steps=200 if options.start is None else 30,
        dropout=size.dropout,
        seed=options.seed,
        held_out=False if options.half else None,
    )
    model, run = train(
        config, model, vocabulary, options.data, options.work, options.resume,
        lambda model, run: write_checkpoint(model, vocabulary, options.out, [*runs, run]),
    )  # fmt: skip
    write_checkpoint(model, vocabulary, options.out, [*runs, run])


def _earlier_runs(options: argparse.Namespace) -> list[dict]:
    """The runs before this one. A resumed run asks its beginning: --out may be --start."""
    from train.export import read_runs

    path = options.work / "earlier_runs.json"
    if not options.resume:
        runs = [] if options.start is None else read_runs(options.start)
        path.write_text(json.dumps(runs) + "\n")
    elif not path.is_file():
        raise ConfigError(f"{path} is gone, so the run cannot be resumed. Leave --resume out.")
    found: list[dict] = json.loads(path.read_text("utf-8"))
    return found


def _vocabulary(options: argparse.Namespace) -> Path:
    """The folder with the tokenizer of this run: a new one, or that of the weights it begins with.

    Raises:
        ConfigError: when there is no run to resume.
    """
    from train.export import TOKENIZER_FILES
    from train.vocabulary import write_vocabulary

    folder = options.work / "vocabulary"
    if options.resume:
        if not (options.work / "state.pt").is_file():
            raise ConfigError(f"There is no run to resume in {options.work}. Leave --resume out.")
    elif options.start is not None:
        folder.mkdir(parents=True, exist_ok=True)
        for name in TOKENIZER_FILES:
            shutil.copyfile(options.start / name, folder / name)
    else:
        write_vocabulary(folder, options.data, options.seed)
    return folder


def judge(options: argparse.Namespace) -> None:
    """Evaluate the checkpoint as it was written, print the rates and write the model card."""
    from duplex_local.sentencepiece_vocab import SentencePieceVocab
    from duplex_local.tokenizer import Tokenizer
    from train import evaluate
    from train.card import write_card
    from train.export import read_checkpoint, read_runs
    from train.loop import find_device, keep_memory
    from train.real import load_real, load_words
    from train.requests import Speaker
    from train.wording import load

    keep_memory()
    model = read_checkpoint(options.out).to(find_device())
    tokenizer = Tokenizer(SentencePieceVocab(options.out))
    runs = read_runs(options.out)
    figures = {
        "parameters": model.n_parameters,
        "size_bytes": (options.out / "model.safetensors").stat().st_size,
        "vocab_size": model.config.vocab_size,
        "layers": model.config.num_hidden_layers,
        "positions": model.config.max_position_embeddings,
    }
    sides: dict[str, bool | None] = {"trained wordings": None}
    if runs and all(run["half"] for run in runs):
        sides = {"trained wordings": False, "held-out wordings": True}
    for side, held_out in sides.items():
        rng = random.Random(options.seed + 5)
        speaker = Speaker(load(held_out), rng, load_words(options.data))
        real = load_real(options.data, speaker, held_out is not False)
        rates, seats = evaluate.evaluate(model, tokenizer, speaker, real, options.n)
        print(f"\n{side}\n{evaluate.report(rates)}")
        figures[side] = rates
        wrong = options.work / f"wrong-{side.replace(' ', '-')}.txt"
        wrong.write_text(evaluate.transcripts(seats, rng, 120) + "\n")
    (options.work / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")
    write_card(options.out, figures, runs, options.data is not None)


if __name__ == "__main__":
    sys.exit(main())
