from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.parity import main


@pytest.mark.parametrize("kind", ["folder", "gguf"])
def test_the_engine_feeds_what_the_original_fed(
    shared: Path, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    vocab = shared / "minicpm-duplex"
    if kind == "gguf":
        from convert.cli import main as convert_main

        source = str(shared / "golden/tiny-checkpoint")
        assert convert_main([source, "--quant", "Q8_0", "--out", str(tmp_path), "--name", "g"]) == 0
        vocab = tmp_path / "g-Q8_0.gguf"
        capsys.readouterr()
    traces = str(shared / "golden/protocol.json")
    assert main([traces, "--vocab", str(vocab), "--json", "-"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["slices"] == 520 and result["mismatches"] == 0
    assert result["prompt_tokens"] == 16612
    assert result["evaluated_tokens"] <= 1.02 * 4022  # the least possible for these prompts


def test_a_trace_that_differs_is_reported(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    traces = json.loads((shared / "golden/protocol.json").read_text("utf-8"))[:1]
    ran = [part for part in traces[0]["slices"] if part["ret_code"] == 0]
    ran[0]["prompt_ids"][3] += 1
    ran[1]["reply"] += "x"
    ran[2]["active"] = not ran[2]["active"]
    path = tmp_path / "traces.json"
    path.write_text(json.dumps(traces), "utf-8")
    assert main([str(path), "--vocab", str(shared / "minicpm-duplex")]) == 1
    out = capsys.readouterr().out
    assert "3 mismatches" in out
    assert "prompt_ids differs" in out and "reply differs" in out and "active differs" in out


@pytest.mark.parametrize("content", [None, "{", "{}", '[{"slices": [{"user": "a"}]}]', "[1]"])
def test_a_wrong_trace_file_is_one_sentence(
    tmp_path: Path, content: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "traces.json"
    if content is not None:
        path.write_text(content)
    assert main([str(path), "--vocab", str(tmp_path)]) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1 and "traces.json" in err
