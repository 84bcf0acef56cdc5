"""The SSR connector: one vector in the LLM's embedding space for each segment."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from ssr_plugin.connectors.base import Connector, ConnectorOutput, VocabularyConnector
from ssr_plugin.connectors.ssr_encoder import SSREncoder, SSRPlanner
from ssr_plugin.nnet.spelling import VocabularyHead

if TYPE_CHECKING:
    from ssr_plugin.llm.text_llm import TextLLM

#: Options of the published form.
PUBLISHED = {"form": "frame", "head": "direct", "num_layers": 4}
HEADS = ("vocabulary", "direct")


class SSRConnector(VocabularyConnector):
    """Segments of encoder frames to expected embeddings of the LLM's tokens.

    Tan et al., "SSR: Alignment-Aware Modality Connector for Speech Language Models",
    arXiv 2410.00168, with a head that scores tokens known by their spelling
    (:class:`ssr_plugin.nnet.spelling.VocabularyHead`).

    Arguments
    ---------
    input_size : int
        D, width of the encoder's frames.
    llm : ssr_plugin.llm.text_llm.TextLLM
        Gives the embeddings, the tokens' spelling and the layers' shape.
    gram_dropout : float
        Share of a token's letter groups left out in training.
    **encoder
        ``form``, ``num_layers``, ``context``, ``stack``, ``dropout`` and
        ``num_pooling_heads`` of :class:`ssr_plugin.connectors.ssr_encoder.SSREncoder`.

    Example
    -------
    >>> from ssr_plugin.llm.text_llm import TextLLM
    >>> llm = TextLLM(getfixture("tiny_llm_folder"))
    >>> connector = SSRConnector(6, llm)
    >>> boundaries = torch.tensor([[3, 7, 9], [4, 5, -1]])
    >>> output = connector(torch.rand(2, 10, 6), boundaries)
    >>> output.vectors.shape, output.kept.tolist()
    (torch.Size([2, 3, 16]), [[True, True, True], [True, True, False]])
    """

    def __init__(
        self,
        input_size: int,
        llm: "TextLLM",
        gram_dropout: float = 0.0,
        **encoder: Any,
    ) -> None:
        super().__init__(llm)
        self.encoder = SSREncoder(input_size, llm, **encoder)
        self.head = VocabularyHead(llm, self.encoder.width, gram_dropout=gram_dropout)

    def planner(self) -> SSRPlanner:
        """See :meth:`Connector.planner`."""
        return self.encoder.planner(self.head.keys.spelling)

    def encode(
        self,
        features: torch.Tensor,
        boundaries: torch.Tensor,
        starts: torch.Tensor | None = None,
        plan: Mapping[str, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """See :meth:`VocabularyConnector.encode`."""
        states: torch.Tensor = self.encoder(features, boundaries, starts, plan)
        return states

    def encode_planned(
        self, features: torch.Tensor, boundaries: torch.Tensor, starts: torch.Tensor
    ) -> torch.Tensor:
        """See :meth:`VocabularyConnector.encode_planned`."""
        return self.encode(features, boundaries, starts)

    def token_logits(
        self,
        states: torch.Tensor,
        candidates: torch.Tensor | None = None,
        plan: Mapping[str, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """See :meth:`VocabularyConnector.token_logits`."""
        logits: torch.Tensor = self.head(states, candidates, plan)
        return logits

    def forward(
        self,
        features: torch.Tensor,
        boundaries: torch.Tensor,
        starts: torch.Tensor | None = None,
        candidates: torch.Tensor | None = None,
        plan: Mapping[str, torch.Tensor] | None = None,
    ) -> ConnectorOutput:
        """See :meth:`VocabularyConnector.forward`."""
        if candidates is None:
            return super().forward(features, boundaries, starts)
        states = self.encode(features, boundaries, starts, plan)
        logits = self.token_logits(states, candidates, plan)
        return self.choose(states, boundaries, logits, candidates)

    def null_logits(self, states: torch.Tensor) -> torch.Tensor:
        """See :meth:`VocabularyConnector.null_logits`."""
        return self.head.null_logits(states)


class DirectSSRConnector(Connector):
    """Segments of encoder frames to vectors that need be no mean of embeddings.

    As published (Tan et al., arXiv 2410.00168): the normalised states themselves, which
    start at the scale of the embeddings.

    Arguments
    ---------
    input_size : int
        D, width of the encoder's frames.
    llm : ssr_plugin.llm.text_llm.TextLLM
        Gives the width H, the layers' shape and the table's scale.
    **encoder
        Of :class:`ssr_plugin.connectors.ssr_encoder.SSREncoder`.

    Example
    -------
    >>> from ssr_plugin.llm.text_llm import TextLLM
    >>> llm = TextLLM(getfixture("tiny_llm_folder"))
    >>> connector = DirectSSRConnector(6, llm, form="frame", num_layers=4)
    >>> boundaries = torch.tensor([[3, 7, 9], [4, 5, -1]])
    >>> connector(torch.rand(2, 10, 6), boundaries).vectors.shape
    torch.Size([2, 3, 16])
    """

    def __init__(self, input_size: int, llm: "TextLLM", **encoder: Any) -> None:
        super().__init__()
        self.encoder = SSREncoder(input_size, llm, **encoder)
        # Start at the scale of what is to be learnt.
        with torch.no_grad():
            scale = llm.table().float().square().mean().sqrt()
            self.encoder.norm.weight.copy_(scale)

    def planner(self) -> SSRPlanner:
        """See :meth:`Connector.planner`."""
        return self.encoder.planner()

    def forward(
        self,
        features: torch.Tensor,
        boundaries: torch.Tensor,
        starts: torch.Tensor | None = None,
        plan: Mapping[str, torch.Tensor] | None = None,
    ) -> ConnectorOutput:
        """See :meth:`Connector.forward`."""
        states, kept = self.encoder(features, boundaries, starts, plan), boundaries >= 0
        return ConnectorOutput(states * kept.unsqueeze(-1), kept)


def ssr_connector(
    input_size: int,
    llm: "TextLLM",
    form: str = "token",
    num_layers: int = 2,
    context: str = "causal",
    stack: int = 1,
    dropout: float = 0.0,
    head: str = "vocabulary",
    gram_dropout: float = 0.0,
    num_pooling_heads: int = 12,
) -> Connector:
    """The SSR connector with the head that a YAML names.

    Arguments
    ---------
    input_size, llm, form, num_layers, context, stack, dropout, num_pooling_heads
        Of :class:`SSRConnector`.
    head : str
        "vocabulary": :class:`SSRConnector`. "direct": :class:`DirectSSRConnector`.
    gram_dropout : float
        Of :class:`SSRConnector`; the direct head has no use for it.

    Returns
    -------
    Connector

    Raises
    ------
    ValueError
        If there is no such head.

    Example
    -------
    >>> from ssr_plugin.llm.text_llm import TextLLM
    >>> llm = TextLLM(getfixture("tiny_llm_folder"))
    >>> type(ssr_connector(6, llm, **PUBLISHED)).__name__
    'DirectSSRConnector'
    """
    if head not in HEADS:
        raise ValueError(f"head: {head!r} is neither 'vocabulary' nor 'direct'")
    encoder: dict[str, Any] = {
        "form": form,
        "num_layers": num_layers,
        "context": context,
        "stack": stack,
        "dropout": dropout,
        "num_pooling_heads": num_pooling_heads,
    }
    if head == "direct":
        return DirectSSRConnector(input_size, llm, **encoder)
    return SSRConnector(input_size, llm, gram_dropout=gram_dropout, **encoder)
