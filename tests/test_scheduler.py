from __future__ import annotations

from collections.abc import Sequence

import pytest

from duplex_local.backend import Chunk
from duplex_local.errors import BackendError
from duplex_local.events import Failed, Ticked
from tests.world import World


def test_ticks_stay_on_the_grid() -> None:
    world = World()
    user = world.user()
    world.wait(9.95)
    assert [event.at_s for event in user.seen(Ticked)] == pytest.approx([2.0, 4.0, 6.0, 8.0])


def test_a_late_tick_adds_no_drift_and_missed_ones_are_counted() -> None:
    world = World()
    user = world.user()
    world.now_s += 5.3  # the machine was asleep
    world.settle()
    assert len(user.seen(Ticked)) == 1
    assert user.seat.n_missed_ticks == 1
    assert user.seat.due_s == pytest.approx(106.0)


def test_a_slice_that_takes_too_long_swallows_the_next_tick() -> None:
    world = World()
    user = world.user()
    user.model_says("a long answer of many tokens")
    user.send("go")
    for _ in range(8):
        world.scheduler.step()
        world.now_s += 0.5
    assert user.seat.n_missed_ticks > 0
    world.settle()
    assert list(user.memory) == [0]


def test_sessions_share_batches_and_keep_their_words() -> None:
    world = World()
    users = [world.user(seq_id) for seq_id in range(3)]
    for number, user in enumerate(users):
        user.model_says(f"reply {number}")
        user.send(f"words {number}")
    batches: list[int] = []
    evaluate = world.backend.eval

    def counted(chunks: Sequence[Chunk]) -> list[int]:
        batches.append(len(chunks))
        return evaluate(chunks)

    world.backend.eval = counted  # type: ignore[method-assign]
    world.settle()
    for number, user in enumerate(users):
        assert user.memory == user.page == {0: (f"words {number}", f"reply {number}")}
    assert max(batches) == 3


def test_a_failing_batch_ends_its_sessions_and_says_why() -> None:
    world = World()
    broken, healthy = world.user(0), world.user(1)
    evaluate = world.backend.eval

    def failing(chunks: Sequence[Chunk]) -> list[int]:
        if any(chunk.seq_id == 0 for chunk in chunks):
            raise BackendError("llama_decode failed with code -3 (the computation failed).")
        return evaluate(chunks)

    world.backend.eval = failing  # type: ignore[method-assign]
    broken.send("hello")
    world.settle()
    assert ["code -3" in event.message for event in broken.seen(Failed)] == [True]
    assert not world.scheduler.is_seated(broken.seat)
    healthy.model_says("Fine.")
    healthy.send("how are you")
    world.settle()
    assert healthy.memory == {0: ("how are you", "Fine.")}


def test_a_bug_in_one_session_is_told_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    user, other = world.user(0), world.user(1)
    user.session.tick = lambda now_s: 1 / 0  # type: ignore[method-assign,assignment,return-value]
    world.wait(2)
    assert ["internal error" in event.message for event in user.seen(Failed)] == [True]
    assert "ZeroDivisionError" in caplog.text
    assert len(other.seen(Ticked)) == 1


def test_the_thread_stops_and_may_be_stopped_twice() -> None:
    world = World()
    world.scheduler.start()
    world.scheduler.close()
    world.scheduler.close()
