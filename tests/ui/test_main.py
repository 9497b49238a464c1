"""python -m ui: what it says when it cannot start, and how it ends."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys

import pytest

from tests.ui.conftest import free_port
from ui.__main__ import main

SERVE = """
import sys
from duplex_local.config import SessionConfig
from duplex_local.errors import exit_with_one_line
from tests.ui.fake_engine import FakeEngine
from ui.__main__ import parse, serve

@exit_with_one_line
def main():
    serve(FakeEngine(), SessionConfig(), parse(sys.argv[1:]))
    return 0

sys.exit(main())
"""


def test_a_missing_model_is_one_line_that_says_what_to_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["--port", str(free_port())]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "make run" in line and "python -m convert models/demo --quant Q8_0" in line


def test_a_busy_port_is_one_line_that_says_which(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["--port", str(port)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"port {port}" in line and "--port N" in line


@pytest.mark.parametrize("wrong", [["--port", "0"], ["--slice-s", "99"], ["--host", "no.invalid"]])
def test_a_wrong_setting_is_one_line(wrong, capsys):
    assert main(wrong) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_wrong_usage_is_status_two(capsys):
    with pytest.raises(SystemExit) as left:
        main(["--nonsense"])
    assert left.value.code == 2


def test_an_open_host_is_warned_about(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.gguf").write_bytes(b"no model")
    port = str(free_port())
    assert main(["--host", "0.0.0.0", "--port", port, "--model", "model.gguf"]) == 1
    assert "anyone who can reach 0.0.0.0" in capsys.readouterr().err


def test_ready_is_one_line_and_ctrl_c_ends_it_with_one():
    port = str(free_port())
    command = [sys.executable, "-c", SERVE, "--no-browser", "--port", port]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        ready = server.stdout.readline()
        assert f"http://127.0.0.1:{port}" in ready
        server.send_signal(signal.SIGINT)
        out, err = server.communicate(timeout=30)
    assert (out, err.splitlines()) == ("", ["stopped"])
    assert server.returncode == 130
