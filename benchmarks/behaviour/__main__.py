"""How well a duplex model behaves: scripted conversations, scored slice by slice.

    python -m benchmarks.behaviour benchmarks/scenarios/*.json --html report.html

Plays every scenario through the real engine on a virtual clock. Greedy, unless --seed is given.
With --full the scenarios are played again: sampled with three seeds, and in long sessions.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from benchmarks.behaviour.html import page
from benchmarks.behaviour.player import play, sampling_for
from benchmarks.behaviour.real import real_scenarios
from benchmarks.behaviour.scenario import Scenario, read_files
from benchmarks.behaviour.score import Rate, rates
from benchmarks.behaviour.sessions import joined, minutes, parted
from benchmarks.behaviour.table import as_json, lines, result_of
from benchmarks.behaviour.transcript import Transcript
from benchmarks.behaviour.variants import variants
from benchmarks.report import check_writable, write_json, write_text
from duplex_local.config import DEFAULT_MODEL, EngineConfig
from duplex_local.errors import exit_with_one_line
from duplex_local.llama_backend import LlamaBackend
from duplex_local.tokenizer import Tokenizer

__all__ = ["main"]

N_CTX = 1024
N_SESSIONS = 16
SEEDS = (1, 2, 3)
# Beside the checkout, where the project keeps reference data.
DATA = Path(__file__).parents[3] / "shared" / "data"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.behaviour", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("scenarios", type=Path, nargs="+", metavar="SCENARIOS.json")
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL, metavar="GGUF")
    parser.add_argument("--seed", type=int, metavar="N", help="sample at 0.8/0.8 with this seed")
    parser.add_argument("--json", metavar="FILE", help="write the result as JSON; - for stdout")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a report to look at")
    parser.add_argument(
        "--full", action="store_true", help="three sampled runs and one of long sessions, too"
    )
    parser.add_argument("--no-controls", action="store_true", help="leave the controls out")
    parser.add_argument(
        "--variants", type=int, default=150, metavar="N",
        help="scenarios played in each surface variant, for ROBUST (default 150)",
    )  # fmt: skip
    parser.add_argument(
        "--real", type=int, default=0, metavar="N", help="add N scenarios of real utterances"
    )
    parser.add_argument(
        "--data", type=Path, default=DATA, metavar="DIR", help="where the real utterances are"
    )
    parser.add_argument(
        "--break-in-after", type=int, metavar="TOKENS",
        help="the user breaks in after so many tokens of a reply, not at the slice border",
    )  # fmt: skip
    return parser


def _gather(options: argparse.Namespace) -> list[Scenario]:
    written = read_files(options.scenarios)
    if options.real:
        written += real_scenarios(options.data, options.real)
    return written + variants(written, options.variants)


class _Runs:
    """Runs with one model. is_cut_short: Ctrl-C ended one; what was done before it is kept."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self.is_cut_short = False

    def play(
        self, scenarios: Sequence[Scenario], seed: int | None, name: str = "scenarios"
    ) -> list[Transcript]:
        """The transcripts in the order of the scenarios."""
        options, done = self._options, []
        backend = LlamaBackend(EngineConfig(options.model, n_ctx=N_CTX, n_sessions=N_SESSIONS))
        try:
            playing = play(
                backend, Tokenizer(backend.vocab), scenarios, sampling_for(seed),
                options.break_in_after,
            )  # fmt: skip
            for transcript in tqdm(playing, name, len(scenarios), disable=None):
                done.append(transcript)
        except KeyboardInterrupt:
            self.is_cut_short = True
        finally:
            backend.close()
        order = {(s.id, s.variant): number for number, s in enumerate(scenarios)}
        return sorted(done, key=lambda t: order[t.scenario.id, t.scenario.variant])

    def sampled(self, scenarios: Sequence[Scenario]) -> Iterator[tuple[str, dict[str, Rate]]]:
        """The same scenarios at 0.8/0.8, once a seed."""
        for seed in SEEDS:
            if not self.is_cut_short:
                played = self.play(scenarios, seed, _how(seed))
                if played:
                    yield f"{_how(seed)}{_part(played, scenarios)}", rates(played)

    def long(self, scenarios: Sequence[Scenario]) -> Iterator[tuple[str, dict[str, Rate]]]:
        """The same scenarios, shuffled, in conversations of 20 minutes or more."""
        if self.is_cut_short:
            return
        shuffled = random.Random(0).sample(scenarios, len(scenarios))
        sessions = joined(shuffled)
        parts = {session.id: found for session, found in sessions}
        played = self.play([session for session, _ in sessions], self._options.seed, "sessions")
        if played:
            plural = "s" if len(sessions) > 1 else ""
            name = (
                f"{len(sessions)} session{plural}, up to {minutes([s for s, _ in sessions])} min, "
                f"{_how(self._options.seed)}{_part(played, sessions)}"
            )
            yield name, rates([t for w in played for t in parted(w, parts[w.scenario.id])])


def _how(seed: int | None) -> str:
    return "greedy" if seed is None else f"sampled, seed {seed}"


def _part(played: Sequence[object], asked: Sequence[object]) -> str:
    """What a run that was cut short says of itself."""
    return "" if len(played) == len(asked) else f", {len(played)} of {len(asked)} done"


def _check(options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    if options.variants < 0 or options.real < 0:
        parser.error("--variants and --real take a number from 0 up")
    if options.break_in_after is not None and options.break_in_after < 1:
        parser.error("--break-in-after takes a number from 1 up")
    if options.seed is not None and not 0 <= options.seed < 2**32 - 1:
        parser.error("--seed takes a number from 0 to 4294967294")
    if options.html is not None and str(options.html) == options.json:
        parser.error("--html and --json name the same file")
    check_writable("--html", options.html)
    check_writable("--json", options.json)


@exit_with_one_line
def main(argv: list[str] | None = None) -> int:
    parser = _parser()
    options = parser.parse_args(argv)
    _check(options, parser)
    scenarios = _gather(options)
    start_s = time.perf_counter()
    runs = _Runs(options)
    transcripts = runs.play(scenarios, options.seed)
    seconds = time.perf_counter() - start_s
    others: dict[str, dict[str, Rate]] = {}
    if options.full:
        written = [scenario for scenario in scenarios if not scenario.variant]
        others = dict([*runs.sampled(written), *runs.long(written)])
    how = _how(options.seed)
    result = result_of(transcripts, others, how=how, with_controls=not options.no_controls)
    n_slices = sum(len(t.slices) for t in transcripts)
    sha256 = hashlib.sha256(options.model.read_bytes()).hexdigest()
    footer = (
        f"{len(transcripts)} of {len(scenarios)} scenarios, {n_slices} slices, {seconds:.0f} s; "
        f"{options.model.name} sha256 {sha256[:16]}, {how}"
    )
    print("\n".join([*lines(result), "", footer]))
    model = {"name": options.model.name, "sha256": sha256, "seed": options.seed}
    run = {"model": model, "seconds": seconds, "is_complete": not runs.is_cut_short}
    write_json({**as_json(result), **run}, options.json)
    if options.html is not None:
        write_text("--html", options.html, page(result, footer))
    return 130 if runs.is_cut_short else 0


if __name__ == "__main__":
    sys.exit(main())
