"""Every metric, both ways, on hand-made transcripts."""

from __future__ import annotations

import dataclasses

import pytest

from benchmarks.behaviour import judge
from benchmarks.behaviour.flow import count_flow, seam_defect
from benchmarks.behaviour.outcome import slice_passes
from benchmarks.behaviour.transcript import Reply
from tests.benchmarks.behaviour_world import played, trials

ASK = ("tell me about mars", "go", "Mars is the red", {"must": ["mars"]})
MORE = ("", "cont", " planet next to ours")


@pytest.mark.parametrize(
    ("text", "idle", "backchannel", "acknowledgement", "takeover"),
    [
        ("", True, False, False, False),
        (" . ", True, False, False, False),
        ("Uh-huh.", False, True, True, False),
        ("I see", False, True, True, False),
        ("All right.", False, False, True, True),
        ("Okay, I'll stop.", False, False, True, True),
        ("Mars is red", False, False, False, True),
        ("okay okay okay okay", False, False, False, True),
        ("?!", False, False, False, True),
    ],
)
def test_what_a_reply_is(
    text: str, idle: bool, backchannel: bool, acknowledgement: bool, takeover: bool
) -> None:
    assert judge.is_idle(text) == idle
    assert judge.is_backchannel(text) == backchannel
    assert judge.is_acknowledgement(text) == acknowledgement
    assert judge.is_takeover(text) == takeover


@pytest.mark.parametrize(
    ("text", "goes_on"),
    [
        (" next to ours", True),
        ("", False),
        (" Mars is the red planet", False),  # begins anew
        ("You're welcome.", False),
        ("Uh-huh to you too", False),
    ],
)
def test_carrying_on(text: str, goes_on: bool) -> None:
    assert judge.carries_on("Mars is the red planet", "uh-huh", text) == goes_on


def test_hold_counts_scenarios_and_pause_counts_slices() -> None:
    rows = [("so tell", "hold", ""), ("", "hold", "Yes."), ("", "hold", " Mars"), ASK]
    assert trials("HOLD-TOR", *rows) == [False]
    assert trials("PAUSE-TOR", *rows) == [False, True]
    taken = [("so", "hold", "Mars is"), ("tell", "hold", "Venus is"), ASK]
    assert trials("HOLD-TOR", *taken) == [True]
    assert trials("HOLD-TOR", ASK) == [] and trials("PAUSE-TOR", ASK) == []


@pytest.mark.parametrize(
    ("replies", "at_0", "at_1"),
    [(("Mars", ""), True, True), (("", "Mars"), False, True), (("", ""), False, False)],
)
def test_go(replies: tuple[str, str], at_0: bool, at_1: bool) -> None:
    rows = [("mars", "go", replies[0]), ("", "free", replies[1])]
    assert trials("GO@0", *rows) == [at_0]
    assert trials("GO@1", *rows) == [at_1]


@pytest.mark.parametrize("following", ["hold", "stop", "quiet", "go"])
def test_speech_that_is_not_due_is_no_late_answer(following: str) -> None:
    rows = [("mars", "go", ""), ("and", following, "Mars is red")]
    assert trials("GO@1", *rows)[0] is False


def test_answer_looks_as_far_as_within_says() -> None:
    rows = [("", "free", "red"), ("mars", "go", "It is"), ("", "free", " "), ("", "free", "red")]
    for within, right in ((2, True), (1, False)):
        asked = [*rows]
        asked[1] = (*rows[1], {"must": ["RED"], "within": within})
        assert trials("ANSWER", *asked) == [right]
    assert trials("ANSWER", ("mars", "go", "", {"must_not": ["venus"]})) == [False]
    assert trials("ANSWER", ("mars", "go", "Venus", {"must_not": ["venus"]})) == [False]
    assert trials("ANSWER", ("mars", "go", "Mars", {"must_not": ["venus"]})) == [True]
    assert trials("ANSWER", ("mars", "go", "Mars")) == []


def test_the_window_ends_at_the_next_request() -> None:
    rows = [("mars", "go", "", {"must": ["red"]}), ("roses", "go", "red", {"must": ["red"]})]
    assert trials("ANSWER", *rows) == [False, True]


@pytest.mark.parametrize(
    ("rows", "yields"),
    [
        ([("stop", "stop", ""), ("", "quiet", "")], True),
        ([("stop", "stop", "Okay."), ("", "quiet", "")], True),
        ([("stop", "stop", " to ours")], False),
        ([("stop", "stop", ""), ("", "quiet", " to ours")], False),
        ([("no i", "hold", ""), ("owls", "go", "Owls", {"must_not": ["mars"]})], True),
        ([("no i", "hold", " to"), ("owls", "go", "Owls", {"must_not": ["mars"]})], False),
        ([("owls", "go", "Mars", {"must_not": ["mars"]})], False),
        ([("owls", "go", " to ours", {"must_not": ["mars"]})], False),
    ],
)
def test_yield(rows: list[tuple[object, ...]], yields: bool) -> None:
    assert trials("YIELD", ASK, MORE, *rows) == [yields]


def test_only_an_answer_can_be_interrupted() -> None:
    silent = ("mars", "go", "")
    assert trials("YIELD", silent, ("stop", "stop", "")) == []
    assert trials("REPAIR", silent, ("owls", "go", "Owls")) == []
    assert trials("YIELD", ASK, ("shorter", "go", "Mars")) == []
    request = [("and", "hold", "What?"), ("owls", "go", "Owls", {"must_not": ["mars"]})]
    assert trials("YIELD", *request) == []  # a takeover, not an interruption


@pytest.mark.parametrize(
    ("reply", "repaired"), [("Owls hunt", True), ("", False), ("Mars", False), ("Cats", False)]
)
def test_repair(reply: str, repaired: bool) -> None:
    wanted = {"must": ["owls"], "must_not": ["mars"]}
    assert trials("REPAIR", ASK, ("owls", "go", reply, wanted)) == [repaired]
    held = [("no i", "hold", ""), ("", "hold", ""), ("mean owls", "go", reply, wanted)]
    assert trials("REPAIR", ASK, *held) == [repaired]


@pytest.mark.parametrize(
    ("replies", "is_quiet"),
    [
        (["Okay.", "", "", "", "", ""], True),
        (["", "", "", "", "", ""], True),
        (["Okay I will stop now", "", "", "", "", ""], False),
        (["", "", "", "", "", "Mars"], False),
        (["", "Okay.", "", "", "", ""], False),
    ],
)
def test_quiet(replies: list[str], is_quiet: bool) -> None:
    rows = [("stop", "stop", replies[0]), *(("", "quiet", text) for text in replies[1:])]
    assert trials("QUIET", ASK, *rows) == [is_quiet]
    assert trials("QUIET", ASK, *rows[:-1]) == []


@pytest.mark.parametrize(
    ("reply", "goes_on"), [(" to ours", True), ("", False), ("Mars is the red", False)]
)
def test_backchannel(reply: str, goes_on: bool) -> None:
    assert trials("BC-CONT", ASK, ("uh-huh", "cont", reply)) == [goes_on]
    assert trials("BC-CONT", ("mars", "go", ""), ("uh-huh", "cont", reply)) == []


@pytest.mark.parametrize(
    ("replies", "silent"), [(("", ""), True), (("Okay.", ""), True), (("", " to ours"), False)]
)
def test_cut_in(replies: tuple[str, str], silent: bool) -> None:
    rows = [("Hold on.", "hold", replies[0]), ("", "hold", replies[1])]
    assert trials("BC-YIELD", ASK, MORE, *rows) == [silent]
    longer = [("tell me instead now", "hold", ""), ("", "hold", "")]
    assert trials("BC-YIELD", ASK, MORE, *longer) == []


@pytest.mark.parametrize(
    ("side", "after", "is_back"),
    [
        ("Five.", "Back to Mars. It has two moons.", True),
        ("Six.", "Back to Mars. It has two moons.", False),
        ("Five.", "", False),
        ("Five.", "Mars is the red planet", False),  # begun anew
    ],
)
def test_back(side: str, after: str, is_back: bool) -> None:
    rows = [
        ("two plus three?", "go", side, {"must": ["five"], "within": 1}),
        ("", "cont", after, {"must": ["mars|moon"], "within": 4}),
    ]
    assert trials("BACK", ASK, MORE, *rows) == [is_back]
    assert trials("YIELD", ASK, MORE, *rows) == [] == trials("REPAIR", ASK, MORE, *rows)


def test_correction_and_leak() -> None:
    wanted = {"must": ["owls"], "must_not": ["bats"]}
    for reply, used in (("Owls", True), ("Bats", False), ("Owls or bats", False), ("", False)):
        row = ("bats, no, owls", "go", reply, wanted)
        assert trials("CORR", row, family="self-correction") == [used]
    assert trials("CORR", row, family="pause") == []
    for reply, leaks in (("Owls", [False]), ("Bats and", [True]), ("", [])):
        assert trials("LEAK", ASK, ("owls", "go", reply, wanted)) == leaks
    assert trials("LEAK", row) == []  # nothing before it could leak


@pytest.mark.parametrize(
    ("before", "after", "defect"),
    [
        ("Mars is", " red", ""),
        ("Mars is.", "It is", ""),
        ("gira", "ffe", "broken word"),
        ("Mars is", "red", "broken word"),
        ("Mars is ", " red", "duplicated token"),
        ("Mars is", " is red", "duplicated token"),
        ("so it is.", " Is it", ""),
        ("火星", "很红", ""),
    ],
)
def test_seams(before: str, after: str, defect: str) -> None:
    assert seam_defect(before, after) == defect


def test_flow_counts_tokens_and_budget() -> None:
    clean = played(ASK, MORE, ("", "cont", " and far."))
    assert trials("FLOW", ASK, MORE) == [False]
    replies = (Reply("Mars</s>"), Reply(" is", is_faithful=False), Reply(" red", n_sampled=16))
    counts = count_flow(dataclasses.replace(clean, replies=replies))
    assert dataclasses.astuple(counts) == (2, 2, 1, 1)
    assert dataclasses.astuple(count_flow(clean)) == (2, 0, 0, 0)


@pytest.mark.parametrize(
    ("row", "passes"),
    [
        (("x", "free", "Mars"), None),
        (("x", "hold", "Mars"), False),
        (("x", "quiet", "Okay."), False),
        (("x", "stop", "Okay."), True),
        (("x", "go", "Mars"), True),
        (("uh-huh", "cont", " to"), True),
        (("", "cont", "", {"must": ["mars"]}), False),
    ],
)
def test_the_outcome_of_a_slice(row: tuple[object, ...], passes: bool | None) -> None:
    assert slice_passes(played(ASK, MORE, row), 2) is passes
