"""Policies without a model, played through the same scoring: what knowing no language earns.

They only know when to speak. What they say is one fixed text, six words a slice, so every part
of the score that needs right words is 0 for them, and the harmonic mean with it; the fair
comparison with a model is `timing_score`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks.behaviour.scenario import Scenario
from benchmarks.behaviour.transcript import Reply, Transcript

__all__ = ["CONTROLS", "Policy", "play_control"]

N_TOKENS = 8  # of a slice, as a model would need

_TEXT = (
    " This is what I have to",
    " say about it, and there is",
    " more of it than you may",
    " want, because a fixed text never",
    " listens, so it goes on until",
    " its last word has been said.",
)


class Policy:
    """Decides slice by slice whether to speak. `hear` returns True to begin an answer."""

    is_endless = False  # begins anew when its text is used up
    stops_when_user_speaks = True

    def hear(self, user: str) -> bool:
        return False


class AlwaysIdle(Policy):
    """Never says anything."""


class AlwaysTalk(Policy):
    """Speaks in every slice, whatever the user does."""

    is_endless = True
    stops_when_user_speaks = False

    def hear(self, user: str) -> bool:
        return True


class AfterPunctuation(Policy):
    """Answers in the slice whose words end in `.`, `?` or `!`; falls silent at other words."""

    def hear(self, user: str) -> bool:
        return user.rstrip().endswith((".", "?", "!"))


class AfterSilence(Policy):
    """Answers in the first silent slice after words; falls silent at any word."""

    def __init__(self) -> None:
        self._has_heard = False

    def hear(self, user: str) -> bool:
        begins = not user and self._has_heard
        self._has_heard = bool(user)
        return begins


CONTROLS: dict[str, Callable[[], Policy]] = {
    "always idle": AlwaysIdle,
    "always talk": AlwaysTalk,
    "answer after punctuation": AfterPunctuation,
    "answer after one silent slice": AfterSilence,
}


def play_control(policy: Callable[[], Policy], scenarios: Sequence[Scenario]) -> list[Transcript]:
    """What `policy`, made anew for each scenario, does in them."""
    return [
        Transcript(scenario, tuple(_replies(policy(), scenario)), max_tokens=15)
        for scenario in scenarios
    ]


def _replies(policy: Policy, scenario: Scenario) -> list[Reply]:
    replies: list[Reply] = []
    rest: list[str] = []
    for part in scenario.slices:
        if part.user and policy.stops_when_user_speaks:
            rest = []
        if policy.hear(part.user) and not (rest and policy.is_endless):
            rest = list(_TEXT)
        text, rest = (rest[0], rest[1:]) if rest else ("", [])
        is_active = bool(rest) or policy.is_endless
        replies.append(Reply(text, is_active, n_sampled=N_TOKENS))
    return replies
