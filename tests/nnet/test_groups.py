"""Groups of bounded size: whole, in order, and as large as may be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssr_plugin.nnet.groups import split_groups


def taken(group, padded):
    return max(group) * len(group) if padded else sum(group)


@given(sizes=st.lists(st.integers(0, 9)), most=st.integers(0, 30), padded=st.booleans())
def test_split_groups_has_all_items_in_groups_as_large_as_may_be(sizes, most, padded):
    groups = split_groups(sizes, lambda size: size, most, padded)
    assert [size for group in groups for size in group] == sizes
    assert all(taken(group, padded) <= most or len(group) == 1 for group in groups)
    for group, after in zip(groups, groups[1:], strict=False):
        assert taken([*group, after[0]], padded) > most


@pytest.mark.parametrize("padded", [True, False])
def test_split_groups_gives_no_groups_of_no_items(padded):
    assert split_groups([], len, 4, padded) == []
