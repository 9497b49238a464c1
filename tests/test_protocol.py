from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duplex_local.errors import ProtocolError
from duplex_local.events import ReplyEnd
from duplex_local.protocol import MARK_AI, MARK_USER, History, SlicePair, pair_ids, prompt_ids
from duplex_local.sentencepiece_vocab import SentencePieceVocab
from duplex_local.tokenizer import Tokenizer
from tests.vocab import letter_tokenizer

LETTERS = letter_tokenizer()
SPELT = ("<AI>", "<用户>", "<idle>", "<s0>", "</s>", "<s>", "<", ">", "AI", "用户", "<A", "a, ")
# Text made of everything that could be taken for a marker, and ordinary characters.
hostile = st.lists(st.sampled_from(SPELT) | st.text(max_size=3), min_size=1, max_size=8).map(
    "".join
)


def contains(ids: list[int], part: list[int]) -> bool:
    return any(ids[at : at + len(part)] == part for at in range(len(ids) - len(part) + 1))


@given(hostile, hostile)
def test_what_is_written_never_acts_as_a_marker(user: str, reply: str) -> None:
    pair = SlicePair(0, user, reply, ReplyEnd.BUDGET)
    ids = pair_ids(LETTERS, pair)
    # The characters stay as they were ...
    assert LETTERS.decode(ids) == MARK_USER + user + MARK_AI + reply
    # ... the only hard token is the closing one, and each marker's inner token comes once.
    assert [token for token in ids if token in (LETTERS.bos, LETTERS.idle, LETTERS.eos)] == [
        LETTERS.eos
    ]
    for marker in (MARK_USER, MARK_AI):
        word = LETTERS.encode(marker)[1]
        opened = [at for at, token in enumerate(ids) if token == word]
        text = user + reply
        spelt_apart = text.count(marker[1:-1]) - text.count(marker)
        assert len(opened) - 1 <= spelt_apart


@given(hostile)
def test_a_prompt_is_the_start_of_a_message_in_markers(user: str) -> None:
    ids = prompt_ids(LETTERS, user)
    assert LETTERS.decode(ids) == MARK_USER + user + MARK_AI
    assert not contains(ids[2:-2], LETTERS.encode(MARK_AI))


def test_markers_merge_with_their_neighbours() -> None:
    ids = prompt_ids(LETTERS, "no,")
    assert LETTERS.encode(",<")[0] in ids
    assert ids != LETTERS.encode(MARK_USER) + LETTERS.encode("no,") + LETTERS.encode(MARK_AI)


def test_silence_is_the_idle_token() -> None:
    ids = prompt_ids(LETTERS, None)
    assert ids == [*LETTERS.encode(MARK_USER), LETTERS.idle, *LETTERS.encode(MARK_AI)]
    pair = SlicePair(0, None, "", ReplyEnd.IDLE)
    assert pair_ids(LETTERS, pair) == [*ids, LETTERS.idle, LETTERS.eos]


def test_the_reference_ids_of_histories(shared: Path) -> None:
    tokenizer = Tokenizer(SentencePieceVocab(shared / "minicpm-duplex"))
    histories = json.loads((shared / "golden/tokens.json").read_text("utf-8"))["histories"]
    assert len(histories) > 50
    for history in histories:
        ids = [tokenizer.bos]
        for user, reply in history["pairs"]:
            end = ReplyEnd.IDLE if reply.endswith("<idle>") else ReplyEnd.EOS
            pair = SlicePair(
                0, None if user == "<idle>" else user, reply.removesuffix("<idle>"), end
            )
            ids += pair_ids(tokenizer, pair)
        assert ids == history["ids"]


def test_silence_wakes_nobody_until_the_user_speaks() -> None:
    history = History(LETTERS)
    assert not history.hear(None)
    assert history.hear("hello")
    history.answer("hi", ReplyEnd.BUDGET, 15)
    assert history.active
    assert history.hear(None)
    history.answer(" there", ReplyEnd.EOS, 3)
    assert not history.active  # `</s>` within six tokens: the answer is finished
    assert not history.hear(None)


def test_a_late_end_token_keeps_the_answer_open() -> None:
    history = History(LETTERS)
    history.hear("hello")
    history.answer("a long reply slice", ReplyEnd.EOS, 7)
    assert history.active


def test_idle_pairs_leave_the_history() -> None:
    history = History(LETTERS)
    history.hear("could you tell me")
    history.answer("", ReplyEnd.IDLE, 1)
    before = history.ids()
    assert history.hear(None)
    history.answer(". ", ReplyEnd.IDLE, 2)
    assert not history.hear(None)  # the silent pair is dropped, and the model sleeps
    assert history.ids() == before
    assert [pair.user for pair in history.pairs] == ["could you tell me"]


@pytest.mark.parametrize(
    ("shown", "left"),
    [((1, 3), ["one", "two"]), ((1, 1), ["one", "t"]), ((0, 2), ["on"]), ((-1, 0), [""])],
)
def test_an_interruption_leaves_what_was_shown(shown: tuple[int, int], left: list[str]) -> None:
    history = History(LETTERS)
    history.hear("hello")
    history.answer("one", ReplyEnd.BUDGET, 15)
    history.hear(None)
    history.answer("two", ReplyEnd.BUDGET, 15)
    history.interrupt(*shown)
    assert [pair.reply for pair in history.pairs] == left
    assert history.pairs[-1].end is ReplyEnd.CUT
    ids = [LETTERS.bos]
    for pair in history.pairs:
        ids += pair_ids(LETTERS, pair)
    assert history.ids() == ids


def test_the_window_slides_by_whole_pairs_and_keeps_the_start() -> None:
    history = History(LETTERS)
    for number in range(20):
        history.hear(f"message {number}")
        history.answer("yes, go on", ReplyEnd.EOS, 9)
    n_dropped = history.drop_oldest(200)
    users = [pair.user for pair in history.pairs]
    assert len(history.ids()) <= 200
    assert users[0] == "message 0"
    assert users[1:] == [f"message {number}" for number in range(n_dropped + 1, 20)]


def test_illegal_calls_name_the_call_and_change_nothing() -> None:
    history = History(LETTERS)
    with pytest.raises(ProtocolError, match="answer"):
        history.answer("x", ReplyEnd.EOS, 1)
    with pytest.raises(ProtocolError, match="empty"):
        history.hear("")
    history.hear("hello")
    before = history.ids()
    with pytest.raises(ProtocolError, match="hear"):
        history.hear("again")
    assert history.ids() == before
