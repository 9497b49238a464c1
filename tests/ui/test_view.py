"""The view model: events in, rows out. No browser, no Gradio."""

from __future__ import annotations

import random

import pytest

from duplex_local.events import (
    DraftTaken,
    Failed,
    Floor,
    FloorChanged,
    Interrupted,
    Refused,
    ReplyEnd,
    Reset,
    SliceChanged,
    SliceStats,
    Ticked,
    WindowSlid,
)
from ui.view import MIN_QUIET_S, View


def spoken(index, user="", reply="", end=ReplyEnd.IDLE, at_s=None, stats=None):
    return SliceChanged(0, 2.0 * index if at_s is None else at_s, index, user, reply, end, stats)


def after(*events) -> View:
    view = View()
    for event in events:
        view.apply(event)
    return view


def rows(view: View) -> dict:
    shown = {index: view.row(index) for index in view.changed_rows()}
    return {index: row for index, row in shown.items() if row is not None}


def test_a_slice_is_a_row_that_grows_and_closes():
    view = after(spoken(0, "hi", "", None), spoken(0, "hi", "Hel", None))
    assert rows(view)[0].is_open
    view.apply(spoken(0, "hi", "Hello", ReplyEnd.EOS))
    assert rows(view)[0].slice.reply == "Hello"
    assert not rows(view)[0].is_open


def test_the_row_keeps_the_time_at_which_its_slice_began():
    view = after(spoken(0, "hi", at_s=2.0), spoken(0, "hi", "Hello", at_s=2.9))
    assert rows(view)[0].at_s == 2.0


def test_silence_folds_into_one_row_and_says_how_long():
    view = after(spoken(0, "hi"), *(spoken(i) for i in range(1, 8)), spoken(8, "there"))
    assert list(rows(view)) == [0, 1, 8]
    assert rows(view)[1].quiet_s == 14.0


def test_silence_that_lasts_is_counted_to_the_end_of_its_last_slice():
    view = after(spoken(0, "hi"), spoken(1), spoken(2), spoken(3))
    assert rows(view)[1].quiet_s == 6.0


def test_one_silent_slice_is_not_worth_a_line():
    view = after(spoken(0, "hi"), spoken(1), spoken(2, "there"))
    assert list(rows(view)) == [0, 2]


def test_a_pause_in_which_the_model_slept_shows_before_the_next_row():
    view = after(spoken(0, "hi", at_s=2.0), spoken(1, "there", at_s=18.0))
    assert rows(view)[1].pause_s == 14.0
    view = after(spoken(0, "hi", at_s=2.0), spoken(1, "there", at_s=4.0 + MIN_QUIET_S / 2))
    assert rows(view)[1].pause_s == 0.0


def test_a_reply_in_the_middle_of_silence_splits_it():
    view = after(*(spoken(i) for i in range(9)))
    view.apply(spoken(4, reply="boo"))
    assert {i: row.quiet_s for i, row in rows(view).items()} == {0: 8.0, 4: None, 5: 8.0}
    view.apply(spoken(4))
    assert {i: row.quiet_s for i, row in rows(view).items()} == {0: 18.0}


@pytest.mark.parametrize("seed", range(20))
def test_folding_in_any_order_of_changes_is_folding_of_the_result(seed):
    """Rows depend on the slices as they stand, not on the way there; and a reader that applies
    only what changed since its last look has all of them."""
    chance = random.Random(seed)
    view, page = View(), {}
    for index in range(40):
        seen = view.version
        for changed in {index, chance.randint(0, index)}:
            reply = chance.choice(["", "", "word"])
            view.apply(spoken(changed, reply=reply, at_s=2.0 * changed))
        page.update({i: view.row(i) for i in view.changed_rows(seen)})
    fresh = View()
    for index in sorted(view._slices):
        fresh.apply(view._slices[index])
    wanted = rows(fresh)
    assert rows(view) == wanted
    assert {i: row for i, row in page.items() if row is not None} == wanted


def test_rows_that_did_not_change_are_not_told_again():
    view = after(*(spoken(i, reply="word") for i in range(1000)))
    seen = view.version
    view.apply(spoken(999, reply="word and", end=None))
    assert view.changed_rows(seen) == [999]


def test_a_cut_shows_the_text_that_was_said_and_a_line():
    view = after(
        spoken(0, "hi", "Jupiter is the largest", None),
        spoken(0, "hi", "Jupiter is", ReplyEnd.CUT),
        Interrupted(1, 2.0, after_index=0, by_stop=False),
    )
    assert rows(view)[0].slice.reply == "Jupiter is"
    assert [(mark.text, mark.is_warning) for mark in rows(view)[0].marks] == [
        ("you interrupted", True)
    ]


def test_a_line_keeps_a_silent_slice_visible():
    view = after(spoken(0, "hi"), spoken(1), Interrupted(1, 4.0, after_index=1, by_stop=True))
    assert rows(view)[1].marks[0].text == "you stopped it"


def test_a_line_without_any_slice_is_dropped():
    assert rows(after(Interrupted(1, 0.0, after_index=0, by_stop=True))) == {}


def test_a_full_context_says_what_was_forgotten():
    view = after(spoken(0, "hi"), WindowSlid(0, 2.0, n_pairs=12))
    assert rows(view)[0].marks[0].text.startswith("context full: the oldest 12 slices")


def test_taken_words_are_faint_until_the_utterance_is_over():
    view = after(DraftTaken(0, 2.0, 6, "hello "), DraftTaken(0, 4.0, 10, "big "))
    assert (view.n_taken, view.taken_tail, view.said) == (10, "hello big ", "hello big ")
    view.apply(spoken(0, "hello big"))
    assert view.said == "hello big "
    view.apply(spoken(1))
    assert (view.taken_tail, view.said) == ("hello big ", "")


@pytest.mark.parametrize("floor", [Floor.SPEAKING, Floor.IDLE])
def test_the_utterance_is_over_when_the_user_has_lost_the_floor(floor):
    assert after(DraftTaken(0, 2.0, 6, "hello "), FloorChanged(0, 2.1, floor)).said == ""


def test_figures_are_those_of_the_last_slice_and_the_last_answer():
    answered = SliceStats(n_prefill=5, n_decode=11, ttft_s=0.2, total_s=0.4, n_past=50)
    silent = SliceStats(n_prefill=5, n_decode=1, ttft_s=0.05, total_s=0.05, n_past=56)
    view = after(spoken(0, "hi", "Hello", stats=answered), spoken(1, stats=silent))
    assert view.stats is silent
    assert view.first_words_s == 0.2
    assert view.tokens_per_s == pytest.approx(50)


def test_a_refusal_stays_until_something_is_heard():
    view = after(Refused(0, 1.0, "Too long."))
    assert (view.n_refused, view.refusal) == (1, "Too long.")
    view.apply(spoken(0, "short"))
    assert (view.n_refused, view.refusal, view.n_heard) == (1, "", 1)


def test_a_failure_stays_until_a_new_conversation():
    view = after(spoken(0, "hi"), Ticked(0, 2.0, 1.5), Failed(0, 2.0, "Out of memory."))
    assert (view.failure, view.clock.slice_s) == ("Out of memory.", 1.5)
    view.apply(Reset(1, 0.0))
    assert (view.failure, view.n_resets, rows(view)) == ("", 1, {})


def test_a_reset_keeps_count_of_what_left_the_box():
    """The engine counts on, so the page must too."""
    view = after(DraftTaken(0, 2.0, 6, "hello "), Reset(1, 0.0))
    assert (view.n_taken, view.said) == (6, "")
