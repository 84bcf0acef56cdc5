"""Curves of several seeds are drawn from the folders that runs leave."""

import json

import pytest

from ssr_plugin.training.seed_curves import main, read_epochs


@pytest.fixture
def make_run(tmp_path):
    """``make_run(name, loss, epochs)``: a run's folder with two checkpoints."""

    def make(name, loss, epochs):
        history = [{"epoch": i + 1, "loss": loss / (i + 1)} for i in range(epochs)]
        for count in (1, epochs):
            folder = tmp_path / name / "checkpoints" / f"CKPT+{count}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "history.ckpt").write_text(json.dumps(history[:count]))
        return tmp_path / name

    return make


def test_the_epochs_are_those_of_the_last_checkpoint(make_run):
    assert [x["loss"] for x in read_epochs(make_run("a", 4.0, 3))] == [4, 2, 4 / 3]


def test_a_picture_is_drawn_of_runs_of_any_length(make_run, tmp_path):
    runs = [make_run("a", 4.0, 3), make_run("b", 3.0, 5)]
    main([str(tmp_path / "seeds.svg"), *map(str, runs)])
    assert "2 runs" in (tmp_path / "seeds.svg").read_text()


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(SystemExit, match=f"'{tmp_path}' holds no run"):
        main([str(tmp_path / "a.png"), str(tmp_path)])
