"""The key extra_train: entries of a YAML become data sets, or are refused."""

import pytest

from ssr_plugin.data.extra_train import parse_extra_train


@pytest.fixture
def spoken(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text(f"wav,text\n{name}.wav,good morning\n")
    return str(tmp_path)


@pytest.mark.parametrize(
    "splits, found",
    [({}, ["a", "b"]), ({"splits": ["b"]}, ["b"]), ({"splits": "b,a"}, ["b", "a"])],
)
def test_splits_are_all_or_those_that_are_named(spoken, splits, found):
    (extra,) = parse_extra_train([{"data_folder": spoken, **splits}])
    assert extra.select_splits() == found


@pytest.mark.parametrize(
    "entry, words",
    [
        ("speech/text", "expected entries such as"),
        ({"data": "x"}, "there is no key 'data'"),
        ({"dataset": "csv"}, "an entry has no data_folder"),
        ({"data_folder": "/nowhere"}, "there is no '/nowhere'"),
        ({"data_folder": ".", "dataset": "librispech"}, "librispech"),
    ],
)
def test_an_entry_that_is_none_is_refused_by_the_name_of_the_key(entry, words):
    with pytest.raises(ValueError, match=f"extra_train.*{words}"):
        parse_extra_train([entry])


def test_a_split_that_is_not_there_is_named(spoken):
    (extra,) = parse_extra_train([{"data_folder": spoken, "splits": ["c"]}])
    with pytest.raises(ValueError, match="extra_train.*no split 'c'.*a, b"):
        extra.select_splits()
    (extra,) = parse_extra_train([{"data_folder": spoken, "splits": ["c*"]}])
    with pytest.raises(ValueError, match="matches none of the splits.*a, b"):
        extra.select_splits()


@pytest.mark.parametrize("from_shards", [True, False])
def test_files_and_shards_are_not_mixed(spoken, tmp_path, from_shards):
    if not from_shards:
        (tmp_path / "shards.json").write_text("{}")
    with pytest.raises(ValueError, match="extra_train: .*make shards of both"):
        parse_extra_train([{"data_folder": spoken}], from_shards)
