"""The real page in a real browser, with a fake engine behind it."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytest.importorskip("gradio")

from duplex_local.config import SessionConfig
from tests.ui.fake_engine import FakeConversation, FakeEngine


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="session")
def engine():
    return FakeEngine()


@pytest.fixture(scope="session")
def url(engine):
    from ui.app import build, launch_options

    async def start():
        page = build(engine, SessionConfig())
        return page, page.launch(**launch_options("127.0.0.1", free_port()))[1]

    # Where no loop is running, Gradio makes one for every lock and leaves it unclosed. In a
    # thread of its own, because Playwright runs a loop in this one.
    with ThreadPoolExecutor(1) as thread:
        page, address = thread.submit(lambda: asyncio.run(start())).result()
    yield address
    page.close(verbose=False)


@pytest.fixture(scope="session")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    from benchmarks.page import BROWSER_ARGS, find_chromium

    chromium = find_chromium()
    with sync_api.sync_playwright() as playwright:
        if chromium is None and not Path(playwright.chromium.executable_path).exists():
            pytest.skip("no Chromium: install the system's, or run `playwright install chromium`")
        browser = playwright.chromium.launch(executable_path=chromium, args=BROWSER_ARGS)
        yield browser
        browser.close()


class Tab:
    """A page and the conversation behind it."""

    def __init__(self, page, conversation: FakeConversation) -> None:
        self.page = page
        self.conversation = conversation
        self.box = page.locator("#conversation textarea")

    def replies(self) -> list[str]:
        return self.page.locator(".has-reply .reply").evaluate_all(
            "all => all.map(one => one.textContent)"
        )


@pytest.fixture
def open_tab(browser, engine, url):
    """Open tabs; all are closed, and their conversations with them, after the test."""
    contexts = []

    def open_one(context=None, **options) -> Tab:
        if context is None:
            context = browser.new_context(**options)
            contexts.append(context)
        n_before = len(engine.opened)
        page = context.new_page()
        page.goto(url)
        page.locator('.state:not([data-state="connecting"])').wait_for()
        assert len(engine.opened) == n_before + 1
        return Tab(page, engine.opened[-1])

    yield open_one
    for context in contexts:
        context.close()
    engine.wait_for_open(0)


@pytest.fixture
def tab(open_tab):
    return open_tab()
