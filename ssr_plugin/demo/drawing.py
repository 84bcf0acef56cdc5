"""What the page shows of a recording, as HTML and SVG.

The page's own colours are used for text and lines, so that it is read on white and on
black. What people or models wrote is escaped, for HTML and for the page's templates.
"""

import base64
import html
import io
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from speechbrain.utils.edit_distance import alignment, op_table

from ssr_plugin.demo.hearing import Answer, Comparison, Heard
from ssr_plugin.inference.speech import Speech
from ssr_plugin.metrics.colours import condition_colour
from ssr_plugin.metrics.pictures import centred_cosines, spread_places, token_labels
from ssr_plugin.metrics.wer import WER, plain_words, word_errors

# All in pixels.
_WIDTH = 1120  # of a timeline that fits a desk's screen
_LEAST_SCALE, _MOST_SCALE = 84.0, 360.0  # of one second
_WAVE, _STRIP, _AXIS = 96, 14, 22  # heights
_LABEL_GAP, _CHARACTER = 13.0, 6.6  # between labels; width of a letter
_LONGEST = 14  # letters of a label
_CELL = 17  # of the similarity map
_MOST_CELLS = 160  # a longer text is not labelled, but drawn all the same
_SLANT = math.radians(52)

#: For the page: all that is drawn here has the class "ssr".
STYLE = """
.ssr { font-size: 14px; line-height: 1.5; color: var(--body-text-color); }
.ssr svg { display: block; color: var(--body-text-color); }
.ssr svg text { font-family: var(--font); fill: currentColor; }
.ssr .scroll { overflow-x: auto; max-width: 100%; }
.ssr table, .ssr tr, .ssr td, .ssr th { border: none !important; }
.ssr table { border-collapse: collapse; width: 100%; margin: 0; }
.ssr td, .ssr th { text-align: left; vertical-align: top; font-weight: 400;
  padding: 6px 12px 6px 0 !important; }
.ssr tr + tr { border-top: 1px solid var(--border-color-primary) !important; }
.ssr th { opacity: 0.72; font-size: 13px; }
.ssr td:first-child { min-width: 110px; }
.ssr td.number { white-space: nowrap; font-variant-numeric: tabular-nums; }
.ssr.dim, .ssr .dim { opacity: 0.72; font-size: 13px; }
.ssr .key { display: inline-block; width: 11px; height: 11px; border-radius: 3px;
  margin-right: 6px; }
.ssr del { color: var(--error-icon-color); text-decoration: line-through; }
.ssr ins { color: var(--error-icon-color); text-decoration: underline dotted; }
.ssr .problem { border-left: 4px solid #d0342c; padding: 8px 12px;
  background: var(--background-fill-secondary); border-radius: 4px; }
.ssr .note { border-left: 4px solid #ff9d08; padding: 4px 12px; margin-top: 8px; }
.ssr .bar { display: flex; height: 10px; border-radius: 5px; overflow: hidden;
  margin: 6px 0; background: var(--border-color-primary); }
.ssr .bar span { height: 100%; }
.ssr .legend { display: flex; flex-wrap: wrap; gap: 2px 18px; }
.ssr h4 { margin: 0 0 4px; font-size: 15px; color: var(--body-text-color); }
@media (max-width: 640px) {
  .ssr th { display: none; }
  .ssr td { display: block; padding: 0 !important; }
  .ssr td:first-child { opacity: 0.72; }
  .ssr tr { display: block; padding: 6px 0; }
  .ssr td.number:not(:empty)::before { content: "WER "; }
}
"""

_PARTS = {
    "file": ("read the file", "#7b7b7b"),
    "aligner": ("align the transcript", "#10557a"),
    "front_end": ("front end", "#b8b8b8"),
    "encoder": ("encoder", "#3d8fff"),
    "segmenter": ("segmenter", "#ff9d08"),
    "connector": ("connector", "#bd4c04"),
    "lm_fusion": ("LM fusion", "#783020"),
}
_NO_ENTITY = str.maketrans({"{": "&#123;", "}": "&#125;", "$": "&#36;", "`": "&#96;"})


def escape(text: object) -> str:
    """A text that means nothing to a browser, nor to the page's templates.

    Example
    -------
    >>> escape("<b>${x} {{y}}")
    '&lt;b&gt;&#36;&#123;x&#125; &#123;&#123;y&#125;&#125;'
    """
    return html.escape(str(text)).translate(_NO_ENTITY)


def show_problem(message: object) -> str:
    """Why a recording or a question was not taken."""
    return f'<div class="ssr"><div class="problem">{escape(message)}</div></div>'


def show_heading(text: str) -> str:
    """What a part of the page is about."""
    return f'<div class="ssr"><h4>{escape(text)}</h4></div>'


def show_hint(message: str) -> str:
    """What to do where there is nothing to show yet."""
    return f'<div class="ssr dim">{escape(message)}</div>'


# --- What was read, and how long it took -------------------------------------------


def show_readings(heard: Heard) -> str:
    """What each part reads, with the errors if the transcript is known.

    Arguments
    ---------
    heard : ssr_plugin.demo.hearing.Heard

    Returns
    -------
    str
        HTML
    """
    rows = []
    forced, fused = heard.forced, heard.speeches.get(("predicted", True))
    if heard.hypothesis is not None:
        rows.append(("cascade", "segmenter's own text", heard.hypothesis))
    if heard.predicted is not None:
        rows.append(("predicted", "connector alone", heard.predicted.text))
    if fused is not None:
        rows.append(("predicted_lm_fusion", "with LM fusion", fused.text))
    if forced is not None:
        rows.append(("forced", "connector, forced segments", forced.text))
    body = "".join(_reading(heard.transcript, *row) for row in rows)
    if heard.transcript:
        body += (
            f"<tr><td>{_key('text')}transcript</td><td>{escape(heard.transcript)}</td>"
            f"<td></td></tr>"
        )
        head = "<tr><th>read by</th><th>text</th><th>WER</th></tr>"
    else:
        head = "<tr><th>read by</th><th>text</th><th></th></tr>"
    notes = "".join(f'<div class="note">{escape(note)}</div>' for note in heard.notes)
    silent = heard.predicted is not None and not len(heard.predicted)
    if silent:
        notes += '<div class="note">no speech was found in this recording</div>'
    marks = (
        '<div class="dim"><del>struck out</del>: not said; '
        "<ins>dotted</ins>: said, and missed</div>"
        if heard.transcript and rows
        else ""
    )
    return f'<div class="ssr"><table>{head}{body}</table>{marks}{notes}</div>'


def _key(condition: str) -> str:
    return f'<span class="key" style="background:{condition_colour(condition)}"></span>'


def _reading(transcript: str, condition: str, name: str, text: str) -> str:
    rate = ""
    if transcript:
        rate = f"{_wer(transcript, text):.0f} %"
        text = mark_errors(transcript, text)
    else:
        text = escape(text)
    text = text or '<span class="dim">nothing</span>'
    return (
        f"<tr><td>{_key(condition)}{name}</td><td>{text}</td>"
        f'<td class="number">{rate}</td></tr>'
    )


def _wer(reference: str, hypothesis: str) -> float:
    errors, words = word_errors(reference, hypothesis)[WER]
    return 100.0 * int(errors) / max(int(words), 1)


def mark_errors(reference: str, hypothesis: str) -> str:
    """A text with what was not said struck out, and what was missed put in, dotted.

    Arguments
    ---------
    reference, hypothesis : str

    Returns
    -------
    str
        HTML

    Example
    -------
    >>> mark_errors("The cat sat.", "the mat sat")
    'the <del>mat</del> <ins>cat</ins> sat'
    """
    said, read = plain_words(reference), plain_words(hypothesis)
    words = []
    for _, i, j in alignment(op_table(said, read)):
        same = i is not None and j is not None and said[i] == read[j]
        if same:
            words.append(escape(read[j]))
            continue
        words += [] if j is None else [f"<del>{escape(read[j])}</del>"]
        words += [] if i is None else [f"<ins>{escape(said[i])}</ins>"]
    return " ".join(words)


def show_times(heard: Heard) -> str:
    """How long each part took, as a bar.

    Arguments
    ---------
    heard : ssr_plugin.demo.hearing.Heard

    Returns
    -------
    str
        HTML
    """
    parts = {k: x for k, x in heard.parts.items() if k in _PARTS}
    total = sum(parts.values())
    # What nobody who uses the model would run: the transcript is theirs.
    listening = total - parts.get("aligner", 0.0)
    bar = "".join(
        f'<span style="width:{100 * x / max(total, 1e-9):.2f}%;'
        f'background:{_PARTS[name][1]}"></span>'
        for name, x in parts.items()
    )
    legend = "".join(
        f'<span><span class="key" style="background:{_PARTS[name][1]}"></span>'
        f"{_PARTS[name][0]} {_milliseconds(x)}</span>"
        for name, x in parts.items()
    )
    rate = heard.seconds / max(listening, 1e-9)
    times = f"{rate:.0f}" if rate >= 10 else f"{rate:.1f}"
    vectors = ""
    if heard.predicted is not None:
        count = len(heard.predicted)
        vectors = (
            f"; {count} vectors, {count / max(heard.seconds, 1e-9):.1f} a second of "
            f"speech"
        )
    return (
        f'<div class="ssr"><b>{heard.seconds:.1f} s of audio heard in '
        f"{_milliseconds(listening)}</b> ({times} times real time{vectors})"
        f'<div class="bar">{bar}</div><div class="legend dim">{legend}</div></div>'
    )


def _milliseconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 10 else f"{1000 * seconds:.0f} ms"


def show_pace(answer: Answer) -> str:
    """How long an answer took, in a line.

    Arguments
    ---------
    answer : ssr_plugin.demo.hearing.Answer

    Returns
    -------
    str
        HTML
    """
    writing = answer.seconds - answer.first_seconds
    pace = ""
    if answer.tokens > 1 and writing > 0:
        pace = f", then {(answer.tokens - 1) / writing:.0f} tokens a second"
    return (
        f'<div class="ssr dim">prompt of {answer.prompt} vectors; first token after '
        f"{_milliseconds(answer.first_seconds)}{pace}; {answer.tokens} tokens in "
        f"{_milliseconds(answer.seconds)}</div>"
    )


# --- Waveform, segments and tokens --------------------------------------------------


def show_timeline(heard: Heard, tokenizer: Any) -> str:
    """The waveform, with segments and tokens: predicted above it, forced below.

    Arguments
    ---------
    heard : ssr_plugin.demo.hearing.Heard
    tokenizer : transformers.PreTrainedTokenizerFast

    Returns
    -------
    str
        HTML
    """
    scale = min(max(_WIDTH / max(heard.seconds, 0.1), _LEAST_SCALE), _MOST_SCALE)
    width = heard.seconds * scale
    drawn: list[str] = []
    top, legend = 0.0, []
    above = _labels(heard.predicted, tokenizer, scale, width)
    below = _labels(heard.forced, tokenizer, scale, width)
    if heard.predicted is not None:
        height = _label_height(above)
        drawn.append(_lane(heard.predicted, above, scale, height, up=True))
        top += height + _STRIP
        legend.append(
            f"<span>{_key('predicted')}above: segments found in the audio alone "
            f"(predicted), and what each reads as</span>"
        )
    drawn.append(_wave(heard, scale, top))
    drawn += _borders(heard.predicted, "predicted", scale, top, top + _WAVE)
    top += _WAVE
    if heard.forced is not None:
        drawn += _borders(heard.forced, "forced", scale, top - _WAVE / 2, top)
        drawn.append(_lane(heard.forced, below, scale, top, up=False))
        top += _STRIP + _label_height(below)
        legend.append(
            f"<span>{_key('forced')}below: segments cut with the transcript (forced)"
            f"</span>"
        )
    drawn.append(_axis(heard.seconds, scale, top))
    # Slanted labels may reach over the right edge.
    spare = max((len(x[1]) for x in [*above, *below]), default=0) * _CHARACTER * 0.7
    size = f'width="{width + spare:.0f}" height="{top + _AXIS:.0f}"'
    return (
        f'<div class="ssr"><div class="scroll"><svg {size} role="img" aria-label='
        f'"waveform with segments and tokens">{"".join(drawn)}</svg></div>'
        f'<div class="legend dim">{"".join(legend)}</div></div>'
    )


# x of the label, its text, x of the segment, its width, what hovering over it tells.
_Label = tuple[float, str, float, float, str]


def _labels(
    speech: Speech | None, tokenizer: Any, scale: float, width: float
) -> list[_Label]:
    if speech is None or not len(speech):
        return []
    starts, ends = np.array(speech.starts), np.array(speech.ends)
    places = spread_places((starts + ends) / 2 * scale, _LABEL_GAP, 0.0, width)
    texts = [plain_label(x) for x in token_labels(tokenizer, speech.tokens)]
    return [
        (
            float(place),
            shorten(text),
            float(start * scale),
            float((end - start) * scale),
            f"{text}  {start:.2f} to {end:.2f} s",
        )
        for place, text, start, end in zip(places, texts, starts, ends, strict=True)
    ]


def plain_label(label: str) -> str:
    """A token as a word; a piece that goes on with the word before it has a "+".

    Example
    -------
    >>> plain_label(" speech"), plain_label("es"), plain_label(" ")
    ('speech', '+es', '␣')
    """
    if not label.strip():
        return "␣" if label.strip(" ") == "" else "⏎"
    return label.strip() if label[0].isspace() else f"+{label}"


def shorten(label: str) -> str:
    """A label that is not too long to be drawn."""
    return label if len(label) <= _LONGEST else f"{label[: _LONGEST - 1]}…"


def _label_height(labels: Sequence[_Label]) -> float:
    longest = max((len(x[1]) for x in labels), default=3)
    return longest * _CHARACTER * math.sin(_SLANT) + 20


def _lane(
    speech: Speech, labels: Sequence[_Label], scale: float, edge: float, up: bool
) -> str:
    """Segments as boxes, and their tokens slanted above or below them.

    ``edge`` is where boxes begin: under the labels, or under the waveform.
    """
    colour = condition_colour(speech.segmentation)
    out = []
    degrees = math.degrees(_SLANT)
    for i, (place, text, x, width, title) in enumerate(labels):
        middle = x + width / 2
        box_y = edge if up else edge
        if up:
            tip, base, label_y, angle = box_y, box_y - 8, box_y - 11, -degrees
        else:
            tip, base = box_y + _STRIP, box_y + _STRIP + 8
            label_y, angle = base + 9, degrees
        out.append(
            f'<g><title>{escape(title)}</title><rect x="{x:.1f}" y="{box_y:.1f}" '
            f'width="{max(width - 1, 1):.1f}" height="{_STRIP}" rx="2" fill="{colour}" '
            f'fill-opacity="{0.95 if i % 2 else 0.6}" stroke="currentColor" '
            f'stroke-opacity="0.3" stroke-width="0.7"/>'
            f'<path d="M{middle:.1f} {tip:.1f}L{place:.1f} {base:.1f}" '
            f'stroke="currentColor" stroke-opacity="0.4" fill="none"/>'
            f'<text font-size="12" transform="translate({place + 2:.1f} {label_y:.1f}) '
            f'rotate({angle:.0f})">{escape(text)}</text></g>'
        )
    return "".join(out)


def _wave(heard: Heard, scale: float, top: float) -> str:
    low, high = envelope(heard.samples, max(round(heard.seconds * scale), 1))
    middle, half = top + _WAVE / 2, _WAVE / 2 - 4
    upper = [f"{x} {middle - half * y:.1f}" for x, y in enumerate(high)]
    lower = [f"{x} {middle - half * y:.1f}" for x, y in enumerate(low)]
    points = "L".join(upper + lower[::-1])
    return (
        f'<path d="M{points}Z" fill="currentColor" fill-opacity="0.75" '
        f'stroke="currentColor" stroke-opacity="0.75" stroke-width="0.6"/>'
    )


def envelope(
    samples: npt.NDArray[np.float32], width: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """The lowest and the highest sample of each column of a picture.

    Arguments
    ---------
    samples : numpy.ndarray
        [S]
    width : int

    Returns
    -------
    low, high : numpy.ndarray
        [W], W at most ``width``; the loudest is at 1 or -1.

    Example
    -------
    >>> low, high = envelope(np.array([0.0, 0.5, -0.25, 0.0], dtype="float32"), 2)
    >>> low.tolist(), high.tolist()
    ([0.0, -0.5], [1.0, 0.0])
    """
    edges = np.unique(np.linspace(0, len(samples), width, endpoint=False).astype(int))
    samples = samples / np.float32(max(float(np.abs(samples).max(initial=0)), 1e-4))
    return np.minimum.reduceat(samples, edges), np.maximum.reduceat(samples, edges)


def _borders(
    speech: Speech | None, name: str, scale: float, top: float, bottom: float
) -> Iterable[str]:
    if speech is None:
        return
    for place in np.unique([*speech.starts, *speech.ends]) * scale:
        yield (
            f'<path d="M{place:.1f} {top:.1f}V{bottom:.1f}" '
            f'stroke="{condition_colour(name)}" stroke-width="1.2"/>'
        )


def _axis(seconds: float, scale: float, top: float) -> str:
    step = 0.5 if seconds < 4 else 1.0
    out = []
    for i in range(math.floor(seconds / step) + 1):
        x = i * step * scale
        text = f"{i * step:g} s" if i == 0 else f"{i * step:g}"
        out.append(
            f'<path d="M{x:.1f} {top + 2:.1f}v5" stroke="currentColor" '
            f'stroke-opacity="0.6"/><text x="{x + 3:.1f}" y="{top + 16:.1f}" '
            f'font-size="11" fill-opacity="0.75">{text}</text>'
        )
    return "".join(out)


# --- How alike vectors and tokens are ------------------------------------------------


def show_similarity(comparison: Comparison | None, tokenizer: Any) -> str:
    """A map of the cosines between vectors of speech and embeddings of text.

    Arguments
    ---------
    comparison : ssr_plugin.demo.hearing.Comparison or None
    tokenizer : transformers.PreTrainedTokenizerFast

    Returns
    -------
    str
        HTML
    """
    if comparison is None:
        return show_hint("nothing to compare: no speech, or no text for it")
    cosines = centred_cosines(comparison.vectors, comparison.embeddings).numpy()
    rows = [plain_label(x) for x in token_labels(tokenizer, comparison.read)]
    columns = [plain_label(x) for x in token_labels(tokenizer, comparison.tokens)]
    many = max(len(rows), len(columns)) > _MOST_CELLS
    cell = 4 if many else _CELL
    left = 8 if many else max(map(len, map(shorten, rows))) * _CHARACTER + 12
    longest = max(map(len, map(shorten, columns)))
    top = 8 if many else longest * _CHARACTER * math.sin(_SLANT) + 18
    width, height = cell * len(columns), cell * len(rows)
    out = [
        f'<image x="{left:.0f}" y="{top:.0f}" width="{width}" height="{height}" '
        f'preserveAspectRatio="none" style="image-rendering:pixelated" '
        f'href="data:image/png;base64,{_png(cosines)}"/>'
    ]
    if not many:
        for i, row in enumerate(rows):
            best = int(cosines[i].argmax())
            title = f"{row}: most like {columns[best]} ({cosines[i, best]:.2f})"
            out.append(
                f'<text x="{left - 5:.0f}" y="{top + cell * (i + 0.72):.1f}" '
                f'font-size="12" text-anchor="end"><title>{escape(title)}</title>'
                f"{escape(shorten(row))}</text>"
            )
        for j, column in enumerate(columns):
            x, y = left + cell * (j + 0.6), top - 5
            out.append(
                f'<text font-size="12" transform="translate({x:.1f} {y:.1f}) '
                f'rotate(-{math.degrees(_SLANT):.0f})">{escape(shorten(column))}'
                f"</text>"
            )
    size = f'width="{left + width + longest * 5:.0f}" height="{top + height + 4:.0f}"'
    source = {
        "transcript": "the transcript",
        "hypothesis": "the segmenter's own text",
    }[comparison.source]
    return (
        f'<div class="ssr"><div class="scroll"><svg {size} role="img" '
        f'aria-label="similarity map">{"".join(out)}</svg></div>'
        f'<div class="dim">Rows: one vector for each segment '
        f"({comparison.segmentation}), named by the token that it reads as. Columns: "
        f"the LLM's own embeddings of {source}. {_ramp()} Cosine around the mean of "
        f"those embeddings. A bright diagonal: speech and text are the same to the LLM."
        f"</div></div>"
    )


def _ramp() -> str:
    return (
        f'0 <img alt="dark to bright" style="display:inline-block;width:80px;'
        f'height:10px;vertical-align:middle;margin:0" src="data:image/png;base64,'
        f'{_png(np.linspace(0, 1, 64, dtype=np.float32)[None])}"/> 1.'
    )


def _png(values: npt.NDArray[np.float32]) -> str:
    """Values in 0..1 as a PNG, one pixel each, in base 64."""
    import matplotlib.image

    file = io.BytesIO()
    matplotlib.image.imsave(file, values, cmap="magma", vmin=0, vmax=1, format="png")
    return base64.b64encode(file.getvalue()).decode()
