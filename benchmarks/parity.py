"""Does the engine feed the model what the original would have fed it, id by id?

Traces of the original server with scripted model output are replayed through the real scheduler,
session and sequence; only the model is a double that says what the script says. A slice matches
when the ids in the cache at its first sampled token, the return code, the reply, the tokens
consumed and the state afterwards are those of the trace.

    python -m benchmarks.parity TRACES.json --vocab models/demo-Q8_0.gguf
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.report import write_json
from duplex_local.backend import ScriptedBackend
from duplex_local.config import Mode, SessionConfig
from duplex_local.draft import Draft
from duplex_local.errors import ModelFileError, exit_with_one_line
from duplex_local.events import Event, Failed, SliceChanged
from duplex_local.llama_backend import load_vocab
from duplex_local.scheduler import Scheduler
from duplex_local.sentencepiece_vocab import SentencePieceVocab
from duplex_local.sequence import Sequence
from duplex_local.session import Session
from duplex_local.tokenizer import Tokenizer

__all__ = ["Mismatch", "Totals", "replay"]

RAN, TOO_LONG, NOTHING_TO_DO = 0, 1, 2


@dataclass(frozen=True)
class Mismatch:
    conversation: int
    slice: int
    what: str


@dataclass
class Totals:
    """prompt_tokens: ids in all prompts, what the original evaluates. evaluated_tokens: ids we
    evaluated of them; the rest was in the cache."""

    slices: int = 0
    prompt_tokens: int = 0
    evaluated_tokens: int = 0


class _Recorder(ScriptedBackend):
    """Notes what the cache holds when the first token of a slice is sampled."""

    def __init__(self, eos: int) -> None:
        super().__init__(eos, n_ctx=4096, n_sequences=1)
        self.begin(iter(()))

    def begin(self, script: Iterator[int]) -> None:
        self.script[0] = script
        self.prompt: list[int] = []
        self.sampled: list[int] = []
        self._before = self.n_evaluated
        self.n_prefill = 0

    def next_token(self, row: int) -> int:
        if not self.sampled:
            self.prompt = list(self.held[0])
            self.n_prefill = self.n_evaluated - self._before
        token = super().next_token(row)
        self.sampled.append(token)
        return token


class _Replay:
    """One conversation of a trace file."""

    def __init__(self, tokenizer: Tokenizer, trace: dict[str, Any]) -> None:
        self._now_s = 0.0
        self._events: list[Event] = []
        self._backend = _Recorder(tokenizer.eos)
        self._scheduler = Scheduler(self._backend, tokenizer.idle, lambda: self._now_s)
        config = SessionConfig(
            mode=Mode.REFERENCE,
            max_length=trace["max_length"],
            max_tokens_per_slice=trace["max_tokens_per_slice"],
        )
        sequence = Sequence(self._backend, 0)
        self._session = Session(tokenizer, sequence, Draft(), config, self._events.append)
        self._scheduler.seat(self._session)

    def play(self, expected: dict[str, Any], totals: Totals) -> list[str]:
        """Play one slice; return what differs from the trace."""
        self._events.clear()
        self._backend.begin(iter(expected.get("scripted_ids", ())))
        if expected["user"].strip() == "<idle>":
            self._now_s += self._session.config.slice_s
        else:
            self._session.send(expected["user"], self._now_s)
        while self._scheduler.step() == 0.0:
            pass
        totals.slices += 1
        totals.prompt_tokens += len(self._backend.prompt)
        totals.evaluated_tokens += self._backend.n_prefill
        return [name for name, ours, theirs in self._compare(expected) if ours != theirs]

    def _compare(self, expected: dict[str, Any]) -> Iterator[tuple[str, object, object]]:
        ret_code = RAN if self._backend.sampled else NOTHING_TO_DO
        if any(isinstance(event, Failed) for event in self._events):
            ret_code = TOO_LONG
        yield "ret_code", ret_code, expected["ret_code"]
        if ret_code == RAN:
            replies = [e.reply for e in self._events if isinstance(e, SliceChanged)]
            yield "prompt_ids", self._backend.prompt, expected["prompt_ids"]
            yield "sampled_ids", self._backend.sampled, expected["sampled_ids"]
            # The original shows every "." as a line break, for its speech output.
            yield "reply", replies[-1].replace(".", "\n"), expected["reply"].replace(".", "\n")
        if ret_code != TOO_LONG:
            yield "active", self._session.is_active, expected["active"]


def replay(traces: list[dict[str, Any]], tokenizer: Tokenizer) -> tuple[Totals, list[Mismatch]]:
    """Replay every conversation of `traces`."""
    totals, mismatches = Totals(), []
    for number, trace in enumerate(traces):
        conversation = _Replay(tokenizer, trace)
        for index, expected in enumerate(trace["slices"]):
            differing = conversation.play(expected, totals)
            mismatches += [Mismatch(number, index, what) for what in differing[:1]]
    return totals, mismatches


def _read_traces(path: Path) -> list[dict[str, Any]]:
    try:
        traces = json.loads(path.read_text("utf-8"))
        if not isinstance(traces, list):
            raise ValueError("no list")
        keys = {"user", "ret_code", "active"}
        if not all(keys <= part.keys() for trace in traces for part in trace["slices"]):
            raise ValueError("a slice lacks one of " + ", ".join(sorted(keys)))
        if not all(isinstance(part["user"], str) for t in traces for part in t["slices"]):
            raise ValueError("what a user says must be text")
        if not all({"max_length", "max_tokens_per_slice"} <= trace.keys() for trace in traces):
            raise ValueError("a conversation lacks max_length or max_tokens_per_slice")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelFileError(
            f"{path} is not a file of reference traces ({error}). It must be a JSON list of "
            "conversations, each with its slices."
        ) from error
    return traces


@exit_with_one_line
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parity", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("traces", type=Path, metavar="TRACES.json")
    parser.add_argument("--vocab", type=Path, required=True, help="GGUF file or tokenizer folder")
    parser.add_argument("--json", metavar="FILE", help="write the result as JSON; - for stdout")
    options = parser.parse_args(argv)
    traces = _read_traces(options.traces)
    is_folder = options.vocab.is_dir()
    vocab = SentencePieceVocab(options.vocab) if is_folder else load_vocab(options.vocab)
    totals, mismatches = replay(traces, Tokenizer(vocab))
    for miss in mismatches[:10]:
        print(f"conversation {miss.conversation}, slice {miss.slice}: {miss.what} differs")
    share = totals.evaluated_tokens / max(1, totals.prompt_tokens)
    print(
        f"{totals.slices} slices, {len(mismatches)} mismatches; "
        f"{totals.evaluated_tokens:,} of {totals.prompt_tokens:,} prompt tokens evaluated "
        f"({share:.1%})"
    )
    write_json(
        {
            "slices": totals.slices,
            "mismatches": len(mismatches),
            "prompt_tokens": totals.prompt_tokens,
            "evaluated_tokens": totals.evaluated_tokens,
        },
        options.json,
    )
    return 1 if mismatches else 0


if __name__ == "__main__":
    sys.exit(main())
