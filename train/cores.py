"""Which beginnings of a request are requests themselves, and which surely are not.

The user may pause anywhere. Where the words so far might be all that was wanted ("what is glass",
before "made of") silence would be wrong, so no slice ends there; where more must come ("how many
moons does Mars", "the great composer") silence is what is learned.
"""

from __future__ import annotations

from dataclasses import dataclass

from train.knowledge import Topic, topics
from train.utterance import Utterance
from train.wording import Wording

__all__ = ["PHRASES", "PLACE_NOUNS", "PRONOUNS", "Cores"]

PHRASES = (
    "greeting how_are_you who_are_you who_made_you what_can_you_do thanks praise goodbye joke "
    "stop go_on repeat shorter story backchannel yes sorry insult"
).split()
PRONOUNS = ("it", "they", "he", "she")
THEM = ("them", "him", "her")
STRANGE = ("animal", "food", "city", "person", "thing")  # lists of names that are no topics
ARTICLES = frozenset("a an the".split())
BE = frozenset("is are was were".split())
ASKING_FOR = frozenset("what what's who where when why how which whose whom".split())
# Right before a topic they say that more must come: "how many moons does Mars", "what a comet".
WANT_MORE = frozenset(
    "does did can could would should will may might what how where why when who whether if".split()
)
TOPIC = "X"
PLACE_NOUNS = ("planet", "dwarf planet", "city", "country")  # "the planet" Mars
HEARD_OUT = ("backchannel", "yes")


@dataclass(frozen=True)
class Cores:
    """Requests without the words around them.

    whole: phrases that are requests. behind: those of them that are requests behind other words,
    too: "really" is all that some say, but "that was really" goes on. Of a topic that was named
    before, forms are whole with its pronoun: "what do they eat". forms: requests with X for their
    topic. known: names of topics. things: names of topics and of what the model knows nothing of.
    """

    whole: frozenset[str]
    behind: frozenset[str]
    forms: frozenset[str]
    known: frozenset[str]
    things: frozenset[str]

    @classmethod
    def of(cls, wording: Wording) -> Cores:
        forms = {f"{verb} {TOPIC}" for verb in wording["verbs"]} | set(wording["questions"])
        forms |= {form.text for found in wording.questions.values() for form in found}
        others = [name for name in wording.sections if name.startswith(("inside", "about "))]
        forms |= {text for name in others for text in wording[name]}
        filled = {
            f.replace("{be}", be).replace("{do}", do).replace("{s}", s).replace("{have}", h)
            for f in forms
            for be, do, s, h in (("is", "does", "s", "has"), ("are", "do", "", "have"))
        }
        whole = {text for name in PHRASES for text in wording[name]}
        whole |= {text.removesuffix(" please") for text in whole}
        whole |= {
            form.replace(TOPIC, pronoun)
            for form in filled
            if f" {TOPIC}" in form
            for pronoun in PRONOUNS + THEM
        }
        known = frozenset(name for topic in topics() for name in _names(topic))
        strange = {name for kind in STRANGE for name in wording[kind]}
        strange |= {name.removesuffix("s") for name in strange}
        heard_out = {*wording["backchannel"], *wording["yes"]}
        heard_out -= {text for name in PHRASES if name not in HEARD_OUT for text in wording[name]}
        return cls(
            whole=frozenset(whole),
            behind=frozenset(whole - heard_out),
            forms=frozenset(filled),
            known=known,
            things=(known - set(PLACE_NOUNS)) | strange,
        )

    def closed(self, said: Utterance) -> set[int]:
        """Word counts before the end where no slice may end."""
        return {end for end in range(1, said.done) if self._may_be_all(said, end)}

    def _may_be_all(self, said: Utterance, end: int) -> bool:
        """May the first `end` words be all that was wanted?"""
        head = said.words[:end]
        if " ".join(head) in self.whole:
            return True
        if any(" ".join(head[i:]) in self.behind for i in range(1, end)):
            return True
        core: list[str] = []
        name: list[str] = []  # the last one
        for i, word in enumerate(head):
            if i not in said.names:
                core.append(word)
            elif i > 0 and i - 1 in said.names:
                name.append(word)
            else:
                core.append(TOPIC)
                name = [word]
        if core[-1] == TOPIC and name[-1] in ARTICLES:
            return False
        if {end - 1, end} <= said.names:  # the name goes on: "a cup" of tea, "new" York
            return " ".join(word for word in name if word not in ARTICLES) in self.things
        if any(" ".join(core[i:]) in self.forms for i in range(len(core) - 1)):
            return True
        return core[-1] == TOPIC and _may_end_in_topic(core[:-1])


def _may_end_in_topic(before: list[str]) -> bool:
    """Not sure is as good as yes: "lexington credit about" owls may be all."""
    if not before:
        return True
    if before[-1] in BE:  # "what is" Mars, but not "is" Mars
        return bool(ASKING_FOR & set(before))
    if before[-1] == "do":  # "where do" owls live, but "do owls" is a request of its own
        return not ASKING_FOR & set(before)
    return before[-1] not in WANT_MORE


def _names(topic: Topic) -> tuple[str, ...]:
    return tuple(name.lower() for name in (topic.subject, *topic.others))
