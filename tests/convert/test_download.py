"""From a hub id to a GGUF: what is fetched, what is kept, and what is said when it fails."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants

from convert import cli, space
from convert.checkpoint import needed_files, read_tensors
from convert.cli import main
from convert.download import Snapshot, download
from convert.quants import estimated_bytes
from convert.space import Need, check_room
from duplex_local.errors import ModelFileError
from tests.convert.hub_server import HubServer, files_of
from tests.convert.llama import open_model
from tests.convert.tiny import write_json, write_tiny_checkpoint

ROOT = Path(__file__).parent.parent.parent
REPO_ID, COMMIT = HubServer.REPO_ID, HubServer.COMMIT
BIN = "pytorch_model.bin"
MINIMUM = {"config.json", "tokenizer.model", "added_tokens.json", BIN}


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with files beside it that no conversion needs."""
    folder = write_tiny_checkpoint(tmp_path_factory.mktemp("hub") / "tiny")
    write_json(folder / "generation_config.json", {})
    (folder / "modeling_minicpm.py").write_text("raise SystemExit")
    (folder / "README.md").write_text("# tiny")
    (folder / "other.gguf").write_bytes(b"GGUF")
    return folder


@pytest.fixture
def hub(checkpoint: Path, cache: Path, at: Callable[[str], None]) -> Iterator[HubServer]:
    with HubServer(files_of(checkpoint)) as hub:
        at(hub.url)
        yield hub


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of our own, no token, no time lost before a retry, and small pieces: the
    library keeps a piece only when it has all of it."""
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 250)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", False)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("time.sleep", lambda _s: None)
    return tmp_path / "cache"


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Makes the library, which reads HF_ENDPOINT once, ask another hub."""

    def set_endpoint(url: str) -> None:
        template = url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)

    yield set_endpoint
    huggingface_hub.close_session()


class Notes:
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    @contextmanager
    def bar(self, label: str, total: int, unit: str) -> Iterator[Callable[[int], object]]:
        yield lambda n: None

    def note(self, line: str) -> None:
        self.lines.append(line)


def fetch(revision: str | None = None) -> Snapshot:
    return download(REPO_ID, revision, lambda _size: [], Notes())


def refused(capsys: pytest.CaptureFixture[str], tmp_path: Path, *arguments: str) -> str:
    """The one line with which `python -m convert` fails on the hub's model."""
    assert main([*(arguments or [REPO_ID]), "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith("error: ") and "Traceback" not in error
    assert not (tmp_path / "out").exists()
    return error


def test_the_command_makes_a_gguf_of_a_hub_id(hub: HubServer, tmp_path: Path) -> None:
    """A process of its own, with the settings a user has: HF_ENDPOINT, HF_HOME, HF_TOKEN."""
    hub.token = "hf_secret"
    arguments = [REPO_ID, "--quant", "Q8_0", "--out", str(tmp_path / "out"), "--json", "-"]
    done = subprocess.run(
        [sys.executable, "-m", "convert", *arguments],
        cwd=ROOT,
        env={**os.environ, "HF_ENDPOINT": hub.url, "HF_TOKEN": hub.token}
        | {"HF_HOME": str(tmp_path / "home"), "AI_AGENT": "someone"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    _, first, *_, last = done.stdout.splitlines()
    assert first.startswith(f"{REPO_ID} at {COMMIT}: download 0.0 GB, BF16 0.0 GB, Q8_0 0.0 GB (")
    result = json.loads(last)
    assert (result["source"], result["revision"]) == (REPO_ID, COMMIT)
    with open_model(tmp_path / "out" / "tiny-duplex-Q8_0.gguf", vocab_only=True) as model:
        url = f"https://huggingface.co/{REPO_ID}/tree/{COMMIT}"
        assert model.metadata("general.source.url") == url
    assert (
        tmp_path / "home" / "hub" / "models--owner--tiny-duplex" / "snapshots" / COMMIT
    ).is_dir()
    assert hub.fetched() == MINIMUM
    assert all("/resolve/" in a.path or "/cdn/" in a.path for a in hub.requests[1:]), "telemetry"
    for asked in hub.requests:  # the other host must not see the token
        assert asked.token == ("Bearer hf_secret" if asked.host == "127.0.0.1" else None)


def test_a_folder_wins_over_the_hub(
    hub: HubServer, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("owner").mkdir()
    Path(REPO_ID).symlink_to(checkpoint)
    assert main([REPO_ID, "--quant", "BF16", "--json", "result.json"]) == 0
    result = json.loads(Path("result.json").read_text())
    assert result["revision"] is None and hub.requests == []


def test_without_an_argument_it_is_the_real_model(
    hub: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--out", str(tmp_path / "out"), "--quant", "Q8_0"]) == 1
    assert cli.DEFAULT_CHECKPOINT == "xinrongzhang2022/MiniCPM-duplex"
    assert hub.requests[0].path == "/api/models/xinrongzhang2022/MiniCPM-duplex/revision/main"
    assert "no public model of that name" in capsys.readouterr().err


def test_only_what_is_missing_is_fetched(hub: HubServer) -> None:
    snapshot = fetch()
    assert snapshot.commit == COMMIT == snapshot.folder.name
    assert {path.name for path in snapshot.folder.iterdir()} == MINIMUM == hub.fetched()
    assert read_tensors(snapshot.folder)
    assert hub.sent_bytes == {name: len(hub.files[name]) for name in MINIMUM}
    hub.requests.clear()
    hub.sent_bytes.clear()
    assert fetch() == snapshot
    assert not hub.sent_bytes
    assert fetch(COMMIT) == snapshot
    assert not hub.sent_bytes


def test_a_cut_connection_goes_on_within_the_run(hub: HubServer) -> None:
    """Cut three times, and each time nothing is sent twice."""
    cuts = [1000, 250, 50_000]

    def cut_again() -> None:
        if cuts:
            hub.cut_after[BIN] = cuts.pop()

    hub.on_cut = cut_again
    cut_again()
    fetch()
    assert cuts == []
    assert hub.sent_bytes[BIN] == len(hub.files[BIN])


def test_a_broken_download_goes_on_in_the_next_run(
    hub: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.cut_after[BIN] = 1000
    hub.on_cut = lambda: setattr(hub, "down", True)
    line = refused(capsys, tmp_path)
    assert f"The connection to {hub.url} failed" in line and "what has arrived is kept" in line
    assert hub.sent_bytes[BIN] == 1000
    hub.down = False
    snapshot = fetch()
    assert (snapshot.folder / BIN).read_bytes() == hub.files[BIN]
    assert hub.sent_bytes == {name: len(hub.files[name]) for name in MINIMUM}


def test_ctrl_c_in_a_download(
    hub: HubServer, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped = threading.Event()

    def press_and_stay_connected() -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        stopped.wait(30)

    hub.cut_after[BIN] = 1000
    hub.on_cut = press_and_stay_connected
    assert main([REPO_ID, "--out", str(tmp_path / "out")]) == 130
    stopped.set()
    assert capsys.readouterr().err == "stopped\n"
    assert not list(cache.glob("*/snapshots"))
    assert not list(cache.glob(f"*/blobs/{hub.digest(BIN)}"))
    assert (fetch().folder / BIN).read_bytes() == hub.files[BIN]


@pytest.mark.parametrize("name", [BIN, "config.json"])
def test_wrong_bytes_are_deleted(
    name: str, hub: HubServer, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = hub.files[name]
    hub.wrong[name] = content[:-1] + bytes([content[-1] ^ 1])
    assert f"{name} is not what the hub's record says" in refused(capsys, tmp_path)
    assert not list(cache.glob(f"*/blobs/{hub.digest(name)}*"))
    hub.wrong.clear()
    assert (fetch().folder / name).read_bytes() == content


@pytest.mark.parametrize("change", [lambda content: content[:-1], lambda content: content + b"+"])
def test_a_wrong_size(
    change: Callable[[bytes], bytes],
    hub: HubServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    hub.wrong[BIN] = change(hub.files[BIN])
    assert f"file should be of size {len(hub.files[BIN])} but" in refused(capsys, tmp_path)
    hub.wrong.clear()
    assert (fetch().folder / BIN).read_bytes() == hub.files[BIN]


def test_a_file_damaged_in_the_cache_is_found(
    hub: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = fetch().folder / BIN
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert f"{BIN} is not what the hub's record says" in refused(capsys, tmp_path)
    assert (fetch().folder / BIN).read_bytes() == hub.files[BIN]


@pytest.mark.parametrize("left", [b"x" * 5, None])
def test_leftovers_of_another_download(left: bytes | None, hub: HubServer, cache: Path) -> None:
    """Bytes that are wrong, or more than the file has."""
    blobs = cache / "models--owner--tiny-duplex" / "blobs"
    blobs.mkdir(parents=True)
    partial = blobs / f"{hub.digest(BIN)}.incomplete"
    partial.write_bytes(left or hub.files[BIN] + b"more")
    if left:
        with pytest.raises(ModelFileError, match="its hash differs"):
            fetch()
        assert not partial.exists()
    assert (fetch().folder / BIN).read_bytes() == hub.files[BIN]


GATED = {"X-Error-Code": "GatedRepo"}
BAD_TOKEN = {"X-Error-Message": "Invalid credentials in Authorization header"}
ANSWERS: dict[str, tuple[int, dict[str, str], str]] = {
    "gated": (403, GATED, f"Ask for access on https://huggingface.co/{REPO_ID}"),
    "private or unknown": (401, {"X-Error-Code": "RepoNotFound"}, "no public model of that name"),
    "bad token": (401, BAD_TOKEN, "does not accept your token"),
    "forbidden": (403, {"X-Error-Message": "not you"}, "forbids access to owner/tiny-duplex (not"),
    "disabled": (403, {"X-Error-Message": "Access to this resource is disabled."}, "is disabled"),
    "no such model": (404, {"X-Error-Code": "RepoNotFound"}, "no public model of that name"),
    "rate limit": (429, {"RateLimit": '"api";r=0;t=55'}, "fewer requests (429; retry after 55 s)"),
    "retry-after": (429, {"Retry-After": "7"}, "fewer requests (429; retry after 7 s)"),
    "bad request": (400, {}, "answered 400"),
    "broken": (503, {}, "answered 503"),
    "not JSON": (200, {}, "makes no sense"),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_answers_that_are_no_model(
    case: str, hub: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, headers, expected = ANSWERS[case]
    hub.refuse = (status, headers)
    assert expected in refused(capsys, tmp_path)
    assert len(hub.requests) == 1


def test_that_it_is_no_folder_is_said_before_the_hub_is_asked(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`models/dmeo` has the form of a model's name."""
    notes: list[tuple[int, str]] = []
    monkeypatch.setattr(
        "convert.cli._Terminal.note", lambda _, line: notes.append((len(hub.requests), line))
    )
    assert main([REPO_ID, "--out", str(tmp_path / "out"), "--quant", "Q8_0"]) == 0
    assert notes[0] == (
        0,
        f"Taking {REPO_ID} from the Hugging Face hub: no folder here has that name.",
    )


@pytest.mark.parametrize(("status", "headers"), [(403, GATED), (429, {"Retry-After": "7"})])
def test_a_refusal_on_the_way(
    status: int,
    headers: dict[str, str],
    hub: HubServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Everyone may see what a gated model has, its files not."""

    def note_then_refuse(_terminal: object, line: str) -> None:
        if line.startswith(f"{REPO_ID} at "):  # what it holds is known
            hub.refuse = (status, headers)

    monkeypatch.setattr("convert.cli._Terminal.note", note_then_refuse)
    assert ("gated" if status == 403 else "fewer requests") in refused(capsys, tmp_path)


INFOS: dict[str, Callable[[dict[str, Any]], None]] = {
    "no commit": lambda info: info.update(sha=None),
    "a commit that is a path": lambda info: info.update(sha="../../up"),
    "a hash that is a path": lambda info: info["siblings"][0].update(blobId="../up", lfs=None),
    "no hash": lambda info: [sibling.pop("blobId") for sibling in info["siblings"]],
    "no size": lambda info: [sibling.update(size=None, lfs=None) for sibling in info["siblings"]],
    "files that are no list": lambda info: info.update(siblings=7),
    "files without a name": lambda info: info.update(siblings=[{}]),
}


@pytest.mark.parametrize("case", INFOS)
def test_records_that_make_no_sense(
    case: str,
    hub: HubServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    info = hub.info()
    INFOS[case](info)
    monkeypatch.setattr(hub, "info", lambda: info)
    assert "makes no sense" in refused(capsys, tmp_path)
    assert not hub.sent_bytes


def test_no_such_revision(
    hub: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(capsys, tmp_path, REPO_ID, "--revision", "v9")
    assert f"{REPO_ID} has no revision v9." in line


def test_a_name_that_cannot_be_is_refused_before_the_download(
    hub: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "--name" in refused(capsys, tmp_path, REPO_ID, "--name", "../up")
    assert hub.requests == []


def test_a_folder_has_no_revision(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "--revision" in refused(capsys, tmp_path, str(checkpoint), "--revision", "main")


@pytest.mark.parametrize("source", ["a--b/c", "owner/name.git", "owner/a..b"])
def test_ids_that_cannot_be(
    source: str, hub: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "it cannot be a hub id" in refused(capsys, tmp_path, source)
    assert hub.requests == []


def test_a_model_without_weights(
    hub: HubServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del hub.files[BIN]
    assert f"{REPO_ID} has no weights" in refused(capsys, tmp_path)
    del hub.files["tokenizer.model"]
    assert f"{REPO_ID} has no tokenizer.model" in refused(capsys, tmp_path)
    assert not hub.sent_bytes


def test_without_room_nothing_is_fetched(
    hub: HubServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(space.check_room, "__defaults__", (lambda _folder: 1000,))
    line = refused(capsys, tmp_path)
    assert "Not enough room on the disk. Needed are: download 0.0 GB, BF16 0.0 GB, Q4_K_M" in line
    assert "(0.0 GB free" in line
    assert not hub.sent_bytes


def test_room_is_counted_by_disk(tmp_path: Path) -> None:
    needs = [Need("download", tmp_path, 5 * 10**9), Need("BF16", tmp_path / "new", 4 * 10**9)]
    line = check_room(needs, lambda _folder: 9 * 10**9)
    assert line == f"download 5.0 GB, BF16 4.0 GB (9.0 GB free in {tmp_path})"
    with pytest.raises(ModelFileError, match="Not enough room"):
        check_room(needs, lambda _folder: 9 * 10**9 - 1)
    elsewhere = Path("/proc/self")
    if elsewhere.is_dir() and elsewhere.stat().st_dev != tmp_path.stat().st_dev:
        check_room([needs[0], Need("BF16", elsewhere, 4 * 10**9)], lambda _folder: 5 * 10**9)


def test_estimated_sizes_of_the_real_model() -> None:
    """5.45 GB in BF16; llama.cpp makes 1.8 GB of it in Q4_K_M."""
    assert 1.8e9 <= estimated_bytes("Q4_K_M", 5_450_000_000) <= 2.1e9
    assert estimated_bytes("F16", 10) == 10 and estimated_bytes("F32", 10) == 20


def test_offline_with_everything_in_the_cache(
    hub: HubServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    snapshot = fetch()
    hub.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fetch("main") == fetch(COMMIT) == snapshot
    assert hub.requests == []
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    hub.down = True
    assert main([REPO_ID, "--out", str(tmp_path / "out"), "--quant", "BF16"]) == 0
    assert f"Offline: {REPO_ID} at {COMMIT}, as downloaded\n" in capsys.readouterr().out


def test_offline_without_a_cache(
    hub: HubServer,
    tmp_path: Path,
    at: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    at("http://127.0.0.1:1")
    assert "The connection to http://127.0.0.1:1 failed" in refused(capsys, tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    line = refused(capsys, tmp_path)
    assert "HF_HUB_OFFLINE is set" in line and "give a folder" in line


def test_offline_with_half_a_cache(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    (fetch().folder / BIN).unlink()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelFileError, match="is not complete in"):
        fetch()


@pytest.mark.parametrize("url", ["nonsense", "http://", "http://[", "ftp://127.0.0.1"])
def test_endpoints_that_cannot_be(
    url: str,
    cache: Path,
    at: Callable[[str], None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    at(url)
    assert url in refused(capsys, tmp_path)


def test_a_token_that_cannot_be(
    hub: HubServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_…")
    assert "HF_TOKEN" in refused(capsys, tmp_path)


@pytest.mark.parametrize("form", ["bin", "safetensors"])
def test_shards(form: str, hub: HubServer, tmp_path: Path) -> None:
    folder = write_tiny_checkpoint(tmp_path / "sharded", form=form, n_shards=3)
    hub.files = files_of(folder)
    hub.files["model-../../up-of-00003.safetensors"] = b""
    snapshot = fetch()
    assert hub.fetched() == {path.name for path in folder.iterdir()}
    assert set(read_tensors(snapshot.folder)) == set(read_tensors(folder))


def test_safetensors_rather_than_pickles() -> None:
    names = ["config.json", "tokenizer.model", BIN, "model.safetensors", "tokenizer.json"]
    found = needed_files(names, "x")
    assert found == ["config.json", "tokenizer.model", "model.safetensors"]


def test_a_cache_that_cannot_be_written(
    hub: HubServer, cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache.write_text("a file")
    assert f"Cannot write to {cache}: " in refused(capsys, tmp_path)


def test_a_disk_that_fills_up(
    hub: HubServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def full(*_arguments: object, **_options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("convert.download.http_get", full)
    line = refused(capsys, tmp_path)
    assert "No space left on device" in line and "HF_HOME" in line
