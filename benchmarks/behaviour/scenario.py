"""Scenario files: what the user says slice by slice, and what is expected of the model.

    {"scenarios": [{"id": "pause-01", "family": "pause", "warmup_idle": 2, "slices": [
        {"user": "so tell me about the", "expect": "hold"},
        {"user": "", "expect": "hold"},
        {"user": "planet mars please", "expect": "go", "must": ["red|iron"], "within": 6}]}]}

Unknown keys are refused: a misspelt `must` would otherwise check nothing. A family is a name of
your own; the report groups by it. One thing hangs on it: in a family with "correct" in its name
(`self-correction`), `go` slices with `must` are counted in CORR.
"""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duplex_local.errors import ConfigError

__all__ = ["Expect", "Scenario", "Slice", "read_files", "scenario_from"]

DEFAULT_WITHIN = 5
MAX_WITHIN = 100


class Expect(enum.Enum):
    """What the model's reply in a slice should be."""

    HOLD = "hold"  # no takeover: the user is in the middle of a request
    GO = "go"  # a takeover in this slice or the next
    CONT = "cont"  # carries on with what it was saying
    STOP = "stop"  # nothing of the old answer; an acknowledgement of three words at most
    QUIET = "quiet"  # idle
    FREE = "free"  # not scored


@dataclass(frozen=True)
class Slice:
    """user: the words of this slice, empty for silence.

    must, must_not: patterns over the model's text from this slice to `within` slices later.
    """

    user: str
    expect: Expect
    must: tuple[re.Pattern[str], ...] = ()
    must_not: tuple[re.Pattern[str], ...] = ()
    within: int = DEFAULT_WITHIN

    @property
    def is_silent(self) -> bool:
        return not self.user


@dataclass(frozen=True)
class Scenario:
    """variant: empty for a scenario as written; else how its surface was changed."""

    id: str
    family: str
    slices: tuple[Slice, ...]
    warmup_idle: int = 0
    variant: str = ""


class _Place:
    """Where in the files we are, for messages that name file, scenario and field."""

    def __init__(self, file: str, scenario: str = "") -> None:
        self.file, self.scenario = file, scenario

    def wrong(self, field: str, why: str) -> ConfigError:
        where = f", scenario {self.scenario}" if self.scenario else ""
        return ConfigError(f"{self.file}{where}, field {field}: {why}.")

    def check_keys(self, value: Any, known: Iterable[str], field: str) -> None:
        if not isinstance(value, dict):
            raise self.wrong(field, f"must be an object, not {type(value).__name__}")
        for key in value:
            if key not in set(known):
                raise self.wrong(f"{field}.{key}".lstrip("."), "is unknown; misspelt?")

    def text(self, value: dict[str, Any], key: str, field: str) -> str:
        found = value.get(key)
        if not isinstance(found, str):
            raise self.wrong(field, "is missing" if key not in value else "must be a text")
        return found

    def count(self, value: dict[str, Any], key: str, field: str, default: int) -> int:
        found = value.get(key, default)
        if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found <= MAX_WITHIN:
            raise self.wrong(field, f"must be a whole number from 0 to {MAX_WITHIN}")
        return found


def read_files(paths: Iterable[Path]) -> list[Scenario]:
    """All scenarios of `paths`, in order.

    Raises:
        ConfigError: for a file that cannot be read or is wrong; names file, scenario and field.
    """
    scenarios: list[Scenario] = []
    seen: dict[str, str] = {}
    for path in paths:
        for scenario in _read(path):
            if scenario.id in seen:
                place = _Place(str(path), scenario.id)
                raise place.wrong("id", f"appears twice; the first is in {seen[scenario.id]}")
            seen[scenario.id] = str(path)
            scenarios.append(scenario)
    return scenarios


def _read(path: Path) -> list[Scenario]:
    place = _Place(str(path))
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} is not a readable scenario file ({error}).") from error
    place.check_keys(content, ("scenarios",), "")
    if not isinstance(content.get("scenarios"), list):
        raise place.wrong("scenarios", "must be a list of scenarios")
    if not content["scenarios"]:
        raise place.wrong("scenarios", "is empty; there is nothing to play")
    return [scenario_from(raw, str(path), n) for n, raw in enumerate(content["scenarios"], 1)]


def scenario_from(raw: Any, file: str, number: int) -> Scenario:
    """A checked scenario; `file` and `number` are for messages.

    Raises:
        ConfigError: naming the field that is wrong.
    """
    name = raw.get("id") if isinstance(raw, dict) else None
    place = _Place(file, name if isinstance(name, str) and name else f"number {number}")
    place.check_keys(raw, ("id", "family", "warmup_idle", "slices"), "")
    slices = raw.get("slices")
    if not isinstance(slices, list) or not slices:
        raise place.wrong("slices", "must be a list with at least one slice")
    return Scenario(
        id=place.text(raw, "id", "id"),
        family=place.text(raw, "family", "family"),
        slices=tuple(_slice(part, place, f"slices[{i}]") for i, part in enumerate(slices)),
        warmup_idle=place.count(raw, "warmup_idle", "warmup_idle", 0),
    )


def _slice(raw: Any, place: _Place, field: str) -> Slice:
    place.check_keys(raw, ("user", "expect", "must", "must_not", "within"), field)
    expect = place.text(raw, "expect", f"{field}.expect")
    known = [kind.value for kind in Expect]
    if expect not in known:
        raise place.wrong(f"{field}.expect", f"is {expect!r}, but must be one of {known}")
    return Slice(
        user=place.text(raw, "user", f"{field}.user").strip(),
        expect=Expect(expect),
        must=_patterns(raw, "must", place, field),
        must_not=_patterns(raw, "must_not", place, field),
        within=place.count(raw, "within", f"{field}.within", DEFAULT_WITHIN),
    )


def _patterns(raw: Any, key: str, place: _Place, field: str) -> tuple[re.Pattern[str], ...]:
    texts = raw.get(key, [])
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise place.wrong(f"{field}.{key}", "must be a list of regular expressions")
    try:
        return tuple(re.compile(text, re.IGNORECASE) for text in texts)
    except re.error as error:
        raise place.wrong(f"{field}.{key}", f"is no regular expression ({error})") from error
