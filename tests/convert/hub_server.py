"""The part of the Hugging Face hub that a download needs, on this machine.

with HubServer({"config.json": b"{}", "pytorch_model.bin": b"..."}) as hub:
    ...  # HF_ENDPOINT=hub.url; the model is hub.REPO_ID

As on the hub, big files (here: weights) are LFS files: their page answers with a redirect to
another host. What was asked and sent is in `requests` and `sent_bytes`.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit


class Asked(NamedTuple):
    method: str
    path: str
    host: str
    token: str | None  # the Authorization header


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class HubServer:
    """One model, `REPO_ID`, whose branch `main` is at `COMMIT`."""

    REPO_ID = "owner/tiny-duplex"
    COMMIT = "0123456789abcdef0123456789abcdef01234567"

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = dict(files)
        self.requests: list[Asked] = []
        self.sent_bytes: Counter[str] = Counter()  # of each file's content
        self.cut_after: dict[str, int] = {}  # break the connection after so many bytes of a file
        self.on_cut: Callable[[], object] = lambda: None  # called then, before it breaks
        self.down = False  # answer no request at all
        self.wrong: dict[str, bytes] = {}  # send these bytes in place of a file's
        self.refuse: tuple[int, dict[str, str]] | None = None  # status and headers for everything
        self.token: str | None = None  # needed to see the model
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        server.daemon_threads = True
        self._server = server
        self.port = server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> HubServer:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def is_lfs(self, name: str) -> bool:
        return name.endswith((".bin", ".safetensors", ".gguf", ".model"))

    def digest(self, name: str) -> str:
        content = self.files[name]
        if self.is_lfs(name):
            return hashlib.sha256(content).hexdigest()
        return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()

    def info(self) -> dict[str, Any]:
        """What /api/models answers with `blobs=true`."""
        siblings: list[dict[str, Any]] = []
        for name, content in self.files.items():
            sibling = {"rfilename": name, "size": len(content), "blobId": "f" * 40}
            if self.is_lfs(name):
                sibling["lfs"] = {
                    "size": len(content),
                    "sha256": self.digest(name),
                    "pointerSize": 134,
                }
            else:
                sibling["blobId"] = self.digest(name)
            siblings.append(sibling)
        return {"id": self.REPO_ID, "sha": self.COMMIT, "siblings": siblings}

    def fetched(self) -> set[str]:
        """Names of the files that were asked for, by HEAD or GET."""
        paths = [asked.path for asked in self.requests if "/resolve/" in asked.path]
        return {path.rsplit("/", 1)[1] for path in paths}


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _answer(self) -> None:
        hub, path = self.hub, unquote(urlsplit(self.path).path)
        host, token = self.headers["Host"].split(":")[0], self.headers["Authorization"]
        hub.requests.append(Asked(self.command, path, host, token))
        if hub.down:
            return
        if hub.refuse:
            self._send(hub.refuse[0], hub.refuse[1], b"")
        elif path.startswith("/cdn/"):
            self._content(path.removeprefix("/cdn/"), {})
        elif hub.token is not None and token != f"Bearer {hub.token}":
            self._send(401, {"X-Error-Code": "RepoNotFound"}, b"")
        elif match := re.fullmatch(rf"/api/models/{hub.REPO_ID}/revision/(\w+)", path):
            if match[1] in ("main", hub.COMMIT):
                self._send(
                    200, {"Content-Type": "application/json"}, json.dumps(hub.info()).encode()
                )
            else:
                self._send(404, {"X-Error-Code": "RevisionNotFound"}, b"")
        elif match := re.fullmatch(rf"/{hub.REPO_ID}/resolve/(?:main|{hub.COMMIT})/(.+)", path):
            self._resolve(match[1])
        else:
            self._send(404, {"X-Error-Code": "RepoNotFound"}, b"")

    def _resolve(self, name: str) -> None:
        hub = self.hub
        headers = {"X-Repo-Commit": hub.COMMIT, "ETag": f'"{hub.digest(name)}"'}
        if not hub.is_lfs(name):
            self._content(name, headers)
            return
        headers["Location"] = f"http://localhost:{hub.port}/cdn/{name}"
        headers["X-Linked-Etag"] = f'"{hub.digest(name)}"'
        headers["X-Linked-Size"] = str(len(hub.files[name]))
        self._send(302, headers, b"")

    def _content(self, name: str, headers: dict[str, str]) -> None:
        content = self.hub.wrong.get(name, self.hub.files[name])
        if match := re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or ""):
            start, total = int(match[1]), len(content)
            headers = {**headers, "Content-Range": f"bytes {start}-{total - 1}/{total}"}
            self._send(206, headers, content[start:], name)
        else:
            self._send(200, headers, content, name)

    def _send(
        self, status: int, headers: Mapping[str, str], body: bytes, name: str | None = None
    ) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        cut_after = self.hub.cut_after.pop(name, None) if name else None
        body = body[:cut_after]
        if name is not None:
            self.hub.sent_bytes[name] += len(body)
        self.wfile.write(body)
        if cut_after is not None:
            self.wfile.flush()
            self.hub.on_cut()
