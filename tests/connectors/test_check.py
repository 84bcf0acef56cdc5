"""The check of a connector: all that come with the package pass, wrong ones do not."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from ssr_plugin import build
from ssr_plugin.connectors import (
    Connector,
    ConnectorOutput,
    MeanConnector,
    VocabularyConnector,
    check_connector,
    ssr,
)
from ssr_plugin.connectors.ssr_encoder import CONTEXTS
from ssr_plugin.llm.text_llm import TextLLM
from ssr_plugin.nnet.segment_lists import list_segments, place_vectors
from ssr_plugin.nnet.segments import contiguous_starts
from ssr_plugin.registry import get_registry

D = 6
FORMS = [
    {"form": form, "context": context, "head": head, "stack": stack}
    for form, stack in (("token", 1), ("frame", 1), ("frame", 3))
    for context in CONTEXTS
    for head in ssr.HEADS
]
SETUPS = [
    *(("ssr", {**form, "dropout": 0.2, "gram_dropout": 0.2}) for form in FORMS),
    *((name, {}) for name in ("mean", "stack_mlp", "conv", "qformer", "cif")),
    ("mean", {"hidden_size": 8}),
    ("stack_mlp", {"stack": 1}),
    ("conv", {"strides": [2, 2, 2]}),
    ("cif", {"hidden_size": 8}),
]


@pytest.fixture(scope="module")
def llm(tiny_llm_folder):
    return TextLLM(tiny_llm_folder)


@pytest.mark.parametrize(("name", "options"), SETUPS)
def test_a_built_in_connector_passes_whatever_its_first_weights(name, options, llm):
    for seed in range(2):
        torch.manual_seed(seed)
        encoder = SimpleNamespace(width=D)
        connector = build.connector(name, encoder, llm, {name: options})
        check_connector(connector, D, llm)


def test_every_built_in_connector_is_among_those_checked():
    assert {name for name, _ in SETUPS} == set(get_registry().connectors.names())


@pytest.mark.parametrize("name", ["ssr", "qformer", "cif"])
def test_a_check_leaves_random_state_modes_and_weights_as_they_were(name, llm):
    options = {name: {"dropout": 0.5} if name != "cif" else {}}
    connector = build.connector(name, SimpleNamespace(width=D), llm, options)
    connector.norm_of_batches = nn.BatchNorm1d(3)
    connector.norm_of_batches.eval()
    before = {key: value.clone() for key, value in connector.state_dict().items()}
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    check_connector(connector, D, llm)
    assert torch.equal(torch.rand(3), expected)
    assert connector.training and not connector.norm_of_batches.training
    for key, value in connector.state_dict().items():
        assert torch.equal(value, before[key]), key


class Broken(MeanConnector):
    """A connector with one fault, made by a change of what it gives or is given."""

    def __init__(self, llm, inputs=None, output=None):
        super().__init__(D, llm)
        self.change_inputs = inputs
        self.change_output = output

    def forward(self, features, boundaries, starts=None):
        inputs = (features, boundaries, starts)
        if self.change_inputs:
            inputs = self.change_inputs(*inputs)
        output = super().forward(*inputs)
        return self.change_output(output) if self.change_output else output


def replaced(**fields):
    """An output with other fields, each made of the old output."""

    def change(output):
        values = {"vectors": output.vectors, "kept": output.kept}
        values |= {name: make(output) for name, make in fields.items()}
        return ConnectorOutput(**values)

    return change


def mixed(features, boundaries, starts):
    """Frames from which the mean of the batch is taken."""
    return features - features.mean((0, 1)), boundaries, starts


def normalised(features, boundaries, starts):
    """Frames over the largest of their row, padding included."""
    return features / features.abs().amax((1, 2), keepdim=True), boundaries, starts


WRONG = {
    "no ConnectorOutput": (
        {"output": lambda output: output.vectors},
        r"must give a ConnectorOutput .*, and gives a tensor \[3, 3, 16\]",
    ),
    "another width": (
        {"output": replaced(vectors=lambda x: x.vectors[..., :8])},
        r"vectors must be \[3, 3, 16\], and is a tensor \[3, 3, 8\]",
    ),
    "listed vectors": (
        {"output": replaced(vectors=lambda x: x.vectors[x.kept])},
        r"vectors must be \[3, 3, 16\], and is a tensor \[4, 16\]",
    ),
    "NaN": (
        {"output": replaced(vectors=lambda x: x.vectors * float("nan"))},
        "vectors are not finite",
    ),
    "vectors at padding": (
        {"output": replaced(vectors=lambda x: x.vectors + 1)},
        "vectors must be zero at padding",
    ),
    "padding that is kept": (
        {"output": replaced(kept=lambda x: torch.ones_like(x.kept))},
        "kept must be bool, and False at padding",
    ),
    "an auxiliary loss for each row": (
        {"output": replaced(auxiliary_loss=lambda x: x.vectors.sum((1, 2)))},
        r"auxiliary_loss must be \[\], and is a tensor \[3\]",
    ),
    "an auxiliary loss that is NaN": (
        {"output": replaced(auxiliary_loss=lambda x: x.vectors.sum() * float("nan"))},
        "auxiliary_loss: not finite",
    ),
    "rows that are mixed": ({"inputs": mixed}, "depends on the rows beside its own"),
    "padding that is read": ({"inputs": normalised}, "which may be padding"),
}


@pytest.mark.parametrize(("changes", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_connector_is_told_in_a_line(changes, message, llm):
    with pytest.raises(ValueError, match=f"connector Broken: .*{message}") as raised:
        check_connector(Broken(llm, **changes), D, llm)
    assert "\n" not in str(raised.value)


def test_a_connector_of_another_input_width_is_told(llm):
    with pytest.raises(ValueError, match="MeanConnector: cannot read frames of width"):
        check_connector(MeanConnector(D + 1, llm), D, llm)


class Exclusive(Connector):
    """Takes a boundary for the first frame after its segment."""

    def __init__(self, llm, read):
        super().__init__()
        self.read = read
        self.project = nn.Linear(D, llm.hidden_size)

    def forward(self, features, boundaries, starts=None):
        row, first, last = list_segments(boundaries, starts)
        frames = [
            self.read(features[i], start, end)
            for i, start, end in zip(row, first, last, strict=True)
        ]
        frames = torch.stack(frames) if frames else features.new_zeros(0, D)
        vectors = place_vectors(self.project(frames), boundaries)
        return ConnectorOutput(vectors, boundaries >= 0)


EXCLUSIVE = {
    "mean of a slice": lambda x, start, end: x[start:end].mean(0),
    "sum of a slice": lambda x, start, end: x[start:end].sum(0),
    "frame before": lambda x, start, end: x[(end - 1).clamp_min(0)],
    "mean with all before": lambda x, start, end: x[:end].mean(0),
}


@pytest.mark.parametrize("read", EXCLUSIVE.values(), ids=EXCLUSIVE)
def test_boundaries_taken_as_exclusive_are_told(read, llm):
    with pytest.raises(ValueError, match="Exclusive: .*boundaries are inclusive"):
        check_connector(Exclusive(llm, read), D, llm)


class Vocabulary(VocabularyConnector):
    """The first frame of each segment, with logits of a wrong size."""

    def __init__(self, llm):
        super().__init__(llm)
        self.project = nn.Linear(D, llm.hidden_size)

    def encode(self, features, boundaries, starts=None):
        starts = contiguous_starts(boundaries) if starts is None else starts
        row, first, _ = list_segments(boundaries, starts)
        return place_vectors(self.project(features[row, first]), boundaries)

    def token_logits(self, states, candidates=None):
        table = self.table() if candidates is None else self.table()[candidates]
        return states @ table.T

    def null_logits(self, states):
        return states


def test_null_logits_of_a_wrong_size_are_told(llm):
    with pytest.raises(ValueError, match="Vocabulary: cannot read"):
        check_connector(Vocabulary(llm), D, llm)
