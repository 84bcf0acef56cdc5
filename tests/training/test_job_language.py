"""The language of a job, and the aligner that follows from it."""

import pytest

from ssr_plugin.hparams import make_job
from ssr_plugin.training.aligner_first import FOLDER, with_aligner
from ssr_plugin.training.job_language import with_language


def job(yaml, said=None, **overrides):
    return with_aligner(
        with_language(make_job(f"hparams/{yaml}.yaml", overrides), said)
    )


def test_english_is_what_it_was_before_there_were_languages():
    settings = job("distill", segmenter="asr").settings
    assert settings["language"] == "en"
    assert settings["aligner"] == "pocketsphinx"
    heard = settings["segmenter_options"]["asr"]
    assert (heard["language"], heard["times"]) == ("en", "pocketsphinx")
    settings = job("evaluate").settings
    assert settings["aligner"] == "pocketsphinx"
    options = settings["benchmark_options"]
    assert {options[x]["language"] for x in ("asr", "second_half", "segments")} == {
        "en"
    }


def test_what_the_data_set_says_reaches_recogniser_and_aligner(tmp_path):
    made = job("distill", "de-AT", segmenter="asr", output_folder=str(tmp_path))
    settings = made.settings
    assert settings["language"] == "de-AT"
    heard = settings["segmenter_options"]["asr"]
    assert (heard["language"], heard["times"]) == ("de-AT", "own")
    assert settings["aligner"] == "trained"
    source = settings["aligner_options"]["trained"]["source"]
    assert source == str(tmp_path / FOLDER)


def test_what_the_yaml_says_comes_before_the_data_set():
    settings = job("segmenter", "de", language="zh", aligner="even").settings
    assert (settings["language"], settings["aligner"]) == ("zh", "even")


def test_what_the_user_says_of_recogniser_and_aligner_stays():
    heard = {"asr": {"language": "fr", "times": "own"}}
    options = {"ctc": {"source": "my/model"}}
    settings = job(
        *("distill", "de"),
        segmenter="asr",
        segmenter_options=heard,
        aligner="ctc",
        aligner_options=options,
    ).settings
    assert settings["segmenter_options"]["asr"]["language"] == "fr"
    assert settings["aligner"] == "ctc"
    assert settings["aligner_options"]["ctc"] == {"source": "my/model"}


def test_a_segmenter_that_learns_from_transcripts_needs_but_even():
    assert job("segmenter", "de", segmenter="unity2").settings["aligner"] == "even"


def test_pocketsphinx_is_refused_for_another_language():
    with pytest.raises(ValueError, match="pocketsphinx knows English alone, .* 'fr'"):
        job("distill", "fr", aligner="pocketsphinx")


def test_stage_2_aligns_by_what_stage_1_was_trained_with(tmp_path):
    with pytest.raises(ValueError, match="auto finds none of the language 'de'"):
        job("finetune", "de", stage1=str(tmp_path))
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "segmenter.json").write_text("{}")
    settings = job("finetune", "de", stage1=str(tmp_path)).settings
    source = settings["aligner_options"]["trained"]["source"]
    assert (settings["aligner"], source) == ("trained", str(tmp_path / FOLDER))


def test_a_yaml_without_a_language_is_left_alone(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("seed: 1\n")
    assert job_of(path).settings == {"seed": 1}


def job_of(path):
    return with_aligner(with_language(make_job(path, {})))
