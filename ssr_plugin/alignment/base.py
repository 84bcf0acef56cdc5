"""What every aligner is: audio and transcripts in, alignments out."""

import abc
import dataclasses


@dataclasses.dataclass(frozen=True)
class AlignmentItem:
    """What an aligner is given for one utterance.

    Arguments
    ---------
    id : str
    wav : str
        Path of the audio, any file that libsndfile reads.
    text : str
        The transcript.
    """

    id: str
    wav: str
    text: str


class Aligner(abc.ABC):
    """Makes alignments. A subclass is registered by name (see ``ssr_plugin.registry``).

    An aligner may be sent to other processes (pickled), so what cannot be, a decoder
    or a loaded model, is made at the first call of :meth:`align`.
    """

    #: The name it is registered by; the first part of its key in the cache.
    name: str

    #: Utterances that :meth:`align` is given at once.
    batch_size = 16

    #: Whether several processes may align at once. False for what already uses all
    #: cores, or an accelerator.
    parallel = True

    @abc.abstractmethod
    def settings(self):
        """All that changes what it answers, as a JSON-able dict; part of the key."""

    @abc.abstractmethod
    def align(self, items):
        """Aligns a batch of utterances.

        One bad utterance never breaks the batch: its answer is the error.

        Arguments
        ---------
        items : list of AlignmentItem

        Returns
        -------
        list of (Alignment or AlignmentError)
            As long as ``items``, in the same order.
        """
