"""From manifests, alignments and features to batches.

What is done for each example on the CPU is a dynamic item of SpeechBrain's data set;
what is done for a batch is :func:`collate`.
"""

import dataclasses
import functools

import torch
from speechbrain.dataio.dataset import DynamicItemDataset
from speechbrain.dataio.sampler import DynamicBatchSampler
from tqdm import tqdm

from ssr_plugin.data.audio import read_row
from ssr_plugin.data.samples import open_audio
from ssr_plugin.nnet.groups import split_groups
from ssr_plugin.nnet.lengths import bucketed_length
from ssr_plugin.nnet.segments import pad_segments
from ssr_plugin.problems import Problems
from ssr_plugin.segmenters.base import SegmentationError
from ssr_plugin.training.packed_tensors import PackedTensors


@dataclasses.dataclass
class Batch:
    """Utterances side by side.

    Arguments
    ---------
    ids : list of str
    seconds : list of float
        Length of each utterance's audio.
    cached : bool
        Whether the inputs are features.
    segments : list of ssr_plugin.segmenters.base.Segments
    counts : list of int
        Frames, or samples, of each.
    num_frames : int
        T, frames of a row of the features, padding included.
    tensors : ssr_plugin.training.packed_tensors.PackedTensors
        ``inputs``: features [B, T, D] where they were cached, in the type they are
        stored in, else waveforms [B, S]; zeros at padding. ``lengths`` [B] int, frames
        of each. ``boundaries``, ``starts``, ``tokens`` [B, N] int, padded with -1: the
        segments. In training also what a
        :class:`ssr_plugin.training.planning.TrainingCollate` plans.
    hypotheses : list or None
        What a segmenter that listens has heard of each, an
        ssr_plugin.alignment.record.Alignment, or None where that is not known; None
        where examples do not come with it.
    """

    ids: list
    seconds: list
    cached: bool
    segments: list
    counts: list
    num_frames: int
    tensors: PackedTensors
    hypotheses: list | None = None

    @property
    def inputs(self):
        """Features or waveforms."""
        return self.tensors["inputs"]

    @property
    def lengths(self):
        """Frames of each utterance."""
        return self.tensors["lengths"]

    @property
    def boundaries(self):
        """The last frame of each segment."""
        return self.tensors["boundaries"]

    @property
    def starts(self):
        """The first frame of each segment."""
        return self.tensors["starts"]

    @property
    def tokens(self):
        """The token of each segment."""
        return self.tensors["tokens"]

    def to(self, device):
        """The batch with its tensors on a device."""
        return dataclasses.replace(self, tensors=self.tensors.to(device))

    def pin_memory(self):
        """What a data loader calls whose batches go to a GPU."""
        return dataclasses.replace(self, tensors=self.tensors.pin_memory())


def collate(examples):
    """Makes a :class:`Batch` of the examples that :func:`make_dataset` gives."""
    return make_batch(examples, lambda batch: {})


def make_batch(examples, plan):
    """Makes a :class:`Batch`, with more tensors that are planned for it.

    Arguments
    ---------
    examples : list of dict
        Of :func:`make_dataset`.
    plan : callable
        Batch -> dict of torch.Tensor.

    Returns
    -------
    Batch
    """
    inputs = [torch.as_tensor(example["input"]) for example in examples]
    segments = [example["segments"] for example in examples]
    lengths = [example["num_frames"] for example in examples]
    counts = [len(x) for x in inputs]
    boundaries, starts, tokens = (_pad(x) for x in pad_segments(segments))
    tensors = {
        "lengths": torch.tensor(lengths),
        "boundaries": boundaries,
        "starts": starts,
        "tokens": tokens,
    }
    batch = Batch(
        ids=[example["id"] for example in examples],
        seconds=[example["duration"] for example in examples],
        cached=inputs[0].dim() == 2,
        segments=segments,
        counts=counts,
        num_frames=bucketed_length(max(lengths)),
        tensors=tensors,
        hypotheses=_hypotheses(examples),
    )
    tensors |= plan(batch)
    # What is large is copied once, to where it stays.
    shape = (len(inputs), bucketed_length(max(counts)), *inputs[0].shape[1:])
    kinds = {name: (x.dtype, tuple(x.shape)) for name, x in tensors.items()}
    packed = PackedTensors.empty({"inputs": (inputs[0].dtype, shape), **kinds})
    for row, x in zip(packed["inputs"], inputs, strict=True):
        row[: len(x)] = x
        row[len(x) :] = 0
    for name, x in tensors.items():
        packed[name].copy_(x)
    return dataclasses.replace(batch, tensors=packed)


def _hypotheses(examples):
    """Those that examples come with."""
    if "hypothesis" not in examples[0]:
        return None
    return [example["hypothesis"] for example in examples]


def _pad(x):
    """[B, N] of segments with N rounded up."""
    behind = bucketed_length(x.shape[1], 8) - x.shape[1]
    return torch.nn.functional.pad(x, (0, behind), value=-1)


def other_rates(rows, sample_rate, max_skipped_share):
    """Finds the audio files that would have to be resampled.

    Arguments
    ---------
    rows : dict
        Manifest rows by id.
    sample_rate : int
        The wanted one, in Hz.
    max_skipped_share : float

    Returns
    -------
    ssr_plugin.problems.Problems
        The utterances of another sampling rate.
    """
    problems = Problems("checking sampling rates", max_skipped_share)
    for name, row in rows.items():
        with open_audio(row["wav"], header_only=True) as file:
            rate = file.samplerate
        if rate != sample_rate:
            problems.add(
                name,
                f"{row['wav']} is sampled at {rate} Hz, not {sample_rate}: convert it, "
                f"or set resample: True",
            )
    problems.check(len(rows))
    return problems


def segment_all(rows, alignments, segmenter, num_frames, max_skipped_share):
    """Cuts all utterances; those that cannot be cut are known before training.

    Arguments
    ---------
    rows : dict
        Manifest rows by id.
    alignments : dict
        ssr_plugin.alignment.record.Alignment by id; an id that is not in it has been
        reported by the aligner already and is left out.
    segmenter : ssr_plugin.segmenters.forced.ForcedSegmenter
    num_frames : callable
        id -> frames of the utterance.
    max_skipped_share : float

    Returns
    -------
    segments : dict
        ssr_plugin.segmenters.base.Segments by id.
    problems : ssr_plugin.problems.Problems
    """
    problems = Problems("segmentation", max_skipped_share)
    segments = {}
    bar = tqdm(rows, desc="segments", unit="utt", leave=False, disable=len(rows) < 2000)
    for name in bar:
        if name in alignments:
            try:
                segments[name] = segmenter.segment(alignments[name], num_frames(name))
            except SegmentationError as error:
                problems.add(name, str(error).removeprefix(f"{name}: "))
    problems.check(len(rows))
    return segments, problems


def make_dataset(rows, segments, num_frames, features=None, sample_rate=16000):
    """A SpeechBrain data set of the utterances that have segments.

    Arguments
    ---------
    rows : dict
        Manifest rows by id.
    segments : dict
        Segments by id.
    num_frames : dict
        Frames of each utterance by id.
    features : ssr_plugin.encoders.feature_cache.FeatureCache or None
        None reads the audio instead, for the encoder to run on.
    sample_rate : int
        In Hz, of the audio that the encoder takes.

    Returns
    -------
    speechbrain.dataio.dataset.DynamicItemDataset
        With keys id, duration, input, num_frames, segments.
    """
    dataset = DynamicItemDataset({k: row for k, row in rows.items() if k in segments})
    if features is None:

        def read(name):
            return read_row(rows[name], sample_rate)

        dataset.add_dynamic_item(read, takes="id", provides="input")
    else:
        # In the type they are stored in: half of what there is to send.
        stored = functools.partial(features.get, dtype=None)
        dataset.add_dynamic_item(stored, takes="id", provides="input")
    dataset.add_dynamic_item(num_frames.get, takes="id", provides="num_frames")
    dataset.add_dynamic_item(segments.get, takes="id", provides="segments")
    dataset.set_output_keys(["id", "duration", "input", "num_frames", "segments"])
    return dataset


def durations_of(dataset):
    """Seconds of audio of each utterance of a SpeechBrain data set, in its order.

    Example
    -------
    >>> rows = {"a": {"duration": 1.5}, "b": {"duration": 2.0}}
    >>> durations_of(DynamicItemDataset(rows))
    [1.5, 2.0]
    """
    return [dataset.data[name]["duration"] for name in dataset.data_ids]


def training_sampler(dataset, batch_seconds, seed, num_buckets=20):
    """Batches of utterances of like length, about ``batch_seconds`` of audio each.

    Arguments
    ---------
    dataset : speechbrain.dataio.dataset.DynamicItemDataset
    batch_seconds : float
        Audio in a batch, padding included.
    seed : int
        Order of the batches, together with the epoch.
    num_buckets : int
        More give less padding and less variety in a batch.

    Returns
    -------
    speechbrain.dataio.sampler.DynamicBatchSampler
    """
    return length_batches(durations_of(dataset), batch_seconds, seed, num_buckets)


def length_batches(durations, batch_seconds, seed, num_buckets=20, epoch=0):
    """As :func:`training_sampler`, of utterances of which nothing else is known.

    Arguments
    ---------
    durations : list of float
        Of all utterances, s.
    batch_seconds, seed, num_buckets
        As in :func:`training_sampler`.
    epoch : int

    Returns
    -------
    speechbrain.dataio.sampler.DynamicBatchSampler

    Example
    -------
    >>> sorted(map(sorted, length_batches([1.0, 9.0, 1.0, 9.0], 20.0, seed=1)))
    [[0, 2], [1, 3]]
    """
    return DynamicBatchSampler(
        durations,
        max_batch_length=batch_seconds,
        num_buckets=num_buckets,
        lengths_list=durations,
        seed=seed,
        epoch=epoch,
    )


def evaluation_batches(dataset, batch_seconds):
    """Batches in order of length, the same ones each time.

    Arguments
    ---------
    dataset : speechbrain.dataio.dataset.DynamicItemDataset
    batch_seconds : float
        Audio in a batch, padding included.

    Returns
    -------
    list of list of int
        For a data loader's ``batch_sampler``.
    """
    durations = durations_of(dataset)
    order = sorted(range(len(durations)), key=durations.__getitem__)
    return split_groups(order, durations.__getitem__, batch_seconds, padded=True)
