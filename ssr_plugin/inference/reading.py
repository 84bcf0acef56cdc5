"""From segments of frames to what the LLM reads, in tests and in use."""

import torch

from ssr_plugin.llm.lm_fusion import refine
from ssr_plugin.nnet.segment_lists import place_vectors


@torch.no_grad()
def read_segments(
    connector,
    llm,
    features,
    boundaries,
    starts,
    predicted=False,
    passes=2,
    weight=0.7,
    inverse_temperature=2.0,
):
    """Vectors of segments, with the frozen LLM's help where the connector takes it.

    Arguments
    ---------
    connector : torch.nn.Module
        As registered.
    llm : ssr_plugin.llm.text_llm.TextLLM
        Untouched: as the connector learnt from it.
    features : torch.Tensor
        [B, T, D]
    boundaries, starts : torch.Tensor
        [B, N] int, last and first frames, padded with -1.
    predicted : bool
        Whether segments may be those of no token, which are then left out.
    passes, weight, inverse_temperature
        Of :func:`ssr_plugin.llm.lm_fusion.refine`.

    Returns
    -------
    vectors : torch.Tensor
        [B, N, H]; zeros at padding and where nothing is said.
    kept : torch.Tensor
        [B, N] bool, the segments that say something.

    Example
    -------
    >>> from ssr_plugin import build
    >>> from ssr_plugin.encoders.encoder import SpeechEncoder
    >>> from ssr_plugin.llm.text_llm import TextLLM
    >>> encoder = SpeechEncoder(getfixture("tiny_encoder_folder"))
    >>> llm = TextLLM(getfixture("tiny_llm_folder"))
    >>> connector = build.connector("ssr", encoder, llm).eval()
    >>> boundaries, starts = torch.tensor([[3, 7, -1]]), torch.tensor([[0, 4, -1]])
    >>> features = torch.rand(1, 8, encoder.width)
    >>> vectors, kept = read_segments(connector, llm, features, boundaries, starts)
    >>> vectors.shape, kept.tolist()
    (torch.Size([1, 3, 16]), [[True, True, False]])
    """
    kept = boundaries >= 0
    scores_tokens = getattr(connector, "scores_tokens", False)
    if not (scores_tokens and (passes or predicted)):
        return connector(features, boundaries, starts), kept
    states = connector.states(features, boundaries, starts)
    if predicted:
        says = connector.head.says_something(states)
        kept, states = kept.masked_scatter(kept, says), states[says]
    counts = kept.sum(1).tolist()
    score = connector.head.score
    found = refine(llm, score, states, counts, passes, weight, inverse_temperature)
    return place_vectors(found, boundaries.masked_fill(~kept, -1)), kept
