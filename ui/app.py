"""The Gradio page: one custom component for the conversation, plain Gradio for the settings."""

from __future__ import annotations

import html
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Gradio reads these when it is imported. It calls home by default, and computes statistics of
# its queue, with pandas, whenever a tab is closed.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["GRADIO_ANALYTICS_CACHE_FREQUENCY"] = "1000000000"

import gradio as gr
from starlette.middleware import Middleware

from duplex_local.config import SessionConfig
from duplex_local.errors import DuplexError
from ui.guard import Guard
from ui.tabs import Engine, Tabs

__all__ = ["build", "launch_options"]

_HERE = Path(__file__).parent

# Label, name in the configuration, hint. An empty field is None.
_SETTINGS = (
    ("Slice length, s", "slice_s", "0.2 to 30; the model was trained with 2"),
    ("Token budget", "max_tokens_per_slice", "1 to 64 tokens in a slice"),
    ("Temperature", "temperature", "0 always takes the likeliest word"),
    ("Top-p", "top_p", "0.01 to 1"),
    ("Seed", "seed", "empty draws a new one"),
    ("Talkativeness", "talkativeness", "above 0 the model speaks sooner"),
)
_SAMPLING = ("temperature", "top_p", "seed", "talkativeness")


def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def build(engine: Engine, config: SessionConfig) -> gr.Blocks:
    """The page of `engine`; every tab gets a conversation with `config`."""
    tabs = Tabs(engine, config)
    with gr.Blocks(title="duplex-local", analytics_enabled=False) as page:
        # The template is a constant. Gradio evaluates templates as JavaScript, so no text of a
        # user or a model may ever be part of one; page.js takes it from the value, as data.
        conversation = gr.HTML(
            value="",
            html_template=_read("page.html"),
            js_on_load=_read("box.js") + _read("page.js"),
            apply_default_css=False,
            elem_id="conversation",
        )
        _settings(tabs, config)
        _connect(page, conversation, tabs)
    return page


def _connect(page: gr.Blocks, conversation: gr.HTML, tabs: Tabs) -> None:
    def stream(request: gr.Request) -> Iterator[str]:
        yield from tabs.stream(_tab_of(request))

    # No limit: every tab has a stream for as long as it is open.
    page.load(
        stream,
        outputs=conversation,
        show_progress="hidden",
        concurrency_limit=None,
        api_visibility="private",
    )

    def typed(request: gr.Request, event: gr.EventData) -> None:
        tabs.typed(_tab_of(request), event._data)

    def sent(request: gr.Request, event: gr.EventData) -> None:
        tabs.sent(_tab_of(request), event._data)

    def stopped(request: gr.Request) -> None:
        tabs.stopped(_tab_of(request))

    def renewed(request: gr.Request) -> None:
        tabs.renewed(_tab_of(request))

    def behind(request: gr.Request) -> None:
        tabs.behind(_tab_of(request))

    for handler in (typed, sent, stopped, renewed, behind):
        listen = getattr(conversation, handler.__name__)
        # "multiple": by default Gradio drops an event while the one before is under way.
        listen(
            handler,
            queue=False,
            trigger_mode="multiple",
            show_progress="hidden",
            api_visibility="private",
        )


def _settings(tabs: Tabs, config: SessionConfig) -> None:
    # Shown and hidden by the gear of page.html.
    with gr.Column(elem_id="settings"):
        fields = []
        for label, name, hint in _SETTINGS:
            home = config.sampling if name in _SAMPLING else config
            value = getattr(home, name)
            # Only text can be empty: a number field that holds nothing shows, and sends, 0.
            kind, shown = (gr.Textbox, "") if value is None else (gr.Number, value)
            fields.append(kind(shown, label=label, info=hint, elem_id=f"set-{name}"))
        button = gr.Button("Apply", elem_id="apply")
        outcome = gr.HTML("", elem_id="outcome", js_on_load=None, html_template="<p>${value}</p>")

    def apply(request: gr.Request, *values: float | str | None) -> str:
        try:
            tabs.configure(_tab_of(request), _changes(values))
        except DuplexError as error:
            return f'<span class="refused" role="alert">{html.escape(str(error))}</span>'
        return "Applied from the next slice on."

    gr.on(
        [button.click, *(field.submit for field in fields)],
        apply,
        inputs=fields,
        outputs=outcome,
        queue=False,
        show_progress="hidden",
        api_visibility="private",
    )


def _changes(values: tuple[float | str | None, ...]) -> dict[str, Any]:
    changes: dict[str, Any] = {"sampling": {}}
    for (_, name, _), value in zip(_SETTINGS, values, strict=True):
        # A number field yields 15.0 for 15, and the settings tell whole numbers from others.
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, str):
            # What is no number is left for the settings to refuse, in their words.
            text = value.strip()
            value = int(text) if text.isdecimal() else text or None
        (changes["sampling"] if name in _SAMPLING else changes)[name] = value
    return changes


def _tab_of(request: gr.Request) -> str:
    return request.session_hash or ""


def launch_options(host: str, port: int) -> dict[str, Any]:
    """Options of `Blocks.launch`: local, quiet, no API page, nothing from outside."""
    font = ["system-ui", "-apple-system", "Segoe UI", "sans-serif"]
    return {
        "server_name": host,
        "server_port": port,
        "share": False,
        "quiet": True,
        "prevent_thread_lock": True,
        "footer_links": [],
        "run_history": False,
        "ssr_mode": False,
        "mcp_server": False,
        "pwa": False,
        "enable_monitoring": False,
        "theme": gr.themes.Base(font=font, font_mono=["ui-monospace", "monospace"]),
        # Not `css`: Gradio rewrites that, and loses what it does not know (`:root` in `@media`).
        "head": f"<style>{_read('page.css')}</style>",
        "app_kwargs": {
            "middleware": [Middleware(Guard, bound_to=host)],
            "docs_url": None,
            "redoc_url": None,
            "openapi_url": None,
        },
    }
