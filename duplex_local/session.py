"""One conversation: slices, floor, barge-in, and a memory that is what was shown.

No thread, no clock, no print. Times come in as numbers, events go out through `emit`, and the
model is only seen as "these ids are wanted" (`sequence`) and "this token came" (`push`):

    session.tick(now)                     opens a slice, when there is something to do
    while session.is_running:             the scheduler evaluates session.sequence, samples, and
        session.push(token, now)          hands the token over

An interruption (`interrupt`) may come between any two of these calls.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from duplex_local.config import Mode, SessionConfig
from duplex_local.draft import Draft, in_slices
from duplex_local.errors import ContextFullError, ProtocolError
from duplex_local.events import (
    DraftTaken,
    Event,
    Failed,
    Floor,
    FloorChanged,
    Interrupted,
    Refused,
    ReplyEnd,
    Reset,
    SliceChanged,
    SliceStats,
    Ticked,
    WindowSlid,
)
from duplex_local.outbox import Cut
from duplex_local.protocol import History, SlicePair, prompt_ids
from duplex_local.sequence import Sequence
from duplex_local.tokenizer import Detokenizer, Tokenizer

__all__ = ["Session", "clean", "without_surrogates"]


def without_surrogates(text: str) -> str:
    """`text` with a "?" for every lone surrogate; as long as before."""
    return text.encode("utf-8", "replace").decode("utf-8")


def clean(text: str) -> str:
    """`text` as it can be tokenized, shown and stored: valid Unicode, no NUL, one kind of \\n."""
    text = without_surrogates(text)
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")


@dataclass
class _Run:
    """A slice in which the model is at work."""

    user: str
    started_s: float
    n_prefill: int
    detokenizer: Detokenizer
    reply: str = ""
    n_sampled: int = 0
    ttft_s: float = 0.0


class Session:
    """The state of one conversation.

    sequence: what the model must see; the scheduler evaluates it.
    draft: the user's text box, from which words are taken at every tick.
    emit: takes the events, in order.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        sequence: Sequence,
        draft: Draft,
        config: SessionConfig,
        emit: Callable[[Event], None],
        now_s: float = 0.0,
    ) -> None:
        self.sequence = sequence
        self.config = config
        self._tokenizer = tokenizer
        self._draft = draft
        self._emit = emit
        self._born_s = self._now_s = now_s
        self._epoch = 0
        self._floor = Floor.IDLE
        self._messages: list[str] = []  # sent with Enter, not heard yet
        self._refused = ""  # what stands in the box and was refused already
        self._run: _Run | None = None
        self._history = History(tokenizer)

    # -- what is the case -----------------------------------------------------------------

    @property
    def is_running(self) -> bool:
        """True while the model is at work on a slice: tokens are wanted."""
        return self._run is not None

    @property
    def is_active(self) -> bool:
        """True while the model is in the middle of something; else silence wakes nobody."""
        return self._history.active

    @property
    def has_message(self) -> bool:
        """True when a sent message waits: the slice closes at once."""
        return bool(self._messages)

    @property
    def pairs(self) -> list[SlicePair]:
        """The model's memory, oldest slice first, without the slices that will be pruned."""
        return [pair for pair in self._history.pairs if not pair.is_empty]

    @property
    def floor(self) -> Floor:
        if self._messages or not self._draft.is_blank:
            return Floor.LISTENING
        if self._history.is_asleep:
            return Floor.IDLE
        return Floor.SPEAKING if self._is_answering else Floor.LISTENING

    @property
    def _is_answering(self) -> bool:
        """True while the model is in the middle of saying something, also between slices."""
        if self._run is not None and (self._run.reply or self._run.user):
            return bool(self._run.reply.strip())
        last = self._history.last
        if last is None or self._history.is_asleep or last.end is ReplyEnd.CUT:
            return False
        return bool(last.reply.strip())

    # -- what the user does ---------------------------------------------------------------

    def send(self, text: str, now_s: float) -> None:
        """The user sent a whole message; it is heard at the next tick, which is due now."""
        self._now_s = now_s
        message = clean(text).strip()
        if not message:
            return
        self._refused = ""  # sent again, it is refused again
        if self._can_hear(message):
            self._messages.append(message)
            self._tell_floor()

    def _can_hear(self, message: str) -> bool:
        """Refuse, once, what would fill the context."""
        if self.config.mode is Mode.REFERENCE:
            return True  # the original has no such limit
        n_max = self.sequence.n_ctx // 4
        # A cheap bound first: a megabyte is not worth tokenizing to be refused.
        if len(message) <= 8 * n_max and self._n_tokens(message) <= n_max:
            return True
        if message != self._refused:
            self._refused = message
            self._say(
                Refused,
                message=f"Your message has {len(message):,} characters, which is more than the "
                f"model can hear at once ({n_max} tokens). Send it in parts.",
            )
        return False

    def _n_tokens(self, message: str) -> int:
        return sum(len(prompt_ids(self._tokenizer, part)) for part in in_slices(message))

    def notice_typing(self, now_s: float) -> None:
        """The text box changed."""
        self._now_s = now_s
        self._tell_floor()

    def interrupt(self, cut: Cut, now_s: float, *, by_stop: bool) -> None:
        """The user broke in: nothing beyond `cut` was shown, so nothing beyond it was said.

        by_stop: the model stays silent until the user speaks again.
        """
        self._now_s = now_s
        self._epoch = cut.epoch
        was_answering = self._is_answering
        last_index = self._history.n_slices - 1
        if self._run is not None:
            # At first the whole reply, so that one rule cuts the open slice and closed ones.
            self._history.answer(self._run.reply, ReplyEnd.CUT, self._run.n_sampled)
            self._run = None
            self.sequence.halt()
        self._history.interrupt(cut.index, cut.n_chars)
        kept = {pair.index: pair for pair in self._history.pairs if pair.index >= cut.index}
        if cut.index >= 0 and cut.index not in kept:  # it said nothing and left the history
            self._say(SliceChanged, index=cut.index, user="", reply="", end=ReplyEnd.CUT)
        for pair in kept.values():
            self._say_slice(pair)
        if by_stop:
            for part in self._hear_words():  # said before the stop: heard, not answered
                self._listen_on(part)
            self._history.active = False
        if was_answering:
            self._say(Interrupted, after_index=last_index, by_stop=by_stop)
        self._tell_floor()

    def reset(self, epoch: int, now_s: float) -> None:
        """Forget everything and begin a new conversation in the same place."""
        self._epoch, self._born_s, self._now_s = epoch, now_s, now_s
        self._run = None
        self._messages.clear()
        self._history = History(self._tokenizer)
        self.sequence.clear()
        self._say(Reset)
        self._tell_floor()

    # -- time passes ----------------------------------------------------------------------

    def tick(self, now_s: float) -> None:
        """A slice border: hear what the user said since the last one, and let the model reply.

        While the model is still at work on the last slice, the tick is missed: words wait for
        the next one, and a silent slice that could not be processed never happened.
        """
        self._now_s = now_s
        self._say(Ticked, slice_s=self.config.slice_s)
        if self._run is not None:
            return
        heard = self._hear_words()
        if not heard and self._draft.is_blank:
            self._listen(None)
        elif heard:
            for part in heard[:-1]:
                self._listen_on(part)
            self._listen(heard[-1])
        self._tell_floor()

    def _hear_words(self) -> list[str]:
        """The user slices that are due: sent messages first, then whole words of the draft."""
        if self.config.mode is Mode.REFERENCE:
            return [self._messages.pop(0)] if self._messages else []
        messages, self._messages = self._messages, []
        if messages:
            return [part for message in messages for part in in_slices(message)]
        words = self._draft.take_words(self._can_hear)
        if words:
            self._say(DraftTaken, n_taken=self._draft.n_taken, text=words)
        return in_slices(clean(words))

    def _listen_on(self, part: str) -> None:
        """A slice in the middle of a long message: the model is made to wait for the rest."""
        self._history.hear(part)
        self._say_slice(self._history.answer("", ReplyEnd.FORCED, n_sampled=1))

    def _listen(self, user: str | None) -> None:
        """Open a slice, unless the model sleeps and hears nothing."""
        if not self._history.hear(user):
            return
        ids = self._fit(self._history.ids())
        n_prefill = self.sequence.advance_to(ids)
        detokenizer = self._tokenizer.detokenizer()
        self._run = _Run(user or "", self._now_s, n_prefill, detokenizer)
        self._say_open()

    def _fit(self, ids: list[int]) -> list[int]:
        """Slide the window by whole slice pairs when the next reply would not fit."""
        if self.config.mode is Mode.REFERENCE:
            if len(ids) >= self.config.max_length:
                raise ContextFullError(
                    f"The conversation has reached {self.config.max_length} tokens, where the "
                    "original server ends it. Start a new conversation."
                )
            return ids
        if len(ids) + self.config.max_tokens_per_slice <= self.sequence.n_ctx:
            return ids
        # Down to half at once: every slide costs a prefill of what is left.
        n_pairs = self._history.drop_oldest(self.sequence.n_ctx // 2)
        self._say(WindowSlid, n_pairs=n_pairs)
        return self._history.ids()

    # -- the model speaks -----------------------------------------------------------------

    def push(self, token: int, now_s: float) -> None:
        """The model sampled `token` after all that `sequence` holds.

        Raises:
            ProtocolError: when no slice is running.
        """
        if self._run is None:
            raise ProtocolError("push() called, but no slice is running.")
        run, self._now_s = self._run, now_s
        if run.n_sampled == 0:
            run.ttft_s = now_s - run.started_s
        run.n_sampled += 1
        if token == self._tokenizer.idle:
            self._close(run.reply, ReplyEnd.IDLE)
        elif token == self._tokenizer.eos:
            self._close(run.reply, ReplyEnd.EOS)
        else:
            run.reply += run.detokenizer.push(token).replace("\0", "")  # no page can show it
            if run.n_sampled >= self.config.max_tokens_per_slice:
                self._close(run.reply, ReplyEnd.BUDGET)
            else:
                self.sequence.append(token)
                self._say_open()
        self._tell_floor()

    def _close(self, reply: str, end: ReplyEnd) -> None:
        run = self._run
        assert run is not None
        self._run = None
        self.sequence.halt()
        pair = self._history.answer(reply, end, run.n_sampled)
        self._say_slice(
            pair,
            SliceStats(
                n_prefill=run.n_prefill,
                n_decode=run.n_sampled,
                ttft_s=run.ttft_s,
                total_s=self._now_s - run.started_s,
                n_past=self.sequence.n_past,
            ),
        )

    # -- events ---------------------------------------------------------------------------

    def fail(self, message: str) -> None:
        """The conversation cannot go on; say why."""
        self._run = None
        self._messages.clear()
        self._say(Failed, message=message)

    def _say(self, event: Callable[..., Event], **values: object) -> None:
        self._emit(event(self._epoch, self._now_s - self._born_s, **values))

    def _say_open(self) -> None:
        assert self._run is not None
        self._say(
            SliceChanged,
            index=self._history.n_slices - 1,
            user=self._run.user,
            reply=self._run.reply,
        )

    def _say_slice(self, pair: SlicePair, stats: SliceStats | None = None) -> None:
        self._say(
            SliceChanged,
            index=pair.index,
            user=pair.user or "",
            # A lone full stop in a silent slice leaves the history, so it leaves the page, too.
            reply="" if pair.is_empty else pair.reply,
            end=pair.end,
            stats=stats,
        )

    def _tell_floor(self) -> None:
        if self.floor is not self._floor:
            self._floor = self.floor
            self._say(FloorChanged, floor=self._floor)
