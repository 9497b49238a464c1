"""Two tabs with a real model: each sees its own words and nothing else."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from duplex_local.config import EngineConfig, SamplingConfig, SessionConfig
from duplex_local.engine import Engine
from tests.ui.conftest import free_port

SAID = "[...document.querySelectorAll('.has-user .user')].map(one => one.textContent).join(' ')"


@pytest.fixture
def real_url(tiny_gguf):
    from ui.app import build, launch_options

    with Engine(EngineConfig(model=tiny_gguf, n_ctx=512, n_sessions=2)) as engine:

        async def start():
            sampling = SamplingConfig(seed=1, talkativeness=20)  # a random model that speaks
            page = build(engine, SessionConfig(slice_s=0.5, sampling=sampling))
            return page, page.launch(**launch_options("127.0.0.1", free_port()))[1]

        with ThreadPoolExecutor(1) as thread:
            page, address = thread.submit(lambda: asyncio.run(start())).result()
        yield address
        page.close(verbose=False)


def test_two_tabs_do_not_see_each_others_words(browser, real_url):
    tabs = []
    for words in ("hello from the first", "greetings from the second"):
        page = browser.new_context().new_page()
        page.goto(real_url)
        page.locator('.state:not([data-state="connecting"])').wait_for()
        page.locator("textarea").first.fill(words)
        page.keyboard.press("Enter")
        tabs.append((page, words))
    for page, words in tabs:
        # A slice border may fall between typing and Enter: the words are then in two rows.
        page.wait_for_function(f"{SAID} === {words!r}")
        page.locator(".has-reply").first.wait_for()
    for page, words in tabs:
        assert page.evaluate(SAID) == words
        page.keyboard.press("Escape")
        page.context.close()
