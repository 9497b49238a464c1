"""llama.cpp's own converter, to be compared with: `convert_hf_to_gguf.py` in its source folder.

It needs an interpreter with torch, transformers and sentencepiece, which this project does not
install. Our process is asked for its peak memory; a foreign one is not, so the system is.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from duplex_local.errors import BackendError, ConfigError
from duplex_local.machine import maxrss_bytes

__all__ = ["ReferenceConverter"]


@dataclass(frozen=True)
class ReferenceConverter:
    """folder: holds convert_hf_to_gguf.py. python: the interpreter that runs it."""

    folder: Path
    python: str

    @property
    def _script(self) -> Path:
        return self.folder / "convert_hf_to_gguf.py"

    def check(self) -> None:
        """Raise ConfigError when it cannot be run."""
        if not self._script.is_file():
            raise ConfigError(
                f"There is no {self._script}. Give the unpacked source folder of llama.cpp."
            )
        command = [self.python, "-c", "import torch, transformers, sentencepiece"]
        try:
            done = subprocess.run(command, capture_output=True, text=True)
        except OSError as error:
            raise ConfigError(f"Cannot run {self.python}: {error.strerror}.") from None
        if done.returncode != 0:
            raise ConfigError(
                f"{self.python} lacks what llama.cpp's converter needs: torch, transformers and "
                "sentencepiece. Name another interpreter with --reference-python."
            )

    def convert(self, checkpoint: Path, target: Path) -> tuple[float, int]:
        """Write `target` in BF16; seconds and peak memory in bytes, as the system counts it.

        Raises:
            BackendError: when it fails.
        """
        command = [self.python, str(self._script), str(checkpoint)]
        command += ["--outtype", "bf16", "--outfile", str(target)]
        with tempfile.TemporaryFile() as output:
            start_s = time.perf_counter()
            child = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
            # The peak that the system counts begins with ours, far below that of torch.
            _, status, usage = os.wait4(child.pid, 0)
            seconds = time.perf_counter() - start_s
            child.returncode = os.waitstatus_to_exitcode(status)
            output.seek(0)
            said = output.read().decode("utf-8", "replace").strip().splitlines()
        if child.returncode != 0 or not target.is_file():
            raise BackendError(f"convert_hf_to_gguf.py failed: {said[-1] if said else 'silently'}")
        return seconds, maxrss_bytes(usage.ru_maxrss)
