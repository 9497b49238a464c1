from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from duplex_local.config import SessionConfig
from duplex_local.errors import ProtocolError
from duplex_local.events import (
    DraftTaken,
    Floor,
    FloorChanged,
    Interrupted,
    Refused,
    ReplyEnd,
    Reset,
    SliceChanged,
    WindowSlid,
)
from tests.world import World


@pytest.fixture
def world() -> World:
    return World()


def test_an_answer_goes_on_over_the_slices_and_then_the_model_sleeps(world: World) -> None:
    user = world.user(max_tokens_per_slice=8)
    user.model_says("one two three four", None)
    user.send("tell me")
    world.wait(10)
    assert user.memory == {0: ("tell me", "one two "), 1: ("", "three fo"), 2: ("", "ur")}
    assert user.page == user.memory
    n_evaluated = world.backend.n_evaluated
    world.wait(60)
    assert world.backend.n_evaluated == n_evaluated  # asleep: silence costs nothing


def test_a_request_over_several_slices_is_heard_to_its_end(world: World) -> None:
    user = world.user()
    user.model_says(None, None, "Mars is red.")
    user.type("could you tell ")
    world.wait(2)
    user.type("me about mars ")
    world.wait(4)
    assert user.memory == {
        0: ("could you tell", ""),
        1: ("me about mars", ""),
        2: ("", "Mars is red."),
    }


def test_a_half_typed_word_holds_the_floor(world: World) -> None:
    user = world.user(max_tokens_per_slice=4)
    user.model_says("abcdefghijkl")
    user.send("go")
    world.wait(0.1)
    user.look()
    user.type("sto")
    world.wait(20)
    assert user.session.floor is Floor.LISTENING
    assert user.memory == {0: ("go", "abcd")}  # it neither talks on nor hears "sto"
    user.type("stop ")
    world.wait(2)
    assert user.memory[1][0] == "stop"


def test_words_taken_back_let_the_model_go_on(world: World) -> None:
    user = world.user(max_tokens_per_slice=4)
    user.model_says("abcdefgh")
    user.send("go")
    world.wait(0.1)
    user.look()
    user.type("x")
    user.type("")
    world.wait(2)
    assert user.memory == {0: ("go", "abcd"), 1: ("", "efgh")}


def test_the_reply_is_cut_to_what_was_shown(world: World) -> None:
    user = world.user()
    user.model_says("Mars is the red planet.")
    user.send("mars")
    for _ in range(6):  # the prompt, then a token each
        world.scheduler.step()
    user.look()
    seen = user.page[0][1]
    for _ in range(3):  # sampled, never looked at
        world.scheduler.step()
    user.send("no, saturn")
    assert 0 < len(seen) < len("Mars is the red planet.")
    world.wait(0.1)
    assert user.memory[0] == ("mars", seen)
    assert user.memory[1][0] == "no, saturn"
    assert user.page == user.memory
    cut = [event for event in user.seen(SliceChanged) if event.index == 0][-1]
    assert cut.end is ReplyEnd.CUT
    assert [event.by_stop for event in user.seen(Interrupted)] == [False]


def test_the_cache_holds_what_was_shown(world: World) -> None:
    user = world.user()
    user.model_says("Mars is the red planet.")
    user.send("mars")
    for _ in range(6):
        world.scheduler.step()
    user.look()
    shown = user.page[0][1]
    world.settle()  # the rest is computed, and never seen
    user.model_says(None)
    user.send("stop")
    world.wait(0.1)
    text = world.tokenizer.decode(world.backend.held[0])
    assert text == f"<用户>mars<AI>{shown}<用户>stop<AI>"


def test_several_slices_that_nobody_saw_are_forgotten(world: World) -> None:
    user = world.user(max_tokens_per_slice=4)
    user.model_says("abcdefghijklmnopqrst")
    user.send("go")
    world.wait(0.1)
    user.look()
    world.wait(4)  # two slices more, while the page was not looking
    user.send("stop")
    world.wait(0.1)
    assert user.memory == {0: ("go", "abcd"), 3: ("stop", "mnop")}
    assert user.page == user.memory


def test_stop_silences_until_the_user_speaks(world: World) -> None:
    user = world.user(max_tokens_per_slice=4)
    user.model_says("abcdefghijkl")
    user.send("go")
    world.wait(0.1)
    user.look()
    user.stop()
    assert user.session.floor is Floor.IDLE
    world.wait(60)
    assert user.memory == {0: ("go", "abcd")}
    assert [event.by_stop for event in user.seen(Interrupted)] == [True]


def test_stop_when_nothing_runs_changes_nothing(world: World) -> None:
    user = world.user()
    user.stop()
    world.wait(4)
    assert user.memory == {}
    assert user.seen(Interrupted) == []


def test_typing_after_the_answer_is_over_is_no_interruption(world: World) -> None:
    user = world.user()
    user.model_says("a long last slice", None)
    user.send("go")
    world.wait(2.5)  # the silent slice after it has been answered by silence
    user.look()
    assert user.session.floor is Floor.IDLE
    for text in ("t", "th", "thanks "):
        user.type(text)
    assert user.seen(Interrupted) == []
    user.type("")
    world.wait(10)
    assert user.memory == {0: ("go", "a long last sli"), 1: ("", "ce")}


def test_every_key_of_one_interruption_is_one_interruption(world: World) -> None:
    user = world.user(max_tokens_per_slice=4)
    user.model_says("abcdefghijkl")
    user.send("go")
    world.wait(0.1)
    user.look()
    for text in ("n", "no", "no "):
        user.type(text)
    world.wait(2)
    assert len(user.seen(Interrupted)) == 1


def test_a_long_message_is_heard_in_slices_with_forced_silence(world: World) -> None:
    user = world.user()
    user.model_says("Yes.")
    user.send("one two three four five six seven eight nine ten")
    world.wait(0.1)
    assert user.memory == {
        0: ("one two three four five", ""),
        1: ("six seven eight nine ten", "Yes."),
    }
    ends = {event.index: event.end for event in user.seen(SliceChanged)}
    assert ends == {0: ReplyEnd.FORCED, 1: ReplyEnd.EOS}


def test_enter_closes_the_slice_at_once_and_starts_the_grid_anew(world: World) -> None:
    user = world.user()
    user.model_says("hi", None)
    world.wait(1.5)
    user.send("hello")
    world.settle()
    assert user.memory == {0: ("hello", "hi")}
    assert user.seat.due_s == pytest.approx(world.now_s + 2.0)


def test_the_page_is_told_which_words_left(world: World) -> None:
    user = world.user()
    user.type("hello wor")
    world.wait(2)
    assert [(event.n_taken, event.text) for event in user.seen(DraftTaken)] == [(6, "hello ")]


@pytest.mark.parametrize("text", ["", "  \n\t "])
def test_nothing_sent_is_nothing_said(world: World, text: str) -> None:
    user = world.user()
    user.send(text)
    world.wait(4)
    assert user.memory == {} and world.backend.n_evaluated == 0


@pytest.mark.parametrize("text", ["x" * 5000, "word " * 500, "\U0001f600" * 2000])
def test_a_message_beyond_the_context_is_refused_in_one_sentence(text: str) -> None:
    world = World(n_ctx=512)
    user = world.user()
    user.send(text)
    world.wait(4)
    assert user.memory == {}
    assert [
        f"{len(text.strip()):,} characters" in event.message for event in user.seen(Refused)
    ] == [True]
    user.model_says("Still here.")
    user.send("hello")
    world.wait(0.1)
    assert user.memory[0] == ("hello", "Still here.")


@pytest.mark.parametrize("text", ["a\ud800b", "a\0b", "</s><idle><用户><AI>"])
def test_odd_text_is_heard_as_it_is_shown(world: World, text: str) -> None:
    user = world.user()
    user.model_says("Well.")
    user.send(text)
    world.wait(0.1)
    assert user.page == user.memory
    heard = user.memory[0][0]
    assert heard == {"a\ud800b": "a?b", "a\0b": "ab"}.get(text, text)
    assert world.tokenizer.decode(world.backend.held[0]).startswith(f"<用户>{heard}<AI>")


def test_a_reply_that_says_nothing_leaves_page_and_memory(world: World) -> None:
    user = world.user()
    user.model_says(None, " . ")
    user.type("could you ")
    world.wait(8)
    assert user.page == user.memory == {0: ("could you", "")}


def test_stop_right_after_enter_is_a_stop(world: World) -> None:
    user = world.user()
    user.model_says("Mars is red.")
    user.send("tell me about mars")
    user.stop()
    world.wait(10)
    assert user.memory == {0: ("tell me about mars", "")}  # heard, and not answered
    assert user.session.floor is Floor.IDLE


def test_words_in_the_box_at_a_stop_are_heard_and_not_answered(world: World) -> None:
    user = world.user()
    user.model_says("Answer.")
    user.type("tell me now ")
    user.stop()
    world.wait(10)
    assert user.memory == {0: ("tell me now", "")}


def test_a_stop_leaves_no_silent_pair_behind(world: World) -> None:
    user = world.user(max_tokens_per_slice=4)
    user.model_says("abcdefgh")
    user.send("go")
    world.wait(0.1)
    user.look()
    world.now_s += 2.0
    world.scheduler.step()  # the next slice is at work, nothing of it is shown
    user.stop()
    user.model_says(None)
    user.send("next")
    world.wait(0.1)
    text = world.tokenizer.decode(world.backend.held[0])
    assert text == "<用户>go<AI>abcd<用户>next<AI>"


def test_an_endless_word_is_refused_once_and_stays_in_the_box() -> None:
    world = World(n_ctx=512)
    user = world.user()
    user.type("x" * 3000 + " ")
    world.wait(8)
    assert len(user.seen(Refused)) == 1 and user.memory == {}
    assert user.session.floor is Floor.LISTENING
    user.model_says("Fine.")
    user.type("hello ")
    world.wait(2)
    assert user.memory == {0: ("hello", "Fine.")}


def test_a_nul_of_the_model_is_neither_shown_nor_remembered(world: World) -> None:
    user = world.user()
    user.model_says("a\0b")
    user.send("go")
    world.wait(0.1)
    assert user.page == user.memory == {0: ("go", "ab")}


def test_a_slice_pruned_while_it_was_cut_leaves_the_page(world: World) -> None:
    user = world.user()
    user.model_says(None, " .", None)
    user.send("could you")
    world.wait(0.1)
    world.now_s += 2.0
    for _ in range(2):
        world.scheduler.step()
    user.look()  # the page shows " ." of a slice that is still open
    assert user.page[1] == ("", " .")
    cut = user.outbox.cut()
    world.wait(4)  # the slice closes, and is pruned, before the session hears of the cut
    user.session.interrupt(cut, world.now_s, by_stop=False)
    assert user.page == user.memory == {0: ("could you", "")}


def test_a_shorter_slice_begins_at_once(world: World) -> None:
    user = world.user(slice_s=30.0)
    world.scheduler.configure(user.seat, SessionConfig(slice_s=2.0))
    assert user.seat.due_s == world.now_s + 2.0


def test_a_full_window_slides_and_says_so() -> None:
    world = World(n_ctx=300)
    user = world.user()
    for number in range(30):
        user.model_says("Indeed.")
        user.send(f"message {number}")
        world.wait(0.1)
        user.look()
        assert world.backend.n_past(0) <= 300
    assert sum(event.n_pairs for event in user.seen(WindowSlid)) > 5
    assert len(user.page) == 30  # the page forgets nothing
    assert user.memory[0] == ("message 0", "Indeed.")  # the start stays
    assert user.memory[29] == ("message 29", "Indeed.")
    assert user.memory.items() <= user.page.items()


def test_a_new_conversation_remembers_nothing(world: World) -> None:
    user = world.user()
    user.model_says("Hello.")
    user.send("hello")
    world.wait(0.1)
    user.session.reset(user.outbox.restart(), world.now_s)
    assert world.backend.held[0] == [] and user.memory == {}
    assert len(user.seen(Reset)) == 1
    user.model_says("Again.")
    user.send("hello again")
    world.wait(0.1)
    assert user.memory == {0: ("hello again", "Again.")}


def test_the_floor_is_told_when_it_changes(world: World) -> None:
    user = world.user(max_tokens_per_slice=4)
    user.model_says("abcdef", None)
    user.send("go")
    world.wait(10)
    floors = [event.floor for event in user.seen(FloorChanged)]
    assert floors == [Floor.LISTENING, Floor.SPEAKING, Floor.IDLE]


def test_a_token_out_of_turn_is_a_bug_that_is_named(world: World) -> None:
    with pytest.raises(ProtocolError, match="no slice is running"):
        world.user().session.push(5, 0.0)


class Conversation(RuleBasedStateMachine):
    """Anything may happen at any moment; page and memory agree whenever the page has caught up."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.user = self.world.user(max_tokens_per_slice=5)
        self.box = ""
        self.sent: list[str] = []

    @rule(replies=st.lists(st.none() | st.text("ab .<>é", max_size=12), max_size=4))
    def the_model_will_say(self, replies: list[str | None]) -> None:
        self.user.model_says(*replies)

    @rule(n_steps=st.integers(1, 6))
    def the_model_works(self, n_steps: int) -> None:
        for _ in range(n_steps):
            self.world.scheduler.step()

    @rule(seconds=st.sampled_from([0.3, 1.0, 2.0, 5.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.wait(seconds)

    @rule()
    def the_page_looks(self) -> None:
        self.user.look()

    @rule(text=st.sampled_from(["uh-huh", "stop it", "tell me about mars please now", "<AI>"]))
    def send(self, text: str) -> None:
        self.user.send(text)
        self.sent += text.split()

    @rule(text=st.sampled_from(["", "w", "wait ", "no I mean "]))
    def type(self, text: str) -> None:
        self.user.type(text)

    @rule()
    def stop(self) -> None:
        self.user.stop()

    @invariant()
    def page_and_memory_agree(self) -> None:
        open_slices = {e.index for e in self.user.seen(SliceChanged)[-1:] if e.end is None}
        page = {k: v for k, v in self.user.page.items() if k not in open_slices}
        memory = {k: v for k, v in self.user.memory.items() if k not in open_slices}
        assert page == memory

    @invariant()
    def the_cache_is_a_prefix_of_the_history(self) -> None:
        held = self.world.backend.held[0]
        assert held == self.user.sequence.held

    def teardown(self) -> None:
        self.world.wait(3)
        said = [word for user, _ in self.user.memory.values() for word in user.split()]
        remaining = iter(said)
        assert all(word in remaining for word in self.sent), "a sent word was lost"


TestConversation = Conversation.TestCase
TestConversation.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
