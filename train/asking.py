"""What a user asks for when nothing came before: any request, each kind with its share."""

from __future__ import annotations

from collections.abc import Callable

from train.answers import Request
from train.knowledge import Topic
from train.real import varied
from train.repairs import Repairs
from train.requests import Speaker
from train.transcript import CachedCodec

__all__ = ["Asking"]

SOCIAL_REQUESTS = (
    "greeting how_are_you who_are_you who_made_you what_can_you_do praise goodbye joke sorry insult"
).split()

TOPIC_FIRST_SHARE = 0.1  # of the facts that are asked for


class Asking(Repairs):
    """The part of the simulator that chooses a request."""

    def __init__(self, codec: CachedCodec, speaker: Speaker, real: list[Request]) -> None:
        super().__init__(codec, speaker)
        self.real = real

    def request(self) -> Request:
        """Any request."""
        speaker = self.speaker
        makers: dict[Callable[[], Request], float] = {
            speaker.about: 26, speaker.corrected: 6, self._any_fact: 19, speaker.quiz: 4,
            speaker.sum: 7, speaker.count: 2, speaker.countdown: 1, speaker.examples: 4,
            self._social: 7, speaker.stranger: 9, self._unanswerable: 4, self._comparison: 1,
            speaker.both: 1, self._is_kind: 2, self._story: 2, self._real: 12,
        }  # fmt: skip
        return self.rng.choices(list(makers), list(makers.values()))[0]()

    def _any_topic(self) -> Topic:
        return self.rng.choice(self.speaker.topics)

    def _any_fact(self) -> Request:
        topic = self._any_topic()
        if not topic.facts:
            return self.speaker.about(topic)
        key = self.rng.choice(list(topic.facts))
        if topic.noun != "task" and self.rng.random() < TOPIC_FIRST_SHARE:
            return self.speaker.topic_first(topic, key)
        return self.speaker.fact(topic, key)

    def _social(self) -> Request:
        return self.speaker.social(self.rng.choice(SOCIAL_REQUESTS))

    def _unanswerable(self) -> Request:
        return self.speaker.unanswerable(self._any_topic())

    def _comparison(self) -> Request:
        return self.speaker.compare(*self.rng.sample(self.speaker.topics, 2))

    def _is_kind(self) -> Request:
        return self.speaker.is_kind(self._any_topic())

    def _story(self) -> Request:
        return self.speaker.story(self._topic())

    def _real(self) -> Request:
        if not self.real:
            return self.speaker.stranger()
        return varied(self.rng.choice(self.real), self.speaker)

    def _beyond(self) -> Request:
        """A request that gets one sentence of refusal."""
        if self.real and self.rng.random() < 0.3:
            request = self._real()
            if request.answer.intent == "ood":
                return request
        return self.speaker.stranger()
