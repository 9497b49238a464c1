"""Says what is wrong with this machine, and how to mend it: `make doctor`.

Runs before anything is installed, on any Python 3.7 or newer, so it uses the standard library
alone; what llama.cpp was built for is asked last, where the engine is installed.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys

__all__ = ["main", "problems"]

NEEDED_DISK_BYTES = 3 * 1000**3  # environment 1.2 GB, compiling 1 GB, room for the rest
WHEN_COMPILING = ("c++", "g++", "clang++")


def python_problem() -> str | None:
    if (3, 10) <= sys.version_info[:2] < (3, 14):
        return None
    found = platform.python_version()
    return (
        f"duplex-local needs Python 3.10 to 3.13, and this is {found}. Install one from your "
        "system's packages or python.org, then name it: make run PYTHON=python3.12"
    )


def venv_problem() -> str | None:
    try:
        import ensurepip  # noqa: F401
    except ImportError:
        return (
            "This Python cannot make environments. Install that part: sudo apt install python3-venv"
        )
    return None


def compiler_problem() -> str | None:
    if os.environ.get("CXX") or any(shutil.which(name) for name in WHEN_COMPILING):
        return None
    fix = "xcode-select --install" if sys.platform == "darwin" else "sudo apt install g++ make"
    return f"No C++ compiler was found, and llama.cpp must be compiled. Install one: {fix}"


def architecture_problem() -> str | None:
    if sys.platform == "darwin" and platform.machine() == "x86_64" and _runs_translated():
        return (
            "This Python is built for Intel Macs and runs translated, about ten times slower. "
            "Install an arm64 Python from python.org, then: make clean run PYTHON=/path/to/it"
        )
    return None


def _runs_translated() -> bool:
    with os.popen("sysctl -n sysctl.proc_translated 2>/dev/null") as answer:
        return answer.read().strip() == "1"


def disk_problem() -> str | None:
    free, needed = shutil.disk_usage(os.getcwd()).free, NEEDED_DISK_BYTES
    if free >= needed:
        return None
    return (
        f"Only {free / 1e9:.1f} GB are free on this disk, and installing needs "
        f"{needed / 1e9:.1f} GB. Free some and run the same command again."
    )


def problems() -> list[str]:
    """What would make the installation fail, one sentence each."""
    checks = (python_problem, venv_problem, compiler_problem, architecture_problem, disk_problem)
    found = [check() for check in checks]
    return [problem for problem in found if problem]


def _describe_engine() -> str | None:
    """Print what llama.cpp was built for; return a problem if there is one."""
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    try:
        from duplex_local.llama_backend import system_info
    except ImportError as error:
        print(f"  llama.cpp   not installed yet ({error}); make run does it")
        return None
    print("  llama.cpp   " + system_info())
    return None


def main(argv: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if argv is None else argv
    found = problems()
    if "--before-install" in arguments:
        for problem in found[:1]:
            print("error: " + problem, file=sys.stderr)
        return 1 if found else 0
    free_gb = shutil.disk_usage(os.getcwd()).free / 1e9
    print(f"  Python      {platform.python_version()} ({sys.executable})")
    print(f"  machine     {platform.platform()}, {os.cpu_count()} cores, {free_gb:.0f} GB free")
    found += [problem for problem in [_describe_engine()] if problem]
    for problem in found:
        print("  problem     " + problem)
    print("  Nothing wrong was found." if not found else f"  {len(found)} to mend.")
    return 1 if found else 0


if __name__ == "__main__":
    # As a script this folder comes first on the path and would hide modules of other names.
    sys.path.pop(0)
    sys.exit(main())
