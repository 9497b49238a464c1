"""Surface variants: the same scenario without punctuation, in lower case, in 1-3-word slices."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from benchmarks.behaviour.scenario import Expect, Scenario, Slice

__all__ = ["VARIANTS", "cannot_end", "variants"]

# Words after which an English request goes on. No word that may end one ("to", "of" and other
# prepositions end a question that begins with a question word: "what is it made of"), and no
# preposition that is a verb or a particle as well ("like", "turn it on").
_NEVER_LAST = frozenset(
    "a an the my your our their every and or but because if than whether although unless "
    "very quite rather i'm i'd i'll we're you're it's that's what's who's where's how's".split()
)
_PREPOSITIONS = frozenset(
    "of for from with about at into onto between during without against among toward towards "
    "to as per via".split()
)
_QUESTION = frozenset("what who whom whose where which when why how".split())
_AUXILIARIES = frozenset(
    "is are was were am do does did can could will would shall should may might must has have "
    "had".split()
)


def cannot_end(text: str) -> bool:
    """True when a request certainly goes on after `text`, judged by its last words alone.

    A question word anywhere before rules prepositions out: they may be stranded. An auxiliary
    counts only as the first word or right after a question word ("what is", not "what it is").
    """
    found = re.findall(r"[\w'’\-]+", text.lower())
    if not found or text.rstrip()[-1] in ".?!;:":
        return False
    last, before = found[-1], found[:-1]
    if last in _NEVER_LAST:
        return True
    if last in _PREPOSITIONS:
        return not _QUESTION & set(before) and len(found) > 1
    return last in _AUXILIARIES and (not before or before[-1] in _QUESTION)


def _plain(user: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"[.,?!;:…\"]", " ", user)).strip()


def _rewritten(change: Callable[[str], str]) -> Callable[[Scenario, random.Random], Scenario]:
    def rewrite(scenario: Scenario, _: random.Random) -> Scenario:
        slices = tuple(replace(part, user=change(part.user)) for part in scenario.slices)
        return replace(scenario, slices=slices)

    return rewrite


def _short(scenario: Scenario, rng: random.Random) -> Scenario:
    """Words of `hold` and `go` slices in slices of 1-3 words; the last keeps what is expected.

    An earlier piece is `hold` only if a request cannot end there: "what is the moon" was part of
    a longer request, but is one by itself.
    """
    slices: list[Slice] = []
    said = ""
    for part in scenario.slices:
        is_request = part.user and part.expect in (Expect.HOLD, Expect.GO)
        pieces = _pieces(part.user, rng) if is_request else [part.user]
        for piece in pieces[:-1]:
            said = f"{said} {piece}".strip()
            slices.append(Slice(piece, Expect.HOLD if cannot_end(said) else Expect.FREE))
        slices.append(replace(part, user=pieces[-1]))
        said = f"{said} {pieces[-1]}".strip() if part.expect is Expect.HOLD else ""
    return replace(scenario, slices=tuple(slices))


def _pieces(user: str, rng: random.Random) -> list[str]:
    found, pieces = user.split(), []
    while found:
        n_words = rng.randint(1, 3)
        pieces.append(" ".join(found[:n_words]))
        found = found[n_words:]
    return pieces


VARIANTS: dict[str, Callable[[Scenario, random.Random], Scenario]] = {
    "no punctuation": _rewritten(_plain),
    "lower case": _rewritten(str.lower),
    "1-3 words": _short,
}


def variants(scenarios: Sequence[Scenario], n_each: int, seed: int = 0) -> list[Scenario]:
    """Each variant of `n_each` scenarios that have a request, the same ones for all."""
    rng = random.Random(seed)
    fit = [s for s in scenarios if any(part.expect is Expect.GO for part in s.slices)]
    chosen = sorted(rng.sample(range(len(fit)), min(n_each, len(fit))))
    return [
        replace(change(fit[at], rng), variant=name)
        for name, change in VARIANTS.items()
        for at in chosen
    ]
