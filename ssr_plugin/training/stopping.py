"""Ctrl-C and SIGTERM: a run ends with a line, and with a checkpoint where it trains.

What is done before training is kept as it is made, so that a run may end there at once.
In training the step is ended and a checkpoint saved; a second signal ends it at once.
"""

import contextlib
import os
import signal
import sys
import threading

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class _State:
    """Of this process: whether a signal can wait, and the one that does."""

    can_wait = False
    waiting = None


@contextlib.contextmanager
def stoppable():
    """Ends a run that is told to stop with a line that says how it goes on.

    Raises
    ------
    SystemExit
        With 128 and the signal's number, as shells have it.

    Example
    -------
    >>> with stoppable():
    ...     os.kill(os.getpid(), signal.SIGTERM)
    Traceback (most recent call last):
        ...
    SystemExit: 143
    """
    # Elsewhere Python takes no signals.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    owner = os.getpid()

    def handle(number, frame):
        del frame
        if os.getpid() != owner:
            # A process that reads for this one: it ends with it.
            if number == signal.SIGTERM:
                os._exit(128 + number)
            return
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        after = " after this step, with a checkpoint" if _State.can_wait else ""
        print(
            f"\nstopping{after}: give the same command again, and it goes on",
            file=sys.stderr,
            flush=True,
        )
        _State.waiting = number
        if not _State.can_wait:
            end()

    before = {number: signal.signal(number, handle) for number in _SIGNALS}
    try:
        yield
    finally:
        _State.waiting, _State.can_wait = None, False
        for number, handler in before.items():
            signal.signal(number, handler)


def wait_for_checkpoints(can_wait):
    """Says whether checkpoints are saved from now on, so that a signal may wait."""
    _State.can_wait = can_wait
    if is_requested() and not can_wait:
        end()


def is_requested():
    """Whether the run was told to stop."""
    return _State.waiting is not None


def end():
    """Ends the run that was told to stop."""
    raise SystemExit(128 + _State.waiting)
