"""How fast an interruption takes effect on the real page, in a real browser, with a real model.

Each round asks a question, waits until the answer is being written, and presses a key. Measured
inside the page: from the key press to the last character of the old answer that appeared. After
every round the text on the page is compared with the engine's memory, character for character,
and a new request must be answered.

    python -m benchmarks.page --model models/demo-Q8_0.gguf

Needs Chromium or Chrome on this machine.
"""

from __future__ import annotations

import argparse
import math
import shutil
import socket
import statistics
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

from benchmarks.report import write_json
from duplex_local.config import DEFAULT_MODEL, EngineConfig, SamplingConfig, SessionConfig
from duplex_local.engine import Conversation, Engine
from duplex_local.errors import BackendError, exit_with_one_line

__all__ = ["Result", "agree", "find_chromium", "main", "measure", "page_text"]

QUESTION = "tell me about mars"
NEXT = "how do I make pancakes?"
SLICE_S = 1.0
BROWSERS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
# Without these Chromium looks up hosts of its maker; --no-sandbox lets root start it.
BROWSER_ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# Notes, inside the page, when a key was pressed and when reply text last changed.
WATCH = """() => {
  window.seen = { key: 0, text: '', changed: 0 };
  const texts = () => [...document.querySelectorAll('.reply')].map((r) => r.textContent).join('');
  new MutationObserver(() => {
    const now = texts();
    if (now !== seen.text) { seen.text = now; seen.changed = performance.now(); }
  }).observe(document.querySelector('.rows'), { childList: true, subtree: true });
  document.addEventListener('keydown', () => { seen.key = performance.now(); }, true);
}"""
ROWS = """() => [...document.querySelectorAll('.row')].map((row) => [
  Number(row.querySelector('.reply').dataset.slice),
  row.querySelector('.user').textContent,
  row.querySelector('.reply').textContent,
])"""


@dataclass
class Result:
    """stop_ms: per round, from the key press to the last old character; 0 when none came."""

    stop_ms: list[float] = field(default_factory=list)
    n_unequal: int = 0  # rounds after which page and memory differed
    n_unanswered: int = 0  # new requests without an answer within three slices
    requests_outside: list[str] = field(default_factory=list)

    def p(self, share: float) -> float:
        """The smallest value that `share` of the rounds do not exceed."""
        return sorted(self.stop_ms)[math.ceil(share * len(self.stop_ms)) - 1]


class _Watched:
    """The engine, which also remembers the conversation of the tab."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.opened = threading.Event()
        self.conversation: Conversation | None = None

    @property
    def info(self) -> Any:
        return self._engine.info

    def open(self, config: SessionConfig) -> Conversation:
        self.conversation = self._engine.open(config)
        self.opened.set()
        return self.conversation


def find_chromium() -> str | None:
    """The browser on this machine, None when there is none."""
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


def page_text(page: Page) -> dict[int, tuple[str, str]]:
    """User and reply text per slice as the page shows them, silent slices left out."""
    return {index: (user, reply) for index, user, reply in page.evaluate(ROWS) if user or reply}


def memory_text(conversation: Conversation) -> dict[int, tuple[str, str]]:
    """The same of the model's memory."""
    rows = {pair.index: (pair.user or "", pair.reply) for pair in conversation.history()}
    return {index: row for index, row in rows.items() if any(row)}


def agree(page: dict[int, tuple[str, str]], memory: dict[int, tuple[str, str]]) -> bool:
    """True when both hold the same text. The page may show more in one place only: what slid out
    of a full context, between the first slice and the second one that is remembered."""
    remembered = sorted(memory)
    slid = range(remembered[0] + 1, remembered[1]) if len(remembered) > 1 else range(0)
    return memory == {index: row for index, row in page.items() if index not in slid}


def _round(page: Page, conversation: Conversation, result: Result) -> None:
    """Ask, interrupt with a key, compare, ask something else, silence it."""
    before = len(page.evaluate("seen.text"))
    page.keyboard.type(QUESTION)
    page.keyboard.press("Enter")
    page.wait_for_function(f"seen.text.length > {before}")
    page.keyboard.press("w")
    page.wait_for_timeout(400)
    changed, key = page.evaluate("[seen.changed, seen.key]")
    result.stop_ms.append(max(0.0, changed - key))
    result.n_unequal += not agree(page_text(page), memory_text(conversation))
    last = max(page_text(page))
    page.keyboard.press("Backspace")
    page.keyboard.type(NEXT)
    page.keyboard.press("Enter")
    page.wait_for_timeout(3 * SLICE_S * 1000)
    answers = [reply for index, (_, reply) in page_text(page).items() if index > last]
    result.n_unanswered += not any(answers)
    page.keyboard.press("Escape")
    page.wait_for_timeout(300)
    result.n_unequal += not agree(page_text(page), memory_text(conversation))


def measure(engine: Engine, n_rounds: int) -> Result:
    """Play `n_rounds` on a page of `engine`."""
    from ui.app import build, launch_options

    chromium = find_chromium()
    if chromium is None:
        raise BackendError(
            "No Chromium or Chrome was found. Install one, e.g. apt install chromium."
        )
    result, watched = Result(), _Watched(engine)
    config = SessionConfig(slice_s=SLICE_S, sampling=SamplingConfig(temperature=0.0))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    blocks = build(watched, config)
    _, url, _ = blocks.launch(**launch_options("127.0.0.1", port))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=BROWSER_ARGS)
        page = browser.new_page()
        page.on("request", lambda request: _note_outside(request.url, url, result))
        page.goto(url)
        page.locator('.state[data-state="idle"]').wait_for()
        watched.opened.wait(10)
        page.evaluate(WATCH)
        assert watched.conversation is not None
        for _ in range(n_rounds):
            _round(page, watched.conversation, result)
        browser.close()
    blocks.close(verbose=False)
    return result


def _note_outside(address: str, home: str, result: Result) -> None:
    if not address.startswith((home, "data:", "blob:")):
        result.requests_outside.append(address)


@exit_with_one_line
def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL, metavar="GGUF")
    parser.add_argument("--rounds", type=int, default=20, metavar="N")
    parser.add_argument("--json", metavar="FILE", help="write the result as JSON; - for stdout")
    options = parser.parse_args(argv)
    with Engine(EngineConfig(model=options.model)) as engine:
        result = measure(engine, max(1, options.rounds))
    median = statistics.median(result.stop_ms)
    print(
        f"{len(result.stop_ms)} interruptions: last old character after {median:.0f} ms (median), "
        f"{result.p(0.95):.0f} ms (p95), {max(result.stop_ms):.0f} ms (worst)\n"
        f"page and memory differed {result.n_unequal} times; {result.n_unanswered} new requests "
        f"were not answered; {len(result.requests_outside)} requests left this machine"
    )
    write_json(
        {
            "stop_ms": result.stop_ms,
            "stop_ms_p95": result.p(0.95),
            "n_unequal": result.n_unequal,
            "n_unanswered": result.n_unanswered,
            "requests_outside": result.requests_outside,
        },
        options.json,
    )
    return 1 if result.n_unequal or result.requests_outside else 0


if __name__ == "__main__":
    sys.exit(main())
