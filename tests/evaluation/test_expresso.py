"""Expresso's styles, in the layout of its release."""

import pytest

from ssr_plugin import SpeechLM
from ssr_plugin.evaluation.benchmarks.expresso import Expresso
from ssr_plugin.evaluation.harness.answering import answer_items
from ssr_plugin.evaluation.harness.conditions import make_conditions
from ssr_plugin.evaluation.harness.items import SpokenText

STYLES = ["happy", "sad"]


@pytest.fixture
def folder(tmp_path, write_audio):
    splits = {"train": range(1, 4), "test": range(4, 6)}
    texts = []
    for split, numbers in splits.items():
        names = []
        for speaker in ("ex01", "ex02"):
            for style in (*STYLES, "whisper"):
                for number in numbers:
                    name = f"{speaker}_{style}_{number:05d}"
                    place = tmp_path / "audio_48khz" / "read" / speaker / style / "base"
                    write_audio(place / f"{name}.wav", 0.6, seed=number)
                    names.append(name)
                    texts.append(f"{name}\tThe *cat* sat {number}.")
        # A comment, and pieces of long recordings and of dialogues, as in the release.
        names = [
            '# If only one segment is extracted, it will have the format: "{filename}"',
            "ex01-ex02_happy_008\t(,60.0s)",
            "ex01_default_longform_00001\t(16.49s,32.98s)",
            *names,
        ]
        (tmp_path / "splits").mkdir(exist_ok=True)
        (tmp_path / "splits" / f"{split}.txt").write_text("\n".join(names) + "\n")
    (tmp_path / "splits" / "README").write_text("EXPRESSO SPLITS\n")
    read = tmp_path / "audio_48khz" / "read"
    long = read / "ex01" / "default" / "longform" / "ex01_default_longform_00001.wav"
    write_audio(long, 0.6)
    talks = tmp_path / "audio_48khz" / "conversational" / "ex01-ex02" / "happy"
    write_audio(talks / "ex01-ex02_happy_008.wav", 0.6)
    texts.append("ex01_default_longform_00001\tOnce upon a time.")
    (tmp_path / "read_transcriptions.txt").write_text("\n".join(texts) + "\n")
    return tmp_path


def test_an_utterances_style_is_that_of_its_folder(folder):
    items = Expresso(folder, styles=STYLES, shots=0).items(align=None)
    assert len(items) == 8
    for item in items:
        assert item.choices == (" happy", " sad")
        assert f"/{item.choices[item.target].strip()}/base/" in item.recordings()[0].wav
        assert item.id.endswith(("00004", "00005"))
    assert {item.target for item in items} == {0, 1}


def test_emphasis_and_essentials_are_of_the_style_in_whose_folder_they_are(
    folder, write_audio
):
    place = folder / "audio_48khz" / "read" / "ex01" / "default"
    names = ["ex01_default_00358", "ex01_default_emphasis_00183"]
    names.append("ex01_default_essentials_00037")
    for name in names:
        write_audio(place / "base" / f"{name}.wav", 0.6)
        for path in ("read_transcriptions.txt", "splits/test.txt"):
            text = "\tThe *cat* sat." if path.startswith("read") else ""
            with open(folder / path, "a") as file:
                file.write(f"{name}{text}\n")
    expresso = Expresso(folder, styles=["default", "happy"], shots=0)
    items = expresso.items(align=None)
    assert [item.id for item in items if item.target == 0] == names


def test_the_prompt_ends_where_the_style_is_asked_for(folder):
    (item, *_) = Expresso(folder, styles=STYLES, shots=0).items(align=None)
    before, heard, after = item.context
    assert (before, after) == ("Speech: ", "\nStyle:")
    # The stars mark emphasis, and what is not said tells of no style.
    assert heard == SpokenText("the cat sat four", heard.wav)


def test_examples_of_each_style_are_of_another_split_and_the_same_for_all(folder):
    expresso = Expresso(folder, styles=STYLES, shots=2)
    items = expresso.items(align=None)
    (head,) = {item.context[:-3] for item in items}
    shown = [(head[i + 1], head[i + 2]) for i in range(0, len(head), 3)]
    assert len(shown) == 4
    for spoken, label in shown:
        style = spoken.wav.split("/")[-3]
        assert label == f"\nStyle: {style}\n\n"
        assert spoken.wav.endswith(("00001.wav", "00002.wav", "00003.wav"))
    labels = [label for _, label in shown]
    assert sorted(labels) == sorted(2 * [f"\nStyle: {x}\n\n" for x in STYLES])
    other = Expresso(folder, styles=STYLES, shots=2, seed=1).items(align=None)
    assert other[0].context != items[0].context
    assert "4 utterances are happy" in expresso.notes


def test_a_model_answers_it_and_hears_each_example_once(
    folder, tiny_speech_lm_folder, monkeypatch
):
    lm = SpeechLM.from_pretrained(tiny_speech_lm_folder)
    items = Expresso(folder, styles=STYLES, shots=2).items(align=None)
    heard = []
    embed_cuts = lm.embed_cuts

    def listen(wavs, cuts, **options):
        heard.extend(wavs)
        return embed_cuts(wavs, cuts, **options)

    monkeypatch.setattr(lm, "embed_cuts", listen)
    conditions = make_conditions(["none", "text", "predicted"])
    records, _ = answer_items(lm, items, conditions, align=None)
    assert len(records) == 8 and len(heard) == 4 + 8
    for item, record in zip(items, records, strict=True):
        context = [
            lm.embed(content.wav) if isinstance(content, SpokenText) else content
            for content in item.context
        ]
        expected = lm.score(context, list(item.choices))
        found = record["conditions"]["predicted"]["log_likelihoods"]
        assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    "options, says",
    [
        ({"styles": ["sad"]}, "nothing to choose"),
        ({"shot_split": "test"}, "'test' is what is measured"),
        ({"shots": 9}, "6 utterances that are happy, not 9"),
        ({"styles": ["angry", "bored"], "shots": 0}, "no utterance of angry, bored"),
        ({"split": "dev"}, "no .*dev.txt"),
    ],
)
def test_what_makes_no_sense_is_named(folder, options, says):
    with pytest.raises(ValueError, match=says):
        Expresso(folder, **{"styles": STYLES, **options}).items(align=None)


def test_a_folder_without_it_is_named(tmp_path):
    with pytest.raises(ValueError, match="read_transcriptions.txt"):
        Expresso(tmp_path).items(align=None)
