"""How a request is put into words."""

from __future__ import annotations

import random

from train.cores import PLACE_NOUNS, PRONOUNS, Cores
from train.knowledge import OBJECT, Topic
from train.utterance import Utterance
from train.wording import Wording

__all__ = ["ASKING", "Phrasing"]

ASKING = frozenset(
    "what who where when why how which is are do does did can could would will has have any "
    "may shall whose".split()
)
STRANGE_TAIL_SHARE = 0.05  # "an egg these days": words behind a request that change nothing
# Words that say something wherever they stand, so that they disturb nothing.
TELLING = frozenset(
    "not no and or plus minus times divided add wait stop me you countries animals dishes recipes "
    "people plants cities sports games materials instruments inventions stories planets towns "
    "zero one two three four five six seven eight nine ten eleven twelve twenty hundred thousand "
    "million number count what who where when why how which again instead rather".split()
)
DESCRIBED = frozenset("animal food instrument invention plant sport".split())  # kinds of topics
# "A proper omelette" is an omelette; "big cats" and "wild rice" are something else. All begin with
# a consonant.
ADJECTIVES = (
    "little small proper good nice simple famous typical normal lovely plain classic perfect "
    "beautiful basic standard"
).split()
DESCRIBED_SHARE = 0.05
# Words that say what a topic is, before its name; of animals and plants, more than one.
CALLED = {
    "animal": ("the animals called", "the creatures called", "those"),
    "instrument": ("the instrument called", "the thing called"),
    "invention": ("the invention called", "the thing called", "the machine called"),
    "city": ("the city of", "the lovely city of", "the town of", "the place called"),
    "country": ("the country of", "the country called", "the land of", "the nation of"),
    "plant": ("the plants called", "the plants known as"),
    "sport": ("the game of", "the sport of", "the game called"),
    "material": ("the material called", "the stuff called"),
    "food": ("the dish called", "the thing called"),
}
CALLED_SHARE = 0.04
ROLES = ("", "great ", "famous ", "old ", "brilliant ")
ROLE_SHARE = 0.1  # of people: "the great composer Beethoven"
POSSESSIVE = {"it": "its", "they": "their", "he": "his", "she": "her"}
# Before a pronoun that is a subject.
BEFORE_SUBJECT = frozenset(
    "is are was were do does did can could will would should has have had may might if whether "
    "that how what where when why which who whom".split()
)
PREPOSITIONS = frozenset("of in on at about for from to with into by around near like than".split())


class Phrasing:
    """Builds utterances from one side of the wordings.

    strange: words that the wordings do not have, to disturb them with.
    """

    def __init__(self, wording: Wording, rng: random.Random, strange: tuple[str, ...] = ()) -> None:
        self.wording = wording
        self.rng = rng
        self.cores = Cores.of(wording)
        self.backchannels = frozenset(wording["backchannel"])
        strange = strange or tuple(" ".join(wording["thing"]).split())
        telling = self.cores.known | self.cores.whole | set(wording["wait"]) | TELLING
        self.strange = tuple(
            word for word in strange if word not in telling and word.rstrip("s") not in telling
        )

    def mention(self, topic: Topic) -> tuple[str, bool]:
        """A name for the topic, perhaps with words that describe it, and whether it is plural."""
        rng = self.rng
        name, plural = self._name(topic)
        if topic.kind in CALLED and rng.random() < CALLED_SHARE:
            plural = topic.kind in ("animal", "plant")
            return f"{rng.choice(CALLED[topic.kind])} {topic.name.lower()}", plural
        if topic.kind == "person" and rng.random() < ROLE_SHARE and topic.role not in name:
            return f"the {rng.choice(ROLES)}{topic.role} {name}", False
        if topic.kind in DESCRIBED and rng.random() < DESCRIBED_SHARE:
            article, _, noun = name.partition(" ")
            if article not in ("a", "an", "the"):
                article, noun = "", name
            article = article.removesuffix("n")
            name = f"{article} {rng.choice(ADJECTIVES)} {noun}".strip()
        return name, plural

    def _name(self, topic: Topic) -> tuple[str, bool]:
        rng = self.rng
        subject = topic.subject.lower()
        if topic.noun == "task":
            return rng.choice((*topic.others, subject)), False
        if topic.noun == "story":
            return rng.choice((subject, *("the " + other for other in topic.others))), False
        if topic.noun == "count":
            one = rng.choice(topic.others)
            article = "an" if one[0] in "aeiou" else "a"
            options = ((subject, True), (f"{article} {one}", False), (f"the {one}", False))
            if rng.random() < 0.1:
                return one, False
            return rng.choices(options, (60, 25, 15))[0]
        if topic.noun == "the":
            one = rng.choice(topic.others)
            return rng.choices((f"the {one}", one, one + "s"), (70, 20, 10))[0], False
        if topic.noun == "proper" and topic.others and topic.others[0] in PLACE_NOUNS:
            if rng.random() < 0.12:
                return f"{'the ' if rng.random() < 0.5 else ''}{topic.others[0]} {subject}", False
            others = [o for o in topic.others[1:] if o]
            if others and rng.random() < 0.3:
                return rng.choice(others), False
            return subject, False
        if topic.others and rng.random() < 0.3:
            return rng.choice(topic.others), False
        return subject, topic.pronoun == "they"

    def build(self, parts: list[tuple[str, str]], question: bool = False) -> Utterance:
        """An utterance of (text, role) parts.

        role: `i`nterjection, `o`pening, `c`ore, `x` topic, `t`ail.
        """
        words: list[str] = []
        fixed: set[int] = set()
        names: set[int] = set()
        pauses: set[int] = set()
        done = start = 0
        for text, role in parts:
            new = text.split()
            here = range(len(words), len(words) + len(new))
            if role in "cx":
                fixed |= set(here)
                start = start if done else len(words)
            if role == "x":
                names |= set(here)
            words += new
            if role == "i":
                pauses.add(len(words))
            if role != "t":
                done = len(words)
        said = Utterance(words, done, fixed, names, pauses=pauses, question=question)
        said.closed = self.cores.closed(said)
        return said

    def around(
        self, core: list[tuple[str, str]], strange_tails: bool = True
    ) -> list[tuple[str, str]]:
        """Perhaps words before and after a core."""
        rng, wording = self.rng, self.wording
        parts = list(core)
        if rng.random() < 0.22:
            parts.insert(0, (rng.choice(wording["intros"]), "i"))
        if rng.random() < 0.2:
            parts.append((rng.choice(wording["tails"]), "t"))
        elif strange_tails and len(core) > 1 and rng.random() < STRANGE_TAIL_SHARE:
            parts.append((" ".join(rng.choices(self.strange, k=rng.randint(1, 3))), "t"))
        return parts

    def phrase(self, section: str, before: str = "") -> Utterance:
        """A wording of `section` as an utterance of its own."""
        text = self.rng.choice(self.wording[section])
        return self.build([(before, "i"), (text, "c")] if before else [(text, "c")])

    def contrasted(self, said: Utterance, wrong: Topic) -> Utterance:
        """With the wrong topic after the right one: "I meant Mars, not Venus"."""
        words = [
            *self.rng.choice(self.wording["contrast"]).split(),
            *self.mention(wrong)[0].split(),
        ]
        at = len(said.words)
        if at > said.done:  # no room behind a polite tail
            return said
        said.words += words
        said.names |= set(range(len(said.words) - 1, len(said.words)))
        said.pauses.add(at)
        return said

    @staticmethod
    def pronouns(text: str, topic: Topic) -> str:
        """`text` with the topic's pronouns where it says "it"."""
        if topic.pronoun == "it" or topic.noun == "task":
            return text
        be = "are" if topic.pronoun == "they" else "is"
        text = text.replace("what is it", f"what {be} {topic.pronoun}")
        return text.replace(" it", " " + OBJECT[topic.pronoun])

    @staticmethod
    def form(form: str, name: str, plural: bool) -> list[tuple[str, str]]:
        """Fill a form: X, and the verbs that agree with it."""
        agree = {
            "{be}": "are" if plural else "is",
            "{do}": "do" if plural else "does",
            "{s}": "" if plural else "s",
            "{es}": "" if plural else "es",
            "{have}": "have" if plural else "has",
            "{their}": "their" if plural else "its",
        }
        for mark, text in agree.items():
            form = form.replace(mark, text)
        head, x, tail = form.partition("X")
        if not x:
            return [(form, "c")]
        if tail.startswith("'s") and name in PRONOUNS:
            name, tail = POSSESSIVE[name], tail[2:]
        elif tail.startswith("'s"):
            name, tail = name + "'s", tail[2:]
        role = "c" if name in PRONOUNS else "x"
        if name in PRONOUNS and _is_object(head.split(), tail.split()):
            name = OBJECT[name]
        parts = [(head.strip(), "c"), (name, role), (tail.strip(), "c")]
        return [part for part in parts if part[0]]


def _is_object(head: list[str], tail: list[str]) -> bool:
    """Between these words a pronoun is an object: "the size of them", "to make it"."""
    if not head:
        return False
    return head[-1] in PREPOSITIONS or (not tail and head[-1] not in BEFORE_SUBJECT)
