"""Requests that the model cannot serve: strange topics, unknown facts, comparisons, chores."""

from __future__ import annotations

import re

from train.answers import REFUSALS, Request
from train.knowledge import Topic
from train.phrasing import ASKING, Phrasing
from train.speech import Speech
from train.utterance import Utterance

__all__ = ["Strangers"]

_BARE = re.compile(r"^(a|an|the) ")
NOUNS = ("animal", "food", "city", "person", "thing", "thing", "word")
UNKNOWN = {  # kind of topic -> what may be asked about it without an answer
    "animal": "about an animal",
    "city": "about a place",
    "country": "about a country",
    "food": "about a food",
    "instrument": "about an instrument",
    "invention": "about an invention",
    "person": "about a person",
    "plant": "about a plant",
    "space": "about something in space",
    "sport": "about a sport",
}


class Strangers(Phrasing):
    """Makes requests that get a polite refusal, from one side of the wordings."""

    def stranger(self) -> Request:
        """Something the model knows nothing about."""
        rng, wording = self.rng, self.wording
        if rng.random() < 0.2:
            said = self.build(self.around([(rng.choice(wording["chat"]), "c")]))
            said.question = said.words[0] in ASKING
            return Request(said, Speech(rng.choice(REFUSALS)), short=True)
        kind = rng.choice(NOUNS)
        name, plural = self._strange_noun(kind)
        roll = rng.random()
        if kind != "word" and rng.random() < 0.06:
            core = [(name, "x")]
        elif roll < 0.4 and kind not in ("thing", "word"):
            real = "country" if kind == "city" and rng.random() < 0.5 else kind
            keys = [key for of, key in wording.questions if of == real]
            forms = [f for f in wording.questions[real, rng.choice(keys)] if "ONE" not in f.text]
            form = rng.choice(forms)
            core = self.form(form.text, name, plural)
            lead = {">": "asks", "=": "names"}.get(form.lead)
            if lead:
                core.insert(0, (rng.choice(wording[lead]), "o"))
        elif roll < 0.7:
            core = [(rng.choice(wording["verbs"]), "c"), (name, "x")]
            if rng.random() < 0.5:
                core.insert(0, (rng.choice(wording["openers"]), "o"))
        else:
            core = self.form(rng.choice(wording["questions"]), name, plural)
        said = self.build(self.around(core), core[0][0].split()[0] in ASKING)
        return Request(said, Speech(rng.choice(REFUSALS)), short=True)

    def _strange_noun(self, kind: str) -> tuple[str, bool]:
        """A noun that names no topic, and whether it is plural."""
        rng = self.rng
        if kind == "word":  # any words of real people
            words = [w for w in rng.choices(self.strange, k=rng.randint(1, 2)) if len(w) > 3]
            name = " ".join(words)
            if words and name not in self.cores.known:
                return name, False
            kind = "thing"
        name = rng.choice(self.wording[kind])
        if kind == "thing" and rng.random() < 0.15:  # "the bitcoin price"
            behind = rng.choice(self.wording["behind"])
            name = f"{_BARE.sub('', name).removesuffix('s')} {behind}"
            plural = behind.endswith("s")
            if plural or rng.random() < 0.2:
                return name, plural
            article = "an" if name[0] in "aeiou" else "a"
            return f"{rng.choice(('the', 'the', article))} {name}", False
        plural = kind in ("animal", "food", "thing") and name.endswith("s")
        if plural and kind == "animal" and rng.random() < 0.3 and not name.endswith("ies"):
            article = "an" if name[0] in "aeiou" else "a"
            return f"{article} {name[:-1]}", False
        return name, plural

    def unanswerable(self, topic: Topic) -> Request:
        """Something about a known topic that the model was never told."""
        rng = self.rng
        section = UNKNOWN.get(topic.kind, "about a topic")
        if rng.random() < 0.25:
            section = "about a topic"
        mention, plural = self.mention(topic)
        if section == "about an animal":
            mention, plural = topic.subject.lower(), True
        core = self.form(rng.choice(self.wording[section]), mention, plural)
        text = f"Sorry, I do not know that about {topic.name}, but I know other things."
        return Request(self.build(self.around(core), True), Speech(text, topic, "none"), short=True)

    def compare(self, one: Topic, two: Topic) -> Request:
        """Two known topics side by side, which is beyond the model."""
        said = self.pair(self.rng.choice(self.wording["compare"]), one, two)
        text = f"Sorry, I cannot compare things, but I can tell you about {one.name} or {two.name}."
        return Request(said, Speech(text), short=True)

    def pair(self, form: str, one: Topic, two: Topic) -> Utterance:
        """Fill a form that has A and B for topics."""
        parts = []
        for word in form.split():
            topic = {"A": one, "B": two}.get(word)
            parts.append((self.mention(topic)[0], "x") if topic else (word, "c"))
        if self.rng.random() < 0.15:
            parts.insert(0, (self.rng.choice(self.wording["intros"]), "i"))
        said = self.build(parts, form.split()[0] in ASKING)
        # "Tell me about A" is complete, but "and B" may follow in the same breath.
        said.closed |= {end for end in range(1, said.done) if end - 1 in said.names}
        return said
