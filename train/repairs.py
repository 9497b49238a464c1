"""What a user does about an answer: means another one, wants it again, shorter, or the rest."""

from __future__ import annotations

from train.answers import REFUSALS, Request, counting
from train.floor import ACK, Floor
from train.knowledge import Topic
from train.speech import Speech
from train.utterance import Utterance

__all__ = ["ENOUGH_LEFT", "Repairs"]

NOTHING_TO_SAY = "There is nothing to go on with. Ask me about Mars or owls."
COMPLAINTS = ("too long", "way too long", "hey", "okay okay", "so many words", "no")
ENOUGH_LEFT = 15  # characters: less is not worth coming back to


class Repairs(Floor):
    """The part of the simulator that refers back to an answer."""

    def _topic(self) -> Topic | None:
        about = self.last.subject().about if self.last else None
        return about if isinstance(about, Topic) else None

    def _prefix(self, request: Request, text: str) -> None:
        """Words before a request. What is complete alone may not end a slice."""
        said, new = request.said, text.split()
        n = len(new)
        request.said = said.after(new)
        for end in range(1, n + 1):
            head = " ".join(new[:end])
            if head in self.speaker.cores.whole:
                request.said.closed.add(end)

    def meant(self) -> None:
        if self.last is None:
            return
        self._meant(self.now or self.last, self.rng.choice(self.speaker.wording["meant"]))

    def _meant(self, wrong: Speech, marker: str) -> None:
        """After "no, I meant X" the same question is answered about X."""
        rng, speaker = self.rng, self.speaker
        wrong = wrong.subject()
        refused = wrong.text in REFUSALS
        old = wrong.about
        if not isinstance(old, Topic) and not refused:
            return
        same = [t for t in speaker.topics if isinstance(old, Topic) and t.kind == old.kind]
        topic = rng.choice(same if same and rng.random() < 0.7 else speaker.topics)
        if topic is old:
            return
        request = speaker.about(topic)
        if rng.random() < 0.8 and topic.noun != "task":
            name, _ = speaker.mention(topic)
            request.said = self._named(name, marker, old)
        else:
            self._prefix(request, marker)
        if isinstance(old, Topic) and wrong.intent in topic.facts and not refused:
            request.answer = speaker.fact(topic, wrong.intent).answer
        self.utter(request.said, request.answer)

    def _named(self, name: str, marker: str, old: object) -> Utterance:
        """The right topic, alone: "no, I meant Mars", "Mars is what I meant", "not Venus, Mars"."""
        rng, speaker = self.rng, self.speaker
        parts = [(marker, "i"), (name, "x")]
        roll = rng.random()
        if roll < 0.15:
            parts.append(("please", "t"))
        elif roll < 0.3:
            parts = [(name, "x"), (rng.choice(speaker.wording["meant_after"]), "c")]
            if rng.random() < 0.5:
                parts.insert(0, (rng.choice(("no", "no no", "sorry", "wait", "hey")), "i"))
        elif roll < 0.45 and isinstance(old, Topic):
            parts = [("not", "c"), (speaker.mention(old)[0], "x"), (name, "x")]
        elif roll < 0.65 and isinstance(old, Topic):
            return speaker.contrasted(speaker.build(parts), old)
        return speaker.build(parts)

    def and_what(self) -> None:
        """ "And Venus?" asks again what was asked before, where the other topic has that."""
        rng, speaker = self.rng, self.speaker
        before = (self.now or self.last or Speech("")).subject()
        old, key = before.about, before.intent
        others = [t for t in speaker.topics if t is not old and t.noun not in ("task", "story")]
        alike = [t for t in others if isinstance(old, Topic) and t.kind == old.kind]
        topic = rng.choice(alike if alike and rng.random() < 0.75 else others)
        if key in topic.facts:
            request = speaker.fact(topic, key)
        elif key == "none":  # what is not known about one is not known about another
            request = speaker.unanswerable(topic)
        else:
            request = speaker.about(topic)
        name, _ = speaker.mention(topic)
        core = [(rng.choice(speaker.wording["and_what"]), "c"), (name, "x")]
        self.utter(speaker.build(core, True), request.answer)

    def shorter(self) -> None:
        speech = self.now or self.last
        topic = self._topic()
        if speech is None or topic is None or speech.intent not in ("about", "short"):
            return
        answer = Speech(topic.short(), topic, "short")
        before = self.rng.choice(COMPLAINTS) if self.rng.random() < 0.2 else ""
        self.utter(self.speaker.phrase("shorter", before), answer)

    def repeat(self) -> None:
        speech = self.now or self.last
        if speech is None or speech.main is not None or speech.intent == ACK:
            return
        answer = Speech(speech.text, speech.about, speech.intent)
        self.utter(self.speaker.phrase("repeat"), answer)

    def go_on(self) -> None:
        """Resume what was cut short, or say that there is no more."""
        said = self.speaker.phrase("go_on")
        left, last = self.left, self.last
        if left is not None and not left.is_over:
            self.utter(said, left)
            return
        topic = self._topic()
        if last is None:
            answer = Speech(NOTHING_TO_SAY)
        elif last.intent.startswith("count ") and last.about == "counting":
            top = int(last.intent.split()[1])
            answer = counting(top + 1, top + 5) if top <= 45 else Speech(NOTHING_TO_SAY)
        elif topic and last.intent == "about":
            answer = Speech(f"That is all I know about {topic.name}.", topic, "end")
        elif topic and last.intent in (*topic.facts, "short", "kind"):
            answer = Speech(topic.about(), topic, "about")
        else:
            answer = Speech(NOTHING_TO_SAY)
        self.utter(said, answer)

    def return_to(self) -> None:
        """With "back to X" a topic that was left unfinished goes on."""
        rng = self.rng
        current = self._topic()
        names = [n for n, s in self.open.items() if len(s.rest) > ENOUGH_LEFT
                 and not (current and current.name == n)]  # fmt: skip
        if not names:
            return
        name = names[-1] if rng.random() < 0.7 else rng.choice(names)
        speech = self.open.pop(name)
        assert isinstance(speech.about, Topic)
        mention, _ = self.speaker.mention(speech.about)
        if speech.about.noun == "task":
            mention = speech.about.subject
        parts = [(rng.choice(self.speaker.wording["return"]), "c"), (mention, "x")]
        said = self.speaker.build(parts)
        self.utter(said, speech.after("", name))
