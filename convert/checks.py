"""One result of verification, and how several of them are put into a sentence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["Check", "listed", "result_of"]

MAX_LISTED = 3


@dataclass(frozen=True)
class Check:
    """figure: what was found, for the table. why: what is wrong, empty when nothing is.

    values: the numbers behind it, for the report.
    """

    name: str
    figure: str
    why: str = ""
    values: Mapping[str, float | str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return not self.why

    def as_json(self) -> dict[str, object]:
        entry: dict[str, object] = {"name": self.name, "ok": self.ok, "figure": self.figure}
        if self.why:
            entry["why"] = self.why
        return entry | dict(self.values)


def result_of(name: str, figure: str, wrong: Sequence[str]) -> Check:
    """A check that fails for every entry of `wrong`."""
    return Check(name, figure, listed(wrong))


def listed(reasons: Iterable[str]) -> str:
    """The first few of `reasons` and how many more there are."""
    reasons = list(reasons)
    shown = "; ".join(reasons[:MAX_LISTED])
    more = len(reasons) - MAX_LISTED
    return f"{shown}; and {more} more" if more > 0 else shown
