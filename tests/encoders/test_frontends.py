"""A batch is converted on its device as the encoder's own extractor converts each."""

import pytest
import torch
import transformers as hf

from ssr_plugin.encoders.frontends import FrontEnd, normalize


def front_end(folder, extractor):
    extractor.save_pretrained(folder)
    return FrontEnd(folder)


def utterances(*lengths):
    """Noise of several loudnesses, around a mean that is not 0."""
    generator = torch.Generator().manual_seed(1)
    return [
        0.3**i * torch.randn(n, generator=generator) + 0.05
        for i, n in enumerate(lengths)
    ]


@pytest.mark.parametrize("settings", [{}, {"feature_size": 128}])
@pytest.mark.parametrize("window", [None, 16000])
def test_a_batch_of_spectra_is_the_extractors(tmp_path, settings, window):
    front = front_end(tmp_path, hf.WhisperFeatureExtractor(chunk_length=3, **settings))
    assert front.on_device
    # The last is cut off, by some samples of a frame.
    wavs = [*utterances(16000, 1, 401, 7999), torch.zeros(1000), *utterances(48017)]
    for (spectrum, steps), wav in zip(front.convert(wavs, window), wavs, strict=True):
        expected, expected_steps = front.extract(wav, window)
        torch.testing.assert_close(spectrum, expected, atol=1e-4, rtol=0)
        assert min(steps, spectrum.shape[1]) == expected_steps


def test_an_utterance_is_normalised_by_itself_whatever_pads_it(tmp_path):
    front = front_end(tmp_path, hf.Wav2Vec2FeatureExtractor())
    assert front.on_device
    wavs = [*utterances(16000, 1, 400), torch.zeros(300), *utterances(9000)]
    batch = torch.full((5, 16000), torch.inf)
    for row, wav in zip(batch, wavs, strict=True):
        row[: len(wav)] = wav
    prepared = front.prepare(batch, [len(wav) for wav in wavs])
    for row, wav in zip(prepared, wavs, strict=True):
        expected, _ = front.extract(wav)
        torch.testing.assert_close(row[: len(wav)], expected, atol=1e-4, rtol=0)
    # In a batch and alone: as good as the same to the last bit.
    alone = normalize(wavs[4][None], [9000])[0]
    torch.testing.assert_close(prepared[4, :9000], alone, atol=1e-6, rtol=1e-6)


def test_samples_that_are_taken_as_they_are_stay_so(tmp_path):
    front = front_end(tmp_path, hf.Wav2Vec2FeatureExtractor(do_normalize=False))
    batch = torch.stack(utterances(8000, 8000))
    assert front.on_device
    assert torch.equal(front.prepare(batch, [8000, 8000]), batch)


@pytest.mark.parametrize(
    "extractor",
    [
        hf.SeamlessM4TFeatureExtractor(),
        # Each call draws other noise.
        hf.WhisperFeatureExtractor(chunk_length=3, dither=0.01),
    ],
    ids=["another spectrum", "dither"],
)
def test_what_is_computed_otherwise_is_left_to_the_extractor(tmp_path, extractor):
    front = front_end(tmp_path, extractor)
    assert not front.on_device
    (wav,) = utterances(16000)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        ((given, steps),) = front.convert([wav])
        torch.manual_seed(0)
        expected, expected_steps = front.extract(wav)
    assert steps == expected_steps and torch.equal(given, expected)


def test_an_extractor_of_other_arithmetic_is_found_out(tmp_path, monkeypatch):
    log10 = hf.WhisperFeatureExtractor._torch_extract_fbank_features

    def log2(self, waveform, device="cpu"):
        return log10(self, waveform, device) * 3.3

    monkeypatch.setattr(
        hf.WhisperFeatureExtractor, "_torch_extract_fbank_features", log2
    )
    front = front_end(tmp_path, hf.WhisperFeatureExtractor(chunk_length=3))
    assert not front.on_device
    (wav,) = utterances(16000)
    assert torch.equal(front.convert([wav])[0][0], front.extract(wav)[0])
