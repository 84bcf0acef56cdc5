"""Errors of the user's input, in one line.

Bad utterances are named, counted, skipped up to a share, then the run stops.
"""

import contextlib
import difflib
import logging
import sys

from ssr_plugin.files import printable

# Of so many utterances one may always be bad.
_FEW_OF = 10

logger = logging.getLogger(__name__)


class TooManyProblems(RuntimeError):
    """More utterances are bad than the run accepts."""


@contextlib.contextmanager
def errors_in_one_line():
    """Ends the process with one line, without traceback, if the user's input is wrong.

    Raises
    ------
    SystemExit
        With the message alone.

    Example
    -------
    >>> with errors_in_one_line():
    ...     raise ValueError("seed: it is no number")
    Traceback (most recent call last):
        ...
    SystemExit: error: seed: it is no number
    """
    try:
        yield
    except (OSError, ValueError, ImportError, MemoryError, TooManyProblems) as error:
        logger.debug("The run stopped", exc_info=True)
        raise SystemExit(f"error: {explain_full_disk(error) or error}") from error
    except Exception as error:
        explanation = explain_full_disk(error)
        if explanation is None:
            raise
        raise SystemExit(f"error: {explanation}") from error
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        raise SystemExit(130) from None


# What torch and safetensors say of a file that they could not write whole.
_WRITING_FAILED = (
    "No space left on device",
    "Disk quota exceeded",
    "PytorchStreamWriter failed",
    "unexpected pos",
)


def explain_full_disk(error):
    """What to do if an error, or one that it comes from, is of a full disk.

    Arguments
    ---------
    error : BaseException

    Returns
    -------
    str or None
        None if it is another.

    Example
    -------
    >>> explain_full_disk(OSError(28, "No space left on device", "a.ckpt"))
    "the disk is full ([Errno 28] No space left on device: 'a.ckpt'): ..."
    >>> explain_full_disk(ValueError("seed: it is no number"))
    """
    if any(words in str(error) for words in _WRITING_FAILED):
        first = str(error).partition("\n")[0][:200]
        return (
            f"the disk is full ({first}): make room, and give the same command again. "
            f"What was complete before is kept, the last checkpoint, too"
        )
    cause = error.__cause__ or error.__context__
    return None if cause is None else explain_full_disk(cause)


@contextlib.contextmanager
def prefix_errors(key):
    """Puts a key that the user set before the messages of errors in the block.

    Arguments
    ---------
    key : str

    Raises
    ------
    ValueError

    Example
    -------
    >>> with prefix_errors("llm_source"):
    ...     raise ValueError("there is no such model")
    Traceback (most recent call last):
        ...
    ValueError: llm_source: there is no such model
    """
    try:
        yield
    except (OSError, ValueError) as error:
        raise ValueError(f"{key}: {error}") from error


def did_you_mean(name, known_names, sign=""):
    """A hint with the known name that is most like an unknown one, or "".

    Arguments
    ---------
    name : str
    known_names : iterable of str
    sign : str
        Comes before names as the user writes them.

    Returns
    -------
    str

    Example
    -------
    >>> did_you_mean("sed", ["seed", "lr"], "--")
    " (did you mean '--seed'?)"
    >>> did_you_mean("x", ["seed", "lr"])
    ''
    """
    close = difflib.get_close_matches(str(name), list(known_names), n=1)
    return f" (did you mean '{sign}{close[0]}'?)" if close else ""


class Problems:
    """Collects the utterances that a step had to skip, each with its reason.

    One of ten or more is never too many, unless none is allowed: in a small split it
    may be a large share.

    Arguments
    ---------
    step : str
        What was being done, for messages ("preparing train").
    max_share : float
        Share of all utterances that may be skipped before :meth:`check` raises; 0
        allows none.

    Example
    -------
    >>> problems = Problems("reading", max_share=0.01)
    >>> problems.add("utt-7", "empty transcript")
    >>> problems.check(total=20)
    >>> problems.add("utt-8", "empty transcript")
    >>> problems.check(total=200)
    >>> problems.check(total=20)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ssr_plugin.problems.TooManyProblems: reading: 2 of 20 utterances are bad ...
      utt-7: empty transcript
      utt-8: empty transcript
    """

    def __init__(self, step, max_share):
        self.step = step
        self.max_share = max_share
        self.reasons = {}

    def __len__(self):
        return len(self.reasons)

    def add(self, name, reason):
        """Adds an utterance that is skipped, and logs it."""
        name, reason = printable(str(name)), printable(str(reason))
        self.reasons[name] = reason
        logger.warning("%s: skipped %s: %s", self.step, name, reason)

    def check(self, total):
        """Raises :class:`TooManyProblems` if the skipped are too many of ``total``."""
        share = len(self.reasons) / max(total, 1)
        if len(self.reasons) == 1 and total >= _FEW_OF and self.max_share > 0:
            return
        if share > self.max_share:
            first = list(self.reasons.items())[:10]
            lines = "".join(f"\n  {name}: {reason}" for name, reason in first)
            more = len(self.reasons) - len(first)
            raise TooManyProblems(
                f"{self.step}: {len(self.reasons)} of {total} utterances are bad "
                f"({100 * share:.1f} %), more than the {100 * self.max_share:.1f} % "
                f"allowed (max_skipped_share). The first:{lines}"
                + (f"\n  and {more} more" if more else "")
            )
