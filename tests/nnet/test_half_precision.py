"""What training computes stays finite in half precision, forward and backward.

Each operation is run under autocast to bfloat16 and in double precision: on plain
inputs both agree, and on extreme ones all values and gradients are finite.
"""

import contextlib
import functools
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from ssr_plugin.connectors import ssr_connector
from ssr_plugin.connectors.ssr_encoder import SegmentPool, context_mask
from ssr_plugin.llm.next_token import next_token_loss
from ssr_plugin.nnet.candidates import distance_logits
from ssr_plugin.nnet.firing import integrate, quantity_loss, scale_weights
from ssr_plugin.nnet.frames import ConvolutionLayer, FrameNetwork
from ssr_plugin.nnet.layers import (
    DecoderLayer,
    RMSNorm,
    attention,
    finite_attention,
)
from ssr_plugin.nnet.pooling import gather_blocks, plan_pooling, pool_blocks
from ssr_plugin.nnet.segments import segment_softmax
from ssr_plugin.nnet.spelling import Spelling, SpellingKeys
from ssr_plugin.training.augment import Strengths, change_frames, draw_changes
from ssr_plugin.training.losses import (
    cosine_distance,
    relative_squared_error,
    squared_error,
)

D, H, T = 12, 16, 24
SHAPE = {"num_heads": 2, "num_kv_heads": 1, "head_size": 8, "hidden_size": 24}
# Segments of one frame, a gap, a row with one segment, one with none.
BOUNDARIES = torch.tensor([[0, 1, 9, 23], [7, -1, -1, -1], [-1, -1, -1, -1]])
STARTS = torch.tensor([[0, 1, 4, 10], [3, -1, -1, -1], [-1, -1, -1, -1]])
LENGTHS = torch.tensor([24, 8, 0])
WORDS = ["", "a", "\u0120cat", "\u0120cats", "\u0120Dog", "\u0120mat", "s", "zz"]


def draw(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


class Tokenizer:
    """Spells the words."""

    def __len__(self):
        return len(WORDS)

    def convert_ids_to_tokens(self, ids):
        return [WORDS[i] for i in ids]


def make_connector(form, head):
    config = LlamaConfig(
        hidden_size=H,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=24,
    )
    table = draw(len(WORDS), H)
    llm = SimpleNamespace(config=config, table=lambda: table, tokenizer=Tokenizer())
    connector = ssr_connector(D, llm, form, head=head, gram_dropout=0.5)
    if head == "direct":
        return connector, lambda x: connector(x, BOUNDARIES, STARTS).vectors
    candidates = torch.tensor([0, 2, 3, 5, 7])

    def read(x):
        output = connector(x, BOUNDARIES, STARTS, candidates)
        targets = torch.tensor([0, 4, 2, 5, 1])
        logits = output.token_logits[BOUNDARIES >= 0]
        loss = F.cross_entropy(logits, targets)
        return torch.cat([output.vectors.float().flatten(), loss.view(1)])

    return connector, read


def of_module(module, *arguments):
    return module, lambda *inputs: module(*inputs, *arguments)


def pool_segments():
    pool = SegmentPool(D, H, num_pooling_heads=3)
    return of_module(pool, plan_pooling(BOUNDARIES, STARTS, T))


def spelling_keys(gram_dropout):
    keys = SpellingKeys(Spelling(WORDS, num_buckets=64), H, gram_dropout=gram_dropout)
    grams = keys.look_up(torch.arange(8))

    def read(x):
        keys.grams.weight.data = x.to(keys.grams.weight)
        return torch.cat([y.float().flatten() for y in keys(grams)])

    return keys, read


def attend(length):
    valid = torch.arange(length) < torch.tensor([length, 1]).unsqueeze(1)
    mask = context_mask(valid, "causal")
    return None, lambda q, k, v: attention(q, k, v, mask)


def vector_loss(loss):
    table = draw(8, H)
    tokens = torch.tensor([0, 2, 2, 7])
    return None, lambda z: loss(z.float(), table[tokens].to(z).float())


def token_loss():
    table = draw(8, H)
    tokens = torch.tensor([0, 2, 2, 7])
    return None, lambda z: F.cross_entropy(distance_logits(z, table.to(z)), tokens)


def softmax_in_segments():
    index = torch.tensor([0, 1, 1, 1, 4, 4])
    return None, lambda x: segment_softmax(x, index, 6)


def pool_in_blocks():
    plan = plan_pooling(BOUNDARIES, STARTS, T)

    def read(x, scores):
        blocks, scores = gather_blocks(x, plan), gather_blocks(scores, plan)
        return pool_blocks(blocks, scores, plan)

    return None, read


def changed_frames(lengths=LENGTHS, **strengths):
    strengths = Strengths(**strengths)
    valid = torch.arange(T) < lengths.unsqueeze(1)
    generator = torch.Generator().manual_seed(0)

    def read(x):
        x = x.float() * valid[:, : x.shape[1]].unsqueeze(-1)
        changes = draw_changes(lengths, x.shape[1], strengths, generator.manual_seed(0))
        return change_frames(x, **changes, frame_noise=strengths.frame_noise)

    return None, read


def fire_vectors():
    counts = torch.tensor([4, 1, 0])

    def read(x, w):
        weights = w.float().sigmoid()
        scaled = scale_weights(weights, counts)
        return integrate(x, scaled, 4).float().sum() + quantity_loss(weights, counts)

    return None, read


def learn_text():
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=H,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=24,
    )
    model, targets = LlamaForCausalLM(config), torch.tensor([0, 4])

    def read(x, base):
        return next_token_loss(model, x, targets, 1.0, (model, base), 1.0)

    return model.get_output_embeddings(), read


# Each gives its module, if it has one, and the function; then the inputs' shapes.
OPERATIONS = {
    "attention": (lambda: attend(10), [(2, 2, 10, 8)] * 3),
    "attention of a long row": (lambda: attend(264), [(2, 1, 264, 8)] * 3),
    "RMSNorm": (lambda: of_module(RMSNorm(D, eps=1e-6)), [(3, T, D)]),
    "LayerNorm": (lambda: of_module(nn.LayerNorm(D)), [(3, T, D)]),
    "DecoderLayer": (
        lambda: of_module(
            DecoderLayer(D, **SHAPE), context_mask(LENGTHS[None] > 0, "full")
        ),
        [(1, 3, D)],
    ),
    "ConvolutionLayer": (
        lambda: of_module(ConvolutionLayer(D, 3), torch.arange(T) < LENGTHS[:, None]),
        [(3, T, D)],
    ),
    "FrameNetwork": (
        lambda: (
            network := FrameNetwork(D, 8, num_layers=1, num_heads=2, stack=2),
            lambda x: network(x, LENGTHS)[0],
        ),
        [(3, T, D)],
    ),
    "segment_softmax": (softmax_in_segments, [(6, 3)]),
    "pool_blocks": (pool_in_blocks, [(3, T, D), (3, T, 3)]),
    "SegmentPool": (pool_segments, [(3, T, D)]),
    "SSR connector": (lambda: make_connector("token", "vocabulary"), [(3, T, D)]),
    "SSR, direct": (lambda: make_connector("token", "direct"), [(3, T, D)]),
    "SSR, as published": (lambda: make_connector("frame", "direct"), [(3, T, D)]),
    "SpellingKeys": (lambda: spelling_keys(0.0), [(64, H)]),
    "SpellingKeys without grams": (lambda: spelling_keys(1 - 1e-9), [(64, H)]),
    "squared_error": (lambda: vector_loss(squared_error), [(4, H)]),
    "relative_squared_error": (lambda: vector_loss(relative_squared_error), [(4, H)]),
    "cosine_distance": (lambda: vector_loss(cosine_distance), [(4, H)]),
    "centered cosine_distance": (
        lambda: vector_loss(functools.partial(cosine_distance, center=draw(8, H)[2])),
        [(4, H)],
    ),
    "cross-entropy of distances": (token_loss, [(4, H)]),
    "next_token_loss": (learn_text, [(2, H), (2, H)]),
    "integrate-and-fire": (fire_vectors, [(3, T, D), (3, T)]),
    "swapped means": (lambda: changed_frames(mean_swap=1.5), [(3, T, D)]),
    "noise": (lambda: changed_frames(frame_noise=0.2), [(3, T, D)]),
    "noise on one frame": (
        lambda: changed_frames(torch.tensor([1]), frame_noise=0.2),
        [(1, 1, D)],
    ),
    "dropped frames": (lambda: changed_frames(frame_dropout=0.5), [(3, T, D)]),
}


def zero_some(x):
    return x * (torch.arange(x.shape[-2]).view(-1, 1) % 3 > 0)


# What encoders give at most, frames that are left out, and weights gone far astray.
EXTREMES = {
    "zeros": torch.zeros_like,
    "some zero rows": zero_some,
    "all alike": torch.ones_like,
    "tiny": lambda x: 1e-20 * x,
    "large": lambda x: 100 * x,
    "very large": lambda x: 1e4 * x,
    "one very large": lambda x: torch.where(x == x.max(), 3e4, x),
}


def run(name, dtype, change=lambda x: x):
    """The operation's result and gradients: of its inputs, then of its weights.

    ``dtype`` is float64; float32, which autocasts to bfloat16; or half precision all
    through, of the inputs alone.
    """
    make, shapes = OPERATIONS[name]
    torch.manual_seed(0)
    module, operation = make()
    inputs = [change(draw(*shape)).to(dtype) for shape in shapes]
    inputs = [x.detach().clone().requires_grad_() for x in inputs]
    parameters = []
    if module is not None:
        module.to(torch.float64 if dtype == torch.float64 else torch.float32)
        parameters = list(module.parameters())
    torch.manual_seed(0)
    half = dtype if dtype == torch.float16 else torch.bfloat16
    with torch.autocast("cpu", half, enabled=dtype != torch.float64):
        result = operation(*inputs)
    (result.double() * draw(*result.shape)).sum().backward()
    gradients = [x.grad for x in inputs + parameters if x.grad is not None]
    return [result.detach(), *gradients]


@pytest.mark.parametrize("name", OPERATIONS)
def test_half_precision_gives_what_double_precision_gives(name):
    half, double = run(name, torch.float32), run(name, torch.float64)
    largest = max(x.double().norm() for x in double[1:])
    for ours, exact in zip(half, double, strict=True):
        error = (ours.double() - exact.double()).norm()
        # A gradient that is next to nothing is made of roundings.
        assert error <= 0.03 * exact.double().norm() + 1e-3 * largest


@pytest.mark.parametrize("extreme", EXTREMES)
@pytest.mark.parametrize("name", OPERATIONS)
def test_extreme_inputs_give_finite_values_and_gradients(name, extreme):
    for value in run(name, torch.float32, EXTREMES[extreme]):
        assert value.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", OPERATIONS)
def test_inputs_of_half_precision_give_finite_values_and_gradients(name, dtype):
    for value in run(name, dtype):
        assert value.isfinite().all()


# --- Attention on a GPU --------------------------------------------------------------


def far_below(length):
    """Query, key and value of which every score is near -120."""
    query, key = 0.1 * draw(1, 1, length, 64), 0.1 * draw(1, 1, length, 64)
    query[..., 0], key[..., 0] = 1.0, -120.0 * 64**0.5
    return query, key, draw(1, 1, length, 64)


@pytest.mark.parametrize("length", [64, 192, 320])
def test_attention_whose_scores_are_all_far_below_zero_has_finite_gradients(length):
    device = "cuda" if torch.cuda.is_available() else "cpu"
    inputs = [x.to(device, torch.bfloat16).requires_grad_() for x in far_below(length)]
    mask = torch.ones(length, length, dtype=torch.bool, device=device).tril()
    attention(*inputs, mask[None, None]).sum().backward()
    assert all(x.grad.isfinite().all() for x in inputs)


def test_attention_on_a_gpu_or_of_a_long_row_does_not_use_cudnn(monkeypatch):
    allowed = []

    def note(query, *arguments, **options):
        allowed.append(torch.backends.cuda.cudnn_sdp_enabled())
        return query

    monkeypatch.setattr(F, "scaled_dot_product_attention", note)
    attention(*[draw(1, 1, 300, 8)] * 3, None)
    with contextlib.suppress(NotImplementedError):
        attention(*[torch.empty(1, 1, 4, 8, device="meta")] * 3, None)
    assert allowed == [False, False]


def test_finite_attention_leaves_torchs_choice_as_it_was():
    before = torch.backends.cuda.cudnn_sdp_enabled()
    with finite_attention():
        assert not torch.backends.cuda.cudnn_sdp_enabled()
        assert torch.backends.cuda.math_sdp_enabled()
    assert torch.backends.cuda.cudnn_sdp_enabled() == before
