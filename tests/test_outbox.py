from __future__ import annotations

import threading

from duplex_local.events import DraftTaken, SliceChanged
from duplex_local.outbox import Cut, Outbox


def change(epoch: int, index: int, reply: str) -> SliceChanged:
    return SliceChanged(epoch, 0.0, index, "", reply)


def test_what_was_taken_was_shown() -> None:
    outbox = Outbox()
    outbox.put(change(0, 0, "Mars"))
    outbox.put(change(0, 0, "Mars is"))
    assert [event.reply for event in outbox.take(0)] == ["Mars", "Mars is"]  # type: ignore[attr-defined]
    outbox.put(change(0, 0, "Mars is red"))
    assert outbox.cut() == Cut(epoch=1, index=0, n_chars=7)
    assert outbox.take(0) == []


def test_text_of_a_cut_reply_never_comes_out() -> None:
    outbox = Outbox()
    outbox.cut()
    outbox.put(change(0, 3, "late"))  # the model's thread did not know yet
    outbox.put(change(1, 3, "new"))
    assert outbox.take(0) == [change(1, 3, "new")]


def test_words_that_left_the_box_are_never_stale() -> None:
    outbox = Outbox()
    taken = DraftTaken(0, 0.0, 6, "hello ")
    outbox.put(taken)
    outbox.cut()
    outbox.put(taken)
    assert outbox.take(0) == [taken, taken]


def test_a_new_conversation_has_shown_nothing() -> None:
    outbox = Outbox()
    outbox.put(change(0, 7, "old"))
    outbox.take(0)
    assert outbox.restart() == 1
    assert outbox.cut() == Cut(epoch=2, index=-1, n_chars=0)


def test_a_waiting_reader_is_woken() -> None:
    outbox = Outbox()
    taken: list[object] = []
    reader = threading.Thread(target=lambda: taken.extend(outbox.take(60)))
    reader.start()
    outbox.put(change(0, 0, "hello"))
    reader.join(10)
    assert taken == [change(0, 0, "hello")]


def test_a_reader_that_waits_in_vain_gets_nothing() -> None:
    assert Outbox().take(0.001) == []
