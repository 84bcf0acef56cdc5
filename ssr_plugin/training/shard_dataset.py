"""Training data that is read from shards, batch by batch: nothing of it is held."""

import logging
import os

import torch

from ssr_plugin.alignment.record import Alignment
from ssr_plugin.data.audio import read_audio
from ssr_plugin.problems import Problems
from ssr_plugin.segmenters.base import SegmentationError
from ssr_plugin.training.shard_batches import ShardPlan

logger = logging.getLogger(__name__)

#: Utterances that are looked at before training: for what cannot be cut, and for the
#: tokens that there are.
SURVEY = 20_000
# Utterances that a survey reads in sequence.
_RUN = 200


class ShardReader:
    """Makes training examples of what shards hold.

    Arguments
    ---------
    split : ssr_plugin.data.shards.ShardSplit
    segmenter : ssr_plugin.segmenters.base.TranscriptSegmenter
    encoder : ssr_plugin.encoders.encoder.SpeechEncoder
        For its sampling rate and its number of frames; it is not run.
    reads_frames : bool
        Whether frames are read, that the shards keep; else audio, for the encoder to
        run on.
    resample : bool
        Whether audio of another rate than the encoder's is used.
    """

    def __init__(self, split, segmenter, encoder, reads_frames, resample=True):
        self.split = split
        self.segmenter = segmenter
        self.encoder = encoder
        self.reads_frames = reads_frames
        self.resample = resample

    def num_frames(self, row, duration):
        """Frames of an utterance."""
        if self.reads_frames:
            return self.split.num_frames(row)
        return self.encoder.num_frames(round(duration * self.encoder.sample_rate))

    def cut(self, row):
        """The record of an utterance, its frames and its segments, without its input.

        Returns
        -------
        record : dict
        num_frames : int
        segments : ssr_plugin.segmenters.base.Segments

        Raises
        ------
        SegmentationError
            If it cannot be used.
        """
        record = self.split.record(row)
        rate = record["sample_rate"]
        if not self.resample and rate != self.encoder.sample_rate:
            raise SegmentationError(
                f"{record['id']}: it is sampled at {rate} Hz, not "
                f"{self.encoder.sample_rate}: set resample: True"
            )
        num_frames = self.num_frames(row, record["duration"])
        alignment = Alignment.from_json(record["alignment"])
        return record, num_frames, self.segmenter.segment(alignment, num_frames)

    def read(self, row):
        """An utterance as an example for a batch; see :meth:`cut`."""
        record, num_frames, segments = self.cut(row)
        if self.reads_frames:
            signal = torch.from_numpy(self.split.frames(row))
        else:
            signal = read_audio(
                self.split.audio_file(row),
                self.encoder.sample_rate,
                name=str(self.split.audio(row, record)),
            )
        return {
            "id": record["id"],
            "duration": record["duration"],
            "input": signal,
            "num_frames": num_frames,
            "segments": segments,
        }

    def survey(self, max_skipped_share, limit=SURVEY):
        """Cuts utterances from all over the data: all of them, if they are few.

        Arguments
        ---------
        max_skipped_share : float
        limit : int
            Utterances, about.

        Returns
        -------
        segments : dict
            ssr_plugin.segmenters.base.Segments by id.
        problems : Problems
            Those that cannot be cut, of these.

        Raises
        ------
        TooManyProblems
            If they are more than ``max_skipped_share``.
        """
        total = len(self.split)
        rows = range(total)
        if total > limit:
            runs = limit // _RUN
            begins = [i * (total - _RUN) // (runs - 1) for i in range(runs)]
            rows = [row for first in begins for row in range(first, first + _RUN)]
            logger.info(
                "%d of %d utterances are looked at before training, from all over the "
                "shards: the tokens in them are those that count as seen",
                len(rows),
                total,
            )
        problems = Problems("segmentation", max_skipped_share)
        segments = {}
        for row in rows:
            try:
                record, _, cut = self.cut(row)
                segments[record["id"]] = cut
            except SegmentationError as error:
                name, _, reason = str(error).partition(": ")
                problems.add(name, reason)
        problems.check(len(rows))
        return segments, problems


class ShardDataset(torch.utils.data.Dataset):
    """Training batches of a :class:`ShardPlan`, each read when it is asked for.

    Arguments
    ---------
    reader : ShardReader

    Attributes
    ----------
    plan : ShardPlan
        Set it before the first batch.
    """

    def __init__(self, reader):
        self.reader = reader
        self.plan: ShardPlan | None = None
        self._announced = set()
        # The tokenizer's threads do not outlive a fork: a data loader's process would
        # wait for them for ever.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

    def __len__(self):
        return len(self.reader.split)

    @property
    def audio_seconds(self):
        """Of all utterances, s."""
        return self.reader.split.seconds

    def __getitems__(self, ref):
        """The examples of a batch.

        An utterance that cannot be cut is left out, each time. If none is left, the
        batch after it in the buffer stands in for it.

        Arguments
        ---------
        ref : ssr_plugin.training.shard_batches.BatchRef

        Returns
        -------
        list of dict
            As those of :func:`ssr_plugin.training.batches.make_dataset`.
        """
        self._announce(ref)
        for stand_in in self.plan.following(ref):
            examples = []
            for row in self.plan.batch(stand_in):
                try:
                    examples.append(self.reader.read(int(row)))
                except SegmentationError as error:
                    logger.warning("training: skipped %s", error)
            if examples:
                return examples
        raise ValueError(
            f"no utterance of a buffer of {self.reader.split.folder} can be cut into "
            f"segments: see the warnings above"
        )

    def _announce(self, ref):
        """Has the system read this buffer and the next, each in sequence."""
        for buffer in (ref.buffer, ref.buffer + 1):
            if (ref.epoch, buffer) not in self._announced:
                self._announced.add((ref.epoch, buffer))
                for first, stop in self.plan.pieces(ref.epoch, buffer):
                    self.reader.split.will_read(first, stop)
        self._announced = {x for x in self._announced if x[0] == ref.epoch}
