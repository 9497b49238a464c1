"""Requests about a whole kind of topics: "is X a city", "name three planets"."""

from __future__ import annotations

import random

from train.answers import Request, number
from train.knowledge import Topic, topics
from train.phrasing import ASKING
from train.speech import Speech
from train.sums import Sums
from train.wording import Wording

__all__ = ["KINDS", "LISTED", "Kinds", "how_many", "listed", "sure_kinds"]

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


class Kinds(Sums):
    """Makes requests about kinds, from one side of the wordings."""

    def __init__(self, wording: Wording, rng: random.Random, strange: tuple[str, ...] = ()) -> None:
        super().__init__(wording, rng, strange)
        self.topics = topics()

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
        """ "Name three planets": as many of the kind as are asked for, `listed` at most."""
        kind = self.rng.choice(list(LISTED))
        called = self.rng.choice(LISTED[kind])
        form = self.rng.choice(self.wording["list"]).replace("K", called)
        names = listed(kind)[: how_many(form)]
        text = f"Some {called} I know are {', '.join(names[:-1])} and {names[-1]}."
        said = self.build(
            self.around([(form, "c")], strange_tails=False), form.split()[0] in ASKING
        )
        # "Name three planets" may be all, and "that you know" may follow.
        last = called.split()[-1]
        said.closed |= {i for i, word in enumerate(said.words[: said.done - 1], 1) if word == last}
        return Request(said, Speech(text, called, "list"), short=True)


def how_many(form: str) -> int | None:
    """The number a form asks for, None where it asks for some."""
    words = set(form.split())
    if "couple" in words:
        return 2
    said = [n for n in range(2, 11) if {str(n), number(n)} & words]
    return said[0] if said else None


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
