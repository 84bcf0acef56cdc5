"""The gate between a segmenter's hypothesis and the connector: learnt after stage 1."""

import itertools
import logging

import torch

from ssr_plugin.connectors.base import VocabularyConnector
from ssr_plugin.inference.posterior_gate import (
    Evidence,
    Examples,
    PosteriorGate,
    known_posteriors,
)
from ssr_plugin.nnet.segments import pad_segments
from ssr_plugin.segmenters.targets import pair_tokens

logger = logging.getLogger(__name__)


@torch.no_grad()
def gate_examples(brain, loaders):
    """What hypothesis and connector say of utterances whose transcript is known.

    Arguments
    ---------
    brain : ssr_plugin.training.distill_brain.DistillBrain
    loaders : list of torch.utils.data.DataLoader
        Of utterances that the connector did not learn from.

    Returns
    -------
    list of Examples or None
        None if the connector does not score tokens, or the segmenter has no
        probabilities.
    """
    connector = brain.unwrapped("connector")
    if not isinstance(connector, VocabularyConnector):
        return None
    examples = []
    for batch in itertools.chain(*loaders):
        batch = batch.to(brain.device)
        features, lengths = brain.frames(batch)
        predicted = brain.predict(batch, features, lengths, use_lm=True)
        posteriors = known_posteriors(predicted)
        if posteriors is None:
            return None
        segments = [x.segments for x in predicted]
        boundaries, starts, _ = pad_segments(segments, brain.device)
        if not boundaries.shape[1]:
            continue
        states = connector.encode(features, boundaries, starts)[boundaries >= 0]
        null = len(brain.table)
        tokens = [
            torch.as_tensor(pair_tokens(found.tokens, reference.tokens, null))
            for found, reference in zip(segments, batch.segments, strict=True)
        ]
        examples.append(
            Examples.of(
                connector,
                states,
                Evidence.of(posteriors, boundaries, starts),
                torch.cat(tokens).to(brain.device),
                null,
            )
        )
    return examples


def fit_gate(brain, loaders):
    """Learns how far to believe a hypothesis, and how far the connector.

    Arguments
    ---------
    brain : ssr_plugin.training.distill_brain.DistillBrain
        Trained; its best checkpoint is read.
    loaders : list of torch.utils.data.DataLoader
        Of utterances that the connector did not learn from.

    Returns
    -------
    ssr_plugin.inference.posterior_gate.PosteriorGate or None
        None where there is nothing to weigh.
    """
    if brain.segmenter is None:
        return None
    brain.on_evaluate_start(**brain.best)
    brain.modules.eval()
    examples = gate_examples(brain, loaders)
    count = sum(len(x.features) for x in examples or ())
    if not count:
        return None
    gate = PosteriorGate()
    with torch.enable_grad():
        loss = gate.fit(examples)
    logger.info(
        "The gate between hypothesis and connector was fitted to %d segments of the "
        "validation data: %.3f nats for each token",
        count,
        loss,
    )
    return gate.to(brain.device)
