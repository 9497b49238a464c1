"""What the training lists can make of the scenarios' utterances."""

from __future__ import annotations

import json

import pytest

from train.overlap import Grammar, main, requests_of


@pytest.fixture(scope="module")
def grammar():
    return Grammar()


@pytest.mark.parametrize(
    ("text", "is_made"),
    [
        ("tell me about owls", True),
        ("hello can you tell me about owls please", True),
        ("what is the capital of greece", True),
        ("stop", True),
        ("tell me about hedgehogs", False),
        ("the owls of my aunt are what i think of", False),
    ],
)
def test_a_wording_with_lead_ins_and_a_tail_is_known(grammar, text, is_made):
    assert grammar.makes(text.split()) is is_made


def test_a_request_is_its_hold_slices_and_its_end():
    slices = [("tell me", "hold"), ("", "hold"), ("about owls", "go"), ("", "cont"),
              ("uh-huh", "cont"), ("stop", "stop")]  # fmt: skip
    scenario = {"slices": [{"user": user, "expect": expect} for user, expect in slices]}
    assert [" ".join(words) for words in requests_of(scenario)] == [
        "tell me about owls", "uh-huh", "stop",
    ]  # fmt: skip


def test_only_scenarios_without_a_known_utterance_are_written(tmp_path, capsys):
    def scenario(name, text):
        return {"id": name, "slices": [{"user": text, "expect": "go"}]}

    path, out = tmp_path / "in.json", tmp_path / "out.json"
    known, new = scenario("a", "Tell me about owls."), scenario("b", "Owls? Do go into them!")
    path.write_text(json.dumps({"scenarios": [known, new]}))
    assert main([str(path), "--unseen", str(out)]) == 0
    assert "1 of 2 utterances" in capsys.readouterr().out
    assert json.loads(out.read_text()) == {"scenarios": [new]}


def test_no_scenario_file_is_one_line(tmp_path, capsys):
    path = tmp_path / "x.json"
    path.write_text("[]")
    assert main([str(path)]) == 1
    assert capsys.readouterr().err.count("\n") == 1
