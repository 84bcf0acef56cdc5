"""What metrics are: ratios of sums over items."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Metric:
    """A figure of a benchmark: what its items sum up to, divided by something.

    Arguments
    ---------
    name : str
        As in ``metrics.json``.
    unit : str
        "%", "ms" or such; empty where there is none.
    description : str
        What it is, in a sentence for the report.
    factor : float
        What the ratio is multiplied by.
    exponential : bool
        Whether the figure is e to the power of that.

    Example
    -------
    >>> wer = Metric("wer", "%", "Word errors per word.", factor=100)
    >>> float(wer.value(3, 12)), float(wer.value(1, 0))
    (25.0, nan)
    """

    name: str
    unit: str
    description: str
    factor: float = 1.0
    exponential: bool = False

    def value(self, numerator, denominator):
        """The figure.

        Arguments
        ---------
        numerator, denominator : array-like
            Sums over items.

        Returns
        -------
        numpy.ndarray
            NaN where there is nothing to divide by.
        """
        numerator = np.asarray(numerator, dtype=float)
        denominator = np.asarray(denominator, dtype=float)
        ratio = np.where(denominator == 0, np.nan, denominator)
        ratio = self.factor * numerator / ratio
        return np.exp(ratio) if self.exponential else ratio
