"""What figures are: ratios of sums over items."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Measure:
    """A figure of a task in a column: what items sum up to, above and below a line.

    Arguments
    ---------
    name : str
        As in ``metrics.json``.
    unit : str
        "%", "ms" or such; empty where there is none.
    says : str
        What it is, in a sentence for the report.
    factor : float
        What the ratio is multiplied by.
    exponential : bool
        Whether the figure is e to the power of that.

    Example
    -------
    >>> wer = Measure("wer", "%", "Word errors per word.", factor=100)
    >>> float(wer.value(3, 12)), float(wer.value(1, 0))
    (25.0, nan)
    """

    name: str
    unit: str
    says: str
    factor: float = 1.0
    exponential: bool = False

    def value(self, above, below):
        """The figure.

        Arguments
        ---------
        above, below : array-like
            Sums over items.

        Returns
        -------
        numpy.ndarray
            NaN where there is nothing to divide by.
        """
        above, below = np.asarray(above, dtype=float), np.asarray(below, dtype=float)
        ratio = self.factor * above / np.where(below == 0, np.nan, below)
        return np.exp(ratio) if self.exponential else ratio


#: Of choices: above the line is how often the right one was made.
ACCURACY = Measure("accuracy", "%", "Right choices of all.", factor=100)
