"""What every aligner is: audio and transcripts in, alignments out."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

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
    """One utterance for an aligner: audio and transcript.

    Arguments
    ---------
    id : str
    wav : str
        Path of the audio, any file that libsndfile reads.
    text : str
        The transcript.
    samples : np.ndarray or None
        [S] float32, one channel: the audio itself, in place of the file.
    sample_rate : int
        Theirs, Hz.
    """

    id: str
    wav: str
    text: str
    samples: npt.NDArray[np.float32] | None = dataclasses.field(
        default=None, kw_only=True
    )
    sample_rate: int = dataclasses.field(default=0, kw_only=True)


class Aligner(abc.ABC):
    """Makes alignments. A subclass is registered by name (see ``ssr_plugin.registry``).

    An aligner may be sent to other processes (pickled). What cannot be pickled, such as
    a decoder or a loaded model, is made at the first call of :meth:`align`.
    """

    #: The name it is registered by; the first part of its key in the cache.
    name: ClassVar[str]

    #: Utterances that :meth:`align` is given at once.
    batch_size: int = 16

    #: Whether several processes may align at once. False for an aligner that already
    #: uses all cores, or an accelerator.
    parallel: ClassVar[bool] = True

    #: From how many utterances on that is worth the start of processes, some seconds.
    parallel_from: ClassVar[int] = 0

    #: Whether it needs transcripts. One that does not writes them itself.
    needs_text: ClassVar[bool] = True

    #: Whether it matches letters with sounds, so that numbers are better given to it in
    #: words (:mod:`ssr_plugin.alignment.number_aligner`).
    wants_words: ClassVar[bool] = False

    #: What it does, for messages and bars.
    verb: ClassVar[str] = "aligning"

    @abc.abstractmethod
    def settings(self) -> dict[str, Any]:
        """All that changes its alignments, as a JSON-able dict; part of the key."""

    @abc.abstractmethod
    def align(self, items: Sequence[AlignmentItem]) -> list[Alignment | AlignmentError]:
        """Aligns a batch of utterances.

        One bad utterance never breaks the batch: its result is the error.

        Arguments
        ---------
        items : list of AlignmentItem

        Returns
        -------
        list of (Alignment or AlignmentError)
            As long as ``items``, in the same order.
        """

    def doubt(self, texts: Sequence[str]) -> str | None:
        """Why a corpus may not suit this aligner: asked once, before it is aligned.

        A subclass that can tell overrides this; the user sees the answer as a warning.

        Arguments
        ---------
        texts : list of str
            Transcripts of the corpus, or an even sample of them.

        Returns
        -------
        str or None
            The doubt and what to do about it; None if there is none.
        """
        return None
