"""How the figures of training are called and scaled in learning curves."""

import dataclasses
import math

# The panel shows at least this share of the largest value, so that a line that does
# not move looks like one.
_LEAST_SHARE = 0.1
# First epochs are left out of the scale where all later ones together move by less than
# this share of the way to them.
_CROWDED = 1 / 3
_MARGIN = 0.06


@dataclasses.dataclass(frozen=True)
class Figure:
    """A figure that a stage notes after each epoch.

    Arguments
    ---------
    title : str
        What it is, in words.
    unit : str
        What it is counted in.
    least : float or None
        The smallest stretch that a panel shows, in that unit; None is a tenth of the
        largest value.
    low, high : float or None
        Between which it always lies, where that is known.
    """

    title: str
    unit: str
    least: float | None = None
    low: float | None = None
    high: float | None = None


def _percent(title, high=100.0):
    return Figure(title, "%", least=5.0, low=0.0, high=high)


#: By the key under which a stage notes it.
FIGURES = {
    "train_loss": Figure("training loss", "weighted sum"),
    "loss": Figure("validation loss", "weighted sum"),
    "lr": Figure("learning rate", "no unit", low=0.0),
    # Stage 1
    "cosine": Figure("similarity to the embedding", "cosine", least=0.05, high=1.0),
    "mse": Figure(
        "squared distance to the embedding", "summed over dimensions", low=0.0
    ),
    "token_accuracy": _percent("token accuracy"),
    "retrieval_wer": _percent("WER of the nearest tokens", high=None),
    "retrieval_cer": _percent("CER of the nearest tokens", high=None),
    # Stage 2
    "text_perplexity": Figure("perplexity of held-out text", "per token", low=1.0),
    # Segmenters
    "boundary_mae_ms": Figure("mean distance of boundaries", "ms", low=0.0),
    "boundary_precision": _percent("precision of boundaries, within 50 ms"),
    "boundary_recall": _percent("recall of boundaries, within 50 ms"),
    "boundary_f1": _percent("F1 of boundaries, within 50 ms"),
    "count_error": _percent("segments too many or too few", high=None),
    "segments_per_token": Figure("segments found", "per token", least=0.1, low=0.0),
    "hypothesis_wer": _percent("WER of the hypothesis", high=None),
    "hypothesis_wer_whisper": _percent(
        "WER of the hypothesis, normalised as Whisper's", high=None
    ),
    "hypothesis_cer": _percent("CER of the hypothesis", high=None),
    "hypothesis_cer_whisper": _percent(
        "CER of the hypothesis, normalised as Whisper's", high=None
    ),
}


def describe_figure(key):
    """A figure's title, unit and bounds.

    Arguments
    ---------
    key : str
        As in :attr:`ssr_plugin.training.history.History.epochs`.

    Returns
    -------
    Figure
        Of a key that is not known, the key in words, and no unit.

    Example
    -------
    >>> describe_figure("retrieval_wer").title, describe_figure("retrieval_wer").unit
    ('WER of the nearest tokens', '%')
    >>> describe_figure("transcription_loss").title
    'loss of the task transcription'
    >>> describe_figure("my_own_figure").title
    'my own figure'
    """
    if key in FIGURES:
        return FIGURES[key]
    if key.endswith("_loss"):
        task = key.removesuffix("_loss").replace("_", " ")
        return Figure(f"loss of the task {task}", "nats per token", low=0.0)
    return Figure(key.replace("_", " "), "no unit")


def choose_limits(values, figure):
    """The part of the axis that a panel shows.

    First epochs that are so far off that they would press all others together are left
    out, and a line that hardly moves does not fill the panel.

    Arguments
    ---------
    values : list of float
        Epoch by epoch.
    figure : Figure
        What they are.

    Returns
    -------
    low, high : float

    Example
    -------
    >>> figure = Figure("loss", "nats per token")
    >>> low, high = choose_limits([150.0, 3.0, 2.5, 2.2], figure)
    >>> 2.0 < low < 2.2, 3.0 < high < 4.0
    (True, True)
    >>> low, high = choose_limits([2.001, 2.0, 2.002], figure)
    >>> round(high - low, 1)
    0.2
    """
    values = [x for x in values if math.isfinite(x)]
    if not values:
        return 0.0, 1.0
    first = _first_that_matters(values, figure)
    low, high = min(values[first:]), max(values[first:])
    span = max((1 + 2 * _MARGIN) * (high - low), _least(values[first:], figure))
    middle, room = (low + high) / 2, _MARGIN * span
    low, high = middle - span / 2, middle + span / 2
    # What is never reached is not shown, but the line keeps a little room to the edge.
    if figure.low is not None:
        low = max(low, figure.low - room)
        high = max(high, low + span)
    if figure.high is not None:
        high = min(high, figure.high + room)
        low = min(low, high - span)
    return low, high


def _least(values, figure):
    if figure.least is not None:
        return figure.least
    return _LEAST_SHARE * max(map(abs, values)) or 1.0


def _first_that_matters(values, figure):
    """The first epoch that does not press the later ones flat; half make the scale."""
    for first in range(len(values) // 2, 0, -1):
        before, rest = values[first - 1], values[first:]
        gap = max(before - max(rest), min(rest) - before)
        if max(max(rest) - min(rest), _least(rest, figure)) < _CROWDED * gap:
            return first
    return 0
