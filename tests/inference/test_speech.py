"""Speech as users give it: files, samples, and what Hugging Face datasets give."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
import soundfile
import torch

from ssr_plugin import SpeechLM
from ssr_plugin.data.audio import AudioError, read_audio
from ssr_plugin.inference.speech import (
    Speech,
    is_speech,
    read_groups,
    read_waveform,
)


@dataclasses.dataclass
class AudioSamples:
    """torchcodec's class of that name, as its documentation tells it."""

    data: torch.Tensor
    sample_rate: int


class Decoder:
    """What torchcodec's AudioDecoder can do, without it."""

    def __init__(self, samples, rate):
        self.samples, self.rate = samples, rate

    def get_all_samples(self):
        if self.samples is None:
            raise RuntimeError("Could not push packet to decoder")
        return AudioSamples(torch.from_numpy(self.samples), self.rate)


@pytest.fixture
def file(tmp_path, write_audio):
    """A recording of a second at 22.05 kHz."""
    return write_audio(tmp_path / "a.wav", 1.0, 22050)


@pytest.fixture(scope="module")
def lm(tiny_speech_lm_folder):
    return SpeechLM.from_pretrained(tiny_speech_lm_folder)


def test_read_waveform_takes_a_decoder_and_resamples_what_it_gives(file):
    samples, rate = soundfile.read(file, dtype="float32")
    decoder = Decoder(np.stack([samples, 0 * samples]), rate)
    expected = read_audio(file, 16000)
    torch.testing.assert_close(read_waveform(decoder, 16000), expected / 2)


def test_read_waveform_takes_all_channels_of_a_decoder():
    # As an array they would be taken for sixteen samples of three channels.
    samples = np.tile(np.float32([0.5, 0.0, -0.5]), (16, 1))
    assert read_waveform(Decoder(samples, 8000), 8000).tolist() == [0.5, 0.0, -0.5]


def test_read_waveform_tells_what_a_decoder_could_not_do():
    with pytest.raises(AudioError, match="cannot decode .*Could not push packet"):
        read_waveform(Decoder(None, 8000), 8000)


def test_read_waveform_refuses_a_decoder_of_no_samples():
    with pytest.raises(AudioError, match="no audio"):
        read_waveform(Decoder(np.zeros((2, 0), dtype="float32"), 8000), 8000)


def test_read_waveform_takes_a_path_or_bytes_as_undecoded_datasets_give_them(file):
    expected = read_audio(file, 16000)
    for speech in (
        {"path": str(file), "bytes": None},
        {"path": str(file)},
        {"path": None, "bytes": file.read_bytes()},
        {"path": "elsewhere.wav", "bytes": file.read_bytes()},
    ):
        assert read_waveform(speech, 16000).equal(expected)


@pytest.mark.parametrize(
    "dtype, silence, full",
    [
        ("int8", 0, 2**7),
        ("uint8", 2**7, 2**7),
        ("int16", 0, 2**15),
        ("uint16", 2**15, 2**15),
        ("int32", 0, 2**31),
        ("float64", 0, 1),
        (">i2", 0, 2**15),
        (">f4", 0, 1),
    ],
)
@pytest.mark.parametrize("as_tensor", [False, True])
def test_read_waveform_scales_samples_by_their_type(dtype, silence, full, as_tensor):
    wanted = np.array([0.0, 0.5, -0.5, 0.25])
    samples = (wanted * full + silence).astype(dtype)
    if as_tensor:
        samples = torch.from_numpy(samples.astype(np.dtype(dtype).newbyteorder("=")))
    waveform = read_waveform((samples, 8000), 8000)
    assert waveform.dtype == torch.float32
    assert waveform.tolist() == pytest.approx(wanted.tolist())


@pytest.mark.parametrize(
    "samples, message",
    [
        ([0, 300, -300], "type int64 have no known full scale: give int8, .*floats"),
        (np.array([0, 300], "uint32"), "type uint32 have no known full scale"),
        (np.array([0, 300], "int32"), "all within the range of int16: give them as"),
        (np.array([True, False]), "no numbers, but bool"),
        (["0.1", "0.2"], "no numbers, but <U3"),
        (np.zeros(9, "complex64"), "no numbers, but complex64"),
        (np.zeros((80, 200)), r"samples of shape \[80, 200\] are no audio"),
        (np.zeros(0, "int16"), r"samples of shape \[0\] are no audio"),
    ],
)
def test_read_waveform_refuses_samples_of_no_known_scale_or_shape(samples, message):
    with pytest.raises(AudioError, match=message):
        read_waveform((samples, 8000), 8000)


@pytest.mark.parametrize("channels", [1, 2, 9, 12, 64])
def test_read_waveform_averages_channels_whichever_side_they_are_on(channels):
    samples = np.arange(channels)[:, None] + np.linspace(0, 1, 100)[None]
    expected = torch.from_numpy(samples.mean(0)).float()
    for array in (samples, samples.T):
        torch.testing.assert_close(read_waveform((array, 8000), 8000), expected)


def test_read_waveform_names_the_path_of_bytes_that_are_no_audio():
    with pytest.raises(AudioError, match=r"cannot read clips/a\.wav \("):
        read_waveform({"path": "clips/a.wav", "bytes": b"no audio"}, 16000)
    with pytest.raises(AudioError, match=r"cannot read audio in memory \("):
        read_waveform({"path": None, "bytes": b"no audio"}, 16000)


@pytest.mark.parametrize("speech", [{}, {"path": None, "bytes": None}, {"array": [0]}])
def test_read_waveform_refuses_a_dict_without_audio(speech):
    with pytest.raises(TypeError, match="as `datasets` gives them, not a dict"):
        read_waveform(speech, 16000)


def test_is_speech_tells_decoders_from_other_objects():
    assert is_speech(Decoder(None, 8000))
    assert not any(map(is_speech, (3, None, "a.wav", np.zeros(3), object())))


def test_speech_lm_takes_decoders_wherever_it_takes_speech(lm, file):
    samples, rate = soundfile.read(file, dtype="float32")
    decoder = Decoder(samples[None], rate)
    expected = lm.embed(file)
    assert isinstance(expected, Speech) and len(expected) > 0
    assert torch.allclose(lm.embed(decoder).vectors, expected.vectors, atol=1e-4)
    assert lm.transcribe([decoder, file]) == [expected.text] * 2
    prompts = [["the ", decoder, " cat"], [decoder]]
    wanted = [["the ", expected, " cat"], [expected]]
    for found, other in zip(
        lm.embed_prompts(prompts), lm.embed_prompts(wanted), strict=True
    ):
        assert torch.allclose(found, other, atol=1e-4)
    assert lm.score([decoder], " cat") == pytest.approx(
        lm.score([expected], " cat"), abs=1e-4
    )


class Column(Sequence):
    """As ``datasets`` gives a column: a sequence that decodes what is asked for."""

    def __init__(self, files):
        self.files = files

    def __getitem__(self, index):
        samples, rate = soundfile.read(self.files[index], dtype="float32")
        return Decoder(samples[None], rate)

    def __len__(self):
        return len(self.files)


def test_groups_grow_so_that_the_first_is_soon_there():
    speeches = [([0.0] * 10, 10)] * 40
    groups = read_groups(speeches, 10, least=2, most=12)
    assert [len(group) for group in groups] == [2, 4, 8, 12, 12, 2]


def test_speech_lm_takes_a_column_as_many_recordings(lm, file, tmp_path, write_audio):
    files = [file, write_audio(tmp_path / "b.wav", 0.7)]
    expected = lm.embed(files)
    for found in (lm.embed(Column(files)), list(lm.embed_each(Column(files)))):
        for one, other in zip(found, expected, strict=True):
            assert torch.allclose(one.vectors, other.vectors, atol=1e-4)
    assert lm.transcribe(Column(files)) == [speech.text for speech in expected]


def test_embed_each_goes_on_after_a_decoder_that_fails(lm, file):
    error, speech = lm.embed_each([Decoder(None, 8000), file])
    assert isinstance(error, AudioError) and isinstance(speech, Speech)


def test_speech_lm_takes_what_datasets_gives(lm, file):
    datasets = pytest.importorskip("datasets")
    expected = read_audio(file, 16000)
    table = datasets.Dataset.from_dict({"audio": [str(file)]})
    row = table.cast_column("audio", datasets.Audio(decode=False))[0]
    assert read_waveform(row["audio"], 16000).equal(expected)
    try:
        table = table.cast_column("audio", datasets.Audio())
        found = read_waveform(table[0]["audio"], 16000)
    except (ImportError, RuntimeError, OSError) as error:
        pytest.skip(f"datasets cannot decode audio here: {str(error):.60}")
    torch.testing.assert_close(found, expected)
    assert lm.transcribe(table["audio"]) == [lm.transcribe(file)]
