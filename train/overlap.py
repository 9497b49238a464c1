"""How many of some scenarios' requests the training data can contain, word for word.

    python -m train.overlap benchmarks/scenarios/*.json [--unseen FILE]

A request counts when the training lists can make it: a whole wording, with up to two lead-ins
before it and one tail behind. `--unseen` writes the scenarios none of whose requests counts, so
that the benchmark can be run on them alone.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from duplex_local.errors import ConfigError, exit_with_one_line
from train.cores import PHRASES
from train.kinds import LISTED
from train.requests import TASK_QUESTIONS, Speaker
from train.utterance import words_of
from train.wording import load

__all__ = ["Grammar", "main", "requests_of"]

LEAD_INS = ("intros", "openers", "asks", "names", "side", "reset", "meant")
BEFORE_A_TOPIC = ("verbs", "meant", "return", "and_what")
TAILS = ("tails", "instead")
N_LEAD_INS = 2
N_MENTIONS = 12  # draws of the ways to name a topic


class Grammar:
    """Every wording of the training lists, with the topics filled in."""

    def __init__(self) -> None:
        speaker = Speaker(load(None), random.Random(0))
        wording = speaker.wording
        self._cores = {text for name in (*PHRASES, "chat", "wait", "no") for text in wording[name]}
        self._cores |= {text for asked in wording.quiz.values() for text in asked}
        self._cores |= {form.replace("K", called) for form in wording["list"]
                        for names in LISTED.values() for called in names}  # fmt: skip
        self._lead_ins = {text for name in LEAD_INS for text in wording[name]}
        self._tails = {text for name in TAILS for text in wording[name]}
        for topic in speaker.topics:
            mentions = {speaker.mention(topic) for _ in range(N_MENTIONS)}
            facts = [form.text for key in topic.facts
                     for form in wording.questions[topic.kind, key]]  # fmt: skip
            for name, plural in mentions:
                befores = [text for name in BEFORE_A_TOPIC for text in wording[name]]
                if topic.noun == "task":
                    befores += TASK_QUESTIONS
                self._cores |= {f"{before} {name}" for before in befores}
                for form in (*facts, *wording["questions"]):
                    parts = speaker.form(form, name, plural)
                    self._cores.add(" ".join(text for text, _ in parts))

    def makes(self, words: list[str]) -> bool:
        """The words are a wording, with lead-ins before and a tail behind."""
        ends = [len(words), *(i for i in range(len(words)) if " ".join(words[i:]) in self._tails)]
        return any(self._leads_to(words[:end], N_LEAD_INS) for end in ends)

    def _leads_to(self, words: list[str], n_lead_ins: int) -> bool:
        if " ".join(words) in self._cores:
            return True
        return n_lead_ins > 0 and any(
            self._leads_to(words[i:], n_lead_ins - 1)
            for i in range(1, len(words))
            if " ".join(words[:i]) in self._lead_ins
        )


def requests_of(scenario: dict[str, Any]) -> Iterator[list[str]]:
    """The words of each complete request: its `hold` slices and the one that ends it."""
    said: list[str] = []
    for part in scenario["slices"]:
        if part["expect"] in ("hold", "go", "stop"):
            said += words_of(part["user"])
        elif part["user"] and part["expect"] == "cont":
            yield words_of(part["user"])
        if part["expect"] in ("go", "stop"):
            yield said
        if part["expect"] != "hold":
            said = []


@exit_with_one_line
def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m train.overlap", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("scenarios", nargs="+", type=Path, metavar="SCENARIOS.json")
    parser.add_argument("--unseen", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    grammar = Grammar()
    n_requests = n_made = n_scenarios = 0
    unseen = []
    for path in options.scenarios:
        try:
            scenarios = json.loads(path.read_text("utf-8"))["scenarios"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{path} is not a scenario file ({error}).") from None
        for scenario in scenarios:
            made = [grammar.makes(words) for words in requests_of(scenario)]
            n_requests, n_made, n_scenarios = (
                n_requests + len(made), n_made + sum(made), n_scenarios + 1,
            )  # fmt: skip
            if not any(made):
                unseen.append(scenario)
    print(f"{n_made} of {n_requests} utterances can be made from the training lists.")
    print(f"{len(unseen)} of {n_scenarios} scenarios have none of them.")
    if options.unseen:
        options.unseen.write_text(json.dumps({"scenarios": unseen}) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
