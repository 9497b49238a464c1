"""A scenario as it was played: what was shown, slice by slice."""

from __future__ import annotations

import re
from dataclasses import dataclass

from benchmarks.behaviour.judge import is_idle
from benchmarks.behaviour.scenario import Expect, Scenario, Slice

__all__ = ["Reply", "Transcript"]

_ENDS_WINDOW = (Expect.GO, Expect.STOP, Expect.QUIET)


@dataclass(frozen=True)
class Reply:
    """What the model said in one slice.

    text: what was shown. is_active: the model is not finished afterwards.
    n_sampled: tokens sampled, the stop token too.
    is_faithful: shown, remembered and sampled text are the same.
    """

    text: str = ""
    is_active: bool = True
    n_sampled: int = 0
    is_faithful: bool = True


@dataclass(frozen=True)
class Transcript:
    """replies: one per slice of the scenario. max_tokens: budget of a reply slice."""

    scenario: Scenario
    replies: tuple[Reply, ...]
    max_tokens: int

    @property
    def slices(self) -> tuple[Slice, ...]:
        return self.scenario.slices

    def is_speaking_before(self, at: int) -> bool:
        """True when the model was in the middle of an answer when slice `at` began."""
        return at > 0 and not is_idle(self.replies[at - 1].text) and self.replies[at - 1].is_active

    def window(self, at: int) -> str:
        """The model's text that `must` and `must_not` of slice `at` look at.

        From this slice to `within` slices later, but not beyond the user's next complete request
        or stop: what is said after that answers something else.
        """
        last = min(at + self.slices[at].within, len(self.slices) - 1)
        for later in range(at + 1, last + 1):
            if self.slices[later].expect in _ENDS_WINDOW:
                last = later - 1
                break
        return "".join(reply.text for reply in self.replies[at : last + 1])

    def has_all(self, at: int) -> bool:
        """Every `must` of slice `at` is found."""
        return all(pattern.search(self.window(at)) for pattern in self.slices[at].must)

    def has_forbidden(self, at: int) -> bool:
        """Some `must_not` of slice `at` is found."""
        return any(pattern.search(self.window(at)) for pattern in self.slices[at].must_not)

    def answer_before(self, at: int) -> str:
        """The answer that was being said when slice `at` began: back to where it started."""
        text, start = "", at
        while start > 0 and not is_idle(self.replies[start - 1].text):
            start -= 1
            text = self.replies[start].text + text
            if self.slices[start].expect is Expect.GO:
                break
        return re.sub(r"\s+", " ", text).strip()
