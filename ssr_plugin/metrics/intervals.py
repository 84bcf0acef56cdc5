"""How sure a figure is: bootstrap over items."""

import numpy as np

RESAMPLES = 2000
# Of the resamples; what lies outside is cut on both sides alike.
LEVEL = 0.95


def resample_sums(values, clusters, seed=0, resamples=RESAMPLES):
    """Sums over items that are drawn again and again, with replacement.

    Clusters of items are drawn whole (cluster bootstrap; Davison and Hinkley,
    Bootstrap Methods and their Application, 1997, section 3.8).

    Arguments
    ---------
    values : array-like
        [I, C], of each item in each column; all columns are drawn alike.
    clusters : sequence of str or int
        [I], the cluster of each item.
    seed : int
    resamples : int

    Returns
    -------
    numpy.ndarray
        [resamples, C]

    Example
    -------
    >>> sums = resample_sums([[0.0, 1.0], [1.0, 1.0]], ["a", "b"])
    >>> sums.shape, float(sums[:, 1].min())
    ((2000, 2), 2.0)
    """
    values = np.asarray(values, dtype=float)
    names, members = np.unique(clusters, return_inverse=True)
    totals = np.zeros((len(names), values.shape[1]))
    np.add.at(totals, members, values)
    rng = np.random.default_rng(seed)
    sums = np.empty((resamples, values.shape[1]))
    for row in range(resamples):
        sums[row] = totals[rng.integers(len(names), size=len(names))].sum(0)
    return sums


def resample_means(values, clusters, seed=0, resamples=RESAMPLES):
    """Means over items that are drawn as :func:`resample_sums` draws them.

    Arguments
    ---------
    values, clusters, seed, resamples
        Of :func:`resample_sums`.

    Returns
    -------
    numpy.ndarray
        [resamples, C]

    Example
    -------
    >>> means = resample_means([[0.0, 1.0], [1.0, 1.0]], ["a", "b"])
    >>> means.shape, float(means[:, 1].min())
    ((2000, 2), 1.0)
    """
    values = np.asarray(values, dtype=float)
    counted = np.hstack([values, np.ones((len(values), 1))])
    sums = resample_sums(counted, clusters, seed, resamples)
    return sums[:, :-1] / sums[:, -1:]


def interval(draws):
    """The middle 95 % of a figure's resamples.

    Arguments
    ---------
    draws : array-like
        [R]; those that are no numbers are passed over.

    Returns
    -------
    list of float or None
        Lower and upper end; None where more than a twentieth are no numbers.

    Example
    -------
    >>> interval(range(1001))
    [25.0..., 975.0]
    """
    draws = np.asarray(draws, dtype=float)
    good = draws[np.isfinite(draws)]
    if len(good) < LEVEL * len(draws):
        return None
    return [float(x) for x in np.quantile(good, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])]


def kept_share(values, best, chance):
    """The share of a topline's gain over chance that others keep, in %.

    Arguments
    ---------
    values, best : array-like
        Accuracies, and those of the topline: the higher the better.
    chance : array-like
        What is to be had for nothing, in the same units.

    Returns
    -------
    numpy.ndarray
        NaN where the topline is not above chance.

    Example
    -------
    >>> kept_share([70.0, 60.0], [75.0, 40.0], chance=50.0)
    array([80., nan])
    """
    values, best = np.asarray(values, dtype=float), np.asarray(best, dtype=float)
    gain = np.where(best > chance, best - chance, np.nan)
    return 100 * (values - chance) / gain
