"""Real utterances as scenarios: what people wrote, cut at random.

Sources, read where they stand and never copied into the project: clinc150 `val` (Larson et al.
2019, CC BY 3.0) and disfl-qa `dev` (Gupta et al. 2021, CC BY 4.0). A slice is `hold` only where
its last words cannot end a request, else nothing is expected; at the end any takeover counts,
since nobody knows what the right answer would be.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

from benchmarks.behaviour.scenario import Expect, Scenario, Slice
from benchmarks.behaviour.variants import cannot_end
from duplex_local.errors import ConfigError

__all__ = ["CORPORA", "corpus_of", "real_scenarios"]

FAMILY = "real"
CORPORA = ("clinc150", "disfl-qa")
MAX_WORDS = 24
PAUSE_SHARE = 0.4
# Silence is a fair reply to these.
_NO_ANSWER_DUE = frozenset(("yes", "no", "maybe", "cancel", "goodbye", "thank_you", "repeat"))


def _utterances(data: Path) -> Iterator[tuple[str, str]]:
    """(source, utterance) of both corpora, development parts only.

    Raises:
        ConfigError: when a file is missing or not what it should be.
    """
    clinc, disfl = data / "clinc150/utterances.json", data / "disfl-qa/dev.json"
    try:
        for text, intent in json.loads(clinc.read_text("utf-8"))["val"]:
            if intent not in _NO_ANSWER_DUE:
                yield "clinc150", text
        for _, text in json.loads(disfl.read_text("utf-8")):
            yield "disfl-qa", text
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"real utterances cannot be read from {data} ({error!r}). --data names a folder with "
            "clinc150/utterances.json and disfl-qa/dev.json; leave --real out to go without."
        ) from error


def real_scenarios(data: Path, n: int, seed: int = 0) -> list[Scenario]:
    """`n` scenarios of FAMILY, from both corpora as evenly as they allow.

    Raises:
        ConfigError: when the corpora cannot be read, or have fewer than `n`.
    """
    rng = random.Random(seed)
    by_source: dict[str, list[str]] = {name: [] for name in CORPORA}
    for source, text in _utterances(data):
        if 2 < len(text.split()) <= MAX_WORDS and not cannot_end(text):
            by_source[source].append(text.strip())
    n_found = sum(map(len, by_source.values()))
    if n > n_found:
        raise ConfigError(f"--real {n} is too many: {data} has {n_found} fit utterances.")
    scenarios = []
    n_each = _shares(n, [len(texts) for texts in by_source.values()])
    for (source, texts), n_taken in zip(by_source.items(), n_each, strict=True):
        for number, text in enumerate(rng.sample(texts, n_taken)):
            scenarios.append(_scenario(f"real-{source}-{number:03}", text, rng))
    return scenarios


def _shares(n: int, sizes: list[int]) -> list[int]:
    """How many to take of each of two corpora: half, and more where the other has too few."""
    first = max(min((n + 1) // 2, sizes[0]), n - sizes[1])
    return [first, n - first]


def corpus_of(scenario: Scenario) -> str:
    """The corpus a scenario was made from; empty for one that was written."""
    if scenario.family != FAMILY:
        return ""
    return next((name for name in CORPORA if scenario.id.startswith(f"real-{name}-")), "")


def _scenario(name: str, text: str, rng: random.Random) -> Scenario:
    slices, said, rest = [], "", text.split()
    while rest:
        n_words = rng.randint(2, 6)
        piece, rest = " ".join(rest[:n_words]), rest[n_words:]
        said = f"{said} {piece}".strip()
        expect = Expect.HOLD if cannot_end(said) else Expect.FREE
        slices.append(Slice(piece, expect if rest else Expect.GO))
        if rest and expect is Expect.HOLD and rng.random() < PAUSE_SHARE:
            slices.append(Slice("", Expect.HOLD))
    return Scenario(name, FAMILY, (*slices, Slice("", Expect.FREE)))
