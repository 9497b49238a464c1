"""What the model answers, apart from what it knows: greetings, refusals, numbers and sums."""

from __future__ import annotations

from dataclasses import dataclass

from train.knowledge import Topic
from train.speech import Speech
from train.utterance import Utterance

__all__ = [
    "REFUSALS", "SOCIAL", "TOO_BIG", "Request", "answer_sum", "counting", "counting_down", "number",
]  # fmt: skip

SOCIAL = {
    "greeting": "Hello! What would you like to know?",
    "how_are_you": "I am fine, thank you. What would you like to know?",
    "who_are_you": "I am a tiny demo model that listens and talks at the same time.",
    "who_made_you": "I was made by the duplex-local project, trained from scratch not long ago.",
    "what_can_you_do": "I can talk about planets, animals, food, cities, music and inventions, "
    "tell stories, count and do small sums.",
    "thanks": "You are welcome!",
    "praise": "Thank you, that is kind.",
    "goodbye": "Goodbye, and come back soon!",
    "joke": "Why are bees always late? Because they keep buzzing around.",
    "sorry": "No problem at all.",
    "yes": "Good. Ask me about a planet, an animal or a city.",
    "hobbies": "I have no hobbies and no pets, but I like to talk about owls and planets.",
    "insult": "I am sorry. I am only a tiny demo model, but I can talk about owls and planets.",
    "life": "That is too big for me, but I can tell you about stars or butterflies.",
}
REFUSALS = (
    "Sorry, I do not know that, but I can tell you about Mars, owls or pancakes.",
    "Sorry, that is beyond me, but you can ask me about Paris, bees or the piano.",
    "I am a tiny demo model and do not know that, but ask me about Saturn or penguins.",
)
TOO_BIG = "Sorry, that is too big for me, but I can do sums with numbers up to ten."
ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
).split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()


def number(n: int) -> str:
    """0 to 100 in words."""
    if n < 20:
        return ONES[n]
    if n == 100:
        return "one hundred"
    return TENS[n // 10 - 2] + ("-" + ONES[n % 10] if n % 10 else "")


def answer_sum(a: int, b: int, op: str, digits: bool) -> str:
    result = {"plus": a + b, "times": a * b, "minus": a - b}[op]
    say = str if digits else number
    text = f"{say(a)} {op} {say(b)} is {say(result)}."
    return text[0].upper() + text[1:]


@dataclass
class Request:
    """said: the words. answer: what to say. short: the answer is one sentence."""

    said: Utterance
    answer: Speech
    short: bool = False


def counting(first: int, last: int) -> Speech:
    """Numbers in words. `intent` keeps the last one."""
    text = ", ".join(number(n) for n in range(first, last + 1)) + "."
    return Speech(text[0].upper() + text[1:], "counting", f"count {last}")


def counting_down(first: int) -> Speech:
    """From there to one, in words."""
    text = ", ".join(number(n) for n in range(first, 0, -1)) + "."
    return Speech(text[0].upper() + text[1:], "counting", "countdown")


def recipe(topic: Topic) -> str:
    """What goes in and what to do with it."""
    pronoun = {"they": "them"}.get(topic.pronoun, topic.pronoun)
    return f"{topic.fact('needs')} {topic.facts['steps'].replace('*', pronoun)}"
