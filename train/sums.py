"""Requests about numbers: sums, counting up and down, and sums that are too big."""

from __future__ import annotations

from train.answers import TOO_BIG, Request, answer_sum, counting, counting_down, number
from train.speech import Speech
from train.strangers import Strangers
from train.utterance import Utterance

__all__ = ["Sums"]

TOO_BIG_SHARE = 0.15  # of the sums
COUNT_FROM_SHARE = 0.25  # of the countings
CORRECTED_SHARE = 0.1  # of the countings have a wrong number first
TOPS = range(3, 21)


class Sums(Strangers):
    """Makes requests with numbers in them, from one side of the wordings."""

    def sum(self, intro: str = "") -> Request:
        rng = self.rng
        op = rng.choices(("plus", "times", "minus"), (45, 40, 15))[0]
        a, b = rng.randint(0, 10), rng.randint(0, 10)
        digits = rng.random() < 0.5
        is_small = rng.random() >= TOO_BIG_SHARE
        if not is_small:
            big = rng.choice((rng.randint(11, 99), rng.randint(11, 3000) if digits else 50))
            a, b = rng.choice(((big, b), (a, big), (big, big)))
        if op == "minus" and a < b:
            a, b = b, a
        if rng.random() < 0.15:
            core = [(self._split_sum(a, b, op, digits), "c")]
        else:
            told = self._plain_sum(a, b, op, digits)
            before, _, after = rng.choice(self.wording["sum"]).partition("A")
            core = [(text.strip(), "c") for text in (before, told, after) if text.strip()]
        parts = [(intro, "i"), *core] if intro else self.around(core, strange_tails=False)
        text = answer_sum(a, b, op, digits) if is_small else TOO_BIG
        said = self.build(parts, True)
        last = (str(b), number(b)) if b <= 100 else (str(b),)
        said.closed |= {i for i in range(1, said.done) if said.words[i - 1].endswith(last)}
        return Request(said, Speech(text, None, "sum"), short=True)

    def _plain_sum(self, a: int, b: int, op: str, digits: bool) -> str:
        """ "3 plus 4", "three times four", "3+4"."""
        word = self.rng.choice(self.wording[op.replace("plus", "sum") + "word"])
        say = str if digits else number
        if not digits and not word.isalpha():
            word = op
        is_sign = word == "x" or not word[0].isalpha()
        space = "" if digits and is_sign and self.rng.random() < 0.5 else " "
        return f"{say(a)}{space}{word}{space}{say(b)}"

    def _split_sum(self, a: int, b: int, op: str, digits: bool) -> str:
        """ "Add 3 to 4": P and Q in a form stand for the numbers."""
        say = str if digits else number
        numbers = {"P": say(a), "Q": say(b)}
        form = self.rng.choice(self.wording[op.replace("plus", "sum") + "split"])
        return " ".join(numbers.get(word, word) for word in form.split())

    def count(self) -> Request:
        """ "Count to ten", "count from three to eight"."""
        top = self._top()
        if self.rng.random() < COUNT_FROM_SHARE:
            first = self.rng.randint(2, top - 1)
            said = self.build(self.around([(self._count_from(first, top), "c")], False))
            return Request(said, counting(first, top))
        return Request(self._number_after("count", top), counting(1, top))

    def _count_from(self, first: int, last: int) -> str:
        say = str if self.rng.random() < 0.5 else number
        numbers = {"P": say(first), "Q": say(last)}
        form = self.rng.choice(self.wording["countsplit"])
        return " ".join(numbers.get(word, word) for word in form.split())

    def countdown(self) -> Request:
        """ "Count backwards from ten"."""
        top = self._top()
        return Request(self._number_after("countdown", top), counting_down(top))

    def _top(self) -> int:
        return self.rng.choices((20, 10, 5, self.rng.choice(TOPS)), (30, 30, 10, 30))[0]

    def _number_after(self, section: str, n: int) -> Utterance:
        """A form and its number, sometimes after a wrong one: "count to five, no, to eight"."""
        rng = self.rng
        form = rng.choice(self.wording[section])
        say = str if rng.random() < 0.5 else number
        if rng.random() >= CORRECTED_SHARE:
            core = [(form, "c"), (say(n), "c")]
            return self.build(self.around(core, strange_tails=False))
        wrong = self.build([(form, "c"), (say(rng.choice([k for k in TOPS if k != n])), "c")])
        marker = rng.choice(self.wording["meant"]).split()
        right = f"{form.split()[-1]} {say(n)}" if rng.random() < 0.4 else say(n)
        said = self.build([(right, "c")]).after([*wrong.words, *marker])
        said.closed |= wrong.closed | {len(wrong.words)}
        said.pauses.add(len(wrong.words))
        return said
