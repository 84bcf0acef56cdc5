"""Documents show texts as they are, are whole by themselves, and can be heard."""

import html.parser
import re
import subprocess
import sys

import markdown
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from ssr_plugin.evaluation.report.clips import make_clip
from ssr_plugin.evaluation.report.document import (
    Code,
    ConditionName,
    Heading,
    Paragraph,
    Picture,
    Sound,
    Table,
    to_html,
    to_markdown,
)
from ssr_plugin.metrics.colours import condition_colour
from ssr_plugin.metrics.pictures import draw_similarity

import runs

NASTY = [
    "<script>alert(1)</script>",
    "a | b",
    "</td></pre><img src=x onerror=alert(1)>",
    "![x](javascript:alert(1))",
    "[x](http://example.org)",
    "```\n<b>out</b>\n```",
    "# not a heading",
    "1. not a list",
    "`code` *bold* _slanted_ __bold__",
    "two\n\nparagraphs",
    "&lt;script&gt; & {{ 7 * 7 }} {% raw %}",
    "quotes \" and ' and \\ and \\|",
]


class Reader(html.parser.HTMLParser):
    """Tags, and the text of those that are asked for."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.open, self.texts = set(), [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag in ("p", "td", "th", "pre", "h1", "h2", "h3"):
            self.open.append(tag)
            self.texts.append("")

    def handle_endtag(self, tag):
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_data(self, data):
        if self.open:
            self.texts[-1] += data


def document(text):
    return [
        Heading(text, 2),
        Paragraph(text),
        Code(text),
        Table(["head", text], [[1, text], [text, 2]]),
    ]


def flat(text):
    return " ".join(text.split())


OURS = set(Reader(to_html(document("x"), "x")).tags)


@pytest.mark.parametrize("text", NASTY)
def test_a_page_shows_every_text_and_obeys_none(text):
    page = Reader(to_html(document(text), text))
    assert page.tags == OURS
    assert [flat(x) for x in page.texts].count(flat(text)) == 6


@pytest.mark.parametrize("text", NASTY)
def test_rendered_markdown_shows_every_text_and_obeys_none(text):
    written = to_markdown(document(text), ".")
    page = Reader(markdown.markdown(written, extensions=["tables", "fenced_code"]))
    assert page.tags <= OURS | {"code", "tbody", "thead"}
    assert [flat(x) for x in page.texts].count(flat(text)) == 6


@given(st.text(alphabet="<>|&`*_[]()#!\\ \n-1.ax;", max_size=30))
def test_no_text_breaks_a_table_or_opens_a_tag(text):
    table = Table(["head", "other"], [[text, text]])
    written = to_markdown([table], ".")
    assert len(written.splitlines()) == 3
    assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", written.splitlines()[2])) == 3
    assert "<" not in written
    page = Reader(markdown.markdown(written, extensions=["tables"]))
    assert page.tags == {"table", "thead", "tbody", "tr", "th", "td"}


def test_a_condition_has_its_colour_on_the_page_and_its_name_in_markdown():
    table = Table([ConditionName("forced"), "forced"], [])
    page = to_html([table], "x")
    assert page.count(f"background: {condition_colour('forced')}") == 1
    assert to_markdown([table], ".").startswith("| forced | forced |\n")


def test_a_page_fits_dark_rooms_phones_and_paper():
    page = to_html([Heading("x")], "x")
    assert "prefers-color-scheme: dark" in page and "color-scheme: light dark" in page
    assert '<meta name="viewport" content="width=device-width' in page
    assert "@media print" in page


def test_a_page_has_no_script_and_lets_none_run(tmp_path):
    draw_similarity(tmp_path / "a b.png", torch.eye(2), torch.eye(2), ["a", "b"])
    blocks = [Heading("x", 1), Picture(tmp_path / "a b.png", "a map")]
    page = to_html(blocks, "x")
    assert "default-src 'none'" in page and "<script" not in page
    assert 'src="data:image/png;base64,' in page and str(tmp_path) not in page
    assert "![a map](a%20b.png)" in to_markdown(blocks, tmp_path)


def test_a_long_page_has_a_table_of_contents():
    blocks = [Heading("All", 1), *(Heading(f"part {i}") for i in range(4))]
    page = to_html(blocks, "x")
    for target, text in re.findall(r'<li><a href="#([^"]*)">([^<]*)</a>', page):
        assert f'<h2 id="{target}">{text}</h2>' in page
    assert page.count("<li>") == 4
    assert "<nav" not in to_html(blocks[:3], "x")


def tone(path, seconds, rate=22050):
    samples = 0.3 * torch.sin(torch.arange(round(seconds * rate)) * 0.05)
    soundfile.write(path, samples.numpy(), rate)
    return str(path)


def test_recordings_are_embedded_until_the_page_is_too_large(tmp_path):
    paths = [tone(tmp_path / f"{i}.wav", 1.0) for i in range(3)]
    size = len(make_clip(paths[0])[0])
    page = to_html([Sound(p, "heard") for p in paths], "x", most_sound=2 * size)
    assert page.count("<audio controls") == 2 and page.count("data:audio/") == 2
    assert f"which would grow too large: {paths[2]}" in page
    assert paths[0] not in page


def test_a_recording_is_played_as_far_as_it_was_heard(tmp_path):
    path = tone(tmp_path / "long.wav", 40.0)
    lengths = {}
    for seconds in (None, 2.0):
        data, _, cut = make_clip(path, seconds)
        (tmp_path / "clip.mp3").write_bytes(data)
        lengths[seconds] = soundfile.info(tmp_path / "clip.mp3").duration, cut
    assert lengths[None] == (pytest.approx(30.0, abs=0.2), True)
    assert lengths[2.0] == (pytest.approx(2.0, abs=0.2), False)
    assert "the first 30 s" in to_html([Sound(path, "heard")], "x")


def test_a_recording_that_is_gone_is_told_on_the_page(tmp_path):
    page = to_html([Sound(str(tmp_path / "no.wav"), "heard")], "x")
    assert "<audio" not in page and "there is no audio file" in page


def test_the_template_is_part_of_the_package_that_is_installed(tmp_path):
    subprocess.run(
        [sys.executable, "setup.py", "build_py", "--build-lib", str(tmp_path)],
        cwd=runs.PROJECT,
        check=True,
        capture_output=True,
    )
    (built,) = tmp_path.rglob("*.jinja")
    (source,) = (runs.PROJECT / "ssr_plugin").rglob("*.jinja")
    assert built.relative_to(tmp_path) == source.relative_to(runs.PROJECT)
