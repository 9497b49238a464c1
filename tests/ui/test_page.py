"""The real page in Chromium: what it sends, what it shows."""

from __future__ import annotations

import pytest

from duplex_local.config import SessionConfig
from duplex_local.errors import ConfigError
from duplex_local.events import (
    Failed,
    Floor,
    FloorChanged,
    Interrupted,
    Refused,
    ReplyEnd,
    SliceStats,
    Ticked,
    WindowSlid,
)

NASTY = " </s><idle><script>window.hacked = 1</script> ${1} {{2}} `3` &amp;\n  two  spaces "


def test_every_input_sends_the_whole_box_with_a_new_revision(tab):
    tab.box.press_sequentially("hello big")
    tab.conversation.wait(lambda c: len(c.typed) >= 9)
    by_revision = sorted(tab.conversation.typed, key=lambda call: call[2])
    assert [call[1] for call in by_revision] == ["hello big"[: n + 1] for n in range(9)]
    assert [call[2] for call in by_revision] == list(range(1, 10))


def test_enter_sends_and_empties_the_box_at_once(tab):
    tab.box.fill("tell me more")
    tab.box.press("Enter")
    assert tab.box.input_value() == ""
    tab.conversation.wait(lambda c: "send" in {call[0] for call in c.calls})
    assert ("send", "tell me more", 2, 0) in tab.conversation.calls


def test_shift_enter_is_a_new_line_and_an_empty_box_sends_nothing(tab):
    tab.box.press("Enter")
    tab.box.press_sequentially("one")
    tab.box.press("Shift+Enter")
    tab.box.press_sequentially("two")
    tab.conversation.wait(lambda c: c.box[1] == "one\ntwo")
    assert "send" not in {call[0] for call in tab.conversation.calls}


def test_escape_anywhere_and_the_button_stop(tab):
    tab.box.press("Escape")
    tab.conversation.wait(lambda c: c.calls == [("stop",)])
    tab.page.locator(".gear").focus()
    tab.page.keyboard.press("Escape")
    tab.conversation.wait(lambda c: len(c.calls) == 2)
    tab.page.locator(".stop").click()
    tab.conversation.wait(lambda c: len(c.calls) == 3)
    assert set(tab.conversation.calls) == {("stop",)}


def test_text_of_an_input_method_is_sent_when_it_is_composed(tab):
    """Real composition events, from Chromium's own input method interface."""
    tab.box.focus()
    ime = tab.page.context.new_cdp_session(tab.page)
    for part in ("n", "ni", "nih", "niha", "nihao"):
        ime.send("Input.imeSetComposition", {"text": part, "selectionStart": 1, "selectionEnd": 1})
    assert tab.box.input_value() == "nihao"
    enter = {"key": "Enter", "bubbles": True, "cancelable": True, "keyCode": 229}
    tab.box.dispatch_event("keydown", enter)  # the Enter that ends a composition in Safari
    ime.send("Input.insertText", {"text": "你好"})
    tab.conversation.wait(lambda c: c.box[1] == "你好")
    assert {call[:2] for call in tab.conversation.calls} == {("type", "你好")}


def test_words_are_not_taken_from_under_an_input_method(tab):
    tab.box.press_sequentially("hello ")
    tab.conversation.wait(lambda c: len(c.typed) >= 6)
    ime = tab.page.context.new_cdp_session(tab.page)
    ime.send("Input.imeSetComposition", {"text": "ni", "selectionStart": 2, "selectionEnd": 2})
    assert tab.conversation.take_words() == "hello "
    tab.page.locator(".said", has_text="hello").wait_for()
    assert tab.box.input_value() == "hello ni"
    ime.send("Input.insertText", {"text": "你"})
    tab.conversation.wait(lambda c: c.box[1] == "你")
    assert tab.conversation.box[3] == 6
    assert tab.box.input_value() == "你"


def test_no_character_is_lost_while_words_are_taken_from_under_fast_typing(tab):
    """The user types without a pause; words leave after every few keys, whatever is in flight."""
    text = "".join(f"w{n} 猫😀 " for n in range(60)) + "end"
    for n, character in enumerate(text):
        tab.page.keyboard.insert_text(character)
        if n % 4 == 3:
            tab.conversation.take_words()
    n_inputs = len(text)
    tab.conversation.wait(lambda c: any(call[2] == n_inputs for call in c.typed), 30)
    while tab.conversation.take_words():
        pass
    tab.page.wait_for_function("document.querySelector('textarea').value === 'end'")
    assert tab.conversation.heard == text.removesuffix("end")
    tab.box.press("Enter")
    tab.conversation.wait(lambda c: "send" in {call[0] for call in c.calls})
    assert tab.conversation.heard == text


def test_taken_words_turn_faint_and_go_when_the_utterance_is_over(tab):
    tab.box.press_sequentially("how far is it ")
    tab.conversation.wait(lambda c: len(c.typed) >= 14)
    tab.conversation.take_words()
    tab.page.locator(".said", has_text="how far is it").wait_for()
    assert tab.box.input_value() == ""
    tab.conversation.tell(FloorChanged(0, 1.0, Floor.SPEAKING))
    tab.page.locator(".said").wait_for(state="hidden")


def test_an_edited_front_is_not_stripped(tab):
    tab.box.press_sequentially("hello wor")
    tab.conversation.wait(lambda c: len(c.typed) >= 9)
    tab.page.evaluate("document.querySelector('textarea').value = 'jello wor'")
    tab.conversation.take_words()
    tab.page.locator(".said", has_text="hello").wait_for()
    assert tab.box.input_value() == "jello wor"
    tab.box.press_sequentially("l")
    tab.conversation.wait(lambda c: c.box[1] == "jello worl" and c.box[3] == 6)


def test_a_reply_fills_token_by_token_and_is_exact(tab):
    for n in range(1, len(NASTY) + 1):
        tab.conversation.say(0, "hi" + NASTY, NASTY[:n])
    tab.conversation.say(0, "hi" + NASTY, NASTY, ReplyEnd.EOS)
    reply = tab.page.locator('.reply[data-slice="0"][data-end="eos"]')
    reply.wait_for()
    assert reply.evaluate("one => one.textContent") == NASTY
    user = tab.page.locator('.user[data-slice="0"]')
    assert user.evaluate("one => one.textContent") == "hi" + NASTY
    assert reply.evaluate("one => getComputedStyle(one).whiteSpace") == "pre-wrap"
    assert tab.page.evaluate("window.hacked") is None


def test_typed_text_is_never_code(tab):
    tab.box.fill(NASTY)
    tab.conversation.wait(lambda c: bool(c.typed))
    tab.conversation.take_words()
    tab.page.locator(".said:not([hidden])").wait_for()
    assert tab.page.locator(".said").evaluate("one => one.textContent") == NASTY
    assert tab.page.evaluate("window.hacked") is None


def test_screen_readers_hear_a_slice_once_when_it_is_over(tab):
    tab.conversation.say(0, "hi", "Hel")
    tab.conversation.say(0, "hi", "Hello")
    tab.page.locator(".reply", has_text="Hello").wait_for()
    assert tab.page.locator(".heard p").count() == 0
    tab.conversation.say(0, "hi", "Hello there", ReplyEnd.IDLE)
    tab.conversation.say(1, "", "friend", ReplyEnd.EOS)
    tab.page.locator(".heard p", has_text="friend").wait_for()
    assert tab.page.locator('.heard[role="log"] p').all_text_contents() == ["Hello there", "friend"]


def test_silence_and_interruptions_are_lines(tab):
    tab.conversation.say(0, "hi", "Hello there", ReplyEnd.CUT)
    tab.conversation.tell(Interrupted(1, 2.5, after_index=0, by_stop=False))
    for index in range(1, 8):
        tab.conversation.say(index, "", "", ReplyEnd.IDLE)
    tab.conversation.say(8, "back", "")
    tab.conversation.tell(WindowSlid(0, 18.0, n_pairs=3))
    tab.page.get_by_text("oldest 3 slices").wait_for()
    lines = tab.page.locator(".line").all_text_contents()
    assert lines == [
        "you interrupted",
        "quiet for 14 s",
        "context full: the oldest 3 slices left the model's memory",
    ]
    assert tab.page.locator(".slice").count() == 3


def test_the_state_and_the_figures(tab):
    stats = SliceStats(n_prefill=5, n_decode=11, ttft_s=0.21, total_s=0.36, n_past=312)
    tab.conversation.tell(Ticked(0, 2.0, 2.0))
    tab.conversation.say(0, "hi", "Hello", ReplyEnd.EOS, stats=stats)
    tab.page.locator('.state[data-state="speaking"]').wait_for()
    tab.page.locator(".figures", has_text="18 % of the slice").wait_for()
    tab.page.locator(".figures", has_text="312 / 2,048").wait_for()
    assert tab.page.locator(".badge").text_content() == "fake · Q8_0 · CPU"
    assert "<b>model</b> for ${tests}" in tab.page.locator(".notice").text_content()


def test_what_was_sent_and_refused_returns_to_the_box(tab):
    tab.box.fill("a very long message")
    tab.box.press("Enter")
    tab.box.press_sequentially("and")
    tab.conversation.wait(lambda c: c.box[1] == "and")
    tab.conversation.tell(Refused(0, 1.0, "Your message is too long."))
    tab.page.locator(".refusal", has_text="too long").wait_for()
    assert tab.box.input_value() == "a very long message and"


def test_what_was_typed_and_refused_stays_in_the_box(tab):
    tab.box.fill("fine")
    tab.box.press("Enter")
    tab.conversation.wait(lambda c: "send" in {call[0] for call in c.calls})
    tab.conversation.say(0, "fine", "")
    tab.page.locator(".user", has_text="fine").wait_for()
    tab.box.fill("too long")
    tab.conversation.tell(Refused(0, 1.0, "Shorten it."))
    tab.page.locator(".refusal", has_text="Shorten").wait_for()
    assert tab.box.input_value() == "too long"


def test_a_failure_is_shown_and_stays_until_a_new_conversation(tab):
    tab.conversation.say(0, "hi", "Hello")
    tab.conversation.tell(Failed(0, 2.0, "The model <ran> out of memory."))
    tab.page.locator(".label", has_text="FAILED").wait_for()
    assert tab.page.locator(".failure").text_content() == "The model <ran> out of memory."
    assert tab.replies() == ["Hello"]
    tab.box.fill("are you there")
    tab.page.keyboard.press("Enter")
    assert tab.box.input_value() == "are you there"
    tab.box.fill("")
    tab.page.locator(".renew").click()
    tab.page.locator(".failure").wait_for(state="hidden")
    assert tab.replies() == []
    assert tab.conversation.calls[-1] == ("reset",)


def test_a_process_that_ended_is_told_and_words_outlive_it(tab):
    process = "**/gradio_api/app_id"
    with tab.page.expect_response(process):  # the page knows its process
        pass
    tab.page.route("**/gradio_api/**", lambda route: route.abort())
    failure = tab.page.locator(".failure")
    failure.filter(has_text="duplex-local is not running").wait_for()
    assert tab.page.locator(".state .label").text_content() == "NOT RUNNING"
    tab.box.press_sequentially("hello")
    tab.box.press("Enter")
    assert tab.box.input_value() == "hello"  # nobody is there to hear it
    with tab.page.expect_navigation():  # another process answers
        tab.page.unroute("**/gradio_api/**")
        tab.page.route(process, lambda route: route.fulfill(body="another"))
    tab.page.locator('.state[data-state="idle"]').wait_for()
    assert failure.is_hidden()
    assert tab.box.input_value() == "hello"


def test_a_process_that_was_only_busy_changes_nothing(tab):
    tab.conversation.say(0, "a", "kept", ReplyEnd.EOS)
    tab.page.locator(".reply", has_text="kept").wait_for()
    process = "**/gradio_api/app_id"
    with tab.page.expect_response(process):
        pass
    tab.page.route(process, lambda route: route.abort())
    failure = tab.page.locator(".failure")
    failure.filter(has_text="duplex-local is not running").wait_for()
    tab.page.unroute(process)
    tab.page.locator('.state[data-state="speaking"]').wait_for()
    assert failure.is_hidden() and tab.replies() == ["kept"]


def test_settings_are_applied_or_refused_in_a_sentence(tab):
    tab.page.locator(".gear").click()
    tab.page.locator("#apply").click()
    tab.conversation.wait(lambda c: bool(c.calls))
    assert tab.conversation.config == SessionConfig()
    tab.page.locator("#set-temperature input").fill("0.5")
    tab.page.locator("#set-seed textarea, #set-seed input").fill("7")
    tab.page.locator("#set-slice_s input").fill("1.5")
    tab.page.locator("#apply").click()
    tab.conversation.wait(lambda c: c.config != SessionConfig())
    tab.page.locator("#outcome", has_text="Applied").wait_for()
    config = tab.conversation.config
    assert (config.slice_s, config.sampling.temperature, config.sampling.seed) == (1.5, 0.5, 7)
    assert config.max_tokens_per_slice == 15
    tab.page.locator("#set-temperature input").fill("9")
    tab.page.locator("#set-temperature input").press("Enter")
    with pytest.raises(ConfigError) as refused:
        tab.conversation.configure({"sampling": {"temperature": 9}})
    tab.page.locator("#outcome .refused", has_text=str(refused.value)).wait_for()
    assert tab.conversation.config == config
    tab.box.press("Escape")
    tab.page.locator("#settings").wait_for(state="hidden")
    tab.box.press("Escape")  # the first one closed the settings and stopped nothing
    tab.conversation.wait(lambda c: ("stop",) in c.calls)
    assert tab.conversation.calls.count(("stop",)) == 1


def test_a_page_that_missed_patches_gets_everything(tab):
    """The browser joins updates that come too fast; 200 slices at once are more than it sees."""
    for index in range(200):
        tab.conversation.say(index, f"word{index}", f"reply {index}", ReplyEnd.EOS)
        if index % 10 == 0:
            tab.conversation.wait(lambda c: not c._events)
    tab.page.wait_for_function("document.querySelectorAll('.has-reply .reply').length === 200")
    assert tab.replies() == [f"reply {index}" for index in range(200)]
