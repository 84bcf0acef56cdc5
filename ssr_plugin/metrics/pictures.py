"""Pictures of a run: an utterance's segments, how its vectors read, learning curves.

Figures are made without pyplot, so that no state of matplotlib's is touched and no
display is needed. The ending of a path says what is written: ``.png``, ``.svg`` or
``.pdf``.
"""

import math
import pathlib
import re
import warnings

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib import rc_context
from matplotlib.figure import Figure
from scipy.optimize import isotonic_regression
from transformers.convert_slow_tokenizer import bytes_to_unicode

from ssr_plugin.files import atomic_path
from ssr_plugin.llm.tokens import BROKEN, character_runs
from ssr_plugin.metrics.colours import condition_colour
from ssr_plugin.metrics.curves import choose_limits, describe_figure
from ssr_plugin.metrics.fonts import font_families, text_width

FONT_SIZE = 8
CHARACTER = 0.602 * FONT_SIZE / 72  # width in inches; all of DejaVu Sans Mono's
LABEL_STYLE = {
    "fontsize": FONT_SIZE,
    "parse_math": False,  # a token may well be "$"
}
LONGEST_LABEL = 16
# A token that is a byte, as SentencePiece writes it.
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
VISIBLE = str.maketrans({" ": "·", "▁": "·", "Ġ": "·", "\n": "\\n", "\t": "\\t"})
SAID, READ, WRONG = "black", "#1f5fa8", "#c8102e"


def token_labels(tokenizer, tokens):
    """Tokens as text, with a blank before those that begin a word.

    A tokenizer that knows a character only by its bytes has tokens that are a part of
    one. Where all parts are there, each is shown as the character, with which part it
    is; else as the bytes that it stands for, as far as they can be told.

    Arguments
    ---------
    tokenizer : transformers.PreTrainedTokenizerFast
    tokens : iterable of int

    Returns
    -------
    list of str

    Example
    -------
    >>> from types import SimpleNamespace
    >>> pieces = ["Ġspeech", "es"]
    >>> tokenizer = SimpleNamespace(
    ...     convert_ids_to_tokens=pieces.__getitem__,
    ...     decode=lambda ids: pieces[ids[0]].replace("Ġ", " "),
    ... )
    >>> token_labels(tokenizer, [0, 1])
    [' speech', 'es']
    """
    tokens = [int(token) for token in tokens]
    labels = []
    for first, stop in character_runs(tokenizer, tokens):
        run, size = tokens[first:stop], stop - first
        # The piece alone tells whether a word begins (decoding may strip the blank),
        # the decoded text alone is readable where a piece stands for bytes.
        piece = tokenizer.convert_ids_to_tokens(run[0])
        begins = " " * piece.startswith(("▁", "Ġ"))
        text = tokenizer.decode(run).strip(" ")
        if size > 1:
            labels += [f"{begins}{text}({i + 1}/{size})" for i in range(size)]
        elif BROKEN in text:
            labels.append(_as_bytes(piece))
        else:
            labels.append(begins + text)
    return labels


def _as_bytes(piece):
    """A token that is a part of a character, by its bytes."""
    if _BYTE.fullmatch(piece):
        return piece
    # What a byte-level tokenizer writes for each byte.
    byte = {shown: number for number, shown in bytes_to_unicode().items()}
    if not all(x in byte for x in piece):
        return f"<{piece}>"
    return f"<0x{bytes(byte[x] for x in piece).hex().upper()}>"


def draw_utterance(
    path,
    audio,
    sample_rate,
    starts,
    ends,
    labels,
    reading=None,
    title="",
    segmentation="forced",
    seconds_per_row=6.0,
    max_seconds=60.0,
):
    """Draws waveform and spectrogram with the segments and the token of each.

    A long utterance is broken into rows of equal length.

    Arguments
    ---------
    path : path-like
        The picture to write.
    audio : array-like
        [S], samples between -1 and 1.
    sample_rate : int
        In Hz.
    starts, ends : array-like
        [N] each, in seconds: the segments.
    labels : list of str
        [N], the transcript's tokens; :func:`token_labels` gives them.
    reading : list of str or None
        [N], what the vectors read as; where it differs from ``labels`` it is red.
    title : str
    segmentation : str
        "forced" or "predicted": how the segments were found. The borders have that
        condition's colour.
    seconds_per_row : float
        Longest stretch of time in one row.
    max_seconds : float
        What comes later is left out, and the title says so.

    Example
    -------
    >>> path = getfixture("tmp_path") / "utterance.png"
    >>> audio = torch.rand(16000) - 0.5
    >>> draw_utterance(path, audio, 16000, [0.1, 0.4], [0.4, 0.8], [" ca", "ts"])
    >>> path.read_bytes()[1:4]
    b'PNG'
    """
    audio = np.asarray(audio, dtype=np.float32)
    starts, ends = np.asarray(starts, dtype=float), np.asarray(ends, dtype=float)
    seconds = len(audio) / sample_rate
    if seconds > max_seconds:
        title = f"{title} (first {max_seconds:g} of {seconds:.0f} s)".strip()
        audio, seconds = audio[: round(max_seconds * sample_rate)], max_seconds
    span = max(seconds, 0.1)
    num_rows = math.ceil(span / seconds_per_row)
    span /= num_rows

    colour = condition_colour(segmentation)
    names = [("said", labels, [SAID] * len(labels))]
    if reading is not None:
        pairs = zip(labels, reading, strict=True)
        colours = [READ if said == read else WRONG for said, read in pairs]
        names.append(("read", reading, colours))
    names = [(name, [_shorten(x) for x in texts], *c) for name, texts, *c in names]
    longest = max((text_width(x) for _, texts, _ in names for x in texts), default=0)
    style = label_style(*(x for _, texts, _ in names for x in texts))
    longest = max(longest, 5)  # room for the strip's own name
    strip = CHARACTER * (longest + 1)

    # All in inches, from the bottom of a row to its top.
    ticks, spectrum_height, wave_height, leaders = 0.5, 1.2, 0.6, 0.15
    label_height = leaders + strip * len(names)
    row_height = ticks + spectrum_height + wave_height + label_height
    left, right, top = 0.75, 0.15, 0.35
    width = max(9.0 * min(span / seconds_per_row, 1.0), 2.5)
    figure = Figure(figsize=(left + width + right, num_rows * row_height + top))
    page = figure.get_size_inches()
    if title:
        place = (left / page[0], 1 - 0.22 / page[1])
        figure.text(*place, title, **title_style(title))

    power = _spectrogram(audio, sample_rate)
    peak = float(np.abs(audio).max(initial=1e-3)) * 1.05
    middles = (starts + ends) / 2
    # A segment is named in the row that shows its middle, so once.
    rows = np.clip(middles // span, 0, None) if len(middles) else middles
    for row in range(num_rows):
        bottom = (num_rows - 1 - row) * row_height + ticks
        begin, stop = row * span, (row + 1) * span

        def add_axes(height, bottom=bottom, begin=begin, stop=stop):
            box = (left / page[0], bottom / page[1], width / page[0], height / page[1])
            axes = figure.add_axes(box)
            axes.set_xlim(begin, stop)
            return axes

        spectrum = add_axes(spectrum_height)
        wave = add_axes(wave_height, bottom + spectrum_height)
        strips = add_axes(label_height, bottom + spectrum_height + wave_height)
        _draw_spectrogram(spectrum, power, seconds, sample_rate)
        _draw_waveform(wave, audio, sample_rate, begin, stop, peak)
        for axes in (spectrum, wave):
            _draw_borders(axes, starts, ends, begin, stop, colour)
        shown = np.flatnonzero(rows == row)
        strips.set_ylim(0, label_height)
        strips.axis("off")
        gap = 1.35 * FONT_SIZE / 72 * span / width
        places = spread_places(middles[shown], gap, begin, stop)
        strips.plot([middles[shown], places], [0, leaders], color="0.6", lw=0.6)
        for level, (name, texts, colours) in enumerate(names):
            height = leaders + level * strip + 0.03
            upright = {"rotation": 90, "va": "bottom", **style}
            for i, place in zip(shown, places, strict=True):
                strips.text(
                    place, height, texts[i], ha="center", color=colours[i], **upright
                )
            if len(names) > 1:
                strips.text(
                    -0.52 / width,
                    (height + strip / 2 - 0.05) / label_height,
                    name,
                    transform=strips.transAxes,
                    **{**upright, "va": "center"},
                )
    _save(figure, path)


def draw_segmentations(
    path,
    audio,
    sample_rate,
    above,
    below,
    title="",
    seconds_per_row=6.0,
    max_seconds=60.0,
):
    """Draws two segmentations of one recording over each other.

    Each has a strip of its segments, with what is in them, and its borders reach from
    there to the middle of the spectrogram: where they meet, both agree.

    Arguments
    ---------
    path : path-like
        The picture to write.
    audio : array-like
        [S], samples between -1 and 1.
    sample_rate : int
        In Hz.
    above, below : tuple
        Name, starts, ends and labels: a string, as of a condition, which gives the
        colour; [N] each, in seconds; and [N] strings, of :func:`token_labels`.
    title : str
    seconds_per_row : float
        Longest stretch of time in one row.
    max_seconds : float
        What comes later is left out, and the title says so.

    Example
    -------
    >>> path = getfixture("tmp_path") / "segments.svg"
    >>> forced = ("forced", [0.1, 0.4], [0.4, 0.8], [" ca", "ts"])
    >>> predicted = ("predicted", [0.1], [0.7], [" cats"])
    >>> draw_segmentations(path, torch.rand(16000) - 0.5, 16000, forced, predicted)
    >>> path.read_text().startswith("<?xml")
    True
    """
    audio = np.asarray(audio, dtype=np.float32)
    strips = [
        (name, np.asarray(starts, float), np.asarray(ends, float), labels)
        for name, starts, ends, labels in (above, below)
    ]
    seconds = len(audio) / sample_rate
    if seconds > max_seconds:
        title = f"{title} (first {max_seconds:g} of {seconds:.0f} s)".strip()
        audio, seconds = audio[: round(max_seconds * sample_rate)], max_seconds
    span = max(seconds, 0.1)
    num_rows = math.ceil(span / seconds_per_row)
    span /= num_rows
    shown = [_shorten(x) for *_, labels in strips for x in labels]
    longest = max(map(text_width, shown), default=1)
    style = label_style(*shown)

    # All in inches.
    ticks, spectrum_height, strip = 0.5, 1.3, CHARACTER * (longest + 2)
    row_height = ticks + spectrum_height + 2 * strip
    left, right, top = 1.0, 0.15, 0.35
    width = max(9.0 * min(span / seconds_per_row, 1.0), 2.5)
    figure = Figure(figsize=(left + width + right, num_rows * row_height + top))
    page = figure.get_size_inches()
    if title:
        place = (left / page[0], 1 - 0.22 / page[1])
        figure.text(*place, title, **title_style(title))
    power = _spectrogram(audio, sample_rate)
    for row in range(num_rows):
        bottom = (num_rows - 1 - row) * row_height + ticks
        begin, stop = row * span, (row + 1) * span
        heights = (strip + spectrum_height, spectrum_height), (0, strip), (strip, strip)
        places = (bottom + strip, bottom, bottom + strip + spectrum_height)
        spectrum, lower, upper = (
            figure.add_axes(
                (
                    left / page[0],
                    place / page[1],
                    width / page[0],
                    height / page[1],
                )
            )
            for place, (_, height) in zip(places, heights, strict=True)
        )
        for axes in (spectrum, lower, upper):
            axes.set_xlim(begin, stop)
        _draw_spectrogram(spectrum, power, seconds, sample_rate)
        # The time is told once, below both strips.
        spectrum.set_xlabel("")
        spectrum.tick_params(labelbottom=False)
        lower.set_xlabel("s", fontsize=FONT_SIZE, labelpad=1)
        lower.tick_params(labelsize=FONT_SIZE)
        upper.set_xticks([])
        limits = ((upper, (0.5, 1.0)), (lower, (0.0, 0.5)))
        for (axes, reach), (name, starts, ends, labels) in zip(
            limits, strips, strict=True
        ):
            colour = condition_colour(name)
            _draw_strip(axes, name, starts, ends, labels, colour, style)
            inside = np.append(starts, ends)
            for place in np.unique(inside[(inside >= begin) & (inside <= stop)]):
                spectrum.axvline(place, *reach, color=colour, lw=1.2)
    _save(figure, path)


def _draw_strip(axes, name, starts, ends, labels, colour, style):
    """Segments as boxes, and what is in them."""
    axes.set_ylim(0, 1)
    axes.set_yticks([])
    axes.spines[["left", "right", "top"]].set_visible(False)
    axes.text(
        -0.012,
        0.5,
        name.replace("_", "\n"),
        transform=axes.transAxes,
        ha="right",
        va="center",
        color=colour,
        fontsize=FONT_SIZE + 1,
        weight="bold",
    )
    begin, stop = axes.get_xlim()
    for i, (start, end, label) in enumerate(zip(starts, ends, labels, strict=True)):
        if end <= begin or start >= stop:
            continue
        axes.axvspan(start, end, 0.04, 0.96, color=colour, alpha=0.14 + 0.16 * (i % 2))
        middle = (start + end) / 2
        # In one row only: that of its middle.
        if begin <= middle < stop:
            upright = {"rotation": 90, "ha": "center", "va": "center", **style}
            axes.text(middle, 0.5, _shorten(label), **upright)


def draw_similarity(path, vectors, embeddings, labels, title=""):
    """Draws how alike each vector is to the embedding of each token of the transcript.

    A perfect connector gives a bright diagonal; off it only equal or kindred tokens
    are bright. What all of the utterance's tokens have in common is taken away first:
    cosines are those around the mean of its embeddings, each token counted once. So two
    tokens that have nothing to do with each other are at 0, whatever the mean of the
    LLM's whole table is, which may be that of tokens that nobody says.

    Arguments
    ---------
    path : path-like
        The picture to write.
    vectors, embeddings : torch.Tensor
        [N, H] each, of the same tokens.
    labels : list of str
        [N]
    title : str

    Example
    -------
    >>> path = getfixture("tmp_path") / "similarity.png"
    >>> draw_similarity(path, torch.eye(3), torch.eye(3), [" a", " b", " c"])
    >>> path.read_bytes()[1:4]
    b'PNG'
    """
    cosine = centred_cosines(vectors, embeddings)
    labels = [_shorten(label) for label in labels]
    longest = CHARACTER * max(map(text_width, labels), default=0)
    style = label_style(*labels)

    # Past this many no label can be read, and the map alone is shown.
    labelled = len(labels) <= 150
    side = max(min(len(labels), 150) * 1.3 * FONT_SIZE / 72, 2.0)
    margin = (longest if labelled else 0.0) + 0.5
    width, height = margin + side + 1.0, margin + side + 0.35
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes(
        (margin / width, margin / height, side / width, side / height)
    )
    if title:
        axes.set_title(title, loc="left", **title_style(title))
    axes.set_xlabel("embeddings of what was said", fontsize=FONT_SIZE + 1)
    axes.set_ylabel("vectors", fontsize=FONT_SIZE + 1)
    # The size 0 of an empty utterance is nothing that imshow can show.
    shown = cosine.numpy() if len(labels) else np.zeros((1, 1))
    image = axes.imshow(shown, cmap="magma", vmin=0, vmax=1, interpolation="nearest")
    if labelled:
        axes.set_xticks(range(len(labels)), labels, rotation=90, **style)
        axes.set_yticks(range(len(labels)), labels, **style)
        axes.tick_params(length=2)
    bar = figure.add_axes(
        ((margin + side + 0.12) / width, margin / height, 0.12 / width, side / height)
    )
    bar = figure.colorbar(image, cax=bar, extend="min")
    bar.set_label("cosine around the utterance's mean", fontsize=FONT_SIZE + 1)
    bar.ax.tick_params(labelsize=FONT_SIZE)
    _save(figure, path)


def centred_cosines(vectors, embeddings):
    """Cosines around the mean of the distinct embeddings.

    Arguments
    ---------
    vectors, embeddings : torch.Tensor
        [N, H] each.

    Returns
    -------
    torch.Tensor
        [N, N] float32, vectors by embeddings. Where all embeddings are the same there
        is nothing to tell apart, and the cosines are plain.

    Example
    -------
    >>> embeddings = torch.tensor([[9.0, 1.0], [9.0, -1.0], [9.0, 1.0]])
    >>> centred_cosines(embeddings, embeddings)[0]
    tensor([ 1., -1.,  1.])
    """
    vectors = torch.as_tensor(vectors).detach().float().cpu()
    embeddings = torch.as_tensor(embeddings).detach().float().cpu()
    distinct = embeddings.unique(dim=0)
    if len(distinct) > 1:
        center = distinct.mean(0)
        vectors, embeddings = vectors - center, embeddings - center
    return F.normalize(vectors, dim=-1) @ F.normalize(embeddings, dim=-1).T


def draw_learning_curves(path, epochs, title=""):
    """Draws each figure of :class:`ssr_plugin.training.history.History` over epochs.

    Each figure has a panel, titled in words, with its unit. First epochs that are far
    off are left out of the scale, and the panel says what they were. What was validated
    before training stands at epoch 0.

    Arguments
    ---------
    path : path-like
        The picture to write.
    epochs : list of dict
        Each with "epoch" and any figures. Figures may be missing in some epochs.
    title : str

    Example
    -------
    >>> path = getfixture("tmp_path") / "curves.png"
    >>> draw_learning_curves(path, [{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 1}])
    >>> path.read_bytes()[1:4]
    b'PNG'
    """
    _save(learning_curves(epochs, title), path)


def learning_curves(epochs, title=""):
    """What :func:`draw_learning_curves` writes, as a figure.

    Arguments
    ---------
    epochs, title
        Of :func:`draw_learning_curves`.

    Returns
    -------
    matplotlib.figure.Figure
    """
    return _curves([epochs], title)


def draw_seed_curves(path, runs, title=""):
    """Draws each figure of several runs: their mean, and a band from least to most.

    Runs that differ in nothing but their seed tell how much of a difference between two
    runs is luck. Panels are those of :func:`draw_learning_curves`. An epoch is that of
    the runs that have it.

    Arguments
    ---------
    path : path-like
        The picture to write.
    runs : list of list of dict
        The epochs of each run.
    title : str
        By default how many runs there are, and what the band is.

    Example
    -------
    >>> path = getfixture("tmp_path") / "seeds.png"
    >>> runs = [[{"epoch": 1, "loss": x}, {"epoch": 2, "loss": x / 2}] for x in (2, 3)]
    >>> draw_seed_curves(path, runs)
    >>> path.read_bytes()[1:4]
    b'PNG'
    """
    told = f"{len(runs)} runs: their mean, and from the least to the most of them"
    _save(_curves(runs, title or told), path)


def _curves(runs, title):
    """A panel for each figure; of more than one run also a band."""
    keys = dict.fromkeys(key for run in runs for figures in run for key in figures)
    panels = [key for key in keys if key not in ("epoch", "lr")]
    # The rate follows from the options: it comes last, and of one epoch tells nothing.
    rates = (sum("lr" in figures for figures in run) for run in runs)
    panels += ["lr"] * (max(rates, default=0) > 1)
    num_columns = min(max(len(panels), 1), 3)
    num_rows = max(math.ceil(len(panels) / num_columns), 1)
    figure = Figure(figsize=(3.4 * num_columns, 2.4 * num_rows), layout="constrained")
    if title:
        figure.suptitle(title, fontsize=10, parse_math=False)
    grid = figure.subplots(num_rows, num_columns, squeeze=False).ravel()
    for axes in grid[len(panels) :]:
        axes.axis("off")
    if not panels:
        grid[0].text(0.5, 0.5, "no epoch yet", ha="center", fontsize=FONT_SIZE + 1)
    for axes, key in zip(grid, panels, strict=False):
        places, low, middle, high = _over_epochs(runs, key)
        what = describe_figure(key)
        if len(runs) > 1:
            axes.fill_between(places, low, high, color=READ, alpha=0.25, lw=0)
        axes.plot(places, middle, marker=".", ms=5, color=READ)
        axes.set_title(what.title, fontsize=FONT_SIZE + 1, parse_math=False)
        axes.set_ylabel(what.unit, fontsize=FONT_SIZE, parse_math=False)
        axes.set_xlabel("epoch", fontsize=FONT_SIZE)
        every = [figures["epoch"] for run in runs for figures in run]
        axes.set_xlim(min(every) - 0.5, max(every) + 0.5)
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        axes.tick_params(labelsize=FONT_SIZE)
        axes.yaxis.get_offset_text().set_fontsize(FONT_SIZE)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.3)
        least, _ = choose_limits(low, what)
        _, most = choose_limits(high, what)
        axes.set_ylim(least, most)
        _tell_what_is_left_out(axes, places, middle)
    return figure


def _over_epochs(runs, key):
    """The epochs in which runs have a figure; its least, its mean and its most."""
    found = {}
    for run in runs:
        for figures in run:
            if key in figures:
                found.setdefault(figures["epoch"], []).append(figures[key])
    places = sorted(found)
    values = [found[place] for place in places]
    means = [sum(several) / len(several) for several in values]
    return places, list(map(min, values)), means, list(map(max, values))


def _tell_what_is_left_out(axes, places, values):
    """A line in the panel that says how far off the first epochs are."""
    low, high = axes.get_ylim()
    off = [(p, x) for p, x in zip(places, values, strict=True) if not low <= x <= high]
    if not off:
        return
    shown = ", ".join(f"{x:.3g}" for _, x in off[:3]) + ", ..." * (len(off) > 3)
    first, last = off[0][0], off[-1][0]
    when = f"epoch {first}" if first == last else f"epochs {first} to {last}"
    axes.text(
        0.98,
        0.97,
        f"not shown, {when}: {shown}",
        transform=axes.transAxes,
        ha="right",
        va="top",
        fontsize=FONT_SIZE - 1,
        bbox={"facecolor": "white", "edgecolor": "0.7", "pad": 2, "lw": 0.5},
    )


def label_style(*texts):
    """How labels are written, in fonts that have the letters of some texts."""
    return {**LABEL_STYLE, "fontfamily": font_families(*texts)}


def title_style(title):
    """How a title is written."""
    families = ["DejaVu Sans", *font_families(title)[1:]]
    return {"fontsize": 10, "parse_math": False, "fontfamily": families}


def _shorten(label):
    label = label.translate(VISIBLE)
    if len(label) <= LONGEST_LABEL:
        return label
    return label[: LONGEST_LABEL - 1] + "…"


def spread_places(places, gap, low, high):
    """Moves places apart to at least ``gap``, as little as can be, within bounds.

    Arguments
    ---------
    places : array-like
        [N], in order.
    gap : float
        As far apart as they should stand; less where all would not fit.
    low, high : float
        The bounds.

    Returns
    -------
    numpy.ndarray
        [N]

    Example
    -------
    >>> spread_places([1.0, 1.2], 1.0, 0.0, 9.0).tolist()
    [0.6, 1.6]
    """
    if len(places) == 0:
        return places
    # Where all would not fit, they stand as far apart as they can.
    gap = min(gap, (high - low) / len(places))
    ranks = gap * np.arange(len(places))
    free = isotonic_regression(places - ranks).x
    return np.clip(free, low + gap / 2, high - gap / 2 - ranks[-1]) + ranks


def _spectrogram(audio, sample_rate):
    """[bins, frames] in dB below the loudest; a frame each 4 ms, around that time."""
    if len(audio) < 2:
        return None
    size, hop = round(0.02 * sample_rate), max(round(0.004 * sample_rate), 1)
    # Pre-emphasis, lest the bands above 2 kHz stay dark.
    audio = torch.from_numpy(np.append(audio[:1], audio[1:] - 0.97 * audio[:-1]))
    spectrum = torch.stft(
        audio,
        n_fft=2 ** math.ceil(math.log2(2 * size)),
        hop_length=hop,
        win_length=size,
        window=torch.hann_window(size),
        pad_mode="constant",
        return_complex=True,
    )
    power = 20 * spectrum.abs().clamp_min(1e-10).log10()
    return (power - power.max()).numpy()


def _draw_spectrogram(axes, power, seconds, sample_rate):
    begin, stop = axes.get_xlim()
    nyquist = sample_rate / 2000
    axes.set_ylim(0, min(nyquist, 8))
    axes.set_ylabel("kHz", fontsize=FONT_SIZE)
    axes.set_xlabel("s", fontsize=FONT_SIZE, labelpad=1)
    axes.tick_params(labelsize=FONT_SIZE)
    if power is None:
        return
    rate = power.shape[1] / seconds
    first = int(begin * rate)
    part = power[:, first : math.ceil(stop * rate) + 1]
    if part.shape[1] == 0:
        return
    extent = (first / rate, (first + part.shape[1]) / rate, 0, nyquist)
    axes.imshow(
        part,
        origin="lower",
        aspect="auto",
        extent=extent,
        cmap="gray_r",
        vmin=-65,
        vmax=-5,
        interpolation="bilinear",
    )
    axes.set_xlim(begin, stop)


def _draw_waveform(axes, audio, sample_rate, begin, stop, peak):
    axes.set_ylim(-peak, peak)
    axes.set_xticks([])
    axes.set_yticks([])
    first = round(begin * sample_rate)
    part = audio[first : round(stop * sample_rate)]
    time = (first + np.arange(len(part))) / sample_rate
    axes.plot(time, part, color="0.25", lw=0.4)


def _draw_borders(axes, starts, ends, begin, stop, colour):
    """A line where a segment starts or ends; what is in no segment is shaded."""
    inside = (ends > begin) & (starts < stop)
    for place in np.unique(np.append(starts[inside], ends[inside])):
        axes.axvline(place, color=colour, lw=1.0)
    if len(starts):
        gaps = zip(np.append(begin, ends), np.append(starts, stop), strict=True)
        for low, high in gaps:
            if high > max(low, begin) and low < stop:
                axes.axvspan(max(low, begin), min(high, stop), color="0.5", alpha=0.2)


def _save(figure, path):
    path = pathlib.Path(path)
    # Names of an SVG file's parts are drawn by chance, if no salt is given.
    salted = rc_context({"svg.hashsalt": "ssr_plugin"})
    with warnings.catch_warnings(), atomic_path(path) as partial, salted:
        # A script that the font lacks is drawn as boxes; there is no need to say so
        # for each character.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        kind = path.suffix[1:].lower()
        # Without the time, so that the same picture is the same file.
        told = {"svg": "Date", "pdf": "CreationDate"}
        metadata = {told[kind]: None} if kind in told else None
        figure.savefig(partial, format=kind, dpi=150, metadata=metadata)
