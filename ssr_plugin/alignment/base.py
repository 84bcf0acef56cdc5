"""What every aligner is: audio and transcripts in, alignments out."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from ssr_plugin.alignment.record import Alignment, AlignmentError

#: What to take where an aligner does not know the language, for messages.
OTHER_ALIGNERS = (
    "an aligner of its language: ctc with a model of it, files that were aligned "
    "elsewhere, or even, which is enough to train a unity2 that aligns (hparams/"
    "segmenter.yaml, then aligner trained)"
)


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
    name: ClassVar[str]

    #: Utterances that :meth:`align` is given at once.
    batch_size: int = 16

    #: Whether several processes may align at once. False for what already uses all
    #: cores, or an accelerator.
    parallel: ClassVar[bool] = True

    @abc.abstractmethod
    def settings(self) -> dict[str, Any]:
        """All that changes what it answers, as a JSON-able dict; part of the key."""

    @abc.abstractmethod
    def align(self, items: Sequence[AlignmentItem]) -> list[Alignment | AlignmentError]:
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

    def doubt(self, texts):
        """Why a corpus may not be for this aligner: asked once, before it is aligned.

        A subclass that can tell overrides this; what it says is a warning to the user.

        Arguments
        ---------
        texts : list of str
            Transcripts of the corpus, or of a part drawn evenly from it.

        Returns
        -------
        str or None
            The doubt and what to do about it; None if there is none.
        """
        return None
