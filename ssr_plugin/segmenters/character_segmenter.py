"""What the trained segmenters share that know characters: alphabet and alignment."""

import abc

import torch

from ssr_plugin.alignment.ctc_characters import ctc_spelling, spread_characters
from ssr_plugin.alignment.record import AlignmentError
from ssr_plugin.segmenters.base import TextAligner
from ssr_plugin.segmenters.network_segmenter import NetworkSegmenter

# Bytes that a search may take.
MOST_MEMORY = 4e9


class CharacterSegmenter(NetworkSegmenter, TextAligner):
    """A trained segmenter that tells characters, and so can align a known text.

    A subclass gives :meth:`make_symbols` and :meth:`find`.

    Arguments
    ---------
    input_size, llm, frame_rate, **network
        Of :class:`ssr_plugin.segmenters.network_segmenter.NetworkSegmenter`.
    alphabet : str
        The characters; learnt from the training text where empty.
    start_offset, end_offset : float
        Added to starts and ends, in ms (see :mod:`ssr_plugin.segmenters.calibration`).
    """

    def __init__(
        self,
        input_size,
        llm,
        frame_rate,
        alphabet="",
        start_offset=0.0,
        end_offset=0.0,
        **network,
    ):
        super().__init__(input_size, llm, frame_rate, **network)
        self.start_offset = start_offset
        self.end_offset = end_offset
        self.set_alphabet(alphabet)

    def set_alphabet(self, alphabet):
        """Sets the characters, whose labels count from 1, and what is made for them."""
        self.alphabet = "".join(sorted(set(alphabet)))
        self.labels = {character: i + 1 for i, character in enumerate(self.alphabet)}
        self.star = len(self.alphabet) + 1
        self.make_symbols()

    @abc.abstractmethod
    def make_symbols(self):
        """Makes the layers whose size is that of the alphabet."""

    @abc.abstractmethod
    def find(self, states, labels):
        """Finds the labels of a text in an utterance.

        Arguments
        ---------
        states : torch.Tensor
            [T, width], the network's.
        labels : tuple of int
            Those of characters, :meth:`delimiter` and ``star``; one at least.

        Returns
        -------
        list of (int, int)
            Half-open range of states of each label.

        Raises
        ------
        AlignmentError
            If they do not fit, or are too many.
        """

    def learn_symbols(self, segments):
        """See :meth:`TrainableSegmenter.learn_symbols`: the characters of the text."""
        seen = set()
        for each in segments:
            seen |= set(self.spell(each.tokens))
        self.set_alphabet("".join(seen))

    def symbols(self):
        """See :meth:`TrainableSegmenter.symbols`."""
        return {
            "alphabet": self.alphabet,
            "start_offset": self.start_offset,
            "end_offset": self.end_offset,
        }

    def spell(self, tokens):
        """The text of some tokens."""
        return self.tokenizer.decode(tokens, skip_special_tokens=True).strip()

    def delimiter(self):
        """The label between words; None where there is none."""
        return self.labels.get(" ")

    def read_text(self, text):
        """A text in the labels of the alphabet.

        Case and accents are the alphabet's where it can be; letters and digits that it
        lacks are a star, which any sound may be.

        Returns
        -------
        ssr_plugin.alignment.ctc_characters.Spelling
        """
        return ctc_spelling(text, self.labels, self.delimiter(), self.star)

    @torch.no_grad()
    def align_text(self, features, text, id="?"):
        """Finds the characters of a text in the frames in which it is spoken.

        Arguments
        ---------
        features : torch.Tensor
            [T, D], one utterance's frames, without padding.
        text : str
        id : str
            The utterance, for messages.

        Returns
        -------
        list of (int, float, float)
            Index of a character in ``text``, start and end in s; in order, without
            overlap. Blanks and the punctuation that the alphabet lacks are not there.

        Raises
        ------
        AlignmentError
            If the text has no character to find, or more than fit into the frames, or
            the utterance is too long for the search.
        """
        spelling = self.read_text(text)
        if not spelling.tokens:
            raise AlignmentError(id, f"no letter or digit in the transcript '{text}'")
        (states,) = self.read(features[None], [len(features)])
        try:
            runs = self.find(states, spelling.tokens)
        except AlignmentError as error:
            raise AlignmentError(id, error.reason) from None
        spans, runs = spelling.spoken(runs)
        return spread_characters(
            spans, self.times(runs), len(features) / self.frame_rate
        )

    def times(self, runs):
        """Start and end in s of characters, the offsets added.

        Arguments
        ---------
        runs : list of (int, int)
            Half-open range of states of each.

        Returns
        -------
        list of (float, float)
        """
        step = self.stack / self.frame_rate
        return [
            (
                first * step + self.start_offset / 1000,
                stop * step + self.end_offset / 1000,
            )
            for first, stop in runs
        ]


def check_fit(count, num_frames):
    """Raises :class:`AlignmentError` if labels need more frames than there are."""
    if count > num_frames:
        raise AlignmentError(
            "?", f"{count} characters do not fit in its {num_frames} frames"
        )


def check_memory(size):
    """Raises :class:`AlignmentError` if a search would take too many bytes."""
    if size > MOST_MEMORY:
        raise AlignmentError(
            "?",
            f"too long to align: it would take {size / 1e9:.1f} GB, and at most "
            f"{MOST_MEMORY / 1e9:.1f} are allowed: cut the audio",
        )
