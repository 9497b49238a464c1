"""The command lines as a user meets them: real processes, exit codes, one line on failure."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from duplex_local.errors import _EXTRAS, exit_with_one_line

ROOT = Path(__file__).parent.parent


def run(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        encoding="utf-8",
    )


def test_the_terminal_chat_answers_and_ctrl_c_twice_leaves(tiny_gguf: Path) -> None:
    arguments = ["-m", "duplex_local", "--model", str(tiny_gguf), "--slice-s", "0.2"]
    with subprocess.Popen(
        [sys.executable, *arguments, "--seed", "1"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    ) as chat:
        assert chat.stdin and chat.stdout and chat.stderr
        assert chat.stdout.readline() == b"tiny F32 on CPU.\n"
        assert b"Ctrl-C" in chat.stdout.readline()
        chat.stdin.write(b"hello there\n")
        chat.stdin.flush()
        assert chat.stdout.read(1) != b""  # the random model says something
        chat.send_signal(signal.SIGINT)  # stops the reply
        chat.send_signal(signal.SIGINT)  # leaves; two signals at once may arrive as one
        while chat.poll() is None:
            chat.send_signal(signal.SIGINT)
            chat.stdout.read(1)
        assert chat.returncode == 130
        assert chat.stderr.read() == b"stopped\n"


def test_the_terminal_chat_leaves_when_there_is_nothing_more_to_read(tiny_gguf: Path) -> None:
    arguments = ["-m", "duplex_local", "--model", str(tiny_gguf), "--slice-s", "0.2"]
    done = subprocess.run(
        [sys.executable, *arguments], input=b"\n \n\t\n", capture_output=True, cwd=ROOT, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["-m", "duplex_local", "--model", "none.gguf"], 1, "Model file not found: none.gguf"),
        (["-m", "duplex_local", "--slice-s", "0"], 1, "slice_s is 0, but must be from 0.2 to 30"),
        (["-m", "duplex_local", "--sound"], 2, "unrecognized arguments: --sound"),
        (["-m", "benchmarks.parity", "none.json", "--vocab", "x"], 1, "none.json"),
        (["-m", "convert", "nowhere"], 1, "nowhere"),
        (["-m", "ui", "--model", "none.gguf"], 1, "none.gguf"),
    ],
)
def test_wrong_use_is_one_line(arguments: list[str], code: int, says: str) -> None:
    done = run(*arguments)
    assert done.returncode == code
    assert says in done.stderr and "Traceback" not in done.stderr
    if code == 1:
        assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["convert", "duplex_local", "ui"])
def test_a_python_without_our_packages_is_one_line(command: str, tiny_gguf: Path) -> None:
    model = [] if command == "convert" else ["--model", str(tiny_gguf)]
    done = run("-S", "-m", command, *model)  # -S: no installed package is found
    assert done.returncode == 1
    assert "has no package" in done.stderr and "make install" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_package_of_an_extra_is_named_with_its_extra(capsys: pytest.CaptureFixture[str]) -> None:
    @exit_with_one_line
    def main() -> int:
        raise ModuleNotFoundError("no torch", name="torch.nn")

    assert main() == 1
    assert "pip install -e '.[train]'" in capsys.readouterr().err


@pytest.mark.parametrize(("package", "extra"), _EXTRAS.items())
def test_an_extra_has_the_package_it_is_named_for(package: str, extra: str) -> None:
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    listed = re.search(rf"^{extra} = \[(.*?)\]", project, re.M | re.S)
    assert listed and f'"{package}' in listed[1]


def test_doctor_finds_nothing_wrong_where_the_tests_run() -> None:
    done = run("duplex_local/doctor.py")
    assert done.returncode == 0, done.stdout
    assert "llama.cpp   0.3.36" in done.stdout


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("doctor.shutil.which = lambda name: None", "No C++ compiler"),
        ("doctor.NEEDED_DISK_BYTES = 10**18", "GB are free on this disk"),
        ("doctor.sys.version_info = (3, 8, 1)", "needs Python 3.10 to 3.13"),
    ],
)
def test_before_installing_what_is_missing_is_one_line(code: str, says: str) -> None:
    start = "import os; os.environ.pop('CXX', None); from duplex_local import doctor; "
    done = run("-c", f"{start}{code}; raise SystemExit(doctor.main(['--before-install']))")
    assert done.returncode == 1
    assert says in done.stderr and done.stderr.count("\n") == 1


def test_every_make_target_says_what_it_does() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = re.findall(r"^([a-z][a-z-]*):", makefile, re.M)
    documented = re.findall(r"^([a-z][a-z-]*):.* ## ", makefile, re.M)
    assert set(targets) == set(documented)
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.M)
    assert phony and set(phony[1].split()) == set(targets)
