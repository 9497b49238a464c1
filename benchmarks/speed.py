"""How fast the engine is, as ratios of two things measured in one run.

Machines are noisy, so every figure is the median of alternating repetitions, with the worst
beside it, and no figure is a plain number of seconds.

    python -m benchmarks.speed --model models/demo-Q8_0.gguf
"""

from __future__ import annotations

import argparse
import hashlib
import platform
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from tqdm import tqdm

from benchmarks.bare import BareLoop
from benchmarks.report import write_json
from duplex_local.backend import Sampler
from duplex_local.config import DEFAULT_MODEL, EngineConfig, SessionConfig
from duplex_local.draft import Draft
from duplex_local.errors import exit_with_one_line
from duplex_local.llama_backend import LlamaBackend
from duplex_local.machine import default_threads, physical_cores
from duplex_local.outbox import Outbox
from duplex_local.scheduler import Scheduler
from duplex_local.sequence import Sequence, evaluate
from duplex_local.session import Session
from duplex_local.tokenizer import Tokenizer

__all__ = ["Figure", "main", "measure"]

N_CTX = 2048


@dataclass(frozen=True)
class Figure:
    """Median and worst of `n` ratios. `meaning` says what is divided by what."""

    median: float
    worst: float
    n: int
    meaning: str


class _Forced:
    """Samples for real, for the cost, and returns what the measurement needs."""

    def __init__(self, real: Sampler, tokens: Iterator[int]) -> None:
        self._real, self._tokens = real, tokens
        self.n_sampled = 0

    def sample(self, row: int) -> int:
        self._real.sample(row)
        self.n_sampled += 1
        return next(self._tokens)

    def close(self) -> None:
        self._real.close()


class _Desk:
    """The real scheduler and session on this thread, with a model whose words we choose."""

    def __init__(self, backend: LlamaBackend, n_sessions: int = 1) -> None:
        self.tokenizer = Tokenizer(backend.vocab)
        self._scheduler = Scheduler(backend, self.tokenizer.idle)
        self.outboxes = [Outbox() for _ in range(n_sessions)]
        config = SessionConfig(slice_s=30.0, max_tokens_per_slice=64)
        self.sessions, self._seats = [], []
        for seq_id, outbox in enumerate(self.outboxes):
            sequence = Sequence(backend, seq_id)
            session = Session(self.tokenizer, sequence, Draft(), config, outbox.put)
            self.sessions.append(session)
            self._seats.append(self._scheduler.seat(session))

    def force(self, tokens: list[int], seat: int = 0) -> _Forced:
        """From now on the model says `tokens`, then `<idle>` for ever."""
        place = self._seats[seat]
        place.sampler = _Forced(place.sampler, _then(tokens, self.tokenizer.idle))
        return place.sampler

    def step(self) -> bool:
        """One step; False when nothing is due."""
        return self._scheduler.step() == 0.0

    def say(self, text: str) -> float:
        """Seconds from sending `text` to all sessions to the end of their slices."""
        start_s = time.perf_counter()
        for session in self.sessions:
            session.send(text, start_s)
        self.work()
        return time.perf_counter() - start_s

    def work(self) -> None:
        """Step until nothing is due, as the model's thread does."""
        while self.step():
            pass

    def post_stop(self) -> None:
        """What the page's thread does on Esc."""
        cut, session = self.outboxes[0].cut(), self.sessions[0]
        self._scheduler.post(lambda now_s: session.interrupt(cut, now_s, by_stop=True))

    def fill(self, n_tokens: int) -> None:
        """Give the first session a history of about `n_tokens`."""
        self.force([])
        while self.sessions[0].sequence.n_past < n_tokens:
            self.say("and then they went on for a while")

    def close(self) -> None:
        for seat in self._seats:
            self._scheduler.unseat(seat)


def _then(tokens: list[int], forever: int) -> Iterator[int]:
    yield from tokens
    while True:
        yield forever


def _ten_tokens(tokenizer: Tokenizer) -> str:
    """A user slice of ten tokens, at most six words."""
    text = "could you tell me about something"
    while len(tokenizer.encode(text)) < 10:
        text += "s"
    return text


def _slice_seconds(backend: LlamaBackend, n_history: int) -> float:
    desk = _Desk(backend)
    desk.fill(n_history)
    desk.force([])
    seconds = desk.say(_ten_tokens(desk.tokenizer))
    desk.close()
    return seconds


def slice_growth(backend: LlamaBackend) -> float:
    """One slice (ten user tokens in, idle out) at 400 tokens of history / at 50."""
    return _slice_seconds(backend, 400) / _slice_seconds(backend, 50)


def slice_vs_reference(backend: LlamaBackend) -> float:
    """One slice at 400 tokens of history / the original's way: the whole prompt from zero."""
    desk = _Desk(backend)
    desk.fill(400)
    desk.force([])
    ours_s = desk.say(_ten_tokens(desk.tokenizer))
    ids = desk.sessions[0].sequence.held
    sequence = desk.sessions[0].sequence
    sequence.clear()
    start_s = time.perf_counter()
    sequence.advance_to(ids)
    while sequence.n_pending:
        evaluate(backend, [sequence], backend.n_batch)
    reference_s = time.perf_counter() - start_s
    desk.close()
    return ours_s / reference_s


def decode_vs_bare(backend: LlamaBackend, bare: BareLoop) -> float:
    """Decode rate of the engine, events included / a bare llama_decode and sampler loop."""
    desk = _Desk(backend)
    words = desk.tokenizer.encode(" word" * 200)[:63]
    desk.force(words)
    desk.sessions[0].send("tell me about something", time.perf_counter())
    sampler = desk.force(words)
    while sampler.n_sampled == 0:
        desk.step()
    prompt = desk.sessions[0].sequence.held
    start_s = time.perf_counter()
    while sampler.n_sampled <= len(words):
        desk.step()
    ours_s = time.perf_counter() - start_s
    desk.close()
    return bare.seconds(prompt, words) / ours_s


def four_sessions(backend: LlamaBackend) -> float:
    """Tokens per second of four speaking sessions together / of one alone."""
    rates = []
    for n_sessions in (1, 4):
        desk = _Desk(backend, n_sessions)
        words = desk.tokenizer.encode(" word" * 200)[:48]
        for seat in range(n_sessions):
            desk.force(words, seat)
        rates.append(n_sessions * len(words) / desk.say("hello"))
        desk.close()
    return rates[1] / rates[0]


def stop_steps(backend: LlamaBackend) -> float:
    """Tokens sampled after a user's thread asked for a stop, 95th percentile of 20 stops."""
    counts = []
    for number in range(20):
        desk = _Desk(backend)
        words = desk.tokenizer.encode(" word" * 200)[:60]
        sampler = desk.force(words)
        desk.sessions[0].send("tell me about something", time.perf_counter())
        model = threading.Thread(target=desk.work)
        model.start()
        while sampler.n_sampled < 5 + number:
            time.sleep(0)
        asked_at = sampler.n_sampled
        desk.post_stop()
        model.join()
        counts.append(sampler.n_sampled - asked_at)
        desk.close()
    return float(sorted(counts)[18])


def worst_slice(backend: LlamaBackend) -> float:
    """The slowest of 30 slices with a reply of 15 tokens / 2 seconds."""
    desk = _Desk(backend)
    words = desk.tokenizer.encode(" word" * 50)[:15]
    seconds = []
    for number in range(30):
        desk.force(words)
        seconds.append(desk.say(f"tell me number {number}"))
        desk.outboxes[0].take(0)
    desk.close()
    return max(seconds) / 2.0


def _figure(measure_one: Callable[[], float], meaning: str, n: int, *, more: bool) -> Figure:
    measure_one()  # warm-up
    values = [measure_one() for _ in tqdm(range(n), desc=meaning[:40], leave=False, disable=None)]
    return Figure(statistics.median(values), (min if more else max)(values), n, meaning)


def measure(model: Path, n: int) -> dict[str, Figure]:
    """All figures, each from `n` repetitions."""
    with ExitStack() as stack:
        backend = LlamaBackend(EngineConfig(model=model, n_ctx=N_CTX, n_sessions=4))
        stack.callback(backend.close)
        bare = stack.enter_context(BareLoop(model, N_CTX, default_threads(model)))
        return {
            name: _figure(call, meaning or "", n, more=more)
            for name, call, meaning, more in (
                ("slice_vs_reference", lambda: slice_vs_reference(backend),
                 slice_vs_reference.__doc__, False),
                ("slice_growth", lambda: slice_growth(backend), slice_growth.__doc__, False),
                ("decode_vs_bare", lambda: decode_vs_bare(backend, bare),
                 decode_vs_bare.__doc__, True),
                ("four_sessions", lambda: four_sessions(backend), four_sessions.__doc__, True),
                ("stop_steps_p95", lambda: stop_steps(backend), stop_steps.__doc__, False),
                ("worst_slice", lambda: worst_slice(backend), worst_slice.__doc__, False),
            )
        }  # fmt: skip


def _machine() -> dict[str, object]:
    return {
        "cpu": platform.processor() or platform.machine(),
        "cores": physical_cores(),
        "os": platform.platform(),
        "python": platform.python_version(),
    }


@exit_with_one_line
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL, metavar="GGUF")
    parser.add_argument("--repeat", type=int, default=7, metavar="N", help="at least 5")
    parser.add_argument("--json", metavar="FILE", help="write the result as JSON; - for stdout")
    options = parser.parse_args(argv)
    if options.repeat < 5:
        parser.error("--repeat needs at least 5: the median of fewer says nothing")
    figures = measure(options.model, options.repeat)
    print(f"{'figure':20} {'median':>8} {'worst':>8}   meaning")
    for name, figure in figures.items():
        print(f"{name:20} {figure.median:8.3f} {figure.worst:8.3f}   {figure.meaning}")
    sha256 = hashlib.sha256(options.model.read_bytes()).hexdigest()
    print(f"\n{options.model} sha256 {sha256[:16]}, n = {options.repeat}, {_machine()}")
    write_json(
        {
            "machine": _machine(),
            "model": {"path": str(options.model), "sha256": sha256},
            "figures": {name: figure.median for name, figure in figures.items()},
            "details": {name: asdict(figure) for name, figure in figures.items()},
        },
        options.json,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
