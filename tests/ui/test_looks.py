"""How the page looks: by colours and positions, since a picture cannot be compared everywhere.

The pictures are kept in pytest's temporary folder, to be looked at.
"""

from __future__ import annotations

import pytest

from duplex_local.events import Floor, FloorChanged, Interrupted, ReplyEnd, SliceStats, Ticked

STATS = SliceStats(n_prefill=5, n_decode=11, ttft_s=0.21, total_s=0.36, n_past=312)


def converse(tab) -> None:
    """The conversation of the sketch in docs."""
    say = tab.conversation.say
    say(0, "could you tell me", "", ReplyEnd.IDLE)
    say(
        1,
        "something about Jupiter",
        "Jupiter is the largest planet of all. It is a",
        ReplyEnd.BUDGET,
    )
    say(2, "", " giant ball of gas with bright stripes. Its red", ReplyEnd.BUDGET)
    say(3, "uh-huh", " spot is a storm bigger than Earth. The storm", ReplyEnd.CUT)
    tab.conversation.tell(Interrupted(1, 8.5, after_index=3, by_stop=False))
    say(
        4,
        "no wait, I meant Saturn",
        "Sorry! Saturn is famous for its wide rings. The",
        ReplyEnd.BUDGET,
    )
    say(5, "", " rings are made of ice and rock.", ReplyEnd.EOS, stats=STATS)
    for index in range(6, 13):
        say(index, "", "", ReplyEnd.IDLE)
    tab.box.press_sequentially("how far is it from the sun and how big")
    tab.conversation.wait(lambda c: len(c.typed) >= 38)
    tab.conversation.tell(Ticked(1, 28.0, 20.0))
    say(13, "how far is it from the sun", "Saturn is the sixth planet from the")
    tab.conversation.draft.update("how far is it from the sun ", 1000, 0)
    tab.conversation.take_words()
    tab.conversation.tell(FloorChanged(1, 28.1, Floor.LISTENING))
    tab.page.locator(".said", has_text="how far").wait_for()
    tab.page.locator(".reply", has_text="sixth planet").wait_for()


def box_of(tab, selector: str) -> dict:
    return tab.page.locator(selector).first.bounding_box()


def brightness(tab, selector: str, what: str) -> int:
    script = "(one, what) => getComputedStyle(one)[what].match(/[0-9.]+/g).slice(0, 3).map(Number)"
    return sum(tab.page.locator(selector).first.evaluate(script, what))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(920, 800), (390, 760)])
def test_the_page_fits_and_follows_the_system(open_tab, scheme, size, tmp_path):
    width, height = size
    viewport = {"width": width, "height": height}
    tab = open_tab(color_scheme=scheme, viewport=viewport, device_scale_factor=1)
    converse(tab)
    tab.page.screenshot(path=tmp_path / f"{scheme}-{width}.png")
    is_dark = scheme == "dark"
    assert (brightness(tab, ".gradio-container", "backgroundColor") < 150) is is_dark
    assert (brightness(tab, ".stage", "color") > 600) is is_dark
    scrolled = "document.documentElement.scrollWidth + document.documentElement.scrollHeight"
    assert tab.page.evaluate(scrolled) <= width + height
    figures = box_of(tab, ".figures")
    assert figures["y"] + figures["height"] <= height
    time, user, reply = (
        box_of(tab, f"[data-row='1'] .{name}") for name in ("time", "user", "reply")
    )
    if width > 640:
        assert user["x"] < time["x"] < reply["x"]
        assert abs(user["y"] - reply["y"]) < 2
    else:
        assert time["x"] < user["x"] < reply["x"]
        assert user["y"] < reply["y"]


def test_running_speech_is_one_ribbon(tab):
    converse(tab)
    above, below = box_of(tab, "[data-row='1'] .reply"), box_of(tab, "[data-row='2'] .reply")
    assert abs(above["y"] + above["height"] - below["y"]) < 1
    cut, after = box_of(tab, "[data-row='3'] .reply"), box_of(tab, "[data-row='4'] .reply")
    assert cut["y"] + cut["height"] + 10 < after["y"]


def test_the_newest_row_is_in_sight_and_an_older_one_stays_when_it_is_read(tab):
    for index in range(60):
        tab.conversation.say(index, "", f"reply {index}", ReplyEnd.EOS)
    last = tab.page.locator(".reply", has_text="reply 59")
    last.wait_for()
    scroll = tab.page.locator(".scroll")
    bottom = scroll.bounding_box()["y"] + scroll.bounding_box()["height"]
    assert last.bounding_box()["y"] < bottom
    scroll.evaluate("one => { one.scrollTop = 100; }")
    tab.conversation.say(60, "", "reply 60", ReplyEnd.EOS)
    tab.page.locator(".reply", has_text="reply 60").wait_for(state="attached")
    assert scroll.evaluate("one => one.scrollTop") == 100
