"""Plays scenarios through the real scheduler, session and sequence on a virtual clock.

One scenario slice is one tick. The user's words stand in the text box when the slice closes, as
a page would have put them there: typing them has cut a reply that was running. Many scenarios
are played side by side, each in a sequence of its own, as the tabs of a browser would be.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace

from benchmarks.behaviour.judge import is_idle
from benchmarks.behaviour.scenario import Scenario
from benchmarks.behaviour.transcript import Reply, Transcript
from duplex_local.backend import Backend, Sampler
from duplex_local.config import SamplingConfig, SessionConfig
from duplex_local.draft import Draft
from duplex_local.errors import BackendError
from duplex_local.events import Failed, SliceChanged
from duplex_local.outbox import Outbox
from duplex_local.scheduler import Scheduler
from duplex_local.sequence import Sequence
from duplex_local.session import Session
from duplex_local.tokenizer import Tokenizer

__all__ = ["GREEDY", "play", "sampling_for"]

GREEDY = SamplingConfig(temperature=0.0, top_p=1.0)


def sampling_for(seed: int | None) -> SamplingConfig:
    """Greedy without a seed; else the original's sampling, temperature 0.8 and top-p 0.8."""
    return GREEDY if seed is None else SamplingConfig(temperature=0.8, top_p=0.8, seed=seed)


class _Noting:
    """A sampler that notes what it sampled since the slice began."""

    def __init__(self, real: Sampler) -> None:
        self._real = real
        self.tokens: list[int] = []

    def sample(self, row: int) -> int:
        token = self._real.sample(row)
        self.tokens.append(token)
        return token

    def close(self) -> None:
        self._real.close()


class _Stage:
    """The scheduler and its clock, which stands still while the model works."""

    def __init__(self, backend: Backend, tokenizer: Tokenizer) -> None:
        self.backend, self.tokenizer = backend, tokenizer
        self.now_s = 0.0
        self.scheduler = Scheduler(backend, tokenizer.idle, lambda: self.now_s)


class _Lane:
    """One scenario being played in sequence `seq_id`, by a user who sees everything at once.

    break_in_after: tokens of a reply after which the next slice's words are typed; None waits
    for the slice border.
    """

    def __init__(
        self,
        stage: _Stage,
        seq_id: int,
        scenario: Scenario,
        config: SessionConfig,
        break_in_after: int | None,
    ) -> None:
        self.scenario = scenario
        self._stage = stage
        self._break_in_after = break_in_after
        self._draft, self._outbox = Draft(), Outbox()
        self._sequence = Sequence(stage.backend, seq_id)
        self.session = Session(
            stage.tokenizer, self._sequence, self._draft, config, self._outbox.put, stage.now_s
        )
        self._seat = stage.scheduler.seat(self.session)
        self._noting = _Noting(self._seat.sampler)
        self._seat.sampler = self._noting
        self._said = [""] * scenario.warmup_idle + [part.user for part in scenario.slices]
        self._n_typed = 0  # slices whose words are in the box, or were
        self._last_index = -1
        self._shown: dict[int, str] = {}  # engine slice -> reply text
        self.replies: list[Reply] = []

    @property
    def is_over(self) -> bool:
        return len(self.replies) == len(self._said)

    def type_words(self) -> None:
        """The words of the next slice are typed, unless they stand in the box already."""
        at = len(self.replies)
        if self._n_typed <= at:
            self._type(at)
        self._noting.tokens.clear()

    def _type(self, at: int) -> None:
        self._n_typed = at + 1
        words = self._said[at]
        if words:
            self._look()
            self._draft.update(words + "\n", at, self._draft.n_taken)
            self.session.interrupt(self._outbox.cut(), self._stage.now_s, by_stop=False)

    def break_in(self) -> None:
        """In the middle of a reply: type the words of the next slice, if that is asked for."""
        following = len(self.replies) + 1
        if (
            self._break_in_after is not None
            and self.session.is_running
            and len(self._noting.tokens) >= self._break_in_after
            and following < len(self._said)
            and self._n_typed <= following
        ):
            self._type(following)

    def _look(self) -> None:
        """Take what has come: from now on it counts as shown."""
        for event in self._outbox.take(0):
            if isinstance(event, Failed):
                raise BackendError(f"scenario {self.scenario.id} failed: {event.message}")
            if isinstance(event, SliceChanged):
                self._shown[event.index] = event.reply

    def close_slice(self) -> None:
        """Everything of this slice was shown: note it."""
        self._look()
        index = max(self._shown, default=-1)
        if index == self._last_index:  # the model sleeps: no slice was opened
            self.replies.append(Reply(is_active=self.session.is_active))
            return
        self._last_index = index
        text = self._shown[index]
        self.replies.append(
            Reply(
                text="" if is_idle(text) else text,
                is_active=self.session.is_active,
                n_sampled=len(self._noting.tokens),
                is_faithful=self._is_faithful(index, text),
            )
        )

    def _is_faithful(self, index: int, shown: str) -> bool:
        """Shown, remembered and sampled text agree: no token was lost or said twice."""
        if is_idle(shown):
            return True
        remembered = {pair.index: pair.reply for pair in self.session.pairs}
        sampled = self._stage.tokenizer.decode(
            token for token in self._noting.tokens if token != self._stage.tokenizer.idle
        )
        is_cut = self._n_typed > len(self.replies) + 1  # the words broke in: a part was shown
        agrees = sampled.startswith(shown) if is_cut else sampled == shown
        return agrees and remembered.get(index) == shown

    def leave(self) -> None:
        self._stage.scheduler.unseat(self._seat)

    def transcript(self) -> Transcript:
        return Transcript(
            self.scenario,
            tuple(self.replies[self.scenario.warmup_idle :]),
            self.session.config.max_tokens_per_slice,
        )


def play(
    backend: Backend,
    tokenizer: Tokenizer,
    scenarios: Iterable[Scenario],
    sampling: SamplingConfig = GREEDY,
    break_in_after: int | None = None,
) -> Iterator[Transcript]:
    """Play every scenario and yield each as it ends.

    sampling.seed: mixed with the scenario's id, so that its neighbours do not matter.

    Raises:
        BackendError: when the engine gave a conversation up.
    """
    stage = _Stage(backend, tokenizer)
    waiting = deque(scenarios)
    free = list(range(backend.n_sequences))
    lanes: dict[int, _Lane] = {}
    while waiting or lanes:
        while waiting and free:
            scenario, seq_id = waiting.popleft(), free.pop()
            config = SessionConfig(sampling=_own(sampling, scenario))
            lanes[seq_id] = _Lane(stage, seq_id, scenario, config, break_in_after)
        _play_slice(stage, list(lanes.values()))
        for seq_id in [seq_id for seq_id, lane in lanes.items() if lane.is_over]:
            lane = lanes.pop(seq_id)
            lane.leave()
            free.append(seq_id)
            yield lane.transcript()


def _own(sampling: SamplingConfig, scenario: Scenario) -> SamplingConfig:
    if sampling.seed is None:
        return sampling
    name = f"{sampling.seed} {scenario.id} {scenario.variant}"
    return replace(sampling, seed=zlib.crc32(name.encode()) % (2**32 - 1))


def _play_slice(stage: _Stage, lanes: list[_Lane]) -> None:
    for lane in lanes:
        lane.type_words()
    stage.now_s += lanes[0].session.config.slice_s
    while stage.scheduler.step() == 0.0:
        for lane in lanes:
            lane.break_in()
    for lane in lanes:
        lane.close_slice()
