"""The model card, written from the figures of the run, so that its numbers are the model's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import fill

from train.knowledge import topics

__all__ = ["NUMBERS", "write_card"]

MEANING = {
    "HOLD": "silent while a request is unfinished (whole conversations)",
    "PAUSE": "silent in a pause inside a request (whole conversations)",
    "GO@0": "answers in the slice that completes the request",
    "GO@1": "answers in that slice or the next",
    "DESCRIBE": "the whole of a topic, right to the letter",
    "FACT": "one fact, right to the letter",
    "CORR": 'corrected inside the request ("mars no i mean saturn"): right to the letter',
    "SUM": "sums, differences and products up to ten",
    "COUNT": "counting, up and down",
    "EXAMPLES": '"name three planets": as many as asked for, up to five (eight planets)',
    "SOCIAL": "greetings, thanks, who are you",
    "OOD": "an unknown thing is refused",
    "OOD fact": "an unknown fact about a known topic is refused",
    "REAL": "requests in real people's words: the right answer or refusal",
    "END": "silent after the end",
    "TYPOS": "every fourth longer word misspelt: right to the letter",
    "AND": 'the same again about another topic ("and Venus?"), after a right first answer',
    "STOP": 'after "stop": three words at most, then five silent slices',
    "GO ON": 'after that, "go on" resumes and ends the answer exactly',
    "YIELD": 'silent after "wait"',
    "BC": 'carries on through "uh-huh"',
    "BC exact": "and the answer stays exact to its end",
    "SIDE": "a side question is answered",
    "BACK": "and the old answer is resumed and ended",
    "BACK exact": "at exactly the place where it was",
    "MEANT": '"no, I meant X": X, right to the letter',
    "RESET": "another topic takes over, right to the letter",
    "SHORTER": '"shorter please"',
    "REPEAT": '"say that again"',
    "ABANDON": "silent after half a request",
}
CARD = """---
license: apache-2.0
language: en
---
# duplex-local demo model

A tiny model for trying duplex conversation without a download: it listens and speaks in slices of
two seconds, waits for the end of a request, and can be interrupted. It has the architecture and
the file format of MiniCPM-duplex, and none of its weights.

* {parameters:,} parameters, {size_bytes:,} bytes (bfloat16); a sentencepiece vocabulary of its own
  of {vocab_size:,} pieces; {layers} layers; up to {positions:,} positions.
{runs}

## What it knows
{n_topics} topics:
{kinds}.

It counts, adds, subtracts and multiplies numbers up to ten, greets, tells who it is, and
says so when it does not know. Its answers are sentences learned by heart; it does not reason and
knows nothing else.

## Data
* Conversations simulated by `train/`: the facts in `train/knowledge/` and the wordings in
  `train/wording/` were written for this project (Apache-2.0).
{data}

## How well it works
Greedy, with the weights as stored, one run, one seed. In brackets the number of cases and a 95 %
Wilson interval. {judged}

Wordings that were never trained are judged by `make eval`; its figures are in docs/behaviour.md.

| check | meaning | {sides} |
|---|---|{dashes}|
{table}

## Limits
English only. Unfamiliar wording may meet silence, a refusal or a wrong answer. Timing was learned
from synthetic conversations made by one set of rules.

## Make it again
`python -m train{options}`: see `python -m train --help`. Training needs torch
(`pip install -e '.[train]'`); the device is found. On two CPU cores the same command takes up to
three hours and gives a smaller, weaker model; docs/behaviour.md has the figures of both.
"""
ALL = """The wordings are those of training, in new combinations; the real utterances of REAL are
the validation parts, which were not trained on."""
HALF = """*Held out* are wordings that training never saw: every second one of each list, and the
validation parts of the real utterances."""
REAL = """* CLINC150, training part: Larson et al. 2019, "An Evaluation Dataset for Intent
  Classification and Out-of-Scope Prediction", clinc/oos-eval, CC BY 3.0.
* Disfl-QA, training part: Gupta et al. 2021, google-research-datasets/Disfl-QA, CC BY 4.0.

  Both give real wordings of requests only; the answers are the project's own."""
PLURAL = {"body": "parts of the body", "space": "things in space", "nature": "things in nature",
          "city": "cities", "country": "countries", "story": "stories", "person": "people",
          "howto": "how-tos", "food": "dishes"}  # fmt: skip


def write_card(out: Path, figures: dict, runs: Sequence[dict], real: bool) -> None:
    """Write README.md into the checkpoint folder."""
    counts = Counter(topic.kind for topic in topics())
    sides = [side for side in ("trained wordings", "held-out wordings") if side in figures]
    kinds = ", ".join(f"{n} {PLURAL.get(kind, kind + 's')}" for kind, n in counts.items())
    card = CARD.format(
        **{name: figures[name] for name in NUMBERS},
        runs="\n".join(_told(run, i == 0) for i, run in enumerate(runs)),
        n_topics=len(topics()),
        kinds=fill(kinds, 96),
        data=REAL if real else "* No real utterances: `--data` was not given.",
        judged=HALF if runs and all(run["half"] for run in runs) else ALL,
        sides=" | ".join(sides),
        dashes="|".join("---" for _ in sides),
        table="\n".join(_rows(figures, sides)),
        options=" --data DIR" if real else "",
    )
    (out / "README.md").write_text(card)


NUMBERS = ("parameters", "size_bytes", "vocab_size", "layers", "positions")


def _told(run: dict, is_first: bool) -> str:
    if "share" in run:
        return (
            f"* Then mixed (`python -m train.mix`): {run['share']:g} of these weights and "
            f"{1 - run['share']:g} of those after run {run['mixed_with_run']}."
        )
    begun = "Trained from scratch" if is_first else "Then, with the lists of a later day,"
    wordings = ", half of the wordings left out" if run["half"] else ""
    return (
        f"* {begun} on {run['tokens']:,} tokens in {run['steps']:,} steps{wordings}:\n"
        f"  {run['minutes']} minutes on {run['device']}. Loss on held-out conversations: "
        f"{run['validation_loss']:.4f}."
    )


def _rows(figures: dict, sides: list[str]) -> Iterator[str]:
    for name, meaning in MEANING.items():
        rates = [figures[side].get(name) for side in sides]
        if any(rates):
            yield f"| {name} | {meaning} | {' | '.join(map(_cell, rates))} |"


def _cell(rate: dict | None) -> str:
    if rate is None:
        return "-"
    value, low, high = (100 * rate[name] for name in ("value", "low", "high"))
    return f"{value:.1f} % ({rate['n']}; {max(low, 0):.1f}-{high:.1f})"
