"""Several tabs, and the way a tab ends."""

from __future__ import annotations

from urllib.parse import urlsplit

from duplex_local.events import ReplyEnd


def test_two_tabs_are_separate(open_tab):
    first, second = open_tab(), open_tab()
    first.box.fill("from the first")
    second.box.fill("from the second")
    first.conversation.wait(lambda c: bool(c.typed))
    second.conversation.wait(lambda c: bool(c.typed))
    assert [call[1] for call in first.conversation.typed] == ["from the first"]
    assert [call[1] for call in second.conversation.typed] == ["from the second"]
    first.conversation.say(0, "", "for the first", ReplyEnd.EOS)
    second.conversation.say(0, "", "for the second", ReplyEnd.EOS)
    first.page.locator(".reply", has_text="for the first").wait_for()
    second.page.locator(".reply", has_text="for the second").wait_for()
    assert (first.replies(), second.replies()) == (["for the first"], ["for the second"])


def test_a_closed_tab_frees_its_conversation(open_tab, engine):
    tab, other = open_tab(), open_tab()
    tab.page.close()
    engine.wait_for_open(1)
    assert tab.conversation.is_closed
    assert not other.conversation.is_closed


def test_a_reload_is_a_new_conversation(open_tab, engine):
    tab = open_tab()
    tab.page.reload()
    tab.page.locator('.state[data-state="idle"]').wait_for()
    engine.wait_for_open(1)
    assert engine.conversations != [tab.conversation]


def test_four_tabs_of_one_browser_can_all_talk_and_a_fifth_waits(open_tab, engine, url):
    """A browser opens six connections to a server; a tab holds one for its stream."""
    first = open_tab()
    tabs = [first] + [open_tab(first.page.context) for _ in range(3)]
    for tab in tabs:
        tab.box.fill("hello")
        tab.conversation.wait(lambda c: bool(c.typed))
    fifth = first.page.context.new_page()
    fifth.goto(url)
    fifth.locator(".failure", has_text="conversations are open already").wait_for()
    fifth.locator("#conversation textarea").fill("typed while waiting")
    fifth.keyboard.press("Enter")  # nobody would hear it, so it stays
    tabs[0].page.close()
    fifth.locator('.state[data-state="idle"]').wait_for()
    engine.opened[-1].wait(lambda c: c.box[1] == "typed while waiting")


def test_a_stream_that_ends_by_a_bug_frees_its_conversation(open_tab, engine, caplog):
    tab = open_tab()
    tab.conversation.tell("not an event of the engine")  # type: ignore[arg-type]
    engine.wait_for_open(0)
    tab.page.locator(".failure").wait_for()
    assert "unknown event" in caplog.text


def test_no_request_leaves_this_machine(browser, engine, url):
    context = browser.new_context()
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    page = context.new_page()
    page.goto(url)
    page.locator('.state[data-state="idle"]').wait_for()
    page.locator(".gear").click()
    page.locator("#conversation textarea").fill("hello")
    engine.opened[-1].wait(lambda c: bool(c.typed))
    page.wait_for_load_state("load")
    context.close()
    engine.wait_for_open(0)
    assert len(asked) > 10
    assert {urlsplit(one).hostname for one in asked} <= {"127.0.0.1", None}
