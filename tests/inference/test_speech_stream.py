"""SpeechStream: what is read of speech that is still going on, and when."""

import itertools
import math

import numpy as np
import pytest
import torch

from ssr_plugin import SpeechLM, build
from ssr_plugin.data.audio import AudioError
from ssr_plugin.inference.speech_stream import SpeechStream, StreamSettings

RATE = 16000
QUICK = StreamSettings(step=0.5, look_ahead=0.3, window=3.0, hold=0.6, pause=1.0)
WHOLE = StreamSettings(look_ahead=math.inf, window=math.inf)


def noise(seconds, seed=0):
    rng = np.random.default_rng(seed)
    return (0.1 * rng.standard_normal(round(RATE * seconds))).astype("float32")


@pytest.fixture(scope="module")
def lm(tiny_speech_lm_folder):
    return SpeechLM.from_pretrained(tiny_speech_lm_folder, device="cpu")


@pytest.fixture
def stream_with(lm, monkeypatch):
    """``stream_with(name)``: the model with a random segmenter of that name."""

    def use(name):
        torch.manual_seed(0)
        options = {"width": 16, "num_heads": 2, "num_layers": 1}
        options |= {"alphabet": "abc"} if name == "char_ctc" else {}
        segmenter = build.segmenter(
            name, lm.encoder, lm.llm, {name: {} if name == "fixed" else options}
        ).eval()
        if name == "subword_ctc":
            # So that some states tell a token, and some none.
            torch.nn.init.normal_(segmenter.blank.weight, std=2.0)
            segmenter.blank.bias.data.fill_(4.0)
        monkeypatch.setitem(lm.segmenters._modules, "predicted", segmenter)
        return lm

    return use


@pytest.fixture
def local_lm(lm, monkeypatch):
    """The model with an encoder whose frames know only what they span."""
    weight = torch.randn(400, lm.encoder.width, generator=torch.manual_seed(1))

    def forward(wavs, lengths):
        counts = [lm.encoder.num_frames(int(n)) for n in lengths]
        features = torch.zeros(len(wavs), max(counts), lm.encoder.width)
        for row, wav, count in zip(features, wavs, counts, strict=True):
            row[:count] = wav.unfold(0, 400, 320)[:count] @ weight
        return features, torch.tensor(counts)

    monkeypatch.setattr(lm.encoder, "forward", forward)
    return lm


def read(lm, wav, sizes=(1280,), settings=QUICK, **options):
    """All pieces of a recording that comes in chunks of these sizes, in turn."""
    stream = SpeechStream(lm.embedder, settings=settings, **options)
    pieces, sizes = [], itertools.cycle(sizes)
    while len(wav):
        size = next(sizes)
        pieces += stream.push(wav[:size])
        wav = wav[size:]
    return [*pieces, *stream.finish()]


def joined(pieces):
    """The vectors of pieces, and tokens with their times."""
    rows = [
        each
        for piece in pieces
        for each in zip(piece.tokens, piece.starts, piece.ends, strict=True)
    ]
    return torch.cat([piece.vectors for piece in pieces]), rows


def assert_same(pieces, others, **tolerance):
    vectors, rows = joined(pieces)
    other_vectors, other_rows = joined(others)
    assert len(rows) > 0
    assert rows == other_rows
    torch.testing.assert_close(vectors, other_vectors, **tolerance)


# --- Equal to what --------------------------------------------------------------------


@pytest.mark.parametrize("name", ["boundary", "subword_ctc"])
def test_what_is_read_does_not_depend_on_where_chunks_are_cut(stream_with, name):
    lm, wav = stream_with(name), noise(3.0)
    expected = read(lm, wav, [len(wav)])
    for sizes in ([1, 0, 777, 4001], [8000], [1280]):
        assert_same(read(lm, wav, sizes), expected, atol=0, rtol=0)


@pytest.mark.parametrize("lm_fusion", [False, True])
@pytest.mark.parametrize("name", ["fixed", "boundary", "subword_ctc"])
def test_with_all_that_follows_known_a_stream_is_what_embed_gives(
    stream_with, name, lm_fusion
):
    lm, wav = stream_with(name), noise(4.0)
    (piece,) = read(lm, wav, settings=WHOLE, lm_fusion=lm_fusion)
    whole = lm.embed((wav, RATE), lm_fusion=lm_fusion)
    assert_same([piece], [whole], atol=1e-5, rtol=0)
    assert (piece.text, piece.hypothesis) == (whole.text, whole.hypothesis)
    assert (piece.seconds, piece.lm_fusion) == (whole.seconds, whole.lm_fusion)
    np.testing.assert_array_equal(piece.segments.starts, whole.segments.starts)


@pytest.mark.parametrize("lm_fusion", [False, True])
def test_with_an_encoder_that_needs_no_context_a_stream_is_what_embed_gives(
    local_lm, lm_fusion
):
    """What was settled before reaches connector and LLM through the history."""
    wav = noise(9.0)
    pieces = read(local_lm, wav, lm_fusion=lm_fusion)
    whole = local_lm.embed((wav, RATE), lm_fusion=lm_fusion)
    assert len(pieces) > 10
    assert_same(pieces, [whole], atol=1e-5, rtol=0)
    assert sum(piece.seconds for piece in pieces) == pytest.approx(whole.seconds)


# --- When -----------------------------------------------------------------------------


def test_a_segment_is_out_as_soon_as_the_latency_allows(local_lm):
    stream = SpeechStream(local_lm.embedder, settings=QUICK)
    out, segment = 0.0, 0.2
    for chunk in np.split(noise(6.0), 75):
        for piece in stream.push(chunk):
            out = piece.segments.boundaries[-1] / 50 + 0.02
        taken = stream._taken / RATE
        # The next segment must have begun before what is looked ahead at.
        assert out > taken - QUICK.latency - segment - 0.05
        assert out <= max(stream.seconds - QUICK.look_ahead + 0.021, 0)


def test_a_pause_is_told_and_ends_what_is_asked_to_end(lm):
    speech, silence = np.split(noise(2.0), 20), [np.zeros(1600, np.float32)] * 40
    chunks = iter([*silence[:20], *speech, *silence, *speech])
    pieces = list(lm.stream_speech(chunks, settings=QUICK, end_pause=1.5))
    assert pieces[0].starts[0] >= 2.0 - QUICK.pause
    # Not before somebody has spoken; then with what is still to come left alone.
    left = len(list(chunks))
    assert 20 < left < 50


# --- Memory ---------------------------------------------------------------------------


@pytest.fixture
def encoded(lm, monkeypatch):
    """Samples of each window that the encoder is given."""
    lengths, forward = [], lm.encoder.forward

    def count(wavs, wav_lengths):
        lengths.append(wavs.shape[1])
        return forward(wavs, wav_lengths)

    monkeypatch.setattr(lm.encoder, "forward", count)
    return lengths


def test_what_a_stream_holds_does_not_grow_with_the_speech(lm, encoded):
    stream = SpeechStream(lm.embedder, settings=QUICK)
    held = []
    for second in range(24):
        stream.push(noise(1.0, second))
        frames = sum(map(len, stream._history._frames))
        held.append((len(stream._audio), len(stream._history._frames), frames))
    most = (QUICK.window + QUICK.step) * RATE
    assert max(encoded) <= QUICK.window * RATE
    assert max(samples for samples, _, _ in held) <= most
    assert max(count for _, count, _ in held) <= 64
    assert max(held[16:]) <= max(held[:16])


def test_an_hour_of_silence_costs_nothing_and_leaves_what_follows_as_it_is(lm, encoded):
    stream = SpeechStream(lm.embedder, settings=QUICK)
    minute = np.zeros(60 * RATE, np.float32)
    for _ in range(60):
        assert stream.push(minute) == []
        assert len(stream._audio) < 2 * RATE
    assert encoded == []
    assert stream.pause is None
    pieces = stream.push(noise(2.0))
    heard = len(encoded)
    # So it is after somebody has spoken.
    pieces += [*stream.push(minute), *stream.finish()]
    assert len(encoded) <= heard + 3
    assert 3600 - QUICK.pause <= pieces[0].starts[0] < 3600.5
    assert pieces[-1].ends[-1] == pytest.approx(3602.0, abs=0.3)
    assert stream.pause == pytest.approx(60.0, abs=0.3)


# --- Odd input ------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_chunk_with_no_number_is_refused_and_the_stream_goes_on_without(lm, bad):
    stream, wav = SpeechStream(lm.embedder, settings=QUICK), noise(2.0)
    pieces = stream.push(wav[:10000])
    damaged = wav[10000:20000].copy()
    damaged[6000] = bad
    with pytest.raises(AudioError, match=r"a sample at 1\.000 s of the stream"):
        stream.push(damaged)
    pieces += stream.push(wav[10000:])
    assert_same([*pieces, *stream.finish()], read(lm, wav))


@pytest.mark.parametrize(
    ("chunk", "message"),
    [
        (np.zeros((2, 100)), "is not of one channel"),
        (np.zeros(3, dtype=np.int64), "samples of type int64 are no audio"),
        (["a"], "are no audio"),
        (np.full(3, 1e300), "is no number"),
    ],
)
def test_a_chunk_that_is_no_audio_is_refused(lm, chunk, message):
    with pytest.raises(AudioError, match=message):
        SpeechStream(lm.embedder).push(chunk)


def test_integers_and_tensors_are_samples_as_well(lm):
    samples = (noise(2.0) * 2**15).astype(np.int16)
    expected = read(lm, samples.astype(np.float32) / 2**15)
    assert_same(read(lm, samples), expected)
    assert_same(read(lm, torch.from_numpy(samples)), expected)


def test_chunks_of_another_rate_are_resampled_whatever_their_size(lm):
    wav = noise(3.0)
    one = read(lm, wav, [4000], sample_rate=8000)
    other = read(lm, wav, [7, 333], sample_rate=8000)
    assert_same(one, other, atol=0, rtol=0)
    assert one[-1].ends[-1] == pytest.approx(6.0, abs=0.1)


@pytest.mark.parametrize("rate", [-1, 100, 10**7])
def test_a_rate_of_no_speech_is_refused(lm, rate):
    with pytest.raises(
        ValueError, match="sample_rate: a sampling rate of .* which no speech has"
    ):
        SpeechStream(lm.embedder, sample_rate=rate)


def test_a_stream_of_nothing_gives_nothing_and_what_is_over_takes_no_more(lm):
    stream = SpeechStream(lm.embedder)
    assert stream.push([]) == stream.push(np.zeros(1)) == stream.finish() == []
    assert stream.finish() == []
    with pytest.raises(ValueError, match="this stream is over"):
        stream.push([0.1])


def test_what_was_settled_stays_where_the_source_fails(lm):
    def chunks():
        yield noise(3.0)
        raise OSError("unplugged")

    pieces = []
    with pytest.raises(OSError, match="unplugged"):
        for piece in lm.stream_speech(chunks(), settings=QUICK):
            pieces.append(piece)
    assert len(pieces) > 1


@pytest.mark.parametrize(
    ("name", "reason"),
    [("char_ctc", "cuts the text of a whole"), ("cif", "adds up weights from")],
)
def test_a_segmenter_that_needs_a_whole_recording_is_refused(stream_with, name, reason):
    with pytest.raises(ValueError, match=f"the segmenter {name} {reason}"):
        stream_with(name).stream_speech([])


def test_a_model_without_a_segmenter_for_audio_alone_is_refused(lm, monkeypatch):
    monkeypatch.delitem(lm.segmenters._modules, "predicted")
    with pytest.raises(ValueError, match="no segmenter for audio alone"):
        SpeechStream(lm.embedder)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"step": 0.0}, "step: 0.0 is not above 0"),
        ({"look_ahead": math.nan}, "look_ahead: nan"),
        ({"window": 1.0}, "window: 1 s is too short: give 1.44 s"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        StreamSettings(**settings)
