"""Requests: what a user may ask, in how many words, and the answer the model should give."""

from __future__ import annotations

import random

from train.answers import SOCIAL, Request, recipe
from train.cores import PRONOUNS
from train.kinds import Kinds
from train.knowledge import Topic
from train.phrasing import ASKING
from train.speech import Speech
from train.utterance import Utterance
from train.wording import Form, Wording

__all__ = ["TASK_QUESTIONS", "Speaker"]

CLAUSES = 0.12  # of the requests for a topic, those of two clauses
INSIDE = 0.1  # and those inside another sentence: "explain to my son what a comet is"
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


class Speaker(Kinds):
    """Makes requests at random from one side of the wordings."""

    def __init__(self, wording: Wording, rng: random.Random, strange: tuple[str, ...] = ()) -> None:
        super().__init__(wording, rng, strange)
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
        elif topic.noun != "story" and rng.random() < INSIDE:
            form = rng.choice(wording["inside_person" if topic.kind == "person" else "inside"])
            carrier = rng.choice(wording["carriers" if rng.random() < 0.7 else "asks"])
            core = [(carrier, "c"), *self.form(form, name, plural)]
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
        parts = [(name, "x")]
        if rng.random() < 0.8:
            parts.insert(0, (rng.choice(wording[first]), "c"))
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
        said.unsure |= {i for i in first.unsure if i <= len(head)}
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
        while name in PRONOUNS and form.text.startswith("X "):
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

    def topic_first(self, topic: Topic, key: str) -> Request:
        """ "My son asks about owls, what do they eat", "owls, what do they eat"."""
        rng = self.rng
        request = self.fact(topic, key, topic.pronoun)
        words = [] if rng.random() < 0.4 else rng.choice(self.wording["statements"]).split()
        n = len(words)
        words += self.mention(topic)[0].split()
        request.said = request.said.after(words)
        request.said.names |= set(range(n, len(words)))
        request.said.unsure.add(len(words))  # the topic alone is a request, too
        return request

    def _curt(self, form: str) -> str:
        """ "The size of X" in a hurry: "size of X" or "X size"."""
        noun, of, rest = form.removeprefix("the ").partition(" of X")
        is_plain = of and not rest and not set(noun.split()) & {"of", "a", "an", "the", "number"}
        return f"X {noun}" if is_plain and self.rng.random() < 0.5 else noun + of + rest

    def social(self, name: str) -> Request:
        said = self.build([(self.rng.choice(self.wording[name]), "c")])
        said.question = said.words[0] in ASKING
        return Request(said, Speech(SOCIAL[name], None, "social"), short=True)
