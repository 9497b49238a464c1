"""The dialogue simulator: a user who asks, interrupts and falls silent, and how to answer that.

* Words like "uh-huh" while the model speaks change nothing; "wait" and the beginning of a request
  make it fall silent; "stop" gets "Okay.".
* A new request replaces the old answer. A short side question is answered, and then the old answer
  goes on where it was. "Go on" and "back to X" resume an answer that was left.
"""

from __future__ import annotations

from train.answers import Request
from train.asking import Asking
from train.floor import ACK
from train.knowledge import Topic
from train.repairs import ENOUGH_LEFT
from train.speech import Speech
from train.transcript import Transcript
from train.utterance import Utterance, slices

__all__ = ["Dialogue"]

FULL = 250  # ids after which the window may slide
SLIDE_SHARE = 0.05  # of the moments when nobody speaks
NO_RETURN = ("social", "sum", "kind", "ood", "short", "none")
WHOLE_KEYS = ("steps", "play")  # facts as long as an answer to "tell me about": no side answers
# What these sections share with the backchannels asks a silent model to speak.
SPEAKS = ("go_on", "thanks", "praise")


class Dialogue(Asking):
    """One conversation. `play` fills `self.script` with slices."""

    eagerness = 0.2  # how often the user breaks in, a slice

    def play(self, n_tokens: int) -> Transcript:
        """Go on until there are about `n_tokens` ids."""
        while self.script.n_tokens < n_tokens:
            if self.is_speaking:
                self.while_speaking()
            elif self.script.n_tokens > FULL and self.rng.random() < SLIDE_SHARE:
                self.slide()
            else:
                self.while_silent()
        return self.script

    def slide(self) -> None:
        """The oldest slices leave the window; nothing refers to them any more."""
        self.script.drop_oldest(self.rng.randint(30, 2 * FULL))
        self.now = self.left = self.last = None
        self.open.clear()
        self.ask()

    def while_speaking(self) -> None:
        rng = self.rng
        if rng.random() > self.eagerness:
            self.silence()
            return
        acts = {
            self.backchannel: 26, self.side: 26, self.stop: 12, self.wait: 8, self.reset: 12,
            self.meant: 9, self.shorter: 4, self.repeat: 4, self.social_aside: 2,
            self.return_to: 4, self.abandon: 3, self.stop_button: 2, self.false_alarm: 2,
            self.and_what: 2,
        }  # fmt: skip
        rng.choices(list(acts), list(acts.values()))[0]()

    def while_silent(self) -> None:
        rng = self.rng
        self.eagerness = rng.choice((0.0, 0.1, 0.3, 0.5))
        resume = 30 if self.left is not None and not self.left.is_over else 2
        acts = {
            self.ask: 62, self.follow_up: 8 if self._topic() else 0, self.go_on: resume,
            self.late_backchannel: 4, self.abandon: 4, self.repeat: 2, self.shorter: 2,
            self.meant: 4, self.stop: 1, self.return_to: 6, self.quiet: 3, self.thanks: 2,
            self.and_what: 6 if self._topic() else 2, self.unanswered: 3,
        }  # fmt: skip
        rng.choices(list(acts), list(acts.values()))[0]()

    def ask(self) -> None:
        request = self.request()
        self.utter(request.said, request.answer)

    def follow_up(self) -> None:
        """A question about what was just talked about: "how big is it"."""
        topic = self._topic()
        if topic is None or not topic.facts:
            return
        request = self._follow_up(topic)
        self.utter(request.said, request.answer)

    def _follow_up(self, topic: Topic, intro: str = "") -> Request:
        return self.speaker.fact(topic, self.rng.choice(list(topic.facts)), topic.pronoun, intro)

    def unanswered(self) -> None:
        """A request that the model missed: it is said again, or another one takes its place."""
        request = self.request()
        self.now = None
        for piece in slices(request.said, self.rng, self.rng.choice(("whole", "spoken"))):
            self.script.hear(piece.text)
            self.script.idle(learned=False)
        again = request if self.rng.random() < 0.4 else self.request()
        self.utter(again.said, again.answer)

    def thanks(self) -> None:
        request = self.speaker.social("thanks")
        self.utter(request.said, request.answer, mode="whole")

    def backchannel(self) -> None:
        said = self.speaker.phrase("backchannel" if self.rng.random() < 0.92 else "praise")
        self.barge_in()
        self.script.hear(slices(said, self.rng, "whole")[0].text)
        self.speak()

    def late_backchannel(self) -> None:
        """An "okay" after the end gets silence. After a question, a "yes" is an answer."""
        rng = self.rng
        asked = self.last is not None and self.last.text.endswith("?")
        if asked:
            request = self.speaker.social("yes")
            self.utter(request.said, request.answer, mode="whole")
            return
        if self.left is not None:
            return
        wording = self.speaker.wording
        speaks = {text for name in SPEAKS for text in wording[name]}
        text = rng.choice([text for text in wording["backchannel"] if text not in speaks])
        self.utter(self.speaker.build([(text, "c")]), None, mode="whole")
        self.silence()

    def abandon(self) -> None:
        """A request that is never finished."""
        rng = self.rng
        said = self.speaker.phrase("abandon" if rng.random() < 0.85 else "wait")
        if rng.random() < 0.3:  # a real request without its end
            whole = self.speaker.about().said
            first = min(whole.names, default=1)
            words = whole.words[: max(1, first)]
            if len(words) in whole.closed | whole.unsure:
                return
            said = Utterance(words, len(words), closed=whole.closed)
        if " ".join(said.words) in self.speaker.cores.whole:
            return
        said.finished = False
        self.utter(said, None)
        if not self.silence():
            return
        for _ in range(rng.randint(0, 2)):
            self.silence()

    def quiet(self) -> None:
        for _ in range(3):
            self.silence()

    def stop(self) -> None:
        said = self.speaker.phrase("stop")
        if self.rng.random() < 0.25:
            said = self.speaker.phrase("stop", self.rng.choice(("okay", "please", "no", "wait")))
        mode = self.rng.choice(("whole", "whole", "whole", "typed"))
        self.utter(said, Speech("Okay.", None, ACK), mode=mode)
        for _ in range(self.rng.randint(0, 2)):
            self.silence()

    def wait(self) -> None:
        """After "wait" the model is silent; then perhaps comes what was wanted, or "go on"."""
        self.utter(self.speaker.phrase("wait"), None, mode="whole")
        kept = self.left
        if self.rng.random() < 0.4:
            self.silence()
        roll = self.rng.random()
        if roll < 0.35 and kept is not None and kept.about is not None:
            self._meant(kept, self.rng.choice(self.speaker.wording["meant"]))
        elif roll < 0.6 and kept is not None:
            self.go_on()
        elif roll < 0.9:
            self.ask()

    def reset(self) -> None:
        """Another request takes over: a whole answer, or a fact with words that say so."""
        rng, speaker = self.rng, self.speaker
        topic = rng.choice(speaker.topics)
        old = self._topic()
        if old is topic:
            return
        if rng.random() < 0.55 or not topic.facts:
            request = speaker.about(topic)
            marked = rng.random() < 0.55
        else:
            request = speaker.fact(topic, rng.choice(list(topic.facts)))
            marked = request.answer.intent not in WHOLE_KEYS or rng.random() < 0.5
        if marked:
            asides = speaker.wording["side"]
            markers = [text for text in speaker.wording["reset"] if text not in asides]
            self._prefix(request, rng.choice(markers))
        if marked and rng.random() < 0.2 and len(request.said.words) == request.said.done:
            request.said.words += rng.choice(speaker.wording["instead"]).split()
        elif marked and old is not None and rng.random() < 0.1:
            request.said = speaker.contrasted(request.said, old)
        self.utter(request.said, request.answer)

    def side(self) -> None:
        """A short question; then the old answer goes on."""
        rng, speaker = self.rng, self.speaker
        assert self.now is not None
        main = self.now.subject()
        name = _label(main)
        if name is None or len(main.rest) < ENOUGH_LEFT:
            return
        topic = main.about if isinstance(main.about, Topic) else None
        intro = rng.choice(speaker.wording["side"]) if rng.random() < 0.55 else ""
        roll = rng.random()
        if roll < 0.3 and topic and topic.facts:
            request = self._follow_up(topic, intro)
        elif roll < 0.38 and topic and topic.facts:
            request = speaker.fact(topic, rng.choice(list(topic.facts)), intro=intro)
        elif roll < 0.55:
            request = speaker.sum(intro)
        elif roll < 0.63:
            request = self._beyond()
            if intro:
                self._prefix(request, intro)
        elif roll < 0.68:
            request = speaker.quiz()
            if intro:
                self._prefix(request, intro)
        else:
            other = rng.choice(speaker.topics)
            keys = [key for key in other.facts if key not in WHOLE_KEYS]
            if not keys:
                return
            request = speaker.fact(other, rng.choice(keys), intro=intro)
        side = request.answer.text
        self.utter(request.said, lambda: (self.left or main).after(side, name))

    def stop_button(self) -> None:
        """No words at all: the reply is cut and the model sleeps."""
        self._cut()
        self.yield_floor()
        self.script.sleep()

    def false_alarm(self) -> None:
        """A key was pressed, and nothing came of it: the answer goes on."""
        self._cut()
        if self.script.history.pairs[-1].reply:
            self.silence()
        else:
            self.yield_floor()
            self.script.sleep()

    def social_aside(self) -> None:
        """A "who are you" in the middle is answered, and the old answer is left."""
        names = ("how_are_you", "who_are_you", "what_can_you_do", "joke", "goodbye", "insult")
        request = self.speaker.social(self.rng.choice(names))
        self.utter(request.said, request.answer)


def _label(speech: Speech) -> str | None:
    """How to come back to it, None for what is not worth it."""
    if isinstance(speech.about, Topic) and speech.intent not in NO_RETURN:
        return speech.about.name
    return speech.about if isinstance(speech.about, str) else None
