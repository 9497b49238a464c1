"""Scenario files and the player: the real session, a scripted or a random model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.behaviour.__main__ import main
from benchmarks.behaviour.player import play, sampling_for
from benchmarks.behaviour.scenario import Scenario, read_files, scenario_from
from benchmarks.report import check_writable
from duplex_local.backend import ScriptedBackend
from duplex_local.config import EngineConfig
from duplex_local.llama_backend import LlamaBackend
from duplex_local.tokenizer import Tokenizer
from tests.vocab import letter_tokenizer


def scenario(*rows: tuple[str, str], name: str = "s", **more: Any) -> Scenario:
    slices = [{"user": user, "expect": expect} for user, expect in rows]
    return scenario_from({"id": name, "family": "f", "slices": slices, **more}, "test", 1)


class Told(ScriptedBackend):
    """Says what it was told, whatever it hears; notes what it heard."""

    def __init__(self, *replies: str, n_sequences: int = 1) -> None:
        self.tokenizer = letter_tokenizer()
        super().__init__(self.tokenizer.eos, n_sequences=n_sequences)
        eos, idle = self.tokenizer.eos, self.tokenizer.idle
        ids: list[int] = []
        for reply in replies:
            ids += [*self.tokenizer.encode(reply), eos] if reply else [idle]
        self.script[0] = iter(ids)
        self.heard = ""

    def eval(self, chunks: Any) -> list[int]:
        rows = super().eval(chunks)
        self.heard = self.tokenizer.decode(self.held[0])
        return rows


def replies(backend: Told, played: Scenario, **options: Any) -> list[str]:
    (transcript,) = play(backend, backend.tokenizer, [played], **options)
    assert all(reply.is_faithful for reply in transcript.replies)
    return [reply.text for reply in transcript.replies]


def test_a_slice_is_a_tick() -> None:
    backend = Told("", "", "mars is red", " and far", "")
    rows = [("tell me", "hold"), ("", "hold"), ("about mars", "go"), ("", "cont"), ("", "free")]
    assert replies(backend, scenario(*rows, warmup_idle=2)) == [
        "",
        "",
        "mars is red",
        " and far",
        "",
    ]


def test_words_reach_the_model_in_the_slice_that_has_them() -> None:
    backend = Told("mars is red", "ok")
    assert replies(backend, scenario(("tell me", "go"), ("stop", "stop"))) == ["mars is red", "ok"]
    assert "<用户>tell me<AI>mars is red<用户>stop<AI>ok" in backend.heard


def test_a_long_message_is_split_by_the_session() -> None:
    backend = Told("yes it is")
    said = "one two three four five six seven eight"
    assert replies(backend, scenario((said, "go"), ("", "free"))) == ["yes it is", ""]
    assert "<用户>one two three four<AI>" in backend.heard


def test_the_model_sleeps_after_a_short_end() -> None:
    backend = Told("ok")  # `</s>` at once: the answer is finished
    assert replies(backend, scenario(("hello", "go"), ("", "quiet"), ("", "quiet"))) == [
        "ok",
        "",
        "",
    ]


def test_breaking_in_keeps_what_was_shown() -> None:
    backend = Told("mars is red and far", "ok")
    rows = scenario(("tell me", "go"), ("stop", "stop"), ("", "quiet"))
    found = replies(backend, rows, break_in_after=4)
    assert "mars is red".startswith(found[0]) and found[0]
    assert f"<AI>{found[0]}<用户>stop" in backend.heard


@pytest.fixture(scope="module")
def tiny_backend(tiny_gguf: Path) -> Any:
    config = EngineConfig(model=tiny_gguf, n_ctx=512, n_sessions=3, n_threads=1)
    backend = LlamaBackend(config)
    yield backend
    backend.close()


@pytest.mark.parametrize("seed", [None, 7])
def test_the_same_run_twice_is_the_same(tiny_backend: LlamaBackend, seed: int | None) -> None:
    made = [
        scenario(("tell me", "hold"), ("about the sea", "go"), ("", "cont"), name=f"s{n}")
        for n in range(5)
    ]
    tokenizer = Tokenizer(tiny_backend.vocab)
    runs = [list(play(tiny_backend, tokenizer, made, sampling_for(seed))) for _ in range(2)]
    assert runs[0] == runs[1] and len(runs[0]) == 5
    assert all(len(t.replies) == 3 for t in runs[0])


def write(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content), "utf-8")
    return path


SLICE = {"user": "a", "expect": "go"}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ([], "must be an object"),
        ({"scenario": []}, "field scenario: is unknown"),
        ({"scenarios": {}}, "field scenarios: must be a list"),
        ({"scenarios": []}, "field scenarios: is empty"),
        ({"scenarios": [{"id": "x", "family": "f"}]}, "scenario x, field slices"),
        ({"scenarios": [{"family": "f", "slices": [SLICE]}]}, "scenario number 1, field id"),
        ({"scenarios": [{"id": "x", "slices": [SLICE]}]}, "scenario x, field family: is missing"),
        ({"scenarios": [{"id": "x", "family": 3, "slices": [SLICE]}]}, "must be a text"),
        ({"scenarios": [{"id": "x", "family": "f", "slices": [SLICE], "warmup_idle": -1}]},
         "field warmup_idle"),
        ({"scenarios": [{"id": "x", "family": "f", "slices": [SLICE]}] * 2}, "appears twice"),
        *(({"scenarios": [{"id": "x", "family": "f", "slices": [SLICE, {**SLICE, **wrong}]}]},
           f"scenario x, field slices[1].{field}")
          for wrong, field in (
              ({"expect": "wait"}, "expect: is 'wait'"),
              ({"user": None}, "user"),
              ({"must": "red"}, "must"),
              ({"must_not": ["("]}, "must_not"),
              ({"within": 1.5}, "within"),
              ({"within": True}, "within"),
              ({"musst": []}, "musst"),
          )),
    ],
)  # fmt: skip
def test_a_wrong_file_is_one_line(
    tmp_path: Path, content: Any, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "mine.json", content)
    assert main([str(path)]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1
    assert "mine.json" in err and says in err


def test_the_example_of_the_schema_is_read(tmp_path: Path) -> None:
    slices = [
        {"user": "planet mars please", "expect": "go", "must": ["red|iron"],
         "must_not": ["venus"], "within": 6},
        {"user": " ", "expect": "quiet"},
    ]  # fmt: skip
    raw = {"id": "pause-01", "family": "pause", "warmup_idle": 2, "slices": slices}
    (found,) = read_files([write(tmp_path / "a.json", {"scenarios": [raw]})])
    assert found.warmup_idle == 2 and found.slices[0].within == 6
    assert found.slices[1].is_silent and found.slices[1].within == 5


def test_the_command(tmp_path: Path, tiny_gguf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = {"id": "x", "family": "f", "slices": [SLICE, {"user": "", "expect": "free"}]}
    path = write(tmp_path / "a.json", {"scenarios": [raw]})
    report = tmp_path / "r.html"
    arguments = [str(path), "--model", str(tiny_gguf), "--json", "-", "--html", str(report)]
    assert main(arguments) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["is_complete"]
    assert len(result["slices"]) == 2 and len(result["variant_slices"]) == 3 * 2
    assert set(result["controls"]) == {
        "always idle", "always talk", "answer after punctuation", "answer after one silent slice",
    }  # fmt: skip
    assert report.read_text("utf-8").startswith("<!doctype html>")
    assert main([str(path), "--model", "none.gguf"]) == 1
    assert "none.gguf" in capsys.readouterr().err


def never(*_: Any) -> Any:
    raise AssertionError("a scenario was played")


@pytest.mark.parametrize("option", ["--json", "--html"])
@pytest.mark.parametrize("name", ["", "none/r", "a.json/r", "n" * 300])
def test_a_report_that_cannot_be_written_is_found_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any, option: str, name: str
) -> None:
    path = write(
        tmp_path / "a.json", {"scenarios": [{"id": "x", "family": "f", "slices": [SLICE]}]}
    )
    monkeypatch.setattr("benchmarks.behaviour.__main__.play", never)
    assert main([str(path), option, str(tmp_path / name)]) == 1
    assert f"{option} {tmp_path / name} cannot be written" in capsys.readouterr().err
    assert [found.name for found in tmp_path.iterdir()] == ["a.json"]


def test_looking_whether_a_file_can_be_written_changes_nothing(tmp_path: Path) -> None:
    old, link = tmp_path / "old", tmp_path / "link"
    old.write_text("kept")
    link.symlink_to(tmp_path / "to be made")
    for target in (old, link, tmp_path / "new", "-", None):
        check_writable("--html", target)
    assert old.read_text() == "kept" and {*tmp_path.iterdir()} == {old, link}


def test_one_file_for_both_reports_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main([str(tmp_path / "a.json"), "--json", "r", "--html", "r"])


def test_the_json_is_safe_when_the_html_fails(
    tmp_path: Path, tiny_gguf: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    path = write(
        tmp_path / "a.json", {"scenarios": [{"id": "x", "family": "f", "slices": [SLICE]}]}
    )
    full = tmp_path / "full"

    def taken(*arguments: Any) -> Any:
        full.mkdir()  # during the run, so that no check before it could know
        yield from play(*arguments)

    monkeypatch.setattr("benchmarks.behaviour.__main__.play", taken)
    data = tmp_path / "r.json"
    arguments = [str(path), "--model", str(tiny_gguf), "--json", str(data), "--html", str(full)]
    assert main([*arguments, "--variants", "0"]) == 1
    assert "--html" in capsys.readouterr().err
    assert json.loads(data.read_text("utf-8"))["is_complete"]


def test_ctrl_c_reports_what_is_done(
    tmp_path: Path, tiny_gguf: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    made = [{"id": f"x{n}", "family": "f", "slices": [SLICE]} for n in range(4)]
    path = write(tmp_path / "a.json", {"scenarios": made})

    def interrupted(*arguments: Any) -> Any:
        yield next(play(*arguments))
        raise KeyboardInterrupt

    monkeypatch.setattr("benchmarks.behaviour.__main__.play", interrupted)
    assert main([str(path), "--model", str(tiny_gguf), "--variants", "0"]) == 130
    assert "1 of 4 scenarios" in capsys.readouterr().out
