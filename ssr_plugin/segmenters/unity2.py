"""A forced aligner that learns from transcripts alone, of the kind UnitY2 uses."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from ssr_plugin.nnet.monotonic import (
    NEVER,
    beta_binomial,
    forward_sum,
    runs_of_path,
    search,
)
from ssr_plugin.segmenters.base import Needs
from ssr_plugin.segmenters.character_segmenter import (
    CharacterSegmenter,
    check_fit,
    check_memory,
)

SILENCE = 0

# Width of the space in which frames and symbols are compared.
_KEY_WIDTH = 64
# How much worse a star fits a frame than the symbol that fits it best, nats: enough
# for a character beside a star to keep its own frames.
_STAR_COST = 1.0
# Frames whose scores are in memory at once when a text is aligned.
_BLOCK = 1024


class Unity2Segmenter(CharacterSegmenter):
    """Learns when the characters of a known text are spoken (one TTS alignment).

    Badlani et al. (arXiv 2108.10447), as in RAD-TTS and in UnitY2 (Seamless, arXiv
    2312.05187): a frame's score for a symbol is minus the squared distance of their
    projections, normalised over the text; the sum over all monotonic ways through text
    and frames is maximised, with a beta-binomial prior, and so is the best way itself
    (binarisation). Every character takes a frame at least. Before, between and after
    words there is a silence, which takes the pauses, so that no letter has to; in
    training it too takes a frame at least, in use it may be left out.

    It learns from transcripts alone; segments give it nothing but their tokens' text.
    It cannot work without a text. Three things differ from what is published; without
    them it did not learn, or less well (an hour of LibriSpeech, frames of Whisper-base;
    mean absolute error of word boundaries against pocketsphinx, other speakers, bias
    removed):

    - Each frame is projected alone (``num_layers`` 0): the encoder has seen its
      neighbours. With a layer of attention over frames it did not learn.
    - The text's convolution starts from zero, beside the embeddings. From a random
      start, keys may come to mean a neighbour (53 ms, 78 late; from zero, 24).
    - A symbol's share of the softmax is divided by how often the text has it. Else
      silences, of which there are many, lose their frames to letters, of which there
      are few (32 ms; with this, 22).

    Of SpeechBrain's ``FastSpeech2`` parts the ideas are kept, no code. Its
    ``AlignmentNetwork`` holds [B, C, T, N] differences, and its convolutions reflect
    padding into the text. ``ForwardSumLoss`` goes through the batch in a Python loop,
    and its blank takes frames from symbols. ``maximum_path_numpy`` takes more than 12
    bytes for each frame and symbol, and knows no symbols that may be left out.
    ``BinaryAlignmentLoss`` gives no gradient to a probability below 1e-12.

    Arguments
    ---------
    input_size, llm, frame_rate
        Of :class:`ssr_plugin.segmenters.network_segmenter.NetworkSegmenter`.
    prior : float
        Omega of the prior in training (:func:`beta_binomial`); 0: none, and then it
        does not find a beginning.
    binarization : float
        Weight of the best way's loss.
    num_layers, dropout, **options
        Of :class:`ssr_plugin.segmenters.character_segmenter.CharacterSegmenter`.

    Example
    -------
    >>> from ssr_plugin.llm.text_llm import TextLLM
    >>> llm = TextLLM(getfixture("tiny_llm_folder"))
    >>> segmenter = Unity2Segmenter(6, llm, 50.0, alphabet="abe", width=8)
    >>> [index for index, _, _ in segmenter.align_text(torch.rand(9, 6), "A bé")]
    [0, 2, 3]
    """

    needs = Needs.FRAMES | Needs.TRANSCRIPT

    def __init__(
        self,
        input_size,
        llm,
        frame_rate,
        prior=0.5,
        binarization=0.1,
        num_layers=0,
        dropout=0.0,
        **options,
    ):
        super().__init__(
            input_size,
            llm,
            frame_rate,
            num_layers=num_layers,
            dropout=dropout,
            **options,
        )
        self.prior = prior
        self.binarization = binarization
        self.query = nn.Linear(self.network.width, _KEY_WIDTH)

    def make_symbols(self):
        """See :meth:`CharacterSegmenter.make_symbols`."""
        self.keys = SymbolKeys(self.star, self.network.width, _KEY_WIDTH)

    def delimiter(self):
        """See :meth:`CharacterSegmenter.delimiter`."""
        return SILENCE

    def loss(self, features, lengths, boundaries, starts, tokens):
        """See :meth:`TrainableSegmenter.loss`: per frame; of ``tokens``, the text."""
        states, lengths = self.network(features, lengths)
        texts = [self.read_text(self.spell(row[row >= 0])).tokens for row in tokens]
        rows = [torch.tensor(with_silences(text)) for text in texts]
        counts = torch.tensor([len(row) for row in rows], device=states.device)
        symbols = pad_sequence(rows, batch_first=True, padding_value=self.star)
        symbols = symbols.to(states.device)
        log_probs = self.log_probs(states, lengths, symbols, counts)
        loss = forward_sum(log_probs, lengths, counts).sum()
        if self.binarization:
            loss = loss + self.binarization * best_way_loss(
                log_probs, lengths, counts, symbols == SILENCE
            )
        return loss / lengths.sum().clamp_min(1)

    def log_probs(self, states, lengths, symbols, counts):
        """Log-probability of each of a text's symbols at each frame, in training.

        Arguments
        ---------
        states : torch.Tensor
            [B, T, width]
        lengths : torch.Tensor
            [B] int, states of each.
        symbols : torch.Tensor
            [B, N] int
        counts : torch.Tensor
            [B] int, symbols of each.

        Returns
        -------
        torch.Tensor
            [B, T, N] float32
        """
        valid = torch.arange(symbols.shape[1], device=symbols.device) < counts[:, None]
        same = (symbols[:, :, None] == symbols[:, None]) & valid[:, None]
        scores = self.scores(states, symbols)
        scores = scores - same.sum(-1).clamp_min(1).log()[:, None]
        if self.prior:
            size = scores.shape[1:]
            scores = scores + beta_binomial(lengths, counts, *size, self.prior)
        return scores.masked_fill(~valid[:, None], NEVER).log_softmax(-1)

    def scores(self, states, symbols):
        """How well each symbol fits each frame.

        Minus the squared distance of their projections, but for what is the same for
        all symbols of a frame. A star fits nearly as well as any symbol could.

        Arguments
        ---------
        states : torch.Tensor
            [B, T, width]
        symbols : torch.Tensor
            [B, N] int

        Returns
        -------
        torch.Tensor
            [B, T, N] float32
        """
        queries = self.query(states)
        scores = nearness(queries, self.keys(symbols))
        stars = symbols == self.star
        if stars.any():
            # Each symbol alone, with silence around it.
            alone = F.pad(
                torch.arange(self.star, device=symbols.device)[:, None],
                (1, 1),
                value=SILENCE,
            )
            best = nearness(queries, self.keys(alone)[None, :, 1]).amax(-1) - _STAR_COST
            scores = torch.where(stars[:, None], best[..., None], scores)
        return scores

    def find(self, states, labels):
        """See :meth:`CharacterSegmenter.find`."""
        symbols = torch.tensor([with_silences(labels)], device=states.device)
        optional = (symbols == SILENCE).cpu().numpy()
        check_fit(int((~optional).sum()), len(states))
        check_memory(len(states) * optional.size)
        blocks = (
            self.scores(block[None], symbols).cpu().numpy()
            for block in states.split(_BLOCK)
        )
        (path,) = search(blocks, [len(states)], [optional.size], optional)
        return runs_of_path(path, optional.size)[1:-1]


class SymbolKeys(nn.Module):
    """What frames are compared with: embeddings of symbols and of their neighbours.

    Arguments
    ---------
    count : int
        Symbols that have an embedding. The next one, ``count``, has none: it stands for
        padding and for what is unknown.
    width : int
    key_width : int

    Example
    -------
    >>> SymbolKeys(3, 4, 2)(torch.tensor([[0, 2, 3]])).shape
    torch.Size([1, 3, 2])
    """

    def __init__(self, count, width, key_width):
        super().__init__()
        self.embedding = nn.Embedding(count + 1, width, padding_idx=count)
        self.neighbours = nn.Conv1d(width, width, 3, padding=1)
        self.leave = nn.Linear(width, width)
        self.project = nn.Linear(width, key_width)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, symbols):
        """[B, N] int to [B, N, key_width]"""
        x = self.embedding(symbols)
        around = self.neighbours(x.transpose(1, 2)).transpose(1, 2)
        return self.project(x + self.leave(F.relu(around)))


def with_silences(labels):
    """A text's labels with a silence before and after them.

    Example
    -------
    >>> with_silences((2, 0, 3))
    [0, 2, 0, 3, 0]
    """
    return [SILENCE, *labels, SILENCE]


def nearness(queries, keys):
    """Minus squared distances, less the queries' own squares, in attention's scale.

    Arguments
    ---------
    queries : torch.Tensor
        [B, T, K]
    keys : torch.Tensor
        [B or 1, N, K]

    Returns
    -------
    torch.Tensor
        [B, T, N] float32, whatever autocast makes of the rest.

    Example
    -------
    >>> nearness(torch.tensor([[[1.0]]]), torch.tensor([[[1.0], [3.0]]]))
    tensor([[[ 1., -3.]]])
    """
    with torch.autocast(queries.device.type, enabled=False):
        queries, keys = queries.float(), keys.float()
        products = queries @ keys.transpose(1, 2)
        squares = keys.square().sum(-1).unsqueeze(1)
        return (2 * products - squares) / keys.shape[-1] ** 0.5


def best_way_loss(log_probs, lengths, counts, optional):
    """Minus the log-probability of the best way alone (binarisation).

    Arguments
    ---------
    log_probs : torch.Tensor
        [B, T, N]
    lengths, counts : torch.Tensor
        [B] int, frames and symbols of each.
    optional : torch.Tensor
        [B, N] bool, see :func:`search`.

    Returns
    -------
    torch.Tensor
        A scalar, the sum over all frames.
    """
    arrays = (x.detach().cpu().numpy() for x in (log_probs, lengths, counts, optional))
    scores, *others = arrays
    path = torch.from_numpy(search([scores], *others)).to(log_probs.device)
    chosen = log_probs.gather(2, path.clamp_min(0)[..., None])[..., 0]
    return -chosen[path >= 0].sum()
