from __future__ import annotations

import pytest

from convert.llama_process import LlamaProcess


def test_an_answer_that_nobody_waits_for_is_skipped() -> None:
    with LlamaProcess() as llama:
        llama.start("inspect", "nowhere.gguf", [], [])  # its error is skipped, too
        llama.start("peak_rss_bytes")
        assert llama.ask("peak_rss_bytes") > 1_000_000


def test_what_was_started_is_there_when_it_is_asked_for() -> None:
    with LlamaProcess() as llama:
        one, other = llama.start("peak_rss_bytes"), llama.start("peak_rss_bytes")
        assert one() <= other()


def test_answers_come_in_the_order_of_their_jobs_and_once() -> None:
    """The other way round one job would get the answer of another."""
    with LlamaProcess() as llama:
        one, other = llama.start("peak_rss_bytes"), llama.start("peak_rss_bytes")
        other()
        for late in (one, other):
            with pytest.raises(AssertionError, match="in the order"):
                late()
