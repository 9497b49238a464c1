"""Downloads a checkpoint from the Hugging Face hub into the hub's own cache, and no more of it
than a conversion reads.

huggingface_hub speaks to the hub and keeps the cache. Ours is one thing: a file gets its name
in the cache only when its hash is the hub's, and until then what has arrived is kept, so that
the next run goes on from there. huggingface_hub 2.4 throws a broken download away.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from huggingface_hub import HfApi, constants, hf_hub_url, try_to_load_from_cache
from huggingface_hub.file_download import http_get, repo_folder_name
from huggingface_hub.utils import (  # type: ignore[attr-defined]
    WeakFileLock,
    build_hf_headers,
)

from convert.checkpoint import needed_files
from convert.hub_errors import HUB_ERRORS, explain, is_offline
from convert.hub_record import HubFile, ask_hub
from convert.space import Need, check_room
from duplex_local.errors import ModelFileError

__all__ = ["Snapshot", "download"]

_WEIGHTS = (".safetensors", ".bin")


class _Reporter(Protocol):
    def bar(
        self, label: str, total: int, unit: str
    ) -> AbstractContextManager[Callable[[int], object]]: ...

    def note(self, line: str) -> None: ...


@dataclass(frozen=True)
class Snapshot:
    """A complete checkpoint in the cache. Its files are links to the cache's blobs."""

    folder: Path
    commit: str


def download(
    hub_id: str, revision: str | None, needs: Callable[[int], list[Need]], reporter: _Reporter
) -> Snapshot:
    """The checkpoint `hub_id` at `revision` (None: its main branch), fetched as far as need be.

    needs: what will be written beside the download, from the size of the weights in bytes.

    Raises:
        ModelFileError: when the hub does not give it, cannot be reached while it is not complete
            in the cache, gives wrong bytes, or the disk is too small.
    """
    reporter.note(f"Taking {hub_id} from the Hugging Face hub: no folder here has that name.")
    _settle_library()
    revision = revision or constants.DEFAULT_REVISION
    try:
        return _Download(hub_id, revision, HfApi(), reporter).run(needs)
    except HUB_ERRORS as error:
        raise ModelFileError(explain(error, hub_id, revision)) from None


def _settle_library() -> None:
    """Settings of huggingface_hub that are no arguments."""
    constants.HF_HUB_DISABLE_TELEMETRY = True  # else it looks for AI agents and reports them
    # A piece that is cut off is lost, and the bar stands still meanwhile: 10 MB are too many.
    constants.DOWNLOAD_CHUNK_SIZE = min(constants.DOWNLOAD_CHUNK_SIZE, 1 << 20)
    # Its retries are no news, and how it ended is said by us in one line.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)


@dataclass(frozen=True)
class _Download:
    hub_id: str
    revision: str
    api: HfApi
    reporter: _Reporter

    @property
    def folder(self) -> Path:
        """Where the cache keeps this model."""
        name = repo_folder_name(repo_id=self.hub_id, repo_type="model")
        return Path(constants.HF_HUB_CACHE, name)

    def blob(self, file: HubFile) -> Path:
        return self.folder / "blobs" / file.digest

    def partial(self, file: HubFile) -> Path:
        """What has arrived of a file, under the name that older versions of the library used."""
        return self.folder / "blobs" / f"{file.digest}.incomplete"

    def run(self, needs: Callable[[int], list[Need]]) -> Snapshot:
        try:
            commit, files = ask_hub(self.api, self.hub_id, self.revision)
        except HUB_ERRORS as error:
            if is_offline(error) and (cached := self.cached()):
                self.reporter.note(f"Offline: {self.hub_id} at {cached.commit}, as downloaded")
                return cached
            raise
        missing_bytes = sum(self.missing_bytes(file) for file in files)
        weights_bytes = sum(file.size_bytes for file in files if file.name.endswith(_WEIGHTS))
        download = Need("download", self.folder, missing_bytes)
        room = check_room([download, *needs(weights_bytes)])
        self.reporter.note(f"{self.hub_id} at {commit}: {room}")
        for file in files:
            if self.blob(file).exists():
                self.check(self.blob(file), file)
            else:
                self.fetch(commit, file)
        return Snapshot(self.link(commit, files), commit)

    def cached(self) -> Snapshot | None:
        """The newest commit of `revision` that the cache knows, if all of it is there."""
        config = try_to_load_from_cache(self.hub_id, "config.json", revision=self.revision)
        if not isinstance(config, str):
            return None
        folder = Path(config).parent
        try:
            needed_files(os.listdir(folder), self.hub_id)
        except ModelFileError:
            return None
        return Snapshot(folder, folder.name)

    def missing_bytes(self, file: HubFile) -> int:
        if self.blob(file).exists():
            return 0
        partial = self.partial(file)
        return file.size_bytes - (partial.stat().st_size if partial.exists() else 0)

    def fetch(self, commit: str, file: HubFile) -> None:
        """Fetch what is missing of `file`, check it and give it its name in the cache."""
        blob, partial = self.blob(file), self.partial(file)
        lock = self.folder.parent / ".locks" / self.folder.name / f"{file.digest}.lock"
        for folder in (blob.parent, lock.parent):
            folder.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(lock):  # two runs at once would write into one file
            if blob.exists():
                return
            if self.missing_bytes(file) < 0:
                partial.unlink()
            self.append(commit, file)
            self.check(partial, file)
            os.replace(partial, blob)

    def append(self, commit: str, file: HubFile) -> None:
        """Fetch the rest of a partial file, with a new connection as long as one brings bytes."""
        url = hf_hub_url(self.hub_id, file.name, revision=commit, endpoint=self.api.endpoint)
        while True:
            missing_bytes = self.missing_bytes(file)
            try:
                with self.partial(file).open("ab") as target:
                    http_get(
                        url,
                        target,
                        resume_size=target.tell(),
                        # Compressed, a part of the answer would not be a part of the file.
                        headers=build_hf_headers() | {"Accept-Encoding": "identity"},
                        expected_size=file.size_bytes,
                        displayed_filename=file.name,
                    )
                return
            except HUB_ERRORS as error:
                if not is_offline(error) or self.missing_bytes(file) == missing_bytes:
                    raise

    def check(self, path: Path, file: HubFile) -> None:
        """Compare with the hub's record; remove what differs."""
        size_bytes = path.stat().st_size
        git_header = b"blob %d\0" % size_bytes
        digest = hashlib.sha256() if len(file.digest) == 64 else hashlib.sha1(git_header)
        with path.open("rb") as content, self.reporter.bar("checking", size_bytes, "B") as advance:
            while chunk := content.read(1 << 20):
                digest.update(chunk)
                advance(len(chunk))
        if digest.hexdigest() != file.digest:
            path.unlink()
            raise ModelFileError(
                f"{file.name} is not what the hub's record says (its hash differs). It was "
                "deleted; run the same command again to download it anew."
            )

    def link(self, commit: str, files: Sequence[HubFile]) -> Path:
        """The snapshot folder; the library makes it of the blobs, which it finds in place."""
        for file in files:
            path = self.api.hf_hub_download(self.hub_id, file.name, revision=commit)
            if not os.path.samefile(path, self.blob(file)):  # a copy, where links cannot be made
                self.check(Path(path), file)
        # Once by its name, so that the cache knows offline which commit that was.
        self.api.hf_hub_download(self.hub_id, "config.json", revision=self.revision)
        return Path(path).parent
