from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from duplex_local.draft import MAX_WORDS, Draft, in_slices


@given(st.lists(st.text("abcé,.'", min_size=1, max_size=5), max_size=40))
def test_slices_hold_the_words_in_order(words: list[str]) -> None:
    text = "  ".join(words)
    slices = in_slices(text)
    assert [word for part in slices for word in part.split()] == text.split()
    assert all(0 < len(part.split()) <= MAX_WORDS for part in slices)
    if len(slices) > 1:  # as even as possible: 4-6 words each from 10 words on
        sizes = [len(part.split()) for part in slices]
        assert max(sizes) - min(sizes) <= 1


def test_chinese_is_sliced_without_spaces() -> None:
    text = "请给我讲一个关于月亮的长长的故事然后再讲一个短的"
    slices = in_slices(text)
    assert "".join(slices) == text
    assert len(slices) > 1


@pytest.mark.parametrize(
    ("typed", "taken"),
    [
        ("hello wor", "hello "),
        ("hel", ""),
        ("what?", "what?"),
        ("3.", ""),
        ("3.14 and", "3.14 "),
        ("你好", "你好"),
        ("one\ttwo\nthree", "one\ttwo\n"),
        (" ", " "),
        ("", ""),
    ],
)
def test_only_whole_words_leave(typed: str, taken: str) -> None:
    draft = Draft()
    draft.update(typed, 0, 0)
    assert draft.take_words() == taken
    assert draft.take_words() == ""


def test_an_input_that_was_overtaken_is_dropped() -> None:
    draft = Draft()
    assert draft.update("hello there ", 2, 0)
    assert not draft.update("hello", 1, 0)
    assert draft.take_words() == "hello there "


def test_a_message_that_was_overtaken_is_not_lost() -> None:
    draft = Draft()
    assert draft.update("new ", 6, 5)  # typed after Enter, arrives before it
    assert draft.take_words() == ""  # what was sent is said first
    assert draft.send("hello", 5, 0) == "hello"
    assert draft.take_words() == "new "


def test_the_same_words_again_are_new_words() -> None:
    draft = Draft()
    draft.update("no ", 1, 0)
    assert draft.take_words() == "no "
    assert draft.send("no ", 2, 0) == ""  # the page did not know that they had left
    draft.update("no ", 3, 3)
    assert draft.take_words() == "no "


def test_words_edited_after_they_left_are_kept() -> None:
    draft = Draft()
    draft.update("hello wor", 0, 0)
    assert draft.take_words() == "hello "
    draft.update("bye now ", 1, 0)  # the page replaced the text before it knew
    assert draft.take_words() == "bye now "


class PageAndEngine(RuleBasedStateMachine):
    """A user types while words leave the box; both sides learn of each other late."""

    def __init__(self) -> None:
        super().__init__()
        self.draft = Draft()
        self.box = ""  # what the user sees in the box
        self.mine = 0  # characters that have left the box, as the page counts
        self.unseen = ""  # words taken that the page does not know of yet
        self.revision = 0
        self.typed = ""  # everything ever typed
        self.said = ""  # everything that left the box

    def tell(self) -> None:
        self.revision += 1
        self.draft.update(self.box, self.revision, self.mine)

    @rule(keys=st.text("ab ?", min_size=1, max_size=4))
    def type_on(self, keys: str) -> None:
        self.box += keys
        self.typed += keys
        self.tell()

    @rule()
    def slice_passes(self) -> None:
        words = self.draft.take_words()
        self.said += words
        self.unseen += words

    @rule()
    def page_hears_of_it(self) -> None:
        self.box = self.box.removeprefix(self.unseen)
        self.mine, self.unseen = self.draft.n_taken, ""

    @rule()
    def enter(self) -> None:
        self.revision += 1
        self.said += self.draft.send(self.box, self.revision, self.mine)
        # The page empties its box without waiting for news of words taken before.
        self.mine += len(self.box)
        self.box = self.unseen = ""

    @invariant()
    def nothing_is_lost_doubled_or_reordered(self) -> None:
        assert self.said + self.box.removeprefix(self.unseen) == self.typed
        assert self.draft.n_taken == self.mine + len(self.unseen)


TestPageAndEngine = PageAndEngine.TestCase
