"""HTML of what the page shows. Pure; every word of a user or a model is escaped."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping

from duplex_local.events import Floor
from ui.view import Mark, Row, View

__all__ = ["about", "figures", "patch", "row_html", "to_json"]

REAL_MODEL_HINT = (
    "How to get the real model: <code>make convert</code> (downloads 5.5 GB), "
    '<code>make run ARGS="--model models/MiniCPM-duplex-Q4_K_M.gguf"</code>.'
)


def escape(text: str) -> str:
    """`text` for HTML, such that the element's textContent is exactly `text`."""
    # Parsing HTML turns a bare carriage return into a line feed.
    return html.escape(text).replace("\r", "&#13;")


def minutes(seconds: float) -> str:
    """A point in time: 0:28, 12:05."""
    whole = int(seconds)
    return f"{whole // 60}:{whole % 60:02d}"


def duration(seconds: float) -> str:
    """A length of time: 14 s, 3 min."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def row_html(row: Row) -> str:
    """One row: what the user said, when, what the model said; and the lines after it."""
    if row.quiet_s is not None:
        return f'<div class="line quiet">quiet for {duration(row.quiet_s)}</div>'
    shown = row.slice
    end = shown.end.value if shown.end else ""
    names = ["row", "has-user" * bool(shown.user), "has-reply" * bool(shown.reply)]
    # A ribbon breaks after a cut; after `</s>` only if the next slice begins with the user.
    names += ["open" * row.is_open, "ended" * (end == "eos")]
    names += ["over" * (end == "cut" or bool(row.marks))]
    pause = f'<div class="line quiet">quiet for {duration(row.pause_s)}</div>' * bool(row.pause_s)
    where = f'data-slice="{shown.index}" data-epoch="{shown.epoch}" data-end="{end}"'
    return (
        f'{pause}<div class="{" ".join(filter(None, names))}">'
        f'<div class="user" data-slice="{shown.index}">{speech(shown.user)}</div>'
        f'<div class="time">{minutes(row.at_s)}</div>'
        f'<div class="reply" {where}>{speech(shown.reply)}</div></div>'
        + "".join(map(mark_html, row.marks))
    )


def speech(text: str) -> str:
    """What was said. A space at its start is there, but moves nothing: rows begin at one edge."""
    rest = text.lstrip(" ")
    spaces = text[: len(text) - len(rest)]
    return (f'<span class="lead">{spaces}</span>' if spaces and rest else spaces) + escape(rest)


def mark_html(mark: Mark) -> str:
    kind = "warning" if mark.is_warning else "note"
    return f'<div class="line {kind}">{escape(mark.text)}</div>'


def announcement(row: Row) -> str:
    """What a screen reader says when the slice is over; nothing before."""
    return "" if row.is_open or row.quiet_s is not None else row.slice.reply.strip()


def figures(view: View, n_ctx: int) -> str:
    """The line under the box. Figures that are not known yet show a dash."""
    stats = view.stats
    share = stats.total_s / view.clock.slice_s if stats else None
    width = min(share or 0.0, 1.0) * 100
    late = " late" if share and share > 1 else ""
    shown = [
        f'keeps up <span class="meter{late}"><i style="width:{width:.0f}%"></i></span> '
        f"<b>{_number(share, 100, ' %')}</b> of the slice",
        f"first words <b>{_number(view.first_words_s, 1, ' s', 2)}</b>",
        f"<b>{_number(view.tokens_per_s)}</b> tokens/s",
        f"context <b>{_number(stats.n_past if stats else None)}</b> / {n_ctx:,}",
    ]
    return "".join(f"<span>{figure}</span>" for figure in shown)


def _number(value: float | None, scale: float = 1, unit: str = "", digits: int = 0) -> str:
    return "–" if value is None else f"{value * scale:,.{digits}f}{unit}"


def about(name: str, quant: str, backend: str, description: str) -> dict[str, str]:
    """What never changes: the model's badge, and the notice of a model that says what it is."""
    badge = " · ".join(part for part in (name, quant, backend) if part)
    notice = f"{escape(description)} {REAL_MODEL_HINT}" if description else ""
    return {"badge": escape(badge), "notice": notice}


def state_label(view: View) -> str:
    return "FAILED" if view.failure else view.floor.value


def patch(view: View, since: int, n_ctx: int) -> dict[str, object]:
    """All that a page of version `since` needs to be as `view`; -1 for a new page."""
    rows = []
    for index in view.changed_rows(since):
        row = view.row(index)
        rows.append([index, row_html(row) if row else "", announcement(row) if row else ""])
    return {
        "version": view.version,
        "since": since,
        "reset": view.n_resets,
        "rows": rows,
        "state": "failed" if view.failure else view.floor.value,
        "label": state_label(view),
        "failure": view.failure,
        "tick": [view.clock.n_ticks, view.clock.slice_s, view.floor is not Floor.IDLE],
        "figures": figures(view, n_ctx),
        "taken": [view.n_taken, view.taken_tail],
        "said": view.said,
        "refused": [view.n_refused, view.refusal],
        "heard": view.n_heard,
    }


def to_json(patch: Mapping[str, object]) -> str:
    """`patch` as JSON in which no HTML tag can be seen: Gradio warns about script tags."""
    return json.dumps(patch, ensure_ascii=False).replace("<", "\\u003c")
