"""`--full`: the same scenarios sampled and in long sessions, and how runs are compared."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from benchmarks.behaviour.__main__ import main
from benchmarks.behaviour.html import page
from benchmarks.behaviour.player import play
from benchmarks.behaviour.scenario import Expect, Scenario, Slice, read_files
from benchmarks.behaviour.score import Rate, score, wilson
from benchmarks.behaviour.sessions import N_SLICES, REST, joined, minutes, parted
from benchmarks.behaviour.table import as_json, lines, result_of
from benchmarks.behaviour.transcript import Reply, Transcript
from tests.benchmarks.behaviour_world import played


def made(n: int) -> list[Scenario]:
    """Scenarios of 1 to 7 slices, each slice told apart by its words."""
    return [
        Scenario(f"s{number}", "f", tuple(
            Slice(f"{number} {at}", Expect.GO)
            for at in range(1 + number % 7)
        ))
        for number in range(n)
    ]  # fmt: skip


def echo(scenario: Scenario) -> Transcript:
    """A model that says in every slice what it heard."""
    return Transcript(scenario, tuple(Reply(part.user) for part in scenario.slices), 15)


@pytest.mark.parametrize("n", [1, 40, 100])
def test_every_scenario_gets_its_own_replies_back(n: int) -> None:
    scenarios = made(n)
    sessions = joined(scenarios)
    back = [t for whole, parts in sessions for t in parted(echo(whole), parts)]
    assert back == [echo(scenario) for scenario in scenarios]
    assert all(whole.slices[-len(REST) :] == REST for whole, _ in sessions)


def test_only_the_last_session_may_be_short() -> None:
    sessions = [session for session, _ in joined(made(100))]
    lengths = [len(session.slices) for session in sessions]
    assert len(lengths) > 2 and all(length >= N_SLICES for length in lengths[:-1])
    assert lengths[-1] < N_SLICES and max(lengths) < N_SLICES + 7 + len(REST)
    assert len({session.id for session in sessions}) == len(sessions)
    assert joined([]) == [] and minutes([]) == 0
    assert minutes(sessions) == 21 and minutes(sessions[-1:]) < 20


SLICES = [{"user": "a", "expect": "go"}, {"user": "", "expect": "free"}]


@pytest.fixture
def arguments(tmp_path: Path, tiny_gguf: Path) -> list[str]:
    raw = [{"id": f"x{n}", "family": "f", "slices": SLICES} for n in range(4)]
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"scenarios": raw}), "utf-8")
    assert len(read_files([path])) == 4
    return [str(path), "--model", str(tiny_gguf), "--no-controls", "--full", "--json", "-"]


def test_further_runs_are_named_as_they_were_played(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--seed", "7"]) == 0
    out = capsys.readouterr().out.splitlines()
    names = [f"sampled, seed {seed}" for seed in (1, 2, 3)]
    names.append("1 session, up to 3 min, sampled, seed 7")
    result = json.loads(out[-1])
    assert list(result["others"]) == names
    assert "(0) as above, sampled, seed 7" in out and f"(4) {names[-1]}" in out


@pytest.mark.parametrize(
    ("run", "others"),
    [
        (1, []),
        (2, ["sampled, seed 1, 1 of 4 done"]),
        (5, [*(f"sampled, seed {seed}" for seed in (1, 2, 3)),
             "2 sessions, up to 2 min, greedy, 1 of 2 done"]),
    ],
)  # fmt: skip
def test_ctrl_c_keeps_what_is_done(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: Any, run: int,
    others: list[str],
) -> None:  # fmt: skip
    n_runs = 0

    def interrupted(*of_it: Any) -> Any:
        nonlocal n_runs
        n_runs += 1
        playing = play(*of_it)
        if n_runs < run:
            yield from playing
        else:
            yield next(playing)
            raise KeyboardInterrupt

    monkeypatch.setattr("benchmarks.behaviour.__main__.play", interrupted)
    monkeypatch.setattr("benchmarks.behaviour.__main__.joined", partial(joined, n_slices=30))
    assert main([*arguments, "--variants", "0"]) == 130
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert n_runs == run and not result["is_complete"]
    assert list(result["others"]) == others
    assert len(result["slices"]) == 2 * (1 if run == 1 else 4)


def test_runs_are_compared_by_the_parts_they_share() -> None:
    """The model has ROBUST and LEAK, the further run neither: LEAK had no trial in it."""
    rows = (("so", "hold", ""), ("mars", "go", "Mars", {"must": ["mars"]}))
    leaks = ("", "free", ""), ("owls", "go", "Mars", {"must_not": ["mars"]})
    good = [played(*rows), played(*rows, *leaks, name="t")]
    varied = played(("so", "hold", ""), ("mars", "go", ""))
    object.__setattr__(varied.scenario, "variant", "lower case")
    further: dict[str, Rate] = {
        name: rate if name not in ("LEAK", "ROBUST") else wilson(0, 0)
        for name, rate in result_of(good, {}, how="greedy", with_controls=False).rates.items()
    }
    result = result_of([*good, varied], {"sampled": further}, how="greedy", with_controls=False)
    shown = list(lines(result))
    assert score(result.rates) == 0.0 < score(further)

    data = as_json(result)
    assert {"LEAK", "ROBUST"} <= {*data["parts"]} - {*data["shared_parts"]}
    other = data["others"]["sampled"]
    assert "score" not in other and [*other["parts"]] == data["shared_parts"]
    assert other["shared_score"] == data["shared_score"] == pytest.approx(score(further))

    rows_of = {line.split()[0]: line.split()[1] for line in shown if line[:5] in ("model", "sampl")}
    assert rows_of == {"model": "0.000", "sampled": "-"}
    last = next(line for line in shown if line.startswith("SCORE here"))
    assert "LEAK" in last and "ROBUST" in last and "HOLD-TOR" not in last
    assert "<tr><td>sampled<td class=n>–<td" in page(result, "")
