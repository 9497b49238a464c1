"""llama.cpp in a child process: starts it, sends it jobs, kills it."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from duplex_local.errors import BackendError

__all__ = ["LlamaProcess"]


class LlamaProcess:
    """A child that does one job after the other.

    Use as a context manager: leaving it kills the child, whatever it is doing. The child starts
    loading llama.cpp at once, so create it early and ask late.
    """

    def __init__(self) -> None:
        root = str(Path(__file__).resolve().parent.parent)
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        # GGML_NO_BACKTRACE: a failed assertion must not start a debugger.
        env = {**os.environ, "PYTHONPATH": path, "GGML_NO_BACKTRACE": "1", "PYTHONUTF8": "1"}
        self._n_started = self._n_answered = 0  # jobs, which are answered in their order
        self._errors = tempfile.TemporaryFile()
        self._child = subprocess.Popen(
            [sys.executable, "-m", "convert.llama_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=env,
        )

    def __enter__(self) -> LlamaProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._child.kill()
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout, self._errors):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    pass  # the child died before it read its job

    def ask(
        self, method: str, *arguments: object, progress: Callable[[str], None] | None = None
    ) -> Any:
        """The result of `method` (see llama_worker.py).

        progress: called with the name of each tensor that a quantization begins with.

        Raises:
            BackendError: when llama.cpp reports a failure or dies.
        """
        return self.start(method, *arguments, progress=progress)()

    def start(
        self, method: str, *arguments: object, progress: Callable[[str], None] | None = None
    ) -> Callable[[], Any]:
        """As `ask`, but waits only when what it returns is called; until then there is time for
        other work. An answer that nobody waits for is skipped.
        """
        assert self._child.stdin is not None
        self._n_started += 1
        try:
            self._child.stdin.write(json.dumps([method, arguments]).encode() + b"\n")
            self._child.stdin.flush()
        except BrokenPipeError:
            pass  # the child is dead, which whoever waits is told
        return functools.partial(self._wait, self._n_started, method, progress)

    def _wait(self, job: int, method: str, progress: Callable[[str], None] | None) -> Any:
        assert self._child.stdout is not None
        assert self._n_answered < job, "answers come in the order of their jobs, and once"
        for line in self._child.stdout:
            if not line.startswith(b"{"):
                continue  # something the library printed by itself
            answer = json.loads(line)
            if "progress" in answer:
                if progress is not None and self._n_answered == job - 1:
                    progress(answer["progress"])
                continue
            self._n_answered += 1
            if self._n_answered < job:
                continue  # an answer that nobody waited for
            if "error" in answer:
                raise BackendError(
                    f"llama.cpp failed to {method}: {answer['error']}. "
                    "Check memory and disk space, then run the command again."
                )
            return answer["result"]
        raise self._died(method)

    def _died(self, method: str) -> BackendError:
        code = self._child.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").split("\n")
        said = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
        return BackendError(
            f"llama.cpp ended with code {code} while it had to {method} ({said}). "
            "Check memory and disk space, then run the command again."
        )
