"""Files that are written whole or not at all, and what killed processes leave."""

import os

import pytest

from ssr_plugin import files
from ssr_plugin.files import atomic_path


@pytest.fixture(autouse=True)
def fresh():
    """As in a new process, which has looked into no folder yet."""
    files._remove_leftovers.cache_clear()
    yield
    files._remove_leftovers.cache_clear()


def test_what_killed_processes_left_is_removed_and_what_others_write_is_not(tmp_path):
    old, new = tmp_path / ".a.txt.1.partial", tmp_path / ".b.txt.2.partial"
    for path in (old, new, tmp_path / "kept.partial"):
        path.write_text("half")
    long_ago = old.stat().st_mtime - 2 * files._LEFT_AFTER
    os.utime(old, (long_ago, long_ago))
    os.utime(tmp_path / "kept.partial", (long_ago, long_ago))
    with atomic_path(tmp_path / "c.txt") as path:
        path.write_text("whole")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [".b.txt.2.partial", "c.txt", "kept.partial"]


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(OSError), atomic_path(tmp_path / "a.txt") as path:
        path.write_text("ne")
        raise OSError("no space left on device")
    assert [x.name for x in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"
