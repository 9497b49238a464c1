"""Intervals, the harmonic score, the controls, variants, and the scenario files themselves."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.behaviour import generate
from benchmarks.behaviour.controls import CONTROLS, play_control
from benchmarks.behaviour.families import fate
from benchmarks.behaviour.html import page, takeover_places
from benchmarks.behaviour.real import corpus_of, real_scenarios
from benchmarks.behaviour.scenario import Expect, Scenario, read_files
from benchmarks.behaviour.score import (
    Rate,
    harmonic,
    parts,
    rates,
    robust,
    score,
    timing_score,
    wilson,
)
from benchmarks.behaviour.table import as_json, lines, result_of
from benchmarks.behaviour.transcript import Transcript
from benchmarks.behaviour.variants import VARIANTS, cannot_end, variants
from duplex_local.errors import ConfigError
from tests.benchmarks.behaviour_world import played

# Written once, sentence by sentence, by people who had not seen the training's lists.
OTHER_HANDS = [generate.FOLDER / name for name in ("another_hand.json", "third_hand.json")]
FILES = sorted(set(generate.FOLDER.glob("*.json")) - set(OTHER_HANDS))


@pytest.fixture(scope="module")
def scenarios() -> list[Scenario]:
    return read_files(FILES)


@pytest.mark.parametrize(
    ("n_true", "n", "low", "high"),
    # statsmodels.stats.proportion.proportion_confint(method="wilson")
    [(5, 10, 0.23659, 0.76341), (0, 20, 0.0, 0.16113), (20, 20, 0.83887, 1.0),
     (81, 263, 0.25529, 0.36621)],
)  # fmt: skip
def test_wilson(n_true: int, n: int, low: float, high: float) -> None:
    rate = wilson(n_true, n)
    assert rate.value == n_true / n and rate.n == n
    assert rate.low == pytest.approx(low, abs=2e-5) and rate.high == pytest.approx(high, abs=2e-5)


def test_no_trials_are_no_rate() -> None:
    assert wilson(0, 0) == Rate(None, 0, None, None)


def test_the_score_is_a_harmonic_mean_of_parts_turned_to_good() -> None:
    found = {"HOLD-TOR": wilson(2, 10), "GO@0": wilson(4, 10), "BACK": wilson(0, 0)}
    assert parts(found) == {"HOLD-TOR": pytest.approx(0.8), "GO@0": 0.4}
    assert score(found) == pytest.approx(2 / (1 / 0.8 + 1 / 0.4))
    assert harmonic([1.0, 0.0, 1.0]) == 0.0 and harmonic([]) == 0.0


def test_robust_is_the_worst_change_of_paired_scenarios() -> None:
    rows = {"": "Mars", "lower case": "Mars", "1-3 words": ""}
    transcripts = []
    for variant, reply in rows.items():
        for number in range(4):
            t = played(("so", "hold", ""), ("mars", "go", reply if number else "Mars"),
                       name=f"s{number}")  # fmt: skip
            object.__setattr__(t.scenario, "variant", variant)
            transcripts.append(t)
    changes = {change.variant: change for change in robust(transcripts)}
    assert changes["lower case"].go.value == 0.0 and changes["1-3 words"].go.value == 0.75
    assert changes["1-3 words"].hold.value == 0.0
    found = rates(transcripts)
    assert found["ROBUST"].value == 0.75 and found["GO@1"].n == 4


def test_controls_know_when_but_not_what(scenarios: list[Scenario]) -> None:
    found = {name: rates(play_control(make, scenarios)) for name, make in CONTROLS.items()}
    assert all(score(rate) == 0.0 for rate in found.values())
    assert all(timing_score(rate) < 0.5 for rate in found.values())
    idle, talk = found["always idle"], found["always talk"]
    assert (idle["HOLD-TOR"].value, idle["GO@1"].value, idle["QUIET"].value) == (0, 0, 1)
    assert (talk["HOLD-TOR"].value, talk["GO@0"].value, talk["QUIET"].value) == (1, 1, 0)
    marks, silence = found["answer after punctuation"], found["answer after one silent slice"]
    assert marks["GO@0"].value > 0.5 > marks["PAUSE-TOR"].value
    assert silence["GO@0"].value == 0 and silence["PAUSE-TOR"].value == 1


def test_every_metric_can_have_a_hundred_trials(scenarios: list[Scenario]) -> None:
    """Structure allows them; how many a model earns depends on its speaking at all."""
    talk = rates(play_control(CONTROLS["always talk"], scenarios + variants(scenarios, 150)))
    assert {name: rate.n for name, rate in talk.items() if rate.n < 100} == {}


def test_the_committed_files_are_what_the_generator_writes() -> None:
    assert {path.name: path.read_text("utf-8") for path in FILES} == generate.files()


@pytest.mark.parametrize("path", OTHER_HANDS, ids=lambda path: path.stem)
def test_those_of_other_hands_ask_for_everything_in_words_of_their_own(path: Path) -> None:
    found = read_files([path])
    said = [
        " ".join(part.user for part in scenario.slices if part.expect in (Expect.HOLD, Expect.GO))
        for scenario in found
    ]
    assert len(found) > 350 and len(set(said)) > 0.97 * len(found)
    controls = [rates(play_control(make, found)) for make in CONTROLS.values()]
    assert all(score(rate) == 0.0 for rate in controls)


def test_hold_slices_cannot_be_over(scenarios: list[Scenario]) -> None:
    """A `hold` with a sentence end would ask for silence after a complete request."""
    ends = [
        part.user
        for scenario in [*scenarios, *read_files(OTHER_HANDS)]
        if scenario.family != "cut-in"
        for part in scenario.slices
        if part.expect is Expect.HOLD and part.user[-1:] in {".", "?", "!"}
    ]
    assert ends == []


@pytest.mark.parametrize(
    ("text", "certain"),
    [
        ("tell me about the", True),
        ("what is", True),
        ("could you explain to", True),
        ("what is it made of", False),
        ("tell me what it is", False),
        ("tell me about mars", False),
        ("and", True),
        ("", False),
        ("tell me about the.", False),
        ("please turn it on", False),
        ("the jokes you would like", False),
    ],
)
def test_where_a_request_cannot_end(text: str, certain: bool) -> None:
    assert cannot_end(text) is certain


def test_variants_keep_the_words(scenarios: list[Scenario]) -> None:
    made = variants(scenarios, 20, seed=1)
    assert made == variants(scenarios, 20, seed=1)
    assert [s.variant for s in made[::20]] == list(VARIANTS)
    by_id = {s.id: s for s in scenarios}
    for changed in made:
        original = " ".join(part.user for part in by_id[changed.id].slices).split()
        words = " ".join(part.user for part in changed.slices).split()
        if changed.variant == "1-3 words":
            assert words == original
            asked = [p.user for p in changed.slices if p.expect in (Expect.HOLD, Expect.GO)]
            assert max(len(user.split()) for user in asked) <= 3
        elif changed.variant == "lower case":
            assert words == [word.lower() for word in original]
        else:
            assert not set("".join(words)) & set(".,?!;:")


def test_real_utterances_hold_only_where_nothing_can_end(tmp_path: Path) -> None:
    (tmp_path / "clinc150").mkdir()
    (tmp_path / "disfl-qa").mkdir()
    texts = [[f"please tell me about the {n} and the weather in rome", "weather"] for n in range(9)]
    (tmp_path / "clinc150/utterances.json").write_text(json.dumps({"val": texts}))
    (tmp_path / "disfl-qa/dev.json").write_text(json.dumps([["", "who no wait what is iron"]]))
    made = real_scenarios(tmp_path, 8)
    assert made == real_scenarios(tmp_path, 8)
    assert Counter(map(corpus_of, made)) == {"clinc150": 7, "disfl-qa": 1}
    for scenario in made:
        assert [p.expect for p in scenario.slices].count(Expect.GO) == 1
        for part in scenario.slices:
            if part.user and part.expect is Expect.HOLD:
                assert part.user.split()[-1] in {"the", "and", "about", "who", "is"}
    assert [corpus_of(scenario) for scenario in real_scenarios(tmp_path, 1)] == ["clinc150"]
    with pytest.raises(ConfigError, match="has 10 fit"):
        real_scenarios(tmp_path, 11)
    with pytest.raises(ConfigError, match="--data"):
        real_scenarios(tmp_path / "none", 8)


@pytest.mark.parametrize(("n", "shares"), [(5, (3, 2)), (6, (3, 3)), (0, (0, 0))])
def test_real_utterances_come_evenly(tmp_path: Path, n: int, shares: tuple[int, int]) -> None:
    for name, content in (
        ("clinc150/utterances", {"val": [["what is the news", "news"]] * 9}),
        ("disfl-qa/dev", [["", "who made the moon"]] * 9),
    ):
        path = tmp_path / f"{name}.json"
        path.parent.mkdir()
        path.write_text(json.dumps(content))
    found = Counter(map(corpus_of, real_scenarios(tmp_path, n)))
    assert (found["clinc150"], found["disfl-qa"]) == shares


def real(name: str, *replies: str) -> Transcript:
    expects = ("free", "hold", "go", "free")
    rows = zip("abc ", expects, replies, strict=True)
    return played(*rows, family="real", name=name)


@pytest.mark.parametrize(
    ("replies", "befell"),
    [
        (("", "", "Mars", ""), "answered"),
        (("", "", "", "Mars"), "answered"),
        (("Mars", " is red", " and far", ""), "answered"),
        (("Mars", "", "", ""), "answered early"),
        (("Mars", " is red", "", ""), "answered early"),
        (("", "Mars", "", ""), "cut in"),
        (("Okay.", "", "", ""), "mute"),
    ],
)
def test_what_becomes_of_a_real_utterance(replies: tuple[str, ...], befell: str) -> None:
    assert fate(real("real-clinc150-000", *replies)) == befell


def test_real_utterances_and_families_have_lines_of_their_own() -> None:
    transcripts = [
        real("real-clinc150-000", "", "", "Mars", ""),
        real("real-clinc150-001", "Mars", " is red", "", ""),
        real("real-disfl-qa-000", "", "", "", ""),
        played(("mars", "go", "Mars", {"must": ["red"]}), family="<social>"),
    ]
    result = result_of(transcripts, {}, how="greedy", with_controls=False)
    shown = "\n".join(lines(result))
    assert (
        "real utterances, clinc150: GO@1 50.0 % (n 2, 9.5 - 90.5), answered early 50.0 %, "
        "cut in 0.0 %, mute 0.0 %; HOLD-TOR 50.0 % (n 2, 9.5 - 90.5)"
    ) in shown
    assert "real utterances, disfl-qa: GO@1 0.0 % (n 1, " in shown and "mute 100.0 %" in shown
    data = as_json(result)
    assert data["families"]["real"]["GO@1"]["n"] == 3
    assert data["families"]["<social>"]["ANSWER"]["value"] == 0.0
    assert data["real"]["clinc150"]["answered early"]["value"] == 0.5
    text = page(result, "")
    assert "By family" in text and "&lt;social&gt;<td" in text and "<td>disfl-qa<td" in text
    alone = result_of(transcripts[3:], {}, how="greedy", with_controls=False)
    assert "real utterances" not in "".join(lines(alone)) and "disfl" not in page(alone, "")


def test_the_report_is_one_page_without_requests() -> None:
    bad = played(("<b>so", "hold", "Mars"), ("mars", "go", ""), ("", "free", ""))
    good = played(("so", "hold", ""), ("mars", "go", "Mars"), name="t")
    result = result_of([bad, good], {}, how="greedy", with_controls=True)
    text = page(result, "a & b")
    assert "http" not in text and "<script" not in text and "&lt;b&gt;so" in text
    assert takeover_places([bad, good]) == {"in the first slice": 1, "as it ends": 1}
    assert any(line.startswith("HOLD-TOR") for line in lines(result))
    data = json.loads(json.dumps(as_json(result)))
    assert set(data) >= {"score", "metrics", "controls", "slices"}
    assert data["metrics"]["HOLD-TOR"] == {
        "value": 0.5, "n": 2, "low": pytest.approx(0.0945, abs=1e-4),
        "high": pytest.approx(0.9055, abs=1e-4),
    }  # fmt: skip
    assert [row["pass"] for row in data["slices"]] == [False, False, None, True, True]
