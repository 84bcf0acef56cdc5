"""Training data that is read from shards, batch by batch: nothing of it is held."""

import dataclasses
import logging
import os

import numpy as np
import torch

from ssr_plugin.alignment.record import Alignment, AlignmentError
from ssr_plugin.data.audio import AudioError
from ssr_plugin.problems import Problems
from ssr_plugin.segmenters.base import SegmentationError
from ssr_plugin.training.shard_batches import ShardPlan
from ssr_plugin.training.shard_copies import ShardCopies

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
    split : ssr_plugin.data.shards.ShardSplit or JoinedShards
    segmenter : ssr_plugin.segmenters.base.TranscriptSegmenter
    encoder : ssr_plugin.encoders.encoder.SpeechEncoder
        For its sampling rate and its number of frames; it is not run.
    reads_frames : bool
        Whether frames are read, that the shards keep; else audio, for the encoder to
        run on.
    resample : bool
        Whether audio of another rate than the encoder's is used.
    copies : ssr_plugin.training.shard_copies.ShardCopies or None
        Of each utterance; of frames there are none.
    hears : bool
        Whether examples have what a recogniser hears of them: None where it is unknown.
    heard : set of pathlib.Path
        Folders of the corpora whose shards keep it; of others it is unknown.

    Attributes
    ----------
    durations : numpy.ndarray
        [C * N] s, of all copies of all utterances.
    starts : numpy.ndarray
        [C * S + 1] int, the first row of each copy of a shard, and behind the last.
    """

    def __init__(
        self,
        split,
        segmenter,
        encoder,
        reads_frames,
        resample=True,
        copies=None,
        hears=False,
        heard=frozenset(),
    ):
        self.split = split
        self.segmenter = segmenter
        self.encoder = encoder
        self.reads_frames = reads_frames
        self.resample = resample
        self.copies = copies or ShardCopies()
        self.hears = hears
        self.heard = heard
        self.durations = self.copies.durations(split.durations)
        firsts = np.arange(len(self.copies))[:, None] * len(split) + split.starts[:-1]
        self.starts = np.append(firsts.ravel(), len(self))

    def __len__(self):
        """How many rows there are: copies of utterances."""
        return len(self.copies) * len(self.split)

    @property
    def audio_seconds(self):
        """Of all rows, s."""
        return self.split.seconds * self.copies.seconds

    def num_frames(self, row, duration):
        """Frames of a row of that duration, s."""
        if self.reads_frames:
            return self.split.num_frames(row)
        return self.encoder.num_frames(round(duration * self.encoder.sample_rate))

    def cut(self, row):
        """A row as an example for a batch, but for its input.

        Arguments
        ---------
        row : int

        Returns
        -------
        example : dict
            As those of :func:`ssr_plugin.training.batches.make_dataset`.
        record : dict
            Of its utterance.

        Raises
        ------
        SegmentationError
            If it cannot be used.
        """
        copy, number = divmod(row, len(self.split))
        record = self.split.record(number)
        speed, name = self.copies.speed(copy), self.copies.name(copy, record["id"])
        rate = record["sample_rate"]
        if not self.resample and rate != self.encoder.sample_rate:
            raise SegmentationError(
                f"{name}: it is sampled at {rate} Hz, not "
                f"{self.encoder.sample_rate}: set resample: True"
            )
        duration = record["duration"] / speed
        num_frames = self.num_frames(row, duration)
        alignment = self._alignment(number, record, "alignment", name, speed)
        example = {
            "id": name,
            "duration": duration,
            "num_frames": num_frames,
            "segments": self.segmenter.segment(alignment, num_frames),
        }
        if self.hears:
            example["hypothesis"] = None
            # In noise it hears other words.
            is_kept = self.split.part(number).folder.parent in self.heard
            if is_kept and self.copies.is_clean(copy):
                heard = self._alignment(number, record, "hypothesis", name, speed)
                example["hypothesis"] = heard
        return example, record

    def _alignment(self, number, record, key, name, speed):
        """An alignment of a record, of a copy of its utterance."""
        alignment = read_alignment(self.split, number, record, key)
        alignment = dataclasses.replace(alignment, id=name)
        return alignment if speed == 1 else alignment.at_speed(speed)

    def read(self, row):
        """A row as an example for a batch.

        Raises
        ------
        SegmentationError
            If it cannot be cut.
        ssr_plugin.data.audio.AudioError
            If its audio cannot be read, or no noise can be added to it.
        """
        example, record = self.cut(row)
        copy, number = divmod(row, len(self.split))
        if self.reads_frames:
            signal = torch.from_numpy(self.split.frames(number))
        else:
            signal = self.copies.read(
                copy,
                self.split.audio_file(number),
                record,
                self.encoder.sample_rate,
                str(self.split.audio(number, record)),
            )
        return {**example, "input": signal}

    def will_read(self, first, stop):
        """Tells the system that the rows [first, stop), of one shard, are read soon."""
        number = first % len(self.split)
        self.split.will_read(number, number + stop - first)

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
        rows = sample_rows(len(self.split), limit)
        if len(rows) < len(self.split):
            logger.info(
                "%d of %d utterances are looked at before training, from all over the "
                "shards: the tokens in them are those that count as seen",
                len(rows),
                len(self.split),
            )
        problems = Problems("segmentation", max_skipped_share)
        segments = {}
        for row in rows:
            for copies in self.copies.alike():
                first = copies[0] * len(self.split) + row
                try:
                    example, record = self.cut(first)
                except SegmentationError as error:
                    name = self.split.record(row)["id"]
                    _, _, reason = str(error).partition(": ")
                    for copy in copies:
                        problems.add(self.copies.name(copy, name), reason)
                    continue
                for copy in copies:
                    name = self.copies.name(copy, record["id"])
                    segments[name] = example["segments"]
        problems.check(len(rows) * len(self.copies))
        return segments, problems


def sample_rows(total, limit=SURVEY):
    """Rows from all over some data, in runs: all of them, if they are few.

    Arguments
    ---------
    total, limit : int

    Returns
    -------
    range or list of int

    Example
    -------
    >>> sample_rows(3)
    range(0, 3)
    >>> rows = sample_rows(1_000_000)
    >>> len(rows), rows[0], rows[-1]
    (20000, 0, 999999)
    """
    if total <= limit:
        return range(total)
    runs = limit // _RUN
    begins = [i * (total - _RUN) // (runs - 1) for i in range(runs)]
    return [row for first in begins for row in range(first, first + _RUN)]


def read_alignment(split, row, record, key="alignment"):
    """The alignment of a record in a shard.

    Arguments
    ---------
    split : ssr_plugin.data.shards.ShardSplit
    row : int
        Of the split.
    record : dict
        The record there.
    key : str
        "alignment", or "hypothesis".

    Returns
    -------
    ssr_plugin.alignment.record.Alignment

    Raises
    ------
    ssr_plugin.data.shards.ShardError
        If it is none; the message names the shard.
    """
    try:
        return Alignment.from_json(record[key])
    except (AlignmentError, KeyError) as error:
        raise split.damaged(row, error) from error


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
        return len(self.reader)

    @property
    def audio_seconds(self):
        """Of all utterances, s."""
        return self.reader.audio_seconds

    def __getitems__(self, ref):
        """The examples of a batch.

        An utterance that cannot be cut or read is left out, each time. If none is left,
        the batch after it in the buffer stands in for it.

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
                except (SegmentationError, AudioError) as error:
                    logger.warning("training: skipped %s", error)
            if examples:
                return examples
        raise ValueError(
            f"no utterance of a buffer of {self.reader.split.folder} can be read and "
            f"cut into segments: see the warnings above"
        )

    def _announce(self, ref):
        """Has the system read this buffer and the next, each in sequence."""
        for buffer in (ref.buffer, ref.buffer + 1):
            if (ref.epoch, buffer) not in self._announced:
                self._announced.add((ref.epoch, buffer))
                for first, stop in self.plan.pieces(ref.epoch, buffer):
                    self.reader.will_read(first, stop)
        self._announced = {x for x in self._announced if x[0] == ref.epoch}
