"""HTML of rows and figures: exact text, nothing of it taken for markup."""

from __future__ import annotations

import html.parser
import json

from duplex_local.events import Failed, ReplyEnd, SliceChanged, SliceStats
from ui import render
from ui.view import Mark, Row, View

NASTY = "</s><idle><script>alert('1')</script> &amp; \"${x}\" `{{y}}`\r\n\t  two  spaces"


class Texts(html.parser.HTMLParser):
    """Text of the elements with a class, and all tags that were seen."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.texts: dict[str, str] = {}
        self._open = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self._open = (dict(attributes).get("class") or "").split(" ")[0]

    def handle_endtag(self, tag):
        self._open = ""

    def handle_data(self, data):
        if self._open:
            self.texts[self._open] = self.texts.get(self._open, "") + data


def row(user="", reply="", end=ReplyEnd.EOS, **more) -> Row:
    return Row(8.0, SliceChanged(3, 8.0, 4, user, reply, end), **more)


def test_every_text_is_escaped_and_exact():
    seen = Texts(render.row_html(row(NASTY, NASTY, marks=(Mark(NASTY),))))
    assert seen.tags == {"div"}
    assert seen.texts == {"user": NASTY, "time": "0:08", "reply": NASTY, "line": NASTY}


def test_the_reply_says_which_slice_it_is():
    assert 'class="reply" data-slice="4" data-epoch="3" data-end="eos">Hi<' in render.row_html(
        row(reply="Hi")
    )
    assert 'data-end="">' in render.row_html(row(reply="Hi", end=None))


def test_a_space_at_the_start_is_kept_but_takes_no_room():
    assert '<span class="lead"> </span>giant</div>' in render.row_html(row(reply=" giant"))
    assert '"eos">  </div>' in render.row_html(row(reply="  "))


def test_silence_says_how_long():
    assert "quiet for 14 s" in render.row_html(row(quiet_s=14.2))
    assert "quiet for 5 min" in render.row_html(row(quiet_s=300.0))
    assert "quiet for 4 s" in render.row_html(row("hi", pause_s=4.0))


def test_a_slice_is_announced_when_it_is_closed_and_not_before():
    assert render.announcement(row(reply=" Hi", end=None)) == ""
    assert render.announcement(row(reply=" Hi")) == "Hi"
    assert render.announcement(row(quiet_s=4.0)) == ""


def test_figures_before_anything_was_measured_are_dashes():
    seen = render.figures(View(), 2048)
    assert seen.count("–") == 4
    assert "/ 2,048" in seen


def test_figures():
    view = View()
    stats = SliceStats(n_prefill=5, n_decode=11, ttft_s=0.21, total_s=0.36, n_past=1312)
    view.apply(SliceChanged(0, 2.0, 0, "hi", "Hello", ReplyEnd.EOS, stats))
    seen = render.figures(view, 2048)
    for figure in ("18 %", "0.21 s", "67</b> tokens/s", "1,312"):
        assert figure in seen
    assert "late" not in seen


def test_a_late_slice_is_marked():
    view = View()
    stats = SliceStats(n_prefill=5, n_decode=11, ttft_s=0.2, total_s=3.0, n_past=10)
    view.apply(SliceChanged(0, 2.0, 0, "hi", "Hello", ReplyEnd.EOS, stats))
    assert "late" in render.figures(view, 2048)
    assert "150 %" in render.figures(view, 2048)


def test_a_patch_for_a_page_that_knows_all_has_no_rows():
    view = View()
    view.apply(SliceChanged(0, 2.0, 0, "hi", "Hello", ReplyEnd.EOS))
    assert len(render.patch(view, -1, 2048)["rows"]) == 1
    assert render.patch(view, view.version, 2048)["rows"] == []


def test_a_failure_is_the_state():
    view = View()
    view.apply(Failed(0, 1.0, "Out of memory."))
    patch = render.patch(view, -1, 2048)
    assert (patch["label"], patch["failure"]) == ("FAILED", "Out of memory.")


def test_json_hides_tags_and_keeps_text():
    text = render.to_json({"taken": NASTY})
    assert "<" not in text
    assert json.loads(text) == {"taken": NASTY}


def test_the_notice_comes_only_from_a_model_that_describes_itself():
    assert render.about("real", "Q4_K_M", "Metal", "")["notice"] == ""
    told = render.about("<demo>", "Q8_0", "CPU", "A <b>demo</b>.")
    assert told["badge"] == "&lt;demo&gt; · Q8_0 · CPU"
    assert told["notice"].startswith("A &lt;b&gt;demo&lt;/b&gt;. ")
    assert "make convert" in told["notice"]
