"""The folder list is the architecture: a file imports only what stands above it."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
LAYERS = [
    "doctor",  # standard library alone: it runs before anything is installed
    "errors",
    "config",
    "events",
    "protocol",
    "tokenizer",
    "sentencepiece_vocab",
    "machine",
    "backend",
    "llama_backend",
    "sequence",
    "draft",
    "outbox",
    "session",
    "scheduler",
    "engine",
    "__main__",
]
PACKAGES = ("convert", "ui", "train", "benchmarks")
# What a package may use besides itself.
ALLOWED = {
    "duplex_local": set(),
    "convert": {"duplex_local"},
    "ui": {"duplex_local"},
    "train": {"duplex_local"},
    # benchmarks.page measures the page itself, .fullsize the converter; .quality's dialogues are
    # the demo model's.
    "benchmarks": {"convert", "duplex_local", "train", "ui"},
}


def imports(path: Path) -> set[str]:
    """Dotted names of all modules that `path` imports, also inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_every_engine_file_has_its_place() -> None:
    files = {path.stem for path in (ROOT / "duplex_local").glob("*.py")} - {"__init__"}
    assert files == set(LAYERS)


def test_engine_files_import_only_what_is_above_them() -> None:
    for place, name in enumerate(LAYERS):
        used = imports(ROOT / "duplex_local" / f"{name}.py")
        below = {f"duplex_local.{other}" for other in LAYERS[place:]}
        # `doctor` asks the backend what it was built for, once that is installed.
        allowed = {"duplex_local.llama_backend"} if name == "doctor" else set()
        assert not used & below - allowed, f"{name}.py imports {used & below}"


def test_packages_keep_their_borders() -> None:
    for package, allowed in ALLOWED.items():
        for path in (ROOT / package).rglob("*.py"):
            tops = {name.split(".")[0] for name in imports(path)}
            foreign = tops & {"duplex_local", *PACKAGES} - allowed - {package}
            assert not foreign, f"{path.relative_to(ROOT)} imports {foreign}"


def test_one_engine_file_knows_llama_cpp() -> None:
    knowing = {
        path.name
        for path in (ROOT / "duplex_local").glob("*.py")
        if any(name.split(".")[0] == "llama_cpp" for name in imports(path))
    }
    assert knowing == {"llama_backend.py"}


def test_the_pure_core_has_no_thread_clock_or_output() -> None:
    for name in ("protocol", "session", "sequence", "tokenizer"):
        path = ROOT / "duplex_local" / f"{name}.py"
        tops = {module.split(".")[0] for module in imports(path)}
        assert not tops & {"threading", "time", "logging", "queue", "sys", "os"}, name
        calls = [
            n.func for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.Call)
        ]
        assert not [call for call in calls if isinstance(call, ast.Name) and call.id == "print"]
