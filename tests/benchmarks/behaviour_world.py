"""Hand-made transcripts: what the user said and what the model replied, in one line a slice."""

from __future__ import annotations

from typing import Any

from benchmarks.behaviour.metrics import METRICS
from benchmarks.behaviour.scenario import scenario_from
from benchmarks.behaviour.transcript import Reply, Transcript

TRIALS = {metric.name: metric.trials for metric in METRICS}


def played(*rows: tuple[Any, ...], family: str = "f", name: str = "s") -> Transcript:
    """Rows are (user, expect, reply) or (user, expect, reply, {"must": …})."""
    slices = [
        {"user": row[0], "expect": row[1], **(row[3] if len(row) > 3 else {})} for row in rows
    ]
    scenario = scenario_from({"id": name, "family": family, "slices": slices}, "test", 1)
    replies = tuple(Reply(row[2], is_active=True, n_sampled=8) for row in rows)
    return Transcript(scenario, replies, max_tokens=15)


def trials(metric: str, *rows: tuple[Any, ...], family: str = "f") -> list[bool]:
    return list(TRIALS[metric](played(*rows, family=family)))
