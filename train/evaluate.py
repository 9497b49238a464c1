"""A small evaluation in torch: new conversations of one side of the wordings, greedy.

All conversations are played side by side, a batch of prompts at a time.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict

import torch

from duplex_local.tokenizer import Tokenizer
from train.answers import Request
from train.families import families
from train.model import MiniCPM
from train.playing import Seat, play
from train.requests import Speaker

__all__ = ["evaluate", "report", "transcripts"]


def evaluate(
    model: MiniCPM, tokenizer: Tokenizer, speaker: Speaker, real: list[Request], n: int
) -> tuple[dict[str, dict[str, float]], list[Seat]]:
    """Rates with n and a 95 % Wilson interval, and the conversations. n: per share of a family."""
    model.eval()
    talks = [family(speaker) for family, share in families(real).values() for _ in range(share * n)]
    seats = play(model, tokenizer, talks, batch=512 if torch.cuda.is_available() else 32)
    checks: dict[str, list[bool]] = defaultdict(list)
    for seat in seats:
        for name, values in (seat.checks or {}).items():
            checks[name] += values
    return {name: wilson(values) for name, values in checks.items()}, seats


def wilson(values: list[bool]) -> dict[str, float]:
    n, z = len(values), 1.96
    p = sum(values) / n
    centre, spread = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    low, high = ((centre + sign * spread) / (1 + z * z / n) for sign in (-1, 1))
    return {"value": round(p, 4), "n": n, "low": round(max(low, 0.0), 4), "high": round(high, 4)}


def report(rates: dict[str, dict[str, float]]) -> str:
    lines = [f"{'check':12} {'rate':>7} {'n':>5}  95 % interval"]
    for name, rate in rates.items():
        low, high = rate["low"], rate["high"]
        lines.append(f"{name:12} {rate['value']:7.1%} {rate['n']:5}  {low:.1%} - {high:.1%}")
    return "\n".join(lines)


def transcripts(seats: list[Seat], rng: random.Random, n: int) -> str:
    """Some conversations in which something went wrong, to be read."""
    wrong = [s for s in seats if s.checks and not all(all(v) for v in s.checks.values())]
    shown = rng.sample(wrong, min(n, len(wrong)))
    texts = []
    for seat in shown:
        failed = [name for name, values in (seat.checks or {}).items() if not all(values)]
        lines = [f"  {user or '.':40} | {reply or '.'}" for user, reply in seat.lines]
        texts.append("\n".join([f"failed: {', '.join(failed)}", *lines]))
    return "\n\n".join(texts)
