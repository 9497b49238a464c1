"""Requests: what a user may ask, in how many words, and the answer the model should give."""

from __future__ import annotations

import random

from train.answers import SOCIAL, Request, recipe
from train.knowledge import Topic, topics
from train.phrasing import ASKING, PRONOUNS
from train.speech import Speech
from train.sums import Sums
from train.utterance import Utterance
from train.wording import Form, Wording

__all__ = ["LISTED", "Speaker", "listed", "sure_kinds"]

KINDS = {
    "animal": "an animal",
    "food": "a food",
    "city": "a city",
    "country": "a country",
    "instrument": "an instrument",
    "invention": "an invention",
    "person": "a person",
    "plant": "a plant",
    "sport": "a sport",
    "space": "something in space",
}
CLAUSES = 0.12  # of the requests for a topic, those of two clauses
PLURALS = {
    "animal": "animals",
    "food": "food",
    "city": "cities",
    "country": "countries",
    "instrument": "instruments",
    "invention": "inventions",
    "person": "people",
    "plant": "plants",
    "sport": "sports",
    "space": "something in space",
}
# Kind of topic -> kinds it surely is not. What may be both, like animals and food, is left out.
NO_KIND = {
    "animal": "city country instrument invention person plant sport",
    "body": "animal city country instrument plant sport",
    "city": "animal food instrument invention person plant sport",
    "country": "animal food instrument invention person plant sport",
    "food": "animal city country instrument person sport space",
    "instrument": "animal city country food person plant sport space",
    "invention": "animal city country food person plant",
    "material": "animal city country person sport",
    "nature": "animal city country invention sport",
    "person": "animal city country food instrument invention plant sport",
    "plant": "animal city country invention sport space",
    "space": "city country instrument plant sport",
    "sport": "animal city country food instrument person plant space",
}
# Food or not, plant or not, sport or not: people do not agree.
NO_SURE_KIND = frozenset(
    "Mushrooms,Honey,Salt,Water,Tea,Coffee,Hot chocolate,Lemonade,Chess,Hide and seek".split(",")
)
# What people call the topics of a kind when they ask for examples.
LISTED = {
    "animal": ("animals", "creatures"),
    "body": ("parts of the body", "body parts"),
    "city": ("cities", "towns"),
    "country": ("countries",),
    "food": ("dishes", "recipes"),
    "instrument": ("instruments", "musical instruments"),
    "invention": ("inventions",),
    "material": ("materials",),
    "person": ("famous people", "people"),
    "planet": ("planets",),
    "plant": ("plants",),
    "sport": ("sports", "games"),
}
N_LISTED = 5
TASK_QUESTIONS = (
    "how do i", "how do you", "how can i", "how to", "how would i", "how should i",
    "what is the best way to", "teach me to", "show me how to", "help me", "i want to",
    "i need to", "can you help me", "what do i do to", "how does one", "how do people",
    "what are the steps to", "i'd like to", "i am trying to", "could you help me",
)  # fmt: skip
STORY_FORMS = (
    "tell me the story of", "tell me a story about", "a story about", "the story of",
    "do you know the story of", "i want to hear the story of", "read me the story of",
    "tell me", "i'd like the story about", "tell a story about", "how does the story go about",
    "tell me a tale about", "what happens in the story of", "let me hear the story about",
)  # fmt: skip


class Speaker(Sums):
    """Makes requests at random from one side of the wordings."""

    def __init__(self, wording: Wording, rng: random.Random, strange: tuple[str, ...] = ()) -> None:
        super().__init__(wording, rng, strange)
        self.topics = topics()
        self.stories = [topic for topic in self.topics if topic.kind == "story"]
        subjects = {topic.subject: topic for topic in self.topics}
        self.quizzes = [(subjects[name], asked) for name, asked in wording.quiz.items() if asked]
        # "What about Mars" repeats the question before it, so it is no request of its own.
        again = set(wording["and_what"])
        self.verbs = [text for text in wording["verbs"] if text not in again]
        self.questions = [q for q in wording["questions"] if q.removesuffix(" X") not in again]

    def about(self, topic: Topic | None = None) -> Request:
        """ "Tell me about X", and for tasks and stories their own ways."""
        rng, wording = self.rng, self.wording
        topic = topic or rng.choice(self.topics)
        name, plural = self.mention(topic)
        if rng.random() < CLAUSES and topic.noun != "story":
            said = self.clauses(topic, name)
            return Request(said, Speech(topic.about(), topic, "about"))
        if topic.noun == "task":
            core = self._task(name)
        elif topic.noun == "story" and rng.random() < 0.8:
            core = self._story_of(name)
        elif rng.random() < 0.14:  # words never heard before, but a topic that is known
            words = rng.choices(self.strange, k=rng.randint(1, 3))
            link = rng.choice(("about", "on", "of", "me about", ""))
            core = [(" ".join([*words, link]), "c"), (name, "x")]
        elif rng.random() < 0.55:
            core = [(rng.choice(self.verbs), "c"), (name, "x")]
            if rng.random() < 0.5:
                core.insert(0, (rng.choice(wording["openers"]), "o"))
        else:
            core = self.form(rng.choice(self.questions), name, plural)
        speech = Speech(topic.about(), topic, "about")
        question = core[0][0].split()[0] in ASKING
        return Request(self.build(self.around(core), question), speech)

    def clauses(self, topic: Topic, name: str) -> Utterance:
        """ "I have to give a talk on X, what can you tell me": the topic stands in the middle.

        Where the first clause ends nobody can tell whether a request follows.
        """
        rng, wording = self.rng, self.wording
        is_task = topic.noun == "task" and not name.split()[0].endswith("ing")
        first = "task_statements" if is_task else "statements"
        then = "about_task" if is_task else "about_it"
        parts = [(rng.choice(wording[first]), "c"), (name, "x")]
        if rng.random() < 0.25:
            parts.insert(0, (rng.choice(wording["intros"]), "i"))
        ask = rng.choice(wording[then])
        said = self.build([*parts, (self.pronouns(ask, topic), "c")], rng.random() < 0.5)
        words = ask.split()
        border = said.done - len(words)
        said.pauses.add(border)
        shorter = {i for i in range(1, len(words)) if " ".join(words[:i]) in wording[then]}
        said.unsure |= {border} | {border + i for i in shorter}
        said.closed -= said.unsure
        return said

    def both(self) -> Request:
        """Two topics in one request: the beginning of each answer."""
        rng = self.rng
        one, two = rng.sample([t for t in self.topics if t.noun not in ("task", "story")], 2)
        said = self.pair(rng.choice(self.wording["both"]), one, two)
        text = f"{one.opening} {two.opening}"
        return Request(said, Speech(text, f"{one.name} and {two.name}", "both"))

    def quiz(self) -> Request:
        """A question whose answer is a topic: "which animal is the tallest"."""
        topic, asked = self.rng.choice(self.quizzes)
        said = self.build(self.around([(self.rng.choice(asked), "c")]), True)
        text = topic.opening.split(". ")[0].rstrip(".") + "."
        return Request(said, Speech(text, topic, "kind"), short=True)

    def corrected(self) -> Request:
        """A self-correction, "about Mars, no, I mean Saturn": the second topic counts."""
        rng = self.rng
        wrong, right = rng.sample(self.topics, 2)
        keys = [key for key in wrong.facts if (right.kind, key) in self.wording.questions]
        if wrong.facts and rng.random() < 0.7:
            right = rng.choice([t for t in self.topics if t.kind == wrong.kind and t is not wrong])
            keys = list(wrong.facts)
        key = rng.choice(keys) if keys and rng.random() < 0.45 else ""
        if key not in right.facts:
            key = ""
        first = (self.fact(wrong, key) if key else self.about(wrong)).said
        last = self.fact(right, key) if key else self.about(right)
        marker = rng.choice(self.wording["meant"]).split()
        if rng.random() < 0.15:  # "about Mars, no, not Mars, Saturn"
            marker += ["not", *self.mention(wrong)[0].split()]
        head = first.words[: first.done]
        closed = set(first.closed)
        if rng.random() < 0.5 and first.names and max(first.names) == len(head) - 1:
            name, _ = self.mention(right)
            tail = self.build([(name, "x")])
        else:  # begins again from the start
            head = head[: rng.randint(1, len(head))]
            tail = last.said
        said = tail.after(marker).after(head)
        said.names |= {i for i in first.names if i < len(head)}
        said.closed |= {i for i in closed if i <= len(head)} | {len(head)}
        if rng.random() < 0.15:
            said = self.contrasted(said, wrong)
        return Request(said, last.answer)

    def _task(self, name: str) -> list[tuple[str, str]]:
        rng, wording = self.rng, self.wording
        if name.split()[0].endswith("ing"):
            return [(rng.choice(self.verbs), "c"), (name, "x")]
        if rng.random() < 0.5:
            return [(rng.choice(TASK_QUESTIONS), "c"), (name, "x")]
        return [(rng.choice(wording["asks"]), "o"), ("how to", "c"), (name, "x")]

    def _story_of(self, name: str) -> list[tuple[str, str]]:
        form = self.rng.choice(STORY_FORMS)
        core = [(form, "c"), (name, "x")]
        if self.rng.random() < 0.4:
            core.insert(0, (self.rng.choice(self.wording["openers"]), "o"))
        return core

    def story(self, last: object) -> Request:
        """ "Tell me a story": the next one after the last told."""
        told = self.stories.index(last) if last in self.stories else -1
        topic = self.stories[(told + 1) % len(self.stories)]
        said = self.build(self.around([(self.rng.choice(self.wording["story"]), "c")]))
        return Request(said, Speech(topic.about(), topic, "about"))

    def fact(self, topic: Topic, key: str, name: str = "", intro: str = "") -> Request:
        """One fact; `name` may be a pronoun."""
        rng = self.rng
        plural = topic.pronoun == "they"
        if not name:
            name, plural = self.mention(topic)
        form: Form = rng.choice(self.wording.questions[topic.kind, key])
        while name in PRONOUNS and form.text.startswith("X ") and form.lead == "=":
            form = rng.choice(self.wording.questions[topic.kind, key])  # not "their diet", curtly
        text = form.text
        if "ONE" in text:  # a single one without its article: "a baby owl"
            text, name = text.replace("ONE", "X"), topic.others[0]
        lead = form.lead
        if lead == "=" and name not in PRONOUNS and rng.random() < 0.3:
            name = name.removeprefix("a ").removeprefix("an ")
            text, lead = self._curt(text), ""
        core = self.form(text, name, plural)
        if lead == ">" or (lead == "?" and rng.random() < 0.08):
            core.insert(0, (rng.choice(self.wording["asks"]), "o"))
        elif lead == "=":
            core.insert(0, (rng.choice(self.wording["names"]), "o"))
        parts = [(intro, "i"), *core] if intro else self.around(core)
        said = self.build(parts, form.lead == "?")
        text = topic.fact(key)
        if key == "steps":
            text = recipe(topic)
        return Request(said, Speech(text, topic, key), short=True)

    def _curt(self, form: str) -> str:
        """ "The size of X" in a hurry: "size of X" or "X size"."""
        noun, of, rest = form.removeprefix("the ").partition(" of X")
        is_plain = of and not rest and not set(noun.split()) & {"of", "a", "an", "the", "number"}
        return f"X {noun}" if is_plain and self.rng.random() < 0.5 else noun + of + rest

    def is_kind(self, topic: Topic) -> Request:
        """ "Is X a city": asked of another topic where the answer for `topic` is not sure."""
        rng = self.rng
        if not sure_kinds(topic):
            topic = rng.choice([topic for topic in self.topics if sure_kinds(topic)])
        kinds = sure_kinds(topic)
        kind = topic.kind if rng.random() < 0.5 and topic.kind in kinds else rng.choice(kinds)
        name, plural = self.mention(topic)
        be, noun = ("are", PLURALS[kind]) if plural else ("is", KINDS[kind])
        text = ("Yes. " if kind == topic.kind else "No. ") + topic.opening.split(". ")[0]
        said = self.build(self.around([(be, "c"), (name, "x"), (noun, "c")]), True)
        return Request(said, Speech(text.rstrip(".") + ".", topic, "kind"), short=True)

    def examples(self) -> Request:
        """ "Name three planets": the same few of the kind, however many are asked for."""
        kind = self.rng.choice(list(LISTED))
        called = self.rng.choice(LISTED[kind])
        form = self.rng.choice(self.wording["list"]).replace("K", called)
        names = listed(kind)
        text = f"Some {called} I know are {', '.join(names[:-1])} and {names[-1]}."
        said = self.build(
            self.around([(form, "c")], strange_tails=False), form.split()[0] in ASKING
        )
        # "Name three planets" may be all, and "that you know" may follow.
        last = called.split()[-1]
        said.closed |= {i for i, word in enumerate(said.words[: said.done - 1], 1) if word == last}
        return Request(said, Speech(text, called, "list"), short=True)

    def social(self, name: str) -> Request:
        said = self.build([(self.rng.choice(self.wording[name]), "c")])
        said.question = said.words[0] in ASKING
        return Request(said, Speech(SOCIAL[name], None, "social"), short=True)


def listed(kind: str) -> list[str]:
    """The names of some topics of a kind; of the planets all, in their order."""
    if kind == "planet":
        return [topic.name for topic in topics() if topic.others[:1] == ("planet",)]
    found = [topic.name for topic in topics() if topic.kind == kind]
    return found[:: max(1, len(found) // N_LISTED)][:N_LISTED]


def sure_kinds(topic: Topic) -> tuple[str, ...]:
    """The kinds for which "is X a city" has a sure answer: its own, and those it cannot be."""
    if topic.subject in NO_SURE_KIND or topic.kind not in NO_KIND:
        return ()
    own = (topic.kind,) if topic.kind in KINDS else ()
    return (*own, *NO_KIND[topic.kind].split())
