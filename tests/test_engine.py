"""The real engine: its thread, llama.cpp and a tiny random model."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from duplex_local.config import EngineConfig, SamplingConfig, SessionConfig
from duplex_local.engine import Conversation, Engine
from duplex_local.errors import BusyError, ConfigError, ProtocolError
from duplex_local.events import (
    DraftTaken,
    Event,
    Failed,
    Refused,
    ReplyEnd,
    Reset,
    SliceChanged,
)

GREEDY = SessionConfig(slice_s=0.3, sampling=SamplingConfig(temperature=0.0))


def until(conversation: Conversation, wanted: Callable[[Event], bool]) -> list[Event]:
    """Take events until a `wanted` one is among them."""
    events: list[Event] = []
    end_s = time.monotonic() + 30
    while time.monotonic() < end_s:
        taken = conversation.take(timeout_s=1.0)
        events += taken  # all of them: what was taken was shown
        if any(map(wanted, taken)):
            return events
    raise AssertionError(f"it never came: {events}")


def is_end(event: Event) -> bool:
    return isinstance(event, SliceChanged) and event.stats is not None


def page(events: list[Event]) -> dict[int, tuple[str, str]]:
    return {e.index: (e.user, e.reply) for e in events if isinstance(e, SliceChanged)}


def memory(conversation: Conversation) -> dict[int, tuple[str, str]]:
    return {pair.index: (pair.user or "", pair.reply) for pair in conversation.history()}


def test_a_message_is_answered(engine: Engine) -> None:
    conversation = engine.open(GREEDY)
    conversation.send("hello there")
    events = until(conversation, is_end)
    assert page(events)[0][0] == "hello there"
    conversation.stop()
    events += conversation.take(0.1)
    assert page(events).items() >= memory(conversation).items()
    assert engine.info.backend == "CPU" and engine.info.quant == "F32"


def test_what_is_typed_over_the_reply_cuts_it(engine: Engine) -> None:
    conversation = engine.open(SessionConfig(slice_s=0.3, max_tokens_per_slice=64))
    conversation.send("tell me a story")
    events = until(conversation, lambda e: isinstance(e, SliceChanged) and e.reply != "")
    conversation.type("n", revision=1, n_taken=0)
    # From here on the old epoch is dead: what still comes is what was shown, cut.
    shown = page(events)[0][1]
    events += until(conversation, lambda e: isinstance(e, SliceChanged) and e.end is ReplyEnd.CUT)
    assert page(events)[0][1] == shown == memory(conversation)[0][1]


def test_two_conversations_do_not_see_each_other(engine: Engine) -> None:
    alone = engine.open(GREEDY)
    alone.send("hello there")
    expected = page(until(alone, is_end))
    alone.close()
    first, second = engine.open(GREEDY), engine.open(GREEDY)
    second.send("what time is it now")
    first.send("hello there")
    assert page(until(first, is_end)) == expected
    assert page(until(second, is_end))[0][0] == "what time is it now"


def test_a_place_is_free_again_when_a_conversation_ends(engine: Engine) -> None:
    _, second = engine.open(), engine.open()
    with pytest.raises(BusyError, match="2 conversations are open"):
        engine.open()
    second.close()
    second.close()
    third = engine.open(GREEDY)
    third.send("hello")
    assert page(until(third, is_end))[0][0] == "hello"


def test_a_new_conversation_starts_from_nothing(engine: Engine) -> None:
    conversation = engine.open(GREEDY)
    conversation.send("hello there")
    first = page(until(conversation, is_end))
    conversation.send("what time is it")
    conversation.reset()
    until(conversation, lambda e: isinstance(e, Reset))
    assert memory(conversation) == {}
    conversation.send("hello there")
    assert page(until(conversation, is_end)) == first


def test_the_same_seed_gives_the_same_words(engine: Engine) -> None:
    config = SessionConfig(sampling=SamplingConfig(temperature=1.5, seed=7))
    replies = []
    for _ in range(2):
        conversation = engine.open(config)
        conversation.send("hello")
        replies.append(page(until(conversation, is_end)))
        conversation.close()
    assert replies[0] == replies[1]


def test_talkativeness_moves_the_idle_decision(engine: Engine) -> None:
    conversation = engine.open(GREEDY)
    conversation.configure({"sampling": {"talkativeness": -20.0}})
    conversation.send("hello")
    assert page(until(conversation, is_end))[0][1] == ""
    conversation.configure({"sampling": {"talkativeness": 20.0}})
    conversation.send("hello")
    assert page(until(conversation, is_end))[1][1] != ""


def test_an_unknown_setting_is_refused_and_changes_nothing(engine: Engine) -> None:
    conversation = engine.open(GREEDY)
    with pytest.raises(ConfigError, match="unknown setting 'temprature'"):
        conversation.configure({"sampling": {"temprature": 1.0}})
    with pytest.raises(ConfigError, match=r"slice_s is 0, but must be from 0\.2 to 30"):
        conversation.configure({"slice_s": 0})


@pytest.mark.parametrize("act", ["send", "type"])
def test_a_megabyte_is_refused_in_one_sentence(engine: Engine, act: str) -> None:
    conversation = engine.open(GREEDY)
    getattr(conversation, act)("word " * 200_000, revision=1, n_taken=0)
    event = until(conversation, lambda e: isinstance(e, Refused))[-1]
    assert isinstance(event, Refused) and "1,000,000 characters" in event.message
    conversation.send("hello", revision=2)
    assert page(until(conversation, is_end))[0][0] == "hello"


def test_a_closed_engine_says_so_and_may_be_closed_again(tiny_gguf: Path) -> None:
    engine = Engine(EngineConfig(model=tiny_gguf, n_ctx=256, n_sessions=2))
    conversation = engine.open()
    conversation.send("hello")
    engine.close()
    engine.close()
    for call in (engine.open, conversation.history):
        with pytest.raises(ProtocolError, match="closed"):
            call()
    conversation.close()


def test_a_half_emoji_is_taken_as_a_question_mark(engine: Engine) -> None:
    conversation = engine.open(GREEDY)
    conversation.type("a\ud800b ", revision=1, n_taken=0)
    taken = until(conversation, lambda e: isinstance(e, DraftTaken))
    assert [e.text for e in taken if isinstance(e, DraftTaken)] == ["a?b "]


def test_a_message_to_a_conversation_that_failed_is_refused(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversation = engine.open(GREEDY)
    monkeypatch.setattr(engine._backend, "eval", lambda chunks: 1 / 0)
    conversation.send("hello")
    until(conversation, lambda e: isinstance(e, Failed))
    monkeypatch.undo()
    conversation.send("hello")
    assert "over" in until(conversation, lambda e: isinstance(e, Refused))[-1].message
    conversation.reset()
    conversation.send("hello")
    assert page(until(conversation, is_end))[0][0] == "hello"


def test_the_reference_logits(shared: Path, tmp_path: Path) -> None:
    """The converted golden checkpoint gives the original's float32 logits at every position."""
    from convert.cli import main as convert_main
    from duplex_local.backend import Chunk
    from duplex_local.llama_backend import LlamaBackend

    source = shared / "golden/tiny-checkpoint"
    assert convert_main([str(source), "--quant", "F32", "--out", str(tmp_path), "--name", "g"]) == 0
    golden = np.load(shared / "golden/tiny-logits.npz")
    ids = golden["ids"].reshape(-1).tolist()
    expected = golden["logits"].reshape(len(ids), -1)
    config = EngineConfig(
        model=tmp_path / "g-F32.gguf", n_ctx=256, n_sessions=1, kv_f32=True, flash_attn=False
    )
    backend = LlamaBackend(config)
    try:
        for position, token in enumerate(ids):
            [row] = backend.eval([Chunk(0, position, [token])])
            logits = backend.logits(row)[golden["vocab_sample"]]
            assert np.abs(logits - expected[position]).max() <= 1e-5
            assert logits.argmax() == expected[position].argmax()
    finally:
        backend.close()
