"""What one reply is: nothing, a backchannel, an acknowledgement, a takeover, more of the same.

Only texts are looked at, no model. Where the definition leaves a choice, the stricter is taken:
a backchannel or an acknowledgement is made of listed words alone, so "Mars is red" after "stop"
is no acknowledgement, though it has three words.
"""

from __future__ import annotations

import re

__all__ = [
    "carries_on",
    "is_acknowledgement",
    "is_backchannel",
    "is_idle",
    "is_restart",
    "is_takeover",
    "takes_up_old",
    "words",
]

MAX_SHORT_WORDS = 3
N_RESTART_WORDS = 4

_WORD = re.compile(r"[^\W_]+(?:['’\-][^\W_]+)*")
_SENTENCE_END = re.compile(r"[.!?。！？…][\"')\]]*$")

_BACKCHANNEL = frozenset(
    "ah aha alright and carry go got great hm hmm i interesting it listening mhm mm mm-hm mm-hmm "
    "nice of course oh ok okay on right see sure uh-huh understood yeah yep yes yup".split()
)
_ACKNOWLEDGEMENT = _BACKCHANNEL | frozenset(
    "all as be fine good i'll no problem quiet silent sorry stop stopped stopping very well will "
    "wish you your done enough then now".split()
)
# How an answer to a listener's noise begins, and no sentence in the middle of an answer.
_TO_THE_NOISE = frozenset(
    "alright ok okay sorry sure thanks thank yeah yep yes you're welcome hello hi".split()
)


def words(text: str) -> list[str]:
    """The words of `text` in lower case, without punctuation."""
    return _WORD.findall(text.lower().replace("’", "'"))


def is_idle(text: str) -> bool:
    """Nothing was said: no text, or a lone full stop, which the page does not show either."""
    return not text.strip(" .,\n")


def _is_short(text: str, allowed: frozenset[str]) -> bool:
    found = words(text)
    return 0 < len(found) <= MAX_SHORT_WORDS and all(word in allowed for word in found)


def is_backchannel(text: str) -> bool:
    """Up to three words that leave the floor to the user: "Mm-hm.", "I see.", "Go on." """
    return _is_short(text, _BACKCHANNEL)


def is_acknowledgement(text: str) -> bool:
    """Up to three words that say no more than that the model stops: "Okay.", "All right." """
    return _is_short(text, _ACKNOWLEDGEMENT)


def is_takeover(text: str) -> bool:
    """The model takes the floor: neither idle nor a backchannel. Punctuation alone counts, too."""
    return not is_idle(text) and not is_backchannel(text)


def takes_up_old(old: str, text: str) -> bool:
    """`text` goes on in the middle of the sentence that `old` left open.

    A new answer begins with a capital letter (or a script without); the rest of an old sentence
    does not. A proper name may begin the rest of a sentence, so this can miss old content, but
    never takes a new answer for an old one.
    """
    start = text.lstrip()[:1]
    is_open = bool(old) and not _SENTENCE_END.search(old.rstrip())
    return is_open and (start.islower() or start in {",", ";", ":"})


def is_restart(old: str, text: str) -> bool:
    """`text` says the beginning of `old` again: its first four words stand in it."""
    start = words(old)[:N_RESTART_WORDS]
    if len(start) < N_RESTART_WORDS:
        return False
    found = words(text)
    return any(found[i : i + len(start)] == start for i in range(len(found)))


def carries_on(old: str, noise: str, text: str) -> bool:
    """`text` is more of the answer `old`: not empty, no restart, no answer to `noise`."""
    if is_idle(text) or is_restart(old, text):
        return False
    first = words(text)[:1]
    return not first or (first[0] not in _TO_THE_NOISE and first != words(noise)[:1])
