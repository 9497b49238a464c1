"""Long sessions: many scenarios in one conversation, across the end of the model's window."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from benchmarks.behaviour.scenario import Expect, Scenario, Slice
from benchmarks.behaviour.transcript import Transcript
from duplex_local.config import SessionConfig

__all__ = ["N_SLICES", "joined", "minutes", "parted"]

N_SLICES = 600  # 20 minutes of slices of 2 seconds
REST = (Slice("", Expect.FREE),) * 16  # between two scenarios, for an answer to end

Session = tuple[Scenario, tuple[Scenario, ...]]


def joined(scenarios: Sequence[Scenario], n_slices: int = N_SLICES) -> list[Session]:
    """Sessions of at least `n_slices` slices (the last may be shorter), each with its parts."""
    sessions: list[Session] = []
    parts: list[Scenario] = []
    slices: list[Slice] = []
    for number, scenario in enumerate(scenarios, 1):
        parts.append(scenario)
        slices += [*scenario.slices, *REST]
        if len(slices) >= n_slices or number == len(scenarios):
            name = f"session-{len(sessions) + 1:02}"
            sessions.append((Scenario(name, "session", tuple(slices)), tuple(parts)))
            parts, slices = [], []
    return sessions


def parted(transcript: Transcript, parts: Sequence[Scenario]) -> Iterator[Transcript]:
    """What was said in each part of a session, to be scored as if it stood alone."""
    start = 0
    for part in parts:
        end = start + len(part.slices)
        yield Transcript(part, transcript.replies[start:end], transcript.max_tokens)
        start = end + len(REST)


def minutes(sessions: Sequence[Scenario]) -> int:
    """How long the longest session is, in minutes begun."""
    n_slices = max((len(session.slices) for session in sessions), default=0)
    return math.ceil(n_slices * SessionConfig().slice_s / 60)
