"""The demo model's own tokenizer: a small sentencepiece BPE in the form of the original's."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path

import sentencepiece

from train.answers import ONES, REFUSALS, SOCIAL, number
from train.knowledge import topics
from train.real import load_real, load_words
from train.requests import Speaker
from train.utterance import dress
from train.wording import load

__all__ = ["write_vocabulary"]

N_TOKENS = 4096  # with `<idle>`
N_REQUESTS = 60_000


def _corpus(data: Path | None, seed: int):
    """Words as users write them, and everything the model may say."""
    rng = random.Random(seed)
    speaker = Speaker(load(None), rng, load_words(data))
    real = load_real(data, speaker, held_out=False)
    answers = [*REFUSALS, *SOCIAL.values()]
    for topic in topics():
        answers += [topic.about(), topic.short(), *(topic.fact(key) for key in topic.facts)]
    for _ in range(12):
        yield from answers
    yield from (" ".join(number(n) for n in range(101)) + " " + " ".join(ONES) for _ in range(50))
    yield from ["用户", "AI"] * 2000
    yield from "<>!?.,;:'\"()&%$#@*+-=/[]" * 20
    for wordings in (*load(None).sections.values(), *load(None).quiz.values()):
        yield from wordings
    for _ in range(N_REQUESTS):
        topic = rng.choice(speaker.topics)
        roll = rng.random()
        if roll < 0.35:
            request = speaker.about(topic)
        elif roll < 0.6 and topic.facts:
            request = speaker.fact(topic, rng.choice(list(topic.facts)))
        elif roll < 0.75 or not real:
            request = speaker.stranger()
        else:
            request = rng.choice(real)
        yield " ".join(dress(request.said, rng))


def write_vocabulary(folder: Path, data: Path | None, seed: int) -> None:
    """Write tokenizer.model, added_tokens.json and tokenizer_config.json into `folder`."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=(line for line in _corpus(data, seed)),
        model_writer=model,
        model_type="bpe",
        vocab_size=N_TOKENS - 1,
        character_coverage=1.0,
        byte_fallback=True,
        split_digits=True,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        user_defined_symbols=["\n"],
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        num_threads=2,
        minloglevel=2,
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.model").write_bytes(model.getvalue())
    idle = N_TOKENS - 1
    (folder / "added_tokens.json").write_text(json.dumps({"<idle>": idle}) + "\n")
    config = {
        "tokenizer_class": "LlamaTokenizer",
        "add_bos_token": True,
        "add_eos_token": False,
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "legacy": True,
        "sp_model_kwargs": {},
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
