"""How a request is put into words, and which of its beginnings are requests themselves."""

from __future__ import annotations

import random
from dataclasses import dataclass

from train.knowledge import OBJECT, Topic, topics
from train.utterance import Utterance
from train.wording import Wording

__all__ = ["ASKING", "Cores", "Phrasing"]

PLACE_NOUNS = ("planet", "dwarf planet", "city", "country")
PHRASES = (
    "greeting how_are_you who_are_you who_made_you what_can_you_do thanks praise goodbye joke "
    "stop go_on repeat shorter story backchannel yes sorry insult"
).split()
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
PRONOUNS = ("it", "they", "he", "she")
POSSESSIVE = {"it": "its", "they": "their", "he": "his", "she": "her"}
# Before a pronoun that is a subject.
BEFORE_SUBJECT = frozenset(
    "is are was were do does did can could will would should has have had may might if whether "
    "that how what where when why which who whom".split()
)
PREPOSITIONS = frozenset("of in on at about for from to with into by around near like than".split())


@dataclass(frozen=True)
class Cores:
    """whole: phrases that are requests. forms: requests that end in a topic, with X for it."""

    whole: frozenset[str]
    forms: frozenset[str]


def _complete_cores(wording: Wording) -> Cores:
    whole: set[str] = set()
    for name in PHRASES:
        whole |= set(wording[name])
    forms = {f"{verb} X" for verb in wording["verbs"]} | set(wording["questions"])
    forms |= {form.text for found in wording.questions.values() for form in found}
    filled = {
        f.replace("{be}", be).replace("{do}", do).replace("{s}", s).replace("{have}", h)
        for f in forms
        for be, do, s, h in (("is", "does", "s", "has"), ("are", "do", "", "have"))
    }
    return Cores(frozenset(whole), frozenset(f for f in filled if f.endswith("X")))


class Phrasing:
    """Builds utterances from one side of the wordings.

    strange: words that the wordings do not have, to disturb them with.
    """

    def __init__(self, wording: Wording, rng: random.Random, strange: tuple[str, ...] = ()) -> None:
        self.wording = wording
        self.rng = rng
        self.cores = _complete_cores(wording)
        self.backchannels = frozenset(wording["backchannel"])
        self.known = frozenset(
            name.lower() for topic in topics() for name in (topic.subject, *topic.others)
        )
        strange = strange or tuple(" ".join(wording["thing"]).split())
        telling = self.known | self.cores.whole | set(wording["wait"]) | TELLING
        self.strange = tuple(
            word for word in strange if word not in telling and word.rstrip("s") not in telling
        )

    def mention(self, topic: Topic) -> tuple[str, bool]:
        """A name for the topic, sometimes with an adjective, and whether it is plural."""
        name, plural = self._name(topic)
        if topic.kind in DESCRIBED and self.rng.random() < 0.05:
            article, _, noun = name.partition(" ")
            if article not in ("a", "an", "the"):
                article, noun = "", name
            article = article.removesuffix("n")
            name = f"{article} {self.rng.choice(ADJECTIVES)} {noun}".strip()
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
        said.closed = self.closed(said)
        return said

    def closed(self, said: Utterance) -> set[int]:
        """Word counts before the end where the words so far are a request of their own."""
        closed = set()
        for end in range(1, said.done):
            head = said.words[:end]
            if any(" ".join(head[i:]) in self.cores.whole for i in range(end)):
                closed.add(end)
            elif end - 1 in said.names and self._asks(head, said.names):
                closed.add(end)
        return closed

    def _asks(self, head: list[str], names: set[int]) -> bool:
        """`head` ends in a topic: is it a request, like "what is glass" before "made of"?"""
        first = max(i for i in range(len(head)) if i not in names) if len(names) < len(head) else -1
        core = " ".join([*head[: first + 1], "X"]).split()
        return any(" ".join(core[i:]) in self.cores.forms for i in range(len(core)))

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
