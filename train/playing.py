"""Conversations with a model, many side by side, greedy: a batch of prompts at a time."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass

import torch

from duplex_local.events import ReplyEnd
from duplex_local.protocol import History
from duplex_local.tokenizer import Tokenizer
from train.model import Cache, MiniCPM
from train.transcript import BUDGET

__all__ = ["Checks", "Seat", "Talk", "play"]

Checks = dict[str, list[bool]]
Talk = Generator[str | None, str, Checks]


@dataclass
class Seat:
    """One conversation that is being played."""

    talk: Talk
    history: History
    checks: Checks | None = None
    lines: tuple[tuple[str, str], ...] = ()
    heard: str | None = None


@torch.no_grad()
def sample(model: MiniCPM, tokenizer: Tokenizer, prompts: list[list[int]]) -> list[list[int]]:
    """Greedy continuations of `prompts`, up to the stop token (included) or the budget."""
    device = next(model.parameters()).device
    longest = max(map(len, prompts))
    ids = torch.zeros(len(prompts), longest, dtype=torch.long, device=device)
    for row, prompt in enumerate(prompts):
        ids[row, : len(prompt)] = torch.tensor(prompt)
    positions = torch.arange(longest, device=device).expand(len(prompts), -1)
    at = torch.tensor([len(prompt) for prompt in prompts], device=device)
    cache = Cache(longest + BUDGET)
    # Padding behind a short prompt is never seen: new tokens overwrite it before they look.
    everyone = torch.arange(len(prompts), device=device)
    hidden = model(ids, positions, cache=cache)[everyone, at - 1]
    sampled: list[list[int]] = [[] for _ in prompts]
    stops = (tokenizer.eos, tokenizer.idle)
    for _ in range(BUDGET):
        token = model.logits(hidden).argmax(-1)
        for found, new in zip(sampled, token.tolist(), strict=True):
            if not found or found[-1] not in stops:
                found.append(new)
        if all(found[-1] in stops for found in sampled):
            break
        hidden = model(token[:, None], at[:, None], cache=cache)[:, 0]
        at = at + 1
    return sampled


def play(model: MiniCPM, tokenizer: Tokenizer, talks: Iterable[Talk], batch: int) -> list[Seat]:
    """Play all conversations to their end."""
    waiting = [Seat(talk, History(tokenizer)) for talk in talks]
    seats, ended = list(waiting), []
    for seat in seats:
        seat.heard = next(seat.talk)
    room = model.config.max_position_embeddings - BUDGET
    while seats:
        running = [seat for seat in seats if seat.history.hear(seat.heard)]
        for seat in running:
            if len(seat.history.ids()) > room:
                seat.history.drop_oldest(room // 2)
        replies: dict[int, str] = {}
        running.sort(key=lambda seat: len(seat.history.ids()))
        for start in range(0, len(running), batch):
            part = running[start : start + batch]
            found = sample(model, tokenizer, [seat.history.ids() for seat in part])
            for seat, tokens in zip(part, found, strict=True):
                replies[id(seat)] = _close(seat.history, tokenizer, tokens)
        for seat in list(seats):
            reply = replies.get(id(seat), "")
            seat.lines += ((seat.heard or "", reply),)
            try:
                seat.heard = seat.talk.send(reply)
            except StopIteration as stop:
                seat.checks = stop.value
                seats.remove(seat)
                ended.append(seat)
    return ended


def _close(history: History, tokenizer: Tokenizer, tokens: list[int]) -> str:
    ends = {tokenizer.idle: ReplyEnd.IDLE, tokenizer.eos: ReplyEnd.EOS}
    end = ends.get(tokens[-1], ReplyEnd.BUDGET)
    said = tokens[:-1] if end is not ReplyEnd.BUDGET else tokens
    text = tokenizer.decode(said)
    history.answer(text, end, len(tokens))
    return text
