"""Any Hugging Face speech encoder gives an utterance its own frames, in any batch."""

import concurrent.futures
import contextlib
import copy
import pathlib
import time

import pytest
import soundfile
import torch
import transformers as hf

from ssr_plugin.encoders import encoder as encoder_module
from ssr_plugin.encoders.encoder import LONGEST_WINDOW, SpeechEncoder
from ssr_plugin.nnet.precision import full_float32

PROJECT = pathlib.Path(__file__).parents[2]
SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}
CONVOLUTIONS = {
    "conv_dim": (16,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
WIDE = {**SIZES, **CONVOLUTIONS}
GROUP = {**WIDE, "feat_extract_norm": "group"}
LAYER = {**WIDE, "feat_extract_norm": "layer", "do_stable_layer_norm": True}
SEQ2SEQ = {
    "d_model": 32,
    "encoder_layers": 3,
    "encoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_layers": 1,
    "decoder_attention_heads": 4,
    "decoder_ffn_dim": 64,
    "vocab_size": 50,
}
WHISPER = {
    **SEQ2SEQ,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
    "max_source_positions": 150,
}


def waves(mask, normalize=True):
    return hf.Wav2Vec2FeatureExtractor(
        return_attention_mask=mask, do_normalize=normalize
    )


# name: (model class, configuration, feature extractor)
FAMILIES = {
    "wav2vec2, group norm": (hf.Wav2Vec2Model, GROUP, waves(False)),
    "wav2vec2, layer norm": (hf.Wav2Vec2Model, LAYER, waves(True)),
    "wav2vec2, adapter": (
        hf.Wav2Vec2Model,
        {**LAYER, "add_adapter": True},
        waves(True),
    ),
    "hubert, group norm": (hf.HubertModel, GROUP, waves(False)),
    "hubert, layer norm": (hf.HubertModel, LAYER, waves(True)),
    "hubert, batch norm": (
        hf.HubertModel,
        {**GROUP, "conv_pos_batch_norm": True, "feat_proj_layer_norm": False},
        waves(False),
    ),
    "wavlm, group norm": (hf.WavLMModel, GROUP, waves(False, normalize=False)),
    "wavlm, layer norm": (hf.WavLMModel, LAYER, waves(True)),
    "data2vec": (
        hf.Data2VecAudioModel,
        {**LAYER, "num_conv_pos_embeddings": 5, "conv_pos_kernel_size": 7},
        waves(True),
    ),
    "conformer": (hf.Wav2Vec2ConformerModel, LAYER, waves(True)),
    "sew": (
        hf.SEWModel,
        {**GROUP, "conv_dim": (16,) * 13, "squeeze_factor": 2},
        waves(False),
    ),
    "w2v-bert": (hf.Wav2Vec2BertModel, SIZES, hf.SeamlessM4TFeatureExtractor()),
    "whisper": (hf.WhisperModel, WHISPER, hf.WhisperFeatureExtractor(chunk_length=3)),
    "speech-to-text": (
        hf.Speech2TextModel,
        SEQ2SEQ,
        hf.Speech2TextFeatureExtractor(),
    ),
}


def make_folder(folder, family):
    """Saves a random model whose weights, biases and norms are all off their start."""
    model_class, settings, extractor = FAMILIES[family]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = model_class(model_class.config_class(**settings)).eval()
        for parameter in model.parameters():
            parameter.data.add_(0.02 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    extractor.save_pretrained(folder)
    return model, extractor


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """``folders(family)``: a folder with a tiny model of the family, the model, and its
    feature extractor."""
    made = {}

    def get(family):
        if family not in made:
            folder = tmp_path_factory.mktemp("encoder")
            made[family] = (folder, *make_folder(folder, family))
        return made[family]

    return get


def noise(*lengths, seed=0):
    """A padded batch; what lies in the padding is loud, since nobody may listen."""
    generator = torch.Generator().manual_seed(seed)
    wavs = torch.full((len(lengths), max(lengths)), 7.0)
    for i, length in enumerate(lengths):
        wavs[i, :length] = 0.1 * torch.randn(length, generator=generator) + 0.02 * i
    return wavs, torch.tensor(lengths)


def frames_of_the_hf_model(model, extractor, wav, **options):
    encoder = model.get_encoder() if model.config.is_encoder_decoder else model
    inputs = extractor(wav.numpy(), sampling_rate=16000, return_tensors="pt")
    with torch.no_grad():
        return encoder(**inputs, **options)


@pytest.fixture(params=["one by one", "padded"])
def passes(request, monkeypatch):
    """A CPU encodes one by one by default; a GPU pads, and so can a CPU."""
    if request.param == "padded":
        monkeypatch.setitem(encoder_module._PASS, "cpu", 120.0)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_padded_batch_gives_what_single_utterances_give(folders, family, passes):
    encoder = SpeechEncoder(folders(family)[0])
    wavs, lengths = noise(16000, 9000, 23456, 16000, 401, 2000)
    batch, frames = encoder(wavs, lengths)
    for i, length in enumerate(lengths.tolist()):
        single, count = encoder(wavs[i : i + 1, :length], lengths[i : i + 1])
        assert count[0] == frames[i] == single.shape[1]
        torch.testing.assert_close(
            batch[i, : frames[i]], single[0], atol=1e-5, rtol=1e-4
        )
        assert (batch[i, frames[i] :] == 0).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_frames_are_those_of_the_plain_model_alone_and_unpadded(
    folders, family, passes
):
    folder, model, extractor = folders(family)
    wavs, lengths = noise(16000, 23456)
    batch, frames = SpeechEncoder(folder)(wavs, lengths)
    plain = frames_of_the_hf_model(model, extractor, wavs[1]).last_hidden_state[0]
    torch.testing.assert_close(
        batch[1, : frames[1]], plain[: frames[1]], atol=1e-5, rtol=1e-4
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_the_number_of_frames_is_known_beforehand(folders, family):
    encoder = SpeechEncoder(folders(family)[0])
    for length in (0, 1, 399, 400, 8001, 12345):
        wavs, lengths = noise(length, 12345)
        features, frames = encoder(wavs, lengths)
        assert frames[0] == encoder.num_frames(length)
        assert features.shape == (2, encoder.num_frames(12345), encoder.width)


@pytest.mark.parametrize(
    "family", ["wav2vec2, group norm", "wavlm, layer norm", "whisper"]
)
def test_a_layer_is_the_models_hidden_state(folders, family):
    folder, model, extractor = folders(family)
    wavs, lengths = noise(16000)
    plain = frames_of_the_hf_model(model, extractor, wavs[0], output_hidden_states=True)
    # The last one is not normalised in every family; the network's output is.
    states = [*plain.hidden_states[:3], plain.last_hidden_state]
    for layer in (0, 1, 3):
        features, frames = SpeechEncoder(folder, layer=layer)(wavs, lengths)
        torch.testing.assert_close(
            features[0], states[layer][0, : frames[0]], atol=1e-5, rtol=1e-4
        )
        again, _ = SpeechEncoder(folder, layer=layer - 4)(wavs, lengths)
        assert torch.equal(features, again)


def test_layers_above_the_chosen_one_are_not_computed(folders):
    folder, model, _ = folders("hubert, group norm")
    encoder = SpeechEncoder(folder, layer=1)
    kept = sum(p.numel() for p in encoder.parameters())
    assert kept < sum(p.numel() for p in model.parameters())
    assert len(encoder.backbone.network.encoder.layers) == 1


@pytest.mark.parametrize("layer", [4, -5])
def test_a_layer_that_is_not_there_is_an_error_that_lists_those_that_are(
    folders, layer
):
    with pytest.raises(ValueError, match="has 3 layers, so give 0 to 3, or -1"):
        SpeechEncoder(folders("hubert, group norm")[0], layer=layer)


def test_what_reads_padding_all_the_same_is_found_out(folders, monkeypatch):
    monkeypatch.setitem(encoder_module._PASS, "cpu", 120.0)
    for family, exact in [("hubert, group norm", True), ("sew", False)]:
        encoder = SpeechEncoder(folders(family)[0])
        encoder(*noise(8000, 9000))
        assert encoder._pads_exactly == exact


@pytest.mark.parametrize(
    "family, rate, samples, frames",
    [
        ("hubert, group norm", 50.0, 16000, 49),
        ("whisper", 50.0, 16000, 50),
        ("w2v-bert", 50.0, 16000, 49),
        ("wav2vec2, adapter", 6.25, 16000, 7),
    ],
)
def test_the_frame_rate_comes_from_the_model(folders, family, rate, samples, frames):
    encoder = SpeechEncoder(folders(family)[0])
    assert (encoder.frame_rate, encoder.sample_rate) == (rate, 16000)
    assert encoder.num_frames(samples) == frames


def test_a_frozen_encoder_stays_as_it_was(folders):
    encoder = SpeechEncoder(folders("wav2vec2, layer norm")[0])
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    encoder.train()
    features, _ = encoder(*noise(8000))
    assert not encoder.training and not any(m.training for m in encoder.modules())
    assert not features.requires_grad
    assert not any(p.requires_grad for p in encoder.parameters())
    assert all(torch.equal(before[k], v) for k, v in encoder.state_dict().items())


def test_an_encoder_that_is_not_frozen_learns(folders):
    encoder = SpeechEncoder(folders("hubert, group norm")[0], freeze=False)
    assert encoder.train().training
    features, _ = encoder.eval()(*noise(16000, 8000))
    features.square().sum().backward()
    assert all(
        p.grad is not None
        for name, p in encoder.named_parameters()
        if "masked_spec_embed" not in name
    )


@pytest.mark.parametrize("family", ["hubert, group norm", "whisper", "w2v-bert"])
def test_long_audio_is_encoded_in_windows(folders, family, monkeypatch):
    encoder = SpeechEncoder(folders(family)[0])
    # Small windows, so that the test is quick; 3 s is what this tiny Whisper has.
    monkeypatch.setattr(encoder_module, "LONGEST_WINDOW", 3.0)
    monkeypatch.setattr(encoder_module, "CONTEXT", 0.5)
    wavs, lengths = noise(10 * 16000 + 123)
    seen = []
    run = encoder._run
    monkeypatch.setattr(encoder, "_run", lambda made: seen.append(made) or run(made))
    features, frames = encoder(wavs, lengths)
    assert features.shape[1] == frames[0] == encoder.num_frames(10 * 16000 + 123)
    assert (features.abs().sum(-1) > 0).all()
    assert all(encoder.frontend.steps(x) <= 3.1 * 16000 for m in seen for x, _ in m)
    # The first window's frames are those of its audio encoded alone.
    if not encoder.frontend.takes_waveform:  # which is normalised over all there is
        first = 3 * 16000 + encoder._reach
        alone, _ = encoder(wavs[:, :first], torch.tensor([first]))
        torch.testing.assert_close(
            features[0, :125], alone[0, :125], atol=1e-4, rtol=1e-4
        )
        # So are those of runs of windows.
        runs = encoder.split_audio(wavs.shape[1], 5.0)
        found = [encoder(wavs[:, x], [wavs[0, x].numel()])[0][0, y] for x, y in runs]
        assert len(runs) == 3
        torch.testing.assert_close(torch.cat(found), features[0], atol=1e-4, rtol=1e-4)


def test_audio_of_one_window_is_not_cut(folders):
    encoder = SpeechEncoder(folders("hubert, group norm")[0])
    assert encoder._window_frames == LONGEST_WINDOW * 50
    folder, model, extractor = folders("hubert, group norm")
    wavs, lengths = noise(20 * 16000)
    plain = frames_of_the_hf_model(model, extractor, wavs[0]).last_hidden_state
    torch.testing.assert_close(encoder(wavs, lengths)[0], plain, atol=1e-5, rtol=1e-4)


def test_a_short_window_depends_on_the_utterance_alone(folders, passes):
    encoder = SpeechEncoder(folders("whisper")[0], window="short")
    wavs, lengths = noise(9000, 14000, 15900, 30000)
    batch, frames = encoder(wavs, lengths)
    for i, length in enumerate(lengths.tolist()):
        single, _ = encoder(wavs[i : i + 1, :length], lengths[i : i + 1])
        torch.testing.assert_close(batch[i, : frames[i]], single[0], atol=1e-5, rtol=0)
    assert encoder.backbone.network.config.max_source_positions == 150


def test_the_decoder_is_not_loaded(folders):
    folder, model, _ = folders("whisper")
    encoder = SpeechEncoder(folder)
    assert not any("decoder" in name for name, _ in encoder.named_parameters())
    assert all(
        torch.equal(p, encoder.backbone.network.state_dict()[name])
        for name, p in model.encoder.state_dict().items()
    )


def test_half_precision_weights_are_computed_with_in_float32(folders, tmp_path):
    folder, model, extractor = folders("whisper")
    hf.WhisperModel.from_pretrained(folder).half().save_pretrained(tmp_path)
    extractor.save_pretrained(tmp_path)
    features, _ = SpeechEncoder(tmp_path)(*noise(8000))
    exact, _ = SpeechEncoder(folder)(*noise(8000))
    assert features.dtype == torch.float32
    torch.testing.assert_close(features, exact, atol=2e-2, rtol=0)


def test_autocast_around_the_encoder_changes_nothing(folders):
    for family in ("hubert, group norm", "whisper"):
        encoder = SpeechEncoder(folders(family)[0])
        plain, _ = encoder(*noise(8000))
        with torch.autocast("cpu", torch.bfloat16):
            inside, _ = encoder(*noise(8000))
        assert torch.equal(plain, inside)


def test_bfloat16_is_close_and_given_as_float32():
    # A trained network: one of random weights multiplies what rounding does.
    folder = PROJECT / "recipes" / "sample" / "encoder"
    plain, _ = SpeechEncoder(folder)(*noise(16000, 10000))
    half, _ = SpeechEncoder(folder, dtype="bfloat16")(*noise(16000, 10000))
    assert half.dtype == torch.float32
    assert 0 < (half - plain).std() < 0.05 * plain.std()


def test_in_bfloat16_padding_changes_frames_by_less_than_rounding_does(monkeypatch):
    """Batched equals single to 1e-5 in float32; here it cannot, but adds no error."""
    sample = PROJECT / "recipes" / "sample"
    paths = sorted(sample.glob("corpus/dev-sample/**/*.opus"))[:4]
    wavs = [
        torch.from_numpy(soundfile.read(path, dtype="float32")[0]) for path in paths
    ]
    lengths = torch.tensor([len(wav) for wav in wavs])
    assert len(set(lengths.tolist())) == 4
    padded = torch.nn.utils.rnn.pad_sequence(wavs, batch_first=True)
    exact, half = (
        SpeechEncoder(sample / "encoder", dtype=dtype)
        for dtype in ("float32", "bfloat16")
    )

    def one_by_one(encoder):
        return torch.cat([encoder(wav[None], [len(wav)])[0][0] for wav in wavs])

    true, single = one_by_one(exact), one_by_one(half)
    # In one pass, as on a GPU.
    monkeypatch.setitem(encoder_module._PASS, "cpu", 120.0)
    features, counts = half(padded, lengths)
    batched = torch.cat([x[:n] for x, n in zip(features, counts.tolist(), strict=True)])
    rounding = (single - true).std()
    assert 0 < (batched - single).std() < rounding
    assert (batched - true).std() < 1.1 * rounding


def test_the_identity_tells_encoders_apart_but_not_folders(folders, tmp_path):
    folder = folders("hubert, group norm")[0]
    same = make_folder(tmp_path / "same", "hubert, group norm")[0]
    identity = SpeechEncoder(folder).identity()
    assert SpeechEncoder(tmp_path / "same").identity() == identity
    assert SpeechEncoder(folder, layer=1).identity() != identity
    assert SpeechEncoder(folder, dtype="bfloat16").identity() != identity
    same.encoder.layers[0].attention.k_proj.weight.data.add_(1)
    same.save_pretrained(tmp_path / "same")
    assert SpeechEncoder(tmp_path / "same").identity() != identity


def test_an_unknown_source_says_that_it_is_neither_folder_nor_model():
    with pytest.raises(
        ValueError, match="neither a folder on this machine nor a model"
    ):
        SpeechEncoder("/no/such/folder")


def test_a_folder_without_config_says_so(tmp_path):
    with pytest.raises(ValueError, match="has no config.json"):
        SpeechEncoder(tmp_path)


def test_a_model_that_takes_no_audio_says_so(tiny_llm_folder):
    with pytest.raises(ValueError, match="is no speech encoder"):
        SpeechEncoder(tiny_llm_folder)


def test_an_encoder_that_cannot_read_its_own_extractor_says_so(tmp_path):
    config = hf.SpeechT5Config(
        hidden_size=32,
        encoder_layers=1,
        encoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_layers=1,
        decoder_attention_heads=4,
        decoder_ffn_dim=64,
        **CONVOLUTIONS,
    )
    hf.SpeechT5Model(config).save_pretrained(tmp_path)
    hf.SpeechT5FeatureExtractor().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="does not encode what its feature extractor"):
        SpeechEncoder(tmp_path)


def test_weights_of_another_model_are_refused(folders, tmp_path):
    make_folder(tmp_path, "hubert, group norm")
    config = hf.HubertConfig(**{**GROUP, "num_hidden_layers": 4})
    config.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="do not belong to its config.json"):
        SpeechEncoder(tmp_path)


def test_a_damaged_weight_file_is_named(tmp_path):
    make_folder(tmp_path, "hubert, group norm")
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match=str(tmp_path)):
        SpeechEncoder(tmp_path)


# --- The device --------------------------------------------------------------------


@pytest.mark.parametrize(
    "family, lengths",
    [
        ("whisper", [10 * 16000, 12000, 8000]),
        ("wavlm, group norm", [16000, 12000, 8000]),
        ("wavlm, layer norm", [16000, 12000, 8000]),
        ("sew", [16000, 12000, 8000]),
        # Where there is padding, transformers asks whether there is.
        ("hubert, group norm", [16000, 16000]),
        ("wav2vec2, layer norm", [16000, 16000]),
    ],
)
def test_encoding_a_batch_asks_the_device_nothing(
    folders, family, lengths, monkeypatch
):
    encoder = SpeechEncoder(folders(family)[0])
    encoder._padding_is_exact()  # tried once
    # Tensors on "meta" have shapes, but no numbers: whoever asks for one fails.
    encoder.to("meta")
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    assert encoder.pass_seconds() == 120  # in one pass, as on a device of its own
    features, frames = encoder(
        torch.empty(len(lengths), max(lengths), device="meta"), lengths
    )
    counts = [encoder.num_frames(n) for n in lengths]
    assert frames.tolist() == counts and frames.device.type == "cpu"
    assert features.shape == (len(lengths), max(counts), 32)
    assert features.device.type == "meta"


def test_a_pass_that_the_memory_is_too_small_for_is_halved(
    folders, monkeypatch, caplog
):
    monkeypatch.setitem(encoder_module._PASS, "cpu", 120.0)
    encoder = SpeechEncoder(folders("whisper")[0])
    wavs, lengths = noise(*range(4000, 16000, 1000))
    expected, _ = encoder(wavs, lengths)
    passes, run = [], encoder._run

    def run_out_of_memory(extracted):
        passes.append(len(extracted))
        if len(extracted) > 4:
            raise torch.cuda.OutOfMemoryError(
                "CUDA out of memory. Tried to allocate ..."
            )
        return run(extracted)

    monkeypatch.setattr(encoder, "_run", run_out_of_memory)
    features, _ = encoder(wavs, lengths)
    torch.testing.assert_close(features, expected, atol=1e-5, rtol=1e-4)
    assert passes == [12, 6, 3, 3, 3, 3]
    encoder(wavs, lengths)
    assert passes[6:] == [3, 3, 3, 3]  # it has learnt
    (warning,) = [r for r in caplog.records if r.levelname == "WARNING"]
    assert "too small for 36 s of audio in one pass" in warning.getMessage()


def test_an_utterance_that_the_memory_is_too_small_for_is_an_error(
    folders, monkeypatch
):
    encoder = SpeechEncoder(folders("whisper")[0])

    def run_out_of_memory(extracted):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate ...")

    monkeypatch.setattr(encoder, "_run", run_out_of_memory)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        encoder(*noise(8000, 9000))


def test_a_network_that_reads_samples_takes_more_memory_than_one_that_reads_spectra():
    # The first layers of the former run at thousands of steps a second.
    sample = SpeechEncoder(PROJECT / "recipes" / "sample" / "encoder")
    config = sample.backbone.network.config
    first = config.conv_dim[0] * 16000 / config.conv_stride[0]
    assert sample._memory_per_second > 4 * 8 * first


# --- Lengths and threads -----------------------------------------------------------


def test_an_encoder_takes_speechbrains_relative_lengths(tiny_encoder_folder):
    encoder = SpeechEncoder(tiny_encoder_folder)
    wavs = torch.randn(2, 16000)
    expected, counts = encoder(wavs, torch.tensor([16000, 8000]))
    features, lengths = encoder(wavs, torch.tensor([1.0, 0.5]))
    assert lengths.tolist() == counts.tolist() == [49, 24]
    assert torch.equal(features, expected)
    with pytest.raises(ValueError, match="give whole numbers of steps, or"):
        encoder(wavs, torch.tensor([16000.0, 8000.0]))


def test_an_encoder_takes_one_batch_at_a_time_from_several_threads(
    tiny_encoder_folder, monkeypatch
):
    # Of a layer below the last, which is caught on its way.
    encoder = SpeechEncoder(tiny_encoder_folder, layer=1)
    wavs = [torch.randn(1, 4000 * n) for n in (1, 2, 3)]
    expected = [encoder(wav, [wav.shape[1]])[0] for wav in wavs]
    running, most, encode = [], [], encoder.backbone.forward

    def watched(inputs):
        running.append(True)
        most.append(len(running))
        time.sleep(0.02)
        output = encode(inputs)
        running.pop()
        return output

    monkeypatch.setattr(encoder.backbone, "forward", watched)
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        found = pool.map(lambda wav: encoder(wav, [wav.shape[1]])[0], wavs)
        assert all(map(torch.equal, found, expected))
    assert most == [1, 1, 1]


def test_an_encoder_can_be_copied(tiny_encoder_folder):
    encoder = SpeechEncoder(tiny_encoder_folder)
    wav = torch.randn(1, 4000)
    expected = encoder(wav, [4000])[0]
    assert torch.equal(copy.deepcopy(encoder)(wav, [4000])[0], expected)


# --- Where there is a GPU ----------------------------------------------------------


on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@on_a_gpu
@pytest.mark.parametrize("family", FAMILIES)
def test_a_gpu_gives_the_frames_of_a_cpu(folders, family):
    encoder = SpeechEncoder(folders(family)[0])
    wavs, lengths = noise(16000, 9000, 23456, 401)
    expected, frames = encoder(wavs, lengths)
    with full_float32():
        on_gpu, counts = encoder.to("cuda")(wavs.cuda(), lengths)
    assert on_gpu.is_cuda and torch.equal(counts, frames)
    torch.testing.assert_close(on_gpu.cpu(), expected, atol=1e-4, rtol=1e-3)
    assert encoder.pass_seconds() >= 30


# Others ask once a pass, in transformers' own code, whether anything is padded.
@on_a_gpu
def test_a_gpu_is_asked_nothing_while_it_encodes_with_whisper(folders):
    encoder = SpeechEncoder(folders("whisper")[0]).to("cuda")
    wavs, lengths = noise(16000, 9000, 23456, 401)
    batch = wavs.cuda()
    encoder(batch, lengths)
    torch.cuda.set_sync_debug_mode("error")
    try:
        encoder(batch, lengths)
    finally:
        torch.cuda.set_sync_debug_mode("default")
