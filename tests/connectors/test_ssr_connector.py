"""The SSR connector: what each vector sees, in both forms and in any batch."""

from types import SimpleNamespace

import pytest
import torch
from transformers import Gemma2Config, GPT2Config, LlamaConfig, OPTConfig

from ssr_plugin.connectors import (
    DirectSSRConnector,
    ssr_connector,
    ssr_encoder,
)
from ssr_plugin.connectors.ssr_encoder import CONTEXTS, context_mask
from ssr_plugin.nnet.segments import (
    contiguous_starts,
    segment_of_frame,
)

FORMS = [("token", 1), ("frame", 1), ("frame", 2), ("frame", 3)]
SETUPS = [(*form, context) for form in FORMS for context in CONTEXTS]
HEADS = ["direct", "vocabulary"]
D, H = 6, 8
LLAMA = LlamaConfig(
    hidden_size=H, num_attention_heads=4, num_key_value_heads=2, intermediate_size=12
)


class Tokenizer:
    """Spells a vocabulary of 20 tokens."""

    def __len__(self):
        return 20

    def convert_ids_to_tokens(self, ids):
        return [f"\u0120w{i}" for i in ids]


def make_connector(
    form="token", stack=1, context="causal", head="direct", config=LLAMA, width=H
):
    torch.manual_seed(0)
    table = torch.randn(20, width)
    llm = SimpleNamespace(config=config, table=lambda: table, tokenizer=Tokenizer())
    connector = ssr_connector(
        D, llm, form=form, num_layers=2, context=context, stack=stack, head=head
    )
    with torch.no_grad():
        # Far from the start, where attention is all but even.
        for name, parameter in connector.named_parameters():
            if not name.startswith("head."):
                parameter.add_(0.3 * torch.randn_like(parameter))
    return connector.eval()


def boundaries_of(*rows):
    width = max(map(len, rows))
    return torch.tensor([[*row, *[-1] * (width - len(row))] for row in rows])


SETUP = pytest.mark.parametrize(("form", "stack", "context"), SETUPS)


@pytest.mark.parametrize(
    ("form", "stack", "context", "head"),
    [(*setup, "direct") for setup in SETUPS]
    + [("token", 1, "causal", "vocabulary"), ("frame", 2, "block", "vocabulary")],
)
def test_a_padded_batch_gives_what_single_utterances_give(form, stack, context, head):
    connector = make_connector(form, stack, context, head)
    rows = [[0], [2, 3, 4, 9, 30], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10], []]
    lengths = [1, 37, 12, 4]
    boundaries = boundaries_of(*rows)
    starts = contiguous_starts(boundaries)
    starts = torch.where(boundaries >= 0, (starts + 1).minimum(boundaries), -1)
    # Padding is no zeros: nothing may depend on what is in it.
    features = torch.randn(len(rows), max(lengths), D)
    batched = connector(features, boundaries, starts).vectors
    for i, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        count = len(row)
        single = connector(
            features[i : i + 1, :length],
            boundaries[i : i + 1, :count],
            starts[i : i + 1, :count],
        ).vectors
        torch.testing.assert_close(batched[i, :count], single[0], atol=1e-5, rtol=0)
        assert (batched[i, count:] == 0).all()


@pytest.mark.parametrize("head", HEADS)
@SETUP
def test_what_the_host_planned_gives_what_the_connector_finds_out(
    form, stack, context, head
):
    connector = make_connector(form, stack, context, head)
    boundaries = boundaries_of([2, 3, 19], [0], [])
    starts = contiguous_starts(boundaries)
    features = torch.randn(3, 20, D)
    given = {}
    if head == "vocabulary":
        given = {"candidates": torch.tensor([1, 4, 7])}
    plan = connector.planner().plan(boundaries, starts, 20, **given)
    planned = connector(features, boundaries, starts, plan=plan, **given)
    found = connector(features, boundaries, starts, **given)
    assert torch.equal(planned.vectors, found.vectors)
    if head == "vocabulary":
        assert torch.equal(planned.token_logits, found.token_logits)


@pytest.mark.parametrize(("form", "stack"), FORMS)
@pytest.mark.parametrize("context", ["causal", "block"])
def test_no_vector_knows_the_segments_after_its_own(form, stack, context):
    connector = make_connector(form, stack, context)
    boundaries = torch.tensor([[0, 1, 4, 6, 7, 11]])
    features = torch.randn(1, 14, D)
    before = connector(features, boundaries).vectors
    for i, boundary in enumerate(boundaries[0].tolist()):
        changed = features.clone()
        changed[:, boundary + 1 :] += torch.randn(13 - boundary, D)
        after = connector(changed, boundaries).vectors
        torch.testing.assert_close(after[:, : i + 1], before[:, : i + 1])


@SETUP
def test_every_vector_knows_every_frame_of_its_own_segment(form, stack, context):
    connector = make_connector(form, stack, context)
    boundaries = torch.tensor([[0, 1, 4, 6, 11]])
    features = torch.randn(1, 12, D)
    before = connector(features, boundaries).vectors
    starts = contiguous_starts(boundaries)
    index = segment_of_frame(boundaries, starts, 12)[0]
    for frame in range(12):
        changed = features.clone()
        changed[:, frame] += 1.0 + torch.rand(D)
        after = connector(changed, boundaries).vectors
        assert not torch.allclose(after[0, index[frame]], before[0, index[frame]])


@SETUP
def test_a_frame_after_the_last_segment_does_not_matter(form, stack, context):
    connector = make_connector(form, stack, context)
    boundaries = torch.tensor([[2, 6]])
    features = torch.randn(1, 12, D)
    changed = features.clone()
    changed[:, 7:] = 9.0
    torch.testing.assert_close(
        connector(changed, boundaries).vectors, connector(features, boundaries).vectors
    )


@pytest.mark.parametrize("context", CONTEXTS)
def test_a_frame_in_no_segment_does_not_matter_to_the_token_form(context):
    connector = make_connector("token", 1, context)
    boundaries, starts = torch.tensor([[5, 8, 11]]), torch.tensor([[3, 7, 9]])
    features = torch.randn(1, 14, D)
    changed = features.clone()
    for frame in (0, 1, 2, 6, 12, 13):
        changed[:, frame] = 9.0
    torch.testing.assert_close(
        connector(changed, boundaries, starts).vectors,
        connector(features, boundaries, starts).vectors,
    )


@pytest.mark.parametrize(("form", "stack"), FORMS)
def test_contexts_of_the_ssr_connector_reach_as_far_as_they_say(form, stack):
    boundaries = torch.tensor([[3, 7, 11, 15]])
    features = torch.randn(1, 16, D)
    # Of segments 0, 1 and 3, which vector 2 may know.
    reach = {"causal": (True, True, False), "full": (True, True, True)}
    for context, expected in reach.items():
        connector = make_connector(form, stack, context)
        before = connector(features, boundaries).vectors[0, 2]
        for segment, seen in zip((0, 1, 3), expected, strict=True):
            changed = features.clone()
            changed[:, 4 * segment : 4 * segment + 4] += torch.randn(4, D)
            after = connector(changed, boundaries).vectors[0, 2]
            assert torch.allclose(after, before) != seen


def slow_mask(valid, context, block):
    length = len(valid)
    mask = torch.zeros(length, length, dtype=torch.bool)
    for query in range(length):
        for key in range(length):
            sees = {
                "full": True,
                "causal": key <= query,
                "block": key <= query
                and (
                    block[key] == block[query]
                    # The last position of the block before.
                    or (block[key] != block[query] and block[key + 1] == block[query])
                ),
            }[context]
            mask[query, key] = (valid[key] and sees) or key == query
    return mask


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("lengths", [[1, 1, 1], [3, 1, 4], [7], []])
def test_the_context_mask_is_that_of_its_slow_definition(context, lengths):
    block = [i for i, length in enumerate(lengths) for _ in range(length)] + [-1] * 2
    block = torch.tensor([block, [0] * len(block)])
    valid = block >= 0
    masks = context_mask(valid, context, block)
    for row in range(2):
        expected = slow_mask(valid[row].tolist(), context, block[row].tolist())
        assert torch.equal(masks[row, 0], expected)


def test_the_context_mask_without_blocks_has_each_position_as_its_own():
    valid = torch.tensor([[True, True, True, False]])
    own = torch.arange(4).unsqueeze(0)
    for context in CONTEXTS:
        assert torch.equal(
            context_mask(valid, context), context_mask(valid, context, own)
        )


@pytest.mark.parametrize(("form", "stack"), FORMS)
@pytest.mark.parametrize("context", ["causal"])
@pytest.mark.parametrize("head", HEADS)
def test_a_batch_without_any_segment_gives_no_vector(form, stack, context, head):
    connector = make_connector(form, stack, context, head)
    features = torch.randn(2, 5, D)
    empty = torch.zeros(2, 0, dtype=torch.long)
    assert connector(features, empty, empty).vectors.shape == (2, 0, H)
    padding = torch.full((2, 3), -1)
    assert (connector(features, padding, padding).vectors == 0).all()


CONFIGS = {
    "llama": (LLAMA, 8),
    "gpt2": (GPT2Config(n_embd=8, n_head=2), 8),
    # OPT-350m's embeddings are narrower than its layers.
    "opt": (
        OPTConfig(
            hidden_size=16, word_embed_proj_dim=8, num_attention_heads=4, ffn_dim=24
        ),
        8,
    ),
    # Gemma's heads are wider than its share of the layer.
    "gemma": (
        Gemma2Config(
            hidden_size=12,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=8,
            intermediate_size=20,
        ),
        12,
    ),
}


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("form", ["token", "frame"])
@pytest.mark.parametrize("head", HEADS)
def test_vectors_are_as_wide_as_the_embeddings_of_any_llm(name, form, head):
    config, width = CONFIGS[name]
    connector = make_connector(form, head=head, config=config, width=width)
    vectors = connector(torch.randn(1, 9, D), torch.tensor([[2, 8]])).vectors
    assert vectors.shape == (1, 2, width)


@SETUP
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_are_finite_even_where_a_row_is_all_padding(
    form, stack, context, dtype
):
    connector = make_connector(form, stack, context).train()
    features = torch.randn(3, 20, D, requires_grad=True)
    boundaries = boundaries_of([0, 1, 19], [4], [])
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        vectors = connector(features, boundaries).vectors
    vectors.float().square().sum().backward()
    for tensor in (features, *connector.parameters()):
        assert torch.isfinite(tensor.grad).all()
    assert all(p.grad.abs().sum() > 0 for p in connector.parameters())


@pytest.mark.parametrize("form", ["token", "frame"])
def test_vectors_start_at_the_scale_of_the_embeddings(form):
    for scale in (0.05, 40.0):
        torch.manual_seed(0)
        table = scale * torch.randn(50, H)
        llm = SimpleNamespace(config=LLAMA, table=lambda table=table: table)
        connector = DirectSSRConnector(D, llm, form=form)
        vectors = connector(
            torch.randn(2, 9, D), torch.tensor([[2, 8], [3, 4]])
        ).vectors
        rms = vectors.square().mean().sqrt()
        assert rms.item() == pytest.approx(scale, rel=0.1)


def test_the_ssr_connector_names_an_unknown_form_context_or_head():
    with pytest.raises(ValueError, match="form: 'pooled' is neither"):
        make_connector("pooled")
    with pytest.raises(ValueError, match="context: 'left' is none of causal, block"):
        make_connector(context="left")
    with pytest.raises(ValueError, match="head: 'linear' is neither"):
        make_connector(head="linear")


def test_candidates_are_scored_for_every_vector():
    connector = make_connector(head="vocabulary").train()
    boundaries = boundaries_of([0, 1, 19], [4], [])
    candidates = torch.tensor([2, 3, 5, 7])
    output = connector(torch.randn(3, 20, D), boundaries, candidates=candidates)
    logits = output.token_logits
    assert output.vectors.shape == (3, 3, H)
    # The last is for no token at all.
    assert logits.shape == (3, 3, 4 + 1)
    logits.square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in connector.parameters())


def test_with_all_tokens_as_candidates_vectors_are_those_of_the_whole_vocabulary():
    connector = make_connector(head="vocabulary")
    features, boundaries = torch.randn(1, 9, D), torch.tensor([[2, 8]])
    vectors = connector(features, boundaries, candidates=torch.arange(20)).vectors
    with torch.no_grad():
        torch.testing.assert_close(connector(features, boundaries).vectors, vectors)


def test_a_vocabulary_head_forgets_its_cached_keys_when_parameters_change():
    connector = make_connector(head="vocabulary")
    features, boundaries = torch.randn(1, 9, D), torch.tensor([[2, 8]])
    other = {key: 1.2 * value for key, value in connector.state_dict().items()}
    with torch.no_grad():
        before = connector(features, boundaries).vectors
        connector.load_state_dict(other)
        after = connector(features, boundaries).vectors
        assert not torch.allclose(before, after)
        connector.train()
        for parameter in connector.parameters():
            parameter.mul_(1.2)
        assert not torch.allclose(after, connector.eval()(features, boundaries).vectors)


def test_segments_of_frames_follow_starts_and_boundaries():
    boundaries = boundaries_of([1, 4], [0])
    starts = boundaries_of([1, 3], [0])
    assert segment_of_frame(boundaries, starts, 6).tolist() == [
        [-1, 0, -1, 1, 1, -1],
        [0, -1, -1, -1, -1, -1],
    ]


@pytest.mark.parametrize("form, stack, context", SETUPS)
def test_long_audio_is_read_in_windows_that_agree_with_one_pass(
    form, stack, context, monkeypatch
):
    connector = make_connector(form, stack, context).eval()
    ends = torch.arange(1, 61).unsqueeze(0) * 2
    boundaries = torch.cat([ends, torch.where(ends <= 60, ends, -1)])
    features = torch.randn(2, 121, D)
    whole = connector(features, boundaries).vectors
    monkeypatch.setattr(ssr_encoder, "_WINDOW", 24)
    monkeypatch.setattr(ssr_encoder, "_CONTEXT", 8)
    windows = connector(features, boundaries).vectors
    assert torch.equal(windows == 0, whole == 0)
    if context != "full":
        torch.testing.assert_close(windows[:, :16], whole[:, :16], atol=1e-5, rtol=1e-4)
    alone = connector(features[1:], boundaries[1:, :30]).vectors
    torch.testing.assert_close(windows[1:, :30], alone, atol=1e-5, rtol=1e-4)
    if context == "block":
        torch.testing.assert_close(windows, whole, atol=1e-5, rtol=1e-4)
