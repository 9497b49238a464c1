"""Make the bundled demo checkpoint: `python -m train [--data DIR] [--out models/demo]`."""

from __future__ import annotations

import argparse
import json
import random
import sys
from pathlib import Path

REAL_DATA = "https://github.com/clinc/oos-eval and github.com/google-research-datasets/Disfl-QA"
QUICK_LAYERS = 2


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m train", description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with clinc150/ and disfl-qa/")
    parser.add_argument("--out", type=Path, default=Path("models/demo"))
    parser.add_argument("--work", type=Path, default=Path("runs/train"), help="state of the run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=120.0, help="training time")
    parser.add_argument("--rows", type=int, help="rows in a batch (default 96 on a GPU, else 6)")
    parser.add_argument("--length", type=int, default=512, help="tokens in a row")
    parser.add_argument("--layers", type=int, default=5, help="fewer are faster to train")
    parser.add_argument("--rate", type=float, default=3e-3, help="highest learning rate")
    parser.add_argument("--quick", action="store_true", help="two layers, one minute, to try it")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --work")
    parser.add_argument("--all-wordings", action="store_true", help="keep none for evaluation")
    parser.add_argument("--evaluate", action="store_true", help="only evaluate what is in --out")
    parser.add_argument("--n", type=int, help="conversations per family share in the evaluation")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    try:
        import torch  # noqa: F401
    except ImportError:
        print("Training needs torch. Install it: pip install -e '.[train]'", file=sys.stderr)
        return 1
    if options.data is None:
        print(f"No --data: real utterances are left out. They come from {REAL_DATA}.")
    elif not (options.data / "clinc150").is_dir():
        print(f"{options.data} has no folder clinc150.", file=sys.stderr)
        return 1
    options.work.mkdir(parents=True, exist_ok=True)
    if not options.evaluate:
        make(options)
    judge(options)
    return 0


def make(options: argparse.Namespace) -> None:
    """Train and write the checkpoint."""
    from train.export import write_checkpoint
    from train.loop import LoopConfig, find_device, train
    from train.model import ModelConfig
    from train.vocabulary import write_vocabulary

    vocabulary = options.work / "vocabulary"
    if not (options.resume and vocabulary.is_dir()):
        write_vocabulary(vocabulary, options.data, options.seed)
    config = LoopConfig(
        minutes=1.0 if options.quick else options.minutes,
        rows=options.rows or (96 if find_device().type == "cuda" else 6),
        length=options.length,
        rate=options.rate,
        seed=options.seed,
        held_out=None if options.all_wordings else False,
    )
    # Positions that training never reached must not be used.
    sizes = ModelConfig(
        num_hidden_layers=QUICK_LAYERS if options.quick else options.layers,
        max_position_embeddings=options.length,
    )
    model, figures = train(
        config, sizes, vocabulary, options.data, options.work, options.resume,
        lambda model: write_checkpoint(model, vocabulary, options.out),
    )  # fmt: skip
    write_checkpoint(model, vocabulary, options.out)
    figures["held_out_kept"] = not options.all_wordings
    _figures(options).write_text(json.dumps(figures) + "\n")


def judge(options: argparse.Namespace) -> None:
    """Evaluate the checkpoint as it was written, print the rates and write the model card."""
    from duplex_local.sentencepiece_vocab import SentencePieceVocab
    from duplex_local.tokenizer import Tokenizer
    from train import evaluate
    from train.card import NUMBERS, write_card
    from train.export import read_checkpoint
    from train.loop import find_device, keep_memory
    from train.real import load_real, load_words
    from train.requests import Speaker
    from train.wording import load

    keep_memory()
    model = read_checkpoint(options.out).to(find_device())
    tokenizer = Tokenizer(SentencePieceVocab(options.out))
    path = _figures(options)
    figures = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    figures |= {
        "parameters": model.n_parameters,
        "size_bytes": (options.out / "model.safetensors").stat().st_size,
        "vocab_size": model.config.vocab_size,
        "layers": model.config.num_hidden_layers,
        "positions": model.config.max_position_embeddings,
    }
    for side, held_out in (("trained wordings", False), ("held-out wordings", True)):
        rng = random.Random(options.seed + 5)
        speaker = Speaker(load(held_out), rng, load_words(options.data))
        real = load_real(options.data, speaker, held_out)
        rates, seats = evaluate.evaluate(model, tokenizer, speaker, real, options.n or 30)
        print(f"\n{side}\n{evaluate.report(rates)}")
        figures[side] = rates
        wrong = options.work / f"wrong-{side.replace(' ', '-')}.txt"
        wrong.write_text(evaluate.transcripts(seats, rng, 120) + "\n")
    path.write_text(json.dumps(figures, indent=2) + "\n")
    if all(name in figures for name in NUMBERS):
        write_card(options.out, figures, options.data is not None)
    else:
        print(f"No model card: {path} does not tell how the model was trained.", file=sys.stderr)


def _figures(options: argparse.Namespace) -> Path:
    return options.work / "figures.json"


if __name__ == "__main__":
    sys.exit(main())
