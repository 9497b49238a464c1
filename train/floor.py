"""Who has the floor: one side speaks, breaks off, resumes; every slice goes into a `Transcript`.

The rules the model learns:
* an unfinished request gets `<idle>`, and so does the silence after it; a finished one is answered
  in the same slice, or after a silent one where it was missed;
* words after a finished request change nothing;
* a reply may be cut anywhere by the user's words, and goes on with the word that was broken.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from train.knowledge import Topic
from train.requests import Speaker
from train.speech import Speech, next_chunk
from train.transcript import CachedCodec, Transcript
from train.utterance import LONGHAND, Slice, Utterance, add_noise, slices, typed_badly, words_of

__all__ = ["ACK", "Answer", "Floor"]

Answer = Speech | Callable[[], Speech] | None
ACK = "ack"  # says that it stops: nothing to repeat or to go on with
NOISE_SHARE = 0.35
TYPED_BADLY_SHARE = 0.1
CUT_SHARE = 0.45  # of interruptions that come before the slice was shown
# Of requests that are answered a slice late. What sounds unfamiliar is held for unfinished; silence
# behind it then says that it was not, and the model gets a second look (docs/log.md, 2026-11-26).
MISSED_SHARE = 0.25
HOLD_TESTED = 0.4  # of unfinished requests that are followed by silence


class Floor:
    """now: what is being said. left: what the user's last words cut short. last: the last answer.

    open: topics that were left unfinished, by name.
    """

    def __init__(self, codec: CachedCodec, speaker: Speaker) -> None:
        self.script = Transcript(codec)
        self.codec = codec
        self.speaker = speaker
        self.rng = speaker.rng
        self.now: Speech | None = None
        self.left: Speech | None = None
        self.last: Speech | None = None
        self.open: dict[str, Speech] = {}
        self._start = 0  # where in the last reply's speech its slice began

    def speak(self) -> None:
        """The next slice of what is being said, into the slice that is open."""
        assert self.now is not None
        chunk = next_chunk(self.now.rest, self.codec.count)
        self._start = self.now.at
        self.script.reply(chunk)
        self.now = self.now.said(len(chunk))
        if self.now.intent == ACK:
            self.now = None
            return
        self.last = self.now
        if self.now.is_over:
            subject = self.now.subject()
            if isinstance(subject.about, Topic):
                self.open.pop(subject.about.name, None)
            if not self.script.history.active:
                self.now = None

    def silence(self) -> bool:
        """A slice without words; False when the model sleeps."""
        if not self.script.hear(None):
            self._sleep()
            return False
        if self.now is not None and not self.now.is_over:
            self.speak()
        else:
            self.script.idle()
            self._sleep()
        return True

    def _sleep(self) -> None:
        self.now = None

    def start(self, speech: Speech) -> None:
        self.now = speech
        if speech.intent != ACK:
            self.left = None
        self.speak()

    @property
    def is_speaking(self) -> bool:
        return self.now is not None and not self.now.is_over

    def barge_in(self) -> None:
        """The user's words may cut the last reply where it was shown."""
        if self.is_speaking and self.rng.random() < CUT_SHARE:
            self._cut()

    def _cut(self) -> None:
        assert self.now is not None
        shown = self.script.history.pairs[-1].reply
        n_chars = self.rng.randint(0 if self.rng.random() < 0.1 else 1, len(shown))
        if n_chars < len(shown):
            self.script.cut(n_chars)
            self.now = replace(self.now, at=self._start).cut(n_chars)

    def yield_floor(self) -> None:
        """Stop saying what is being said, and remember it."""
        if self.now is not None and not self.now.is_over:
            self.left = self.now
            subject = self.now.subject()
            if isinstance(subject.about, Topic):
                self.open[subject.about.name] = subject
        self.now = None

    def utter(self, said: Utterance, answer: Answer, *, mode: str | None = None) -> None:
        """The user says it slice by slice; `answer` begins when it is complete (None: never).

        An answer that depends on where the old one was left is a function of that.
        """
        rng = self.rng
        if rng.random() < NOISE_SHARE:
            said = add_noise(said, rng, self.speaker.strange)
        if rng.random() < TYPED_BADLY_SHARE:
            said = typed_badly(said, rng)
        pieces = slices(said, rng, mode)
        answered = False
        for number, piece in enumerate(pieces):
            self.barge_in()
            self.script.hear(piece.text)
            if answered or (number == 0 and not piece.complete and self._is_heard_out(piece)):
                self._tail()
            elif piece.complete and answer is not None:
                answered = True
                self._answer(answer)
            else:
                self._hold(piece)

    def _is_heard_out(self, piece: Slice) -> bool:
        """An "okay" does not interrupt, even if a request follows: that cannot be known yet."""
        words = " ".join(LONGHAND.get(word, word) for word in words_of(piece.text))
        return self.is_speaking and words in self.speaker.backchannels

    def _answer(self, answer: Speech | Callable[[], Speech]) -> None:
        missed = self.rng.random() < MISSED_SHARE
        self.yield_floor()
        answer = answer() if callable(answer) else answer
        if missed:
            self.script.idle(learned=False)
            self.script.hear(None)
        self.start(answer)

    def _tail(self) -> None:
        """Words after a request that was complete: they change nothing."""
        if self.is_speaking:
            self.speak()
        else:
            self.now = None
            self.script.idle(learned=False)

    def _hold(self, piece: Slice) -> None:
        self.yield_floor()
        self.script.idle(learned=piece.sure, forced=piece.forced)
        if not piece.forced and piece.sure and self.rng.random() < HOLD_TESTED:
            self.silence()
