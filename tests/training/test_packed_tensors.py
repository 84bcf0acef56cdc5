"""Tensors in one buffer: whatever their types, one copy, and the same numbers."""

import pickle

import pytest
import torch

from ssr_plugin.training.packed_tensors import PackedTensors

TENSORS = {
    "half": torch.randn(3, 5).half(),
    "flags": torch.tensor([[True, False, True]]),
    "long": torch.arange(7),
    "none": torch.zeros(0, 4),
    "scalar": torch.tensor(2.5),
}


def check(packed):
    assert list(packed) == list(TENSORS)
    for name, expected in TENSORS.items():
        assert packed[name].dtype == expected.dtype
        assert torch.equal(packed[name], expected)


def test_packed_tensors_are_what_was_packed():
    check(PackedTensors.of(TENSORS))


def test_packed_tensors_go_through_a_pickle_and_a_copy():
    packed = PackedTensors.of(TENSORS)
    check(pickle.loads(pickle.dumps(packed)))
    check(packed.to("cpu"))


def test_packed_tensors_are_views_of_one_buffer():
    packed = PackedTensors.of(TENSORS)
    pointers = {x.untyped_storage().data_ptr() for x in packed.values()}
    assert pointers == {packed.buffer.untyped_storage().data_ptr()}


def test_an_unknown_name_is_told():
    with pytest.raises(KeyError, match="features"):
        PackedTensors.of(TENSORS)["features"]
