"""What a segmenter that listens has heard of the utterances of a batch."""

import torch

from ssr_plugin.data.resampling import resample
from ssr_plugin.nnet.precision import without_autocast
from ssr_plugin.segmenters.base import HearingSegmenter


def hypotheses_of(brain, batch, rows=None):
    """Hypotheses of utterances of a batch; where there is none, the recogniser listens.

    Arguments
    ---------
    brain : DistillBrain or FinetuneBrain
        Its ``hypotheses`` are those of utterances whose batch comes without its own.
    batch : ssr_plugin.training.batches.Batch
        Anywhere.
    rows : list of int or None
        Of the batch; None for all.

    Returns
    -------
    list of ssr_plugin.alignment.record.Alignment or None
        One of each row; None if the brain's segmenter does not listen.
    """
    if not isinstance(brain.segmenter, HearingSegmenter):
        return None
    rows = range(len(batch.ids)) if rows is None else rows
    if batch.hypotheses is None:
        return [brain.hypotheses[batch.ids[row]] for row in rows]
    heard = {row: batch.hypotheses[row] for row in rows}
    unknown = [row for row in rows if heard[row] is None]
    if unknown:
        recognizer = brain.segmenter.recognizer
        rates = brain.modules.encoder.sample_rate, recognizer.sample_rate
        wavs = [batch.inputs[row][: batch.counts[row]].cpu() for row in unknown]
        if rates[0] != rates[1]:
            wavs = [torch.from_numpy(resample(x.numpy(), *rates)) for x in wavs]
        with torch.no_grad(), without_autocast(brain.device):
            found = recognizer.recognize(wavs)
        heard |= zip(unknown, found, strict=True)
    return [heard[row] for row in rows]
