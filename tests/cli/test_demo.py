"""``ssr demo``: what is wrong shows before a model is loaded."""

import sys

import pytest

from ssr_plugin.cli import main
from ssr_plugin.cli.demo import _examples


@pytest.fixture
def no_model(monkeypatch):
    def fail(_):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("ssr_plugin.cli.model.load_model", fail)
    monkeypatch.setattr("signal.signal", lambda *_: None)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--max-seconds", "0"], "max_seconds is 0: it must be above 0"),
        (["--aligner", "nobody"], "nobody"),
        (["--examples", "no_such_*.wav"], "no audio files in 'no_such_"),
    ],
)
def test_wrong_options_are_told_before_a_model_is_loaded(no_model, arguments, told):
    pytest.importorskip("gradio")
    with pytest.raises(SystemExit, match=told.replace("*", r"\*")):
        main(["demo", "me/model", *arguments])


def test_without_gradio_it_says_what_to_install(no_model, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(SystemExit, match=r"pip install ssr-plugin\[demo\]"):
        main(["demo"])


def test_examples_bring_the_transcripts_beside_them(tmp_path, write_audio):
    examples = _examples(None)
    assert len(examples) == 8
    assert {"one afternoon ben could not find his …"} < {x.name for x in examples}
    assert all(x.transcript == x.transcript.lower() != "" for x in examples)
    (alone,) = _examples([str(write_audio(tmp_path / "mine.wav"))])
    assert (alone.name, alone.transcript) == ("mine.wav", "")
