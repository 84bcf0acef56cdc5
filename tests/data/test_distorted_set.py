"""A data set in noise: the same recordings whenever asked, and clear errors."""

import numpy as np
import pytest
import torch

from ssr_plugin import SpeechLM
from ssr_plugin.alignment.record import Alignment, Unit
from ssr_plugin.data.audio import AudioError
from ssr_plugin.data.datasets import DataSet, Utterance
from ssr_plugin.data.distorted_set import make_distorted_sets
from ssr_plugin.evaluation.harness.audio_inputs import embed_recordings
from ssr_plugin.evaluation.harness.conditions import make_conditions
from ssr_plugin.evaluation.harness.items import PromptItem, SpokenText
from ssr_plugin.hparams import find_yaml, plain_keys
from ssr_plugin.problems import Problems

RATE = 16000
KINDS = ["babble", "speech_shaped", "white", "reverberation"]
NOISE = {
    "kinds": KINDS[:3],
    "snr": [5, 20.0],
    "reverberation_time": [0.2],
    "num_talkers": 2,
    "splits": ["*"],
}


class Voices(DataSet):
    """Three speakers in one split, and one of them again in another."""

    def utterances(self, split):
        speakers = {"many": "abc", "one": "a"}[split]
        for speaker in speakers:
            for number in range(2):
                name = f"{split}-{speaker}-{number}"
                wav = self.folder / split / f"{name}.wav"
                yield Utterance(name, str(wav), "THE CAT", speaker)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, write_audio):
    folder = tmp_path_factory.mktemp("voices")
    for split in ("many", "one"):
        (folder / split).mkdir()
    made = Voices(folder)
    for split in made.splits():
        for seed, utterance in enumerate(made.utterances(split)):
            write_audio(folder / split / f"{utterance.id}.wav", 1.0, seed=seed)
    return made


@pytest.fixture(scope="module")
def lm(tiny_speech_lm_folder):
    return SpeechLM.from_pretrained(tiny_speech_lm_folder)


def distorted_sets(noise, dataset, seed):
    utterances = {split: [*dataset.utterances(split)] for split in dataset.splits()}
    return make_distorted_sets(noise, utterances, seed)


def make(dataset, seed=0, **changes):
    """By name."""
    sets = distorted_sets(NOISE | changes, dataset, seed)
    return {x.distortion.name: x for x in sets}


def first_wav(dataset, split="many"):
    return next(dataset.utterances(split)).wav


def spoken(dataset, split="many"):
    """The utterances as items, each aligned."""
    items = []
    for x in dataset.utterances(split):
        units = (Unit("THE", 0.1, 0.4, 0), Unit("CAT", 0.4, 0.9, 4))
        alignment = Alignment(x.id, x.text, units, "word", 1.0)
        content = SpokenText(x.text, x.wav, alignment=alignment)
        items.append(PromptItem(x.id, (content,), x.text))
    return items


def hear(lm, items, distorted, names=("predicted", "forced"), size=32):
    """By condition, what is heard of each item."""
    conditions = make_conditions(names)
    alignments = {x.recordings()[0]: x.recordings()[0].alignment for x in items}
    batches = [items[i : i + size] for i in range(0, len(items), size)]
    problems = Problems("hearing", 1.0)
    heard = {name: {} for name in names}
    inputs = embed_recordings(lm, batches, conditions, alignments, problems, distorted)
    for batch, found in zip(batches, inputs, strict=True):
        for condition in conditions:
            for item in batch:
                heard[condition.name][item.id] = found.of(condition, item)[0]
    return heard


def test_kinds_come_as_they_are_asked_for_from_the_weakest_to_the_strongest(dataset):
    kinds = ["white", "babble", "reverberation"]
    names = list(make(dataset, kinds=kinds, reverberation_time=[0.5, 0.2]))
    assert names[:4] == ["white 20 dB", "white 5 dB", "babble 20 dB", "babble 5 dB"]
    assert names[4:] == ["reverberation 0.2 s", "reverberation 0.5 s"]


def test_nothing_is_asked_for_by_default(dataset):
    assert distorted_sets(NOISE | {"kinds": []}, dataset, 0) == []
    assert distorted_sets(None, dataset, 0) == []


def test_noise_depends_on_seed_and_utterance_alone(dataset):
    speech = torch.sin(torch.arange(RATE) / 20)
    wavs = [x.wav for x in dataset.utterances("many")]
    for name, first in make(dataset, kinds=KINDS).items():
        expected = {wav: first(wav, speech, RATE) for wav in wavs}
        # Made anew, in another order, without other kinds, and some left out.
        kind = first.distortion.kind
        again = make(dataset, kinds=[kind], snr=[5, 20])[name]
        for wav in wavs[::-2]:
            assert torch.equal(again(wav, speech, RATE), expected[wav])
        assert len({x.numpy().tobytes() for x in expected.values()}) > 1
        other = make(dataset, seed=1, kinds=[kind])[name]
        assert not torch.equal(other(wavs[0], speech, RATE), expected[wavs[0]])
        assert other.identity() != first.identity() == again.identity()


def test_batches_and_processes_change_nothing_that_is_heard(dataset, lm, monkeypatch):
    items = spoken(dataset)
    distorted = make(dataset, kinds=["babble"])["babble 5 dB"]
    together = hear(lm, items, distorted)
    monkeypatch.setenv("SSR_NUM_WORKERS", "2")
    apart = hear(lm, items[::-1], distorted, size=1)
    for name, speeches in together.items():
        for item, speech in speeches.items():
            other = apart[name][item]
            assert torch.allclose(speech.vectors, other.vectors, atol=1e-4)


def test_all_conditions_hear_the_same_noisy_samples(dataset, lm, monkeypatch):
    items = spoken(dataset)
    distorted = make(dataset, kinds=["white"])["white 5 dB"]
    embed_cuts, given = lm.embed_cuts, []

    def embed(recordings, *args, **kwargs):
        given.extend(samples for samples, _ in recordings)
        return embed_cuts(recordings, *args, **kwargs)

    monkeypatch.setattr(lm, "embed_cuts", embed)
    hear(lm, items, distorted, ["cascade", "predicted", "forced"])
    assert len(given) == len(items)
    alone = []
    for condition in ("predicted", "forced"):
        given.clear()
        hear(lm, items, distorted, [condition])
        alone.append([x.clone() for x in given])
    assert all(map(torch.equal, *alone))


def test_forced_segments_are_those_of_the_clean_audio(dataset, lm):
    items = spoken(dataset)
    distorted = make(dataset, kinds=["white"], snr=[0])["white 0 dB"]
    clean, noisy = (hear(lm, items, x, ["forced"])["forced"] for x in (None, distorted))
    for item in items:
        assert clean[item.id].starts == noisy[item.id].starts
        assert clean[item.id].ends == noisy[item.id].ends
        assert not torch.allclose(clean[item.id].vectors, noisy[item.id].vectors)


def test_a_part_sounds_as_it_does_in_the_whole(dataset, lm, monkeypatch):
    (item, *_) = spoken(dataset)
    distorted = make(dataset, kinds=["babble"])["babble 5 dB"]
    embed_cuts, given = lm.embed_cuts, []

    def embed(recordings, *args, **kwargs):
        given.extend(samples for samples, _ in recordings)
        return embed_cuts(recordings, *args, **kwargs)

    monkeypatch.setattr(lm, "embed_cuts", embed)
    (content,) = item.context
    half = PromptItem("half", (SpokenText("THE", content.wav, seconds=0.5),), "THE")
    hear(lm, [item], distorted, ["predicted"])
    hear(lm, [half], distorted, ["predicted"])
    whole, part = given
    assert torch.equal(part, whole[: RATE // 2])


def test_silent_audio_is_left_out_by_name(dataset, lm, tmp_path):
    distorted = make(dataset, kinds=["white"])["white 5 dB"]
    with pytest.raises(AudioError, match="is silent"):
        distorted(first_wav(dataset), torch.zeros(RATE), RATE)
    with pytest.raises(AudioError, match=r"x\.wav is no recording of the data"):
        distorted("x.wav", torch.ones(RATE), RATE)


@pytest.mark.parametrize(
    "changes, says",
    [
        ({"kinds": ["bable"]}, "there is no kind 'bable'.*did you mean 'babble'"),
        ({"snr": [5, "loud"]}, "noise.snr: 'loud' is no number"),
        ({"snr": [float("nan")]}, "noise.snr: nan is no number"),
        ({"snr": [True]}, "noise.snr: True is no number"),
        ({"snr": []}, "noise.snr: name one number"),
        (
            {"kinds": ["reverberation"], "reverberation_time": [0]},
            "noise: .*0.0 s is no",
        ),
        ({"splits": ["one"]}, r"splits: one\): babble .* one speaker \(a\)"),
        ({"splits": ["two"]}, "noise.splits: there is no split 'two'"),
        ({"splits": ["x*"], "kinds": ["speech_shaped"]}, "there is no utterance"),
        ({"num_talkers": 0}, "there must be a talker"),
        ({"num_talkers": "6"}, "there must be a talker"),
        ({"kind": ["white"]}, "there is no 'kind'.*did you mean 'kinds'"),
    ],
)
def test_what_is_wrong_is_named(dataset, changes, says):
    with pytest.raises(ValueError, match=says):
        make(dataset, **changes)


def test_what_a_yaml_does_not_say_is_as_in_ours(dataset):
    sets = distorted_sets({"kinds": "white"}, dataset, 0)
    assert [x.distortion.strength for x in sets] == [20, 10, 5, 0]
    ours = plain_keys(find_yaml("evaluate.yaml").read_text())["noise"]
    assert distorted_sets(ours, dataset, 0) == []
    asked, short = (
        [x.identity() for x in distorted_sets(noise, dataset, 0)]
        for noise in (ours | {"kinds": KINDS}, {"kinds": KINDS})
    )
    assert asked == short


def test_the_same_ratio_twice_is_measured_once(dataset):
    assert list(make(dataset, kinds=["white"], snr=[5, 5.0])) == ["white 5 dB"]


def test_babble_for_a_split_of_one_speaker_comes_from_another_split(dataset):
    speech = torch.sin(torch.arange(RATE) / 20)
    noisy = make(dataset, kinds=["babble"])["babble 5 dB"]
    changed = noisy(first_wav(dataset, "one"), speech, RATE)
    assert np.isfinite(changed.numpy()).all() and not torch.equal(changed, speech)
