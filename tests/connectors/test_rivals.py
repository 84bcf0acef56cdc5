"""The rival connectors: one interface, and what each of them sees."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ssr_plugin import build
from ssr_plugin.connectors.stack_mlp import spread
from ssr_plugin.nnet.segments import contiguous_starts

D, H = 6, 8
SETUPS = {
    "mean": ("mean", {}),
    "mean_mlp": ("mean", {"hidden_size": 32}),
    "stack_mlp": ("stack_mlp", {"stack": 4, "hidden_size": 32}),
    "conv": ("conv", {"strides": [2, 3], "hidden_size": 8}),
    "conv_1": ("conv", {"strides": [4], "hidden_size": 8}),
    "qformer": ("qformer", {"hidden_size": 8, "num_heads": 2}),
    "cif": ("cif", {"weight_size": 16}),
    "cif_mlp": ("cif", {"weight_size": 16, "hidden_size": 32}),
}
EVERY = pytest.mark.parametrize("setup", SETUPS)
# Those that read a segment's frames and no other.
INSIDE = pytest.mark.parametrize("setup", ["mean", "mean_mlp", "stack_mlp", "qformer"])


def make_connector(setup, **others):
    torch.manual_seed(0)
    name, options = SETUPS[setup]
    connector = build.connector(
        name,
        SimpleNamespace(width=D),
        SimpleNamespace(hidden_size=H),
        {name: {**options, **others}},
    )
    with torch.no_grad():
        # Far from the start, where attention is all but even.
        for parameter in connector.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return connector.eval()


def boundaries_of(*rows):
    width = max(map(len, rows))
    return torch.tensor([[*row, *[-1] * (width - len(row))] for row in rows])


@EVERY
def test_a_padded_batch_gives_what_single_utterances_give(setup):
    connector = make_connector(setup)
    rows = [[0], [2, 3, 4, 9, 30], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10], [], [35, 36]]
    lengths = [1, 37, 12, 4, 37]
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


@EVERY
def test_a_frame_after_the_last_segment_does_not_matter(setup):
    connector = make_connector(setup)
    boundaries = boundaries_of([2, 6], [0])
    features = torch.randn(2, 12, D)
    changed = features.clone()
    changed[0, 7:] = 9.0
    changed[1, 1:] = torch.nan
    torch.testing.assert_close(
        connector(changed, boundaries).vectors,
        connector(features, boundaries).vectors,
    )


@EVERY
def test_without_starts_segments_follow_each_other(setup):
    connector = make_connector(setup)
    boundaries = boundaries_of([2, 6, 11], [0, 8])
    features = torch.randn(2, 12, D)
    torch.testing.assert_close(
        connector(features, boundaries).vectors,
        connector(features, boundaries, contiguous_starts(boundaries)).vectors,
    )


@EVERY
@pytest.mark.parametrize("training", [False, True])
def test_a_batch_without_any_segment_gives_no_vector(setup, training):
    connector = make_connector(setup).train(training)
    empty = torch.zeros(2, 0, dtype=torch.long)
    padding = torch.full((2, 3), -1)
    for num_frames in (0, 1, 5):
        features = torch.randn(2, num_frames, D)
        assert connector(features, empty, empty).vectors.shape == (2, 0, H)
        assert connector(features, empty).vectors.shape == (2, 0, H)
        vectors = connector(features, padding, padding).vectors
        assert vectors.shape == (2, 3, H)
        assert (vectors == 0).all()


@EVERY
@pytest.mark.parametrize("training", [False, True])
def test_one_frame_gives_a_finite_vector(setup, training):
    connector = make_connector(setup).train(training)
    vectors = connector(torch.randn(1, 1, D), torch.tensor([[0]])).vectors
    assert vectors.shape == (1, 1, H)
    assert torch.isfinite(vectors).all()


@EVERY
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_are_finite_and_reach_every_parameter(setup, dtype):
    connector = make_connector(setup).train()
    features = torch.randn(3, 20, D, requires_grad=True)
    boundaries = boundaries_of([2, 7, 19], [4], [])
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        vectors = connector(features, boundaries).vectors
    vectors.float().square().sum().backward()
    for tensor in (features, *connector.parameters()):
        assert torch.isfinite(tensor.grad).all()
    for name, parameter in connector.named_parameters():
        assert parameter.grad.abs().sum() > 0, name
    assert (features.grad[1, 5:] == 0).all()
    assert (features.grad[2] == 0).all()


@EVERY
def test_without_any_segment_parameters_have_a_gradient_of_zero(setup):
    # Else processes that train together would wait for each other.
    connector = make_connector(setup).train()
    output = connector(torch.randn(2, 5, D), torch.full((2, 3), -1))
    output.vectors.sum().backward()
    for name, parameter in connector.named_parameters():
        assert parameter.grad is not None, name
        assert (parameter.grad == 0).all(), name


@INSIDE
def test_a_frame_outside_a_segment_does_not_change_its_vector(setup):
    connector = make_connector(setup)
    boundaries, starts = torch.tensor([[5, 8, 11]]), torch.tensor([[3, 7, 9]])
    features = torch.randn(1, 14, D)
    before = connector(features, boundaries, starts).vectors
    for i in range(3):
        changed = torch.full_like(features, 9.0)
        own = slice(int(starts[0, i]), int(boundaries[0, i]) + 1)
        changed[:, own] = features[:, own]
        after = connector(changed, boundaries, starts).vectors
        torch.testing.assert_close(after[:, i], before[:, i])
        assert not torch.allclose(after[:, i - 1], before[:, i - 1])


@INSIDE
def test_a_vector_knows_every_frame_of_its_segment(setup):
    connector = make_connector(setup)
    boundaries = torch.tensor([[0, 1, 4, 8]])
    features = torch.randn(1, 9, D)
    before = connector(features, boundaries).vectors
    for frame, segment in enumerate([0, 1, 2, 2, 2, 3, 3, 3, 3]):
        changed = features.clone()
        changed[:, frame] += 1.0 + torch.rand(D)
        after = connector(changed, boundaries).vectors
        differs = (after != before).any(-1)[0]
        assert differs.tolist() == [i == segment for i in range(4)]


def test_mean_gives_the_mean_of_a_segment():
    connector = make_connector("mean")
    connector.project = nn.Identity()
    features = torch.arange(10.0).view(1, 10, 1).expand(-1, -1, D)
    boundaries, starts = torch.tensor([[0, 4, 9, -1]]), torch.tensor([[0, 2, 5, -1]])
    vectors = connector(features, boundaries, starts).vectors
    assert vectors[0, :, 0].tolist() == [0.0, 3.0, 7.0, 0.0]


def test_stack_mlp_takes_frames_at_even_distances():
    connector = make_connector("stack_mlp")
    connector.project = nn.Identity()
    features = torch.arange(20.0).view(1, 20, 1).expand(-1, -1, D)
    boundaries = torch.tensor([[3, 4, 6, 14, -1]])
    stacked = connector(features, boundaries).vectors[0].unflatten(-1, (4, D))[..., 0]
    assert stacked.tolist() == [
        [0, 1, 2, 3],
        [4, 4, 4, 4],
        [5, 5, 6, 6],
        [8, 10, 12, 14],
        [0, 0, 0, 0],
    ]


@pytest.mark.parametrize("count", [1, 2, 5, 10])
def test_spread_frames_stay_inside_a_segment_and_mirror(count):
    for length in range(1, 40):
        first, last = torch.tensor([7]), torch.tensor([6 + length])
        frames = spread(first, last, count)[0]
        assert frames[0] >= 7
        assert frames[-1] <= 6 + length
        steps = frames.diff()
        if count > 1:
            assert steps.max() - steps.min() <= 1
        if length <= count:
            assert set(frames.tolist()) == set(range(7, 7 + length))
        # As much is left out before the first as after the last, but for rounding.
        assert abs((frames[0] - 7) - (6 + length - frames[-1])) <= 1


def test_conv_gives_each_output_once_where_segments_have_its_stride():
    connector = make_connector("conv")
    features = torch.randn(1, 23, D)
    boundaries = torch.tensor([[5, 11, 17, 22]])
    x = features
    for layer in connector.layers:
        x = F.gelu(layer(x))
    assert x.shape[1] == 4
    vectors = connector(features, boundaries).vectors
    torch.testing.assert_close(vectors, connector.project(x))


def test_conv_reads_the_output_in_which_a_segments_middle_lies():
    connector = make_connector("conv_1")
    features = torch.randn(1, 20, D)
    # Middles 1, 2 and 11, in the runs of frames 0-3, 0-3 and 8-11.
    boundaries, starts = torch.tensor([[1, 3, 19]]), torch.tensor([[1, 2, 4]])
    outputs = connector(features, torch.tensor([[3, 7, 11, 15, 19]])).vectors[0]
    vectors = connector(features, boundaries, starts).vectors[0]
    torch.testing.assert_close(vectors, outputs[[0, 0, 2]])


@pytest.mark.parametrize(("setup", "reach"), [("conv", 5), ("conv_1", 2)])
def test_conv_sees_as_far_to_the_left_as_to_the_right(setup, reach):
    connector = make_connector(setup)
    size = 6 if setup == "conv" else 4
    boundaries = torch.arange(size - 1, 5 * size, size).unsqueeze(0)
    features = torch.randn(1, 5 * size, D)
    before = connector(features, boundaries).vectors[0, 2]
    seen = []
    for frame in range(5 * size):
        changed = features.clone()
        changed[:, frame] += 1.0 + torch.rand(D)
        if (connector(changed, boundaries).vectors[0, 2] != before).any():
            seen.append(frame)
    assert seen == list(range(2 * size - reach, 3 * size + reach))


def test_qformer_attends_as_attention_over_each_segment_alone_does():
    connector = make_connector("qformer")
    layer = connector.layers[0]
    states, frames = torch.randn(3, 8), torch.randn(9, D)
    segment = torch.tensor([0, 0, 0, 1, 2, 2, 2, 2, 2])
    mixed = layer.attend(states, frames, segment)
    for i in range(3):
        own = frames[segment == i]
        query, key, value = (
            x.view(1, -1, 2, 4).transpose(1, 2)
            for x in (layer.query(states[i]), layer.key(own), layer.value(own))
        )
        alone = F.scaled_dot_product_attention(query, key, value)
        alone = layer.out(alone.transpose(1, 2).flatten())
        torch.testing.assert_close(mixed[i], alone)


def test_cif_sums_frames_by_weights_scaled_to_the_number_of_segments():
    connector = make_connector("cif")
    connector.project = nn.Identity()
    weights = torch.tensor([[0.2, 0.2, 0.2, 0.6], [0.1, 0.3, 0.0, 0.0]])
    connector.weigh = lambda features, lengths: weights
    features = torch.tensor([[1.0, 2.0, 3.0, 4.0], [5.0, 9.0, 7.0, 7.0]])
    features = features.unsqueeze(2).expand(-1, -1, D)
    vectors = connector(features, boundaries_of([0, 1, 3], [1])).vectors[:, :, 0]
    # Scaled, the first row is 0.5, 0.5, 0.5, 1.5.
    expected = torch.tensor([[1.5, 3.5, 4.0], [8.0, 0.0, 0.0]])
    torch.testing.assert_close(vectors, expected)


def test_cif_weighs_no_frame_after_the_last_segment():
    connector = make_connector("cif")
    lengths = torch.tensor([3, 0])
    features = torch.zeros(2, 5, D)
    weights = connector.weigh(features, lengths)
    assert (weights[0, :3] > 0).all()
    assert (weights[0, 3:] == 0).all()
    assert (weights[1] == 0).all()


def test_cif_gives_in_training_how_far_its_weights_are_from_the_count():
    connector = make_connector("cif")
    boundaries = boundaries_of([2, 5, 9], [4])
    features = torch.randn(2, 10, D)
    assert connector(features, boundaries).auxiliary_loss is None
    loss = connector.train()(features, boundaries).auxiliary_loss
    features[1, 5:] = 0
    weights = connector.weigh(features, torch.tensor([10, 5]))
    expected = ((weights[0].sum() - 3).abs() / 3 + (weights[1].sum() - 1).abs()) / 2
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert connector.score.bias.grad.abs() > 0
    assert connector.eval()(features, boundaries).auxiliary_loss is None


def test_cif_learns_the_count_from_its_auxiliary_loss():
    connector = make_connector("cif").train()
    features = torch.randn(4, 60, D)
    boundaries = torch.arange(5, 60, 6).expand(4, -1)
    optimizer = torch.optim.Adam(connector.parameters(), lr=0.01)
    for _ in range(100):
        loss = connector(features, boundaries).auxiliary_loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.05


def test_connectors_name_options_that_cannot_be():
    with pytest.raises(ValueError, match="stack: 0 is below 1"):
        make_connector("stack_mlp", stack=0)
    with pytest.raises(ValueError, match="hidden_size: 8 is no multiple of num_heads"):
        make_connector("qformer", num_heads=3)
    with pytest.raises(ValueError, match="connector_options: mean: .*'depth'"):
        make_connector("mean", depth=2)
