"""Text-only data: which documents a file or a data set has."""

import sys
import types

import pytest

from ssr_plugin.data.text_files import read_documents


def documents(tmp_path, text):
    path = tmp_path / "a.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return list(read_documents(path))


@pytest.mark.parametrize(
    "text, expected",
    [
        ("one\ntwo\n", ["one", "two"]),
        ("one\n  two  ", ["one", "two"]),
        ("one\n\n", ["one"]),
        ("one\nmore\n\ntwo\n", ["one\nmore", "two"]),
        ("\n\none\n \n\ntwo\nmore\n\n\n", ["one", "two\nmore"]),
        ("\ufeffone\r\n\r\ntwo", ["one", "two"]),
    ],
)
def test_blank_lines_separate_documents_or_else_all_lines_do(tmp_path, text, expected):
    assert documents(tmp_path, text) == expected


def test_files_are_read_one_after_another(tmp_path):
    paths = []
    for name, text in (("b", "one\ntwo"), ("a", "three\nand\n\nfour")):
        paths.append(tmp_path / name)
        paths[-1].write_text(text)
    assert list(read_documents(paths)) == ["one", "two", "three\nand", "four"]


def test_read_documents_reads_no_further_than_is_asked_for(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"one\n" * 5000 + b"\xff" * 100_000)
    documents = read_documents(path)
    assert [next(documents) for _ in range(3000)] == ["one"] * 3000
    with pytest.raises(ValueError, match=f"text_source: {path} is not UTF-8"):
        list(documents)


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_a_file_without_text_is_named(tmp_path, text):
    with pytest.raises(ValueError, match="text_source: there is no text in .*a.txt"):
        documents(tmp_path, text)


def test_a_missing_file_of_several_is_named(tmp_path):
    with pytest.raises(ValueError, match="text_heldout: cannot read .*/b.txt"):
        list(read_documents([str(tmp_path / "b.txt")], "text_heldout"))


def test_a_data_set_without_the_package_datasets_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ValueError, match="text_source: there is no text file 'wiki'.*"):
        list(read_documents("wiki"))


@pytest.fixture
def load_dataset(monkeypatch):
    """Calls of ``datasets.load_dataset``, which gives two rows."""
    calls = []

    def load(path, **options):
        calls.append((path, options))
        if path == "nowhere":
            raise FileNotFoundError("no such data set")
        return iter([{"text": "one", "title": "1"}, {"text": None, "title": "2"}])

    module = types.SimpleNamespace(load_dataset=load)
    monkeypatch.setitem(sys.modules, "datasets", module)
    return calls


def test_a_text_source_that_is_no_file_is_a_data_set(load_dataset):
    assert list(read_documents("wiki")) == ["one"]
    assert load_dataset == [("wiki", {"split": "train", "streaming": True})]


def test_a_text_source_of_a_data_set_may_name_split_and_column(load_dataset):
    source = {"path": "wiki", "name": "en", "split": "test", "column": "title"}
    assert list(read_documents(source)) == ["1", "2"]
    assert load_dataset == [
        ("wiki", {"name": "en", "split": "test", "streaming": True})
    ]


def test_a_data_set_that_cannot_be_read_is_named(load_dataset):
    with pytest.raises(ValueError, match="text_source: 'nowhere' is no .*no such data"):
        list(read_documents("nowhere"))
    with pytest.raises(ValueError, match="no column 'words' .*: text, title"):
        list(read_documents({"path": "wiki", "column": "words"}))
