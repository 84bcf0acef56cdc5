"""An aligner for tests, in a file that other processes import at once."""

import time

from ssr_plugin.alignment.base import Aligner
from ssr_plugin.alignment.cache import align
from ssr_plugin.alignment.record import Alignment, AlignmentError, Unit


class WholeAligner(Aligner):
    """One unit over everything; fails on "bad"; notes each call in a file."""

    name = "whole"
    batch_size = 2

    def __init__(self, log, speed=1, slow=0.0):
        self.log, self.speed, self.slow = log, speed, slow

    def settings(self):
        return {"speed": self.speed}

    def align(self, items):
        time.sleep(self.slow)
        with open(self.log, "a") as log:
            log.writelines(f"{item.id}\n" for item in items)
        return [
            AlignmentError(item.id, "is bad")
            if item.text == "bad"
            else Alignment(
                item.id, item.text, (Unit(item.text, 0.0, 1.0, 0),), "word", 1.0
            )
            for item in items
        ]


def align_alone(items, aligner, cache):
    """Aligns in the process that calls it."""
    align(items, aligner, cache, num_workers=1)
