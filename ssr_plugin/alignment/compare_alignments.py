"""Compares two sets of alignments: how far apart their word boundaries lie.

    python -m ssr_plugin.alignment.compare_alignments A B

A is judged, B is the reference. Each is a file or folder in any readable form: MFA
TextGrids, CTM, JSON, Lhotse supervisions, or one aligner's folder in our cache.
"""

import argparse
import dataclasses

from tqdm import tqdm

from ssr_plugin.alignment.formats import FormatError, alignment_files, read_file
from ssr_plugin.alignment.quality import (
    BoundaryErrors,
    boundary_errors,
    match_words,
)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The result of comparing two sets of alignments.

    Arguments
    ---------
    utterances : int
        Those in both.
    only_judged, only_reference : int
        Utterances in one alone; they count nowhere else.
    words : int
        Reference words in the utterances that both have.
    missing, extra : int
        Reference words that the judged lack, and judged words that have no partner.
    starts, ends, both : BoundaryErrors or None
        Of the paired words; None where there are none.
    """

    utterances: int
    only_judged: int
    only_reference: int
    words: int
    missing: int
    extra: int
    starts: BoundaryErrors | None
    ends: BoundaryErrors | None
    both: BoundaryErrors | None


def read_words(source):
    """Reads every utterance's words from a file or folder.

    Returns
    -------
    dict
        Id -> list of (word, start in s, end in s).

    Raises
    ------
    FormatError
        If two files align the same utterance differently.
    """
    words, origin = {}, {}
    for path in tqdm(alignment_files(source), desc=f"reading {source}", unit="file"):
        for timed in read_file(path):
            utterance_words = timed.words()
            if words.get(timed.id, utterance_words) != utterance_words:
                raise FormatError(
                    f"'{timed.id}' is aligned in '{origin[timed.id]}' and, otherwise, "
                    f"in '{path}'; name one of the two"
                )
            words[timed.id], origin[timed.id] = utterance_words, path
    return words


def compare(judged, reference):
    """Compares alignments of the same utterances.

    Arguments
    ---------
    judged, reference : dict
        Id -> list of (word, start in s, end in s).

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError
        If they have no utterance in common.

    Example
    -------
    >>> a = {"utt-1": [("HI", 0.10, 0.30)]}
    >>> b = {"utt-1": [("hi", 0.11, 0.33), ("you", 0.4, 0.6)]}
    >>> result = compare(a, b)
    >>> result.missing, result.starts.mae, result.ends.bias
    (1, 10.0, -30.0)
    """
    common = sorted(judged.keys() & reference.keys())
    if not common:
        raise ValueError(
            "no utterance in common: the ids are "
            + " and ".join(
                f"'{next(iter(side), 'none')}', ..." for side in (judged, reference)
            )
        )
    starts, ends, words, extra = [], [], 0, 0
    for id in common:
        pairs = match_words(judged[id], reference[id])
        words += len(reference[id])
        extra += len(judged[id]) - len(pairs)
        for i, j in pairs:
            starts.append(judged[id][i][1] - reference[id][j][1])
            ends.append(judged[id][i][2] - reference[id][j][2])
    return Comparison(
        utterances=len(common),
        only_judged=len(judged) - len(common),
        only_reference=len(reference) - len(common),
        words=words,
        missing=words - len(starts),
        extra=extra,
        starts=boundary_errors(starts) if starts else None,
        ends=boundary_errors(ends) if starts else None,
        both=boundary_errors(starts + ends) if starts else None,
    )


def report(comparison):
    """A comparison as a table to print.

    Arguments
    ---------
    comparison : Comparison

    Returns
    -------
    str
    """
    lines = [
        f"utterances: {comparison.utterances} in both, "
        f"{comparison.only_judged} only in A, {comparison.only_reference} only in B",
        f"words: {comparison.words} in B, {comparison.missing} missing in A "
        f"({100 * comparison.missing / max(comparison.words, 1):.1f} %), "
        f"{comparison.extra} only in A",
        f"{'boundaries':<12}{'MAE ms':>8}{'median ms':>11}{'bias A-B ms':>13}"
        f"{'<= 20 ms':>10}{'<= 50 ms':>10}",
    ]
    for name in ("starts", "ends", "both"):
        errors = getattr(comparison, name)
        if errors is not None:
            lines.append(
                f"{name:<12}{errors.mae:>8.1f}{errors.median:>11.1f}{errors.bias:>+13.1f}"
                f"{100 * errors.within_20:>8.1f} %{100 * errors.within_50:>8.1f} %"
            )
    return "\n".join(lines)


def main(argv=None):
    """The command; see the head of this module."""
    parser = argparse.ArgumentParser(
        prog="python -m ssr_plugin.alignment.compare_alignments",
        description="How far the word boundaries of A lie from those of B. Both are "
        "files or folders: TextGrid, CTM, JSON, Lhotse supervisions, or one aligner's "
        "folder in our cache.",
    )
    parser.add_argument("A", help="alignments to judge")
    parser.add_argument("B", help="the reference")
    options = parser.parse_args(argv)
    try:
        print(report(compare(read_words(options.A), read_words(options.B))))
    except (OSError, ValueError, ImportError) as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()
