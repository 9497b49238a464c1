"""Is one slice of a transcript as it should be? The metrics count these answers."""

from __future__ import annotations

from benchmarks.behaviour.judge import (
    carries_on,
    is_acknowledgement,
    is_backchannel,
    is_idle,
    is_takeover,
)
from benchmarks.behaviour.scenario import Expect
from benchmarks.behaviour.transcript import Transcript

__all__ = ["is_answered", "is_right", "is_silent_enough", "is_stopped", "slice_passes"]


def is_answered(transcript: Transcript, at: int, later: int) -> bool:
    """A takeover in slice `at` or up to `later` slices after it, while nothing else is due.

    Speech in a later slice where the user is mid-request, wants silence or asks something else
    is no answer to this.
    """
    other = (Expect.HOLD, Expect.STOP, Expect.QUIET, Expect.GO)
    for i in range(at, min(at + later + 1, len(transcript.slices))):
        if i > at and transcript.slices[i].expect in other:
            return False
        if is_takeover(transcript.replies[i].text):
            return True
    return False


def is_right(transcript: Transcript, at: int) -> bool:
    """Every `must` of slice `at` is found in its window, and no `must_not`."""
    return transcript.has_all(at) and not transcript.has_forbidden(at)


def is_silent_enough(transcript: Transcript, at: int) -> bool:
    """Slice `at` shows nothing, or no more than a listener's word."""
    text = transcript.replies[at].text
    return is_idle(text) or is_acknowledgement(text) or is_backchannel(text)


def is_stopped(transcript: Transcript, at: int) -> bool:
    """Slice `at` shows nothing, or no more than that the model stops."""
    text = transcript.replies[at].text
    return is_idle(text) or is_acknowledgement(text)


def slice_passes(transcript: Transcript, at: int) -> bool | None:
    """Is slice `at` as expected? None where nothing is expected, or nothing could be.

    A `cont` slice counts only when the model was speaking just before.
    """
    part, text = transcript.slices[at], transcript.replies[at].text
    if part.expect is Expect.FREE:
        return None
    if part.expect is Expect.HOLD:
        return not is_takeover(text)
    if part.expect is Expect.STOP:
        return is_stopped(transcript, at)
    if part.expect is Expect.QUIET:
        return is_idle(text)
    if part.expect is Expect.GO:
        return is_answered(transcript, at, 1) and is_right(transcript, at)
    if part.must:
        return is_right(transcript, at)
    if not transcript.is_speaking_before(at):
        return None
    return carries_on(transcript.answer_before(at), part.user, text)
