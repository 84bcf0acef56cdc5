"""An aligner that kills its process, in a file that other processes import at once."""

import os
import signal

from ssr_plugin.alignment.even import EvenAligner


class DeadlyAligner(EvenAligner):
    """Kills its process over an utterance, so long as a file is there."""

    def __init__(self, path, name):
        super().__init__()
        self.path, self.deadly = path, name

    def align(self, items):
        if any(item.id == self.deadly for item in items) and self.path.exists():
            self.path.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().align(items)
