"""Utterances of real people (CLINC150, Disfl-QA): what the model serves, and what it refuses.

Their wordings teach where a request ends. The folder is given with `--data`; it holds
`clinc150/utterances.json` and `disfl-qa/train.json`, `disfl-qa/dev.json`.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

from train.answers import REFUSALS, SOCIAL, TOO_BIG, Request, recipe
from train.requests import Speaker
from train.speech import Speech
from train.utterance import Utterance, words_of

__all__ = ["load_real", "load_words", "varied"]

# Intents that have an answer of their own; the rest is beyond the model.
SERVED = {
    "greeting": "greeting",
    "thank_you": "thanks",
    "goodbye": "goodbye",
    "what_can_i_ask_you": "what_can_you_do",
    "who_made_you": "who_made_you",
    "how_old_are_you": "who_made_you",
    "where_are_you_from": "who_made_you",
    "who_do_you_work_for": "who_made_you",
    "what_is_your_name": "who_are_you",
    "are_you_a_bot": "who_are_you",
    "what_are_your_hobbies": "hobbies",
    "do_you_have_pets": "hobbies",
    "tell_joke": "joke",
    "meaning_of_life": "life",
}
FOOD = {"recipe": "steps", "ingredients_list": "needs", "cook_time": "time"}
SKIPPED = frozenset("yes no maybe cancel repeat change_ai_name".split())
KNOWN_ASKED = frozenset("fun_fact definition tell_joke food_last nutrition_info".split())
VARIED_SHARE = 0.3
# Before these words a request may already be complete.
LINKS = frozenset(
    "in on for at with from and if please by when so because now today tomorrow about using "
    "of to or but before after during right my the a that".split()
)
OPEN_ENDS = frozenset(
    "the a an to of in on for at with from and if by my your is are was were do does did can could "
    "will would what how who where when why which i you we they it's i'm me tell give want need "
    "know about that this please have has some any be not get make much many long".split()
)


def load_words(data: Path | None) -> tuple[str, ...]:
    """Words people use, the frequent ones more often."""
    if data is None or not (data / "clinc150").is_dir():
        return ()
    rows = json.loads((data / "clinc150/utterances.json").read_text("utf-8"))["train"]
    counts = Counter(word for text, _ in rows for word in words_of(text))
    kept = [(word, n) for word, n in counts.items() if n >= 3 and word.isalpha()]
    return tuple(word for word, n in sorted(kept) for _ in range(1 + n // 200))


def load_real(data: Path | None, speaker: Speaker, held_out: bool) -> list[Request]:
    """Requests with real wordings: the training parts, or the validation parts."""
    if data is None:
        return []
    requests = []
    clinc = data / "clinc150/utterances.json"
    if clinc.is_file():
        parts = json.loads(clinc.read_text("utf-8"))
        part = "val" if held_out else "train"
        rows = [*parts[part], *parts["oos_val" if held_out else "oos_train"]]
        requests += [r for text, intent in rows if (r := _clinc(text, intent, speaker))]
    pairs = data / "disfl-qa" / ("dev.json" if held_out else "train.json")
    if pairs.is_file():
        rng = random.Random(0)
        for plain, disfluent in json.loads(pairs.read_text("utf-8")):
            words = words_of(disfluent if rng.random() < 0.6 else plain)
            if 3 <= len(words) <= 24 and not _topic_at_end(words, speaker):
                requests.append(_refused(words, speaker, rng))
    return requests


def _clinc(text: str, intent: str, speaker: Speaker) -> Request | None:
    words = words_of(text)
    rng = random.Random(text)
    if not words or intent in SKIPPED:
        return None
    if intent in SERVED:
        name = SERVED[intent]
        if name == "greeting" and re.search(r"how|what|going|you (doing|well|ok)", text):
            name = "how_are_you"
        return _request(words, Speech(SOCIAL[name], None, "social"), speaker)
    topic = _food(words, speaker)
    if intent in FOOD and topic is not None:
        key = FOOD[intent]
        answer = recipe(topic) if key == "steps" else topic.fact(key)
        return _request(words, Speech(answer, topic, key), speaker)
    if intent in FOOD or intent in KNOWN_ASKED:
        if _mentions(words, speaker):
            return None
    if intent == "calculator":
        numbers = re.findall(r"\d+", text)
        if not any(len(n) > 1 and int(n) > 10 for n in numbers):
            return None
        return _request(words, Speech(TOO_BIG), speaker)
    return _refused(words, speaker, rng)


def _refused(words: list[str], speaker: Speaker, rng: random.Random) -> Request:
    return _request(words, Speech(rng.choice(REFUSALS), None, "ood"), speaker)


def _request(words: list[str], answer: Speech, speaker: Speaker) -> Request:
    said = Utterance(words, len(words), fixed=set(range(len(words))))
    said.closed = speaker.cores.closed(said)
    said.unsure = {
        i
        for i in range(2, len(words))
        if words[i] in LINKS and words[i - 1] not in OPEN_ENDS
    }  # fmt: skip
    said.question = words[0] in ("what", "who", "how", "where", "when", "why", "which", "is", "can")
    return Request(said, answer, short=True)


def varied(request: Request, speaker: Speaker) -> Request:
    """The request as it is, or, where any of its kind is refused, about other things: the
    structure of a sentence says whether it is complete, and its words do not."""
    rng, said = speaker.rng, request.said
    words = list(said.words)
    if request.answer.intent == "ood" and rng.random() < VARIED_SHARE:
        for i, word in enumerate(words):
            if word not in OPEN_ENDS and word not in LINKS and rng.random() < 0.25:
                words[i] = rng.choice(speaker.strange)
        if " ".join(words) in speaker.cores.whole:
            words = list(said.words)
    return replace(request, said=replace(said, words=words))


def _food(words: list[str], speaker: Speaker):
    text = f" {' '.join(words)} "
    found = [
        topic
        for topic in speaker.topics
        if topic.kind == "food"
        and any(f" {n} " in text for n in (topic.subject.lower(), *topic.others))
    ]
    return found[0] if len(found) == 1 else None


def _mentions(words: list[str], speaker: Speaker) -> bool:
    text = f" {' '.join(words)} "
    return any(
        f" {name} " in text or f" {name}s " in text
        for topic in speaker.topics
        for name in (topic.subject.lower().removeprefix("the "), *topic.others)
    )


def _topic_at_end(words: list[str], speaker: Speaker) -> bool:
    return _mentions(words[-3:], speaker)
