"""What the terminal chat prints, event by event."""

from __future__ import annotations

import os

import pytest

from duplex_local import __main__ as terminal
from duplex_local.__main__ import _Screen
from duplex_local.events import Floor, FloorChanged, Interrupted, SliceChanged

SLICES = ["Octopuses are clever", " sea animals with", " eight arms."]


def reply(index: int, text: str) -> SliceChanged:
    return SliceChanged(0, 0.0, index, "", text)


@pytest.mark.parametrize(
    ("width", "printed"),
    [
        (None, "Octopuses are clever sea animals with eight arms.\n"),
        (30, "Octopuses are clever sea\nanimals with eight arms.\n"),
    ],
)
def test_lines_break_between_words(width, printed, capsys):
    screen = _Screen(width and (lambda: width))
    for index, text in enumerate(SLICES):
        screen.show(reply(index, text))
    screen.show(FloorChanged(0, 0.0, Floor.IDLE))
    assert capsys.readouterr().out == printed


def test_no_letter_is_lost_when_a_reply_grows_letter_by_letter(capsys):
    screen = _Screen(lambda: 24)
    for index, text in enumerate(SLICES):
        for end in range(1, len(text) + 1):
            screen.show(reply(index, text[:end]))
    assert on_a_terminal(capsys.readouterr().out) == [
        "Octopuses are clever",
        "sea animals with eight",
        "arms.",
    ]


def on_a_terminal(out: str) -> list[str]:
    """The lines as they stand there in the end: a backspace steps back over a letter."""
    lines = []
    for line in out.split("\n"):
        seen: list[str] = []
        at = 0
        for char in line:
            if char == "\b":
                at -= 1
            else:
                seen[at : at + 1] = char
                at += 1
        lines.append("".join(seen).rstrip())
    return lines


def test_chinese_is_left_to_the_terminal_which_breaks_it_anywhere(capsys):
    screen = _Screen(lambda: 20)
    screen.show(reply(0, "章鱼是聪明的海洋动物，有八条腕足。"))
    assert capsys.readouterr().out == "章鱼是聪明的海洋动物，有八条腕足。"


def test_a_word_longer_than_the_line_is_not_moved(capsys):
    screen = _Screen(lambda: 10)
    for end in range(1, 16):
        screen.show(reply(0, "incomprehensible"[:end]))
    assert capsys.readouterr().out == "incomprehensible"[:15]


def test_after_the_users_enter_the_reply_begins_at_the_margin(capsys):
    screen = _Screen(lambda: 80)
    screen.show(reply(0, "Octopuses are"))
    screen.at_margin()  # the terminal has echoed it
    screen.show(reply(1, " clever"))
    assert capsys.readouterr().out == "Octopuses areclever"


def test_an_interrupted_line_is_marked_once(capsys):
    screen = _Screen(None)
    screen.show(reply(0, "Octopuses"))
    for event in (Interrupted(0, 0.0, 0, False), Interrupted(1, 0.0, 0, True)):
        screen.show(event)
    assert capsys.readouterr().out == "Octopuses --\n"


@pytest.mark.parametrize(("says", "width"), [(0, 80), (44, 44)])
def test_a_terminal_that_does_not_know_its_width_has_eighty_columns(says, width, monkeypatch):
    monkeypatch.setattr(terminal.os, "get_terminal_size", lambda: os.terminal_size((says, 24)))
    assert terminal._terminal_width() == width
