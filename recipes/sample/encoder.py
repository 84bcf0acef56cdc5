"""The sample's speech encoder: a small HuBERT, trained on synthetic speech.

It learns phones (every 20 ms, also where its input is masked) and characters (CTC), so
that its frames tell what is said and its CTC head can align and transcribe.
"""

import json
import math
import random
import time

import numpy as np
import torch
from speech import PHONES, SAMPLE_RATE
from torch import nn
from tqdm import tqdm
from transformers import (
    HubertConfig,
    HubertForCTC,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Processor,
)

CHARACTERS = ("<pad>", "<s>", "</s>", "<unk>", "|", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ'")
#: Audio of one training step, s.
BATCH_SECONDS = 30


def new_encoder():
    """An untrained encoder whose first layer is a bank of band filters.

    Few large steps instead of HuBERT's seven small ones make it several times faster;
    starting from filters on the mel scale spares it from learning what an ear is.

    Returns
    -------
    HubertForCTC
        In 32 bit.
    """
    config = HubertConfig(
        vocab_size=len(CHARACTERS),
        hidden_size=192,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=512,
        conv_dim=(96, 128, 192),
        conv_kernel=(160, 8, 2),
        conv_stride=(40, 4, 2),
        num_feat_extract_layers=3,
        conv_bias=True,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        num_conv_pos_embeddings=24,
        num_conv_pos_embedding_groups=12,
        mask_time_prob=0.2,
        mask_time_length=6,
        hidden_dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
        feat_proj_dropout=0.0,
        final_dropout=0.0,
        layerdrop=0.0,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        ctc_zero_infinity=True,
        attn_implementation="sdpa",
    )
    model = HubertForCTC(config)
    first = model.hubert.feature_extractor.conv_layers[0].conv
    with torch.no_grad():
        first.weight.copy_(_band_filters(*first.weight.shape[::2])[:, None])
        first.bias.zero_()
    return model


def _band_filters(number, width):
    """Windowed cosines and sines at mel-spaced frequencies, [number, width]."""
    mels = torch.linspace(_mel(90), _mel(7000), number // 2)
    hertz = 700 * (10 ** (mels / 2595) - 1)
    t = (torch.arange(width) - width / 2) / SAMPLE_RATE
    phase = 2 * math.pi * hertz[:, None] * t
    bank = torch.cat([phase.cos(), phase.sin()]) * torch.hann_window(width)
    # Speech has less energy at high frequencies: about 6 dB an octave.
    loud = (hertz / 1000 + 0.3).repeat(2)[:, None]
    return bank * loud / width**0.5


def _mel(hertz):
    return 2595 * math.log10(1 + hertz / 700)


def train_encoder(model, speech, steps, seed, log=print):
    """Trains in place.

    Arguments
    ---------
    model : HubertForCTC
        From :func:`new_encoder`.
    speech : list of dict
        Of :func:`encoder_data.make_speech`.
    steps : int
        Optimiser steps of :data:`BATCH_SECONDS` each.
    seed : int
        Order of the data, noise and masks.
    log : callable
        Gets a line of text now and then.
    """
    torch.manual_seed(seed)
    np.random.seed(seed)  # transformers draws its masks from it
    rng = random.Random(seed)
    phone_head = nn.Linear(model.config.hidden_size, len(PHONES) + 1)
    weights = [*model.parameters(), *phone_head.parameters()]
    optimizer = torch.optim.AdamW(
        weights, lr=2e-3, betas=(0.9, 0.98), weight_decay=0.01
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 2e-3, total_steps=steps, pct_start=0.1, final_div_factor=100
    )
    model.train()
    # Else transformers asks for the gradient of the audio, the dearest of all.
    model.hubert.feature_extractor._requires_grad = False
    convolutions = [model.hubert.feature_extractor, model.hubert.encoder.pos_conv_embed]
    for module in convolutions:
        _keep_in_32_bit(module)
    batches, sums, began = _batches(speech, rng), np.zeros(2), time.time()
    for step in tqdm(range(1, steps + 1), desc="encoder", unit="step", mininterval=5):
        waves, mask, phones, chars, char_lengths = collate(next(batches), rng)
        with torch.autocast("cpu", torch.bfloat16):
            frames = model.hubert(waves, attention_mask=mask).last_hidden_state
            phone_logits, char_logits = phone_head(frames), model.lm_head(frames)
        lengths = model._get_feat_extract_output_lengths(mask.sum(1))
        target = phones[:, : frames.shape[1]].clone()
        # Where a phone is masked or not, it is asked for: context must tell it.
        phone_loss = nn.functional.cross_entropy(
            phone_logits.float().transpose(1, 2), target, ignore_index=-100
        )
        ctc_loss = nn.functional.ctc_loss(
            char_logits.float().log_softmax(-1).transpose(0, 1),
            chars,
            lengths,
            char_lengths,
            zero_infinity=True,
        )
        optimizer.zero_grad()
        (phone_loss + ctc_loss).backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
        sums += phone_loss.item(), ctc_loss.item()
        if step % 100 == 0:
            log(
                f"step {step}: phone {sums[0] / 100:.3f} ctc {sums[1] / 100:.3f} "
                f"({time.time() - began:.0f} s)"
            )
            sums[:] = 0
    for module in convolutions:
        del module.forward
    model.eval()


def _keep_in_32_bit(module):
    """Convolutions train faster on CPUs in 32 bit, everything else in 16."""
    forward = module.forward

    def in_32_bit(inputs):
        with torch.autocast("cpu", enabled=False):
            return forward(inputs.float())

    module.forward = in_32_bit


def _batches(speech, rng):
    """Endless lists of utterances of like length, :data:`BATCH_SECONDS` in all."""
    while True:
        order = sorted(speech, key=lambda u: len(u["samples"]) * rng.uniform(0.9, 1.1))
        batches, batch = [], []
        for utterance in order:
            batch.append(utterance)
            if len(batch) * len(utterance["samples"]) > BATCH_SECONDS * SAMPLE_RATE:
                batches.append(batch)
                batch = []
        rng.shuffle(batches)
        yield from batches


def collate(batch, rng):
    """One padded batch, each utterance disturbed in its own way.

    Arguments
    ---------
    batch : list of dict
        Utterances.
    rng : random.Random
        Where speed, noise and colour of the disturbance come from.

    Returns
    -------
    tuple of torch.Tensor
        Waves [B, S], their mask [B, S], phones [B, T] (-100 in the padding), all
        characters in a row, and their number for each utterance [B].
    """
    waves, phones, chars = [], [], []
    for utterance in batch:
        speed = rng.uniform(0.88, 1.14) if rng.random() < 0.6 else 1.0
        waves.append(disturb(utterance["samples"] / 32768.0, speed, rng))
        spoken = np.zeros(len(waves[-1]) // 320 + 1, dtype=np.int64)
        for phone, start, end in utterance["phones"]:
            # Frame t is asked for the phone at its centre, (t + 1/2) 20 ms.
            low, high = (max(0, round(50 * x / speed)) for x in (start, end))
            spoken[low:high] = int(phone) + 1
        phones.append(torch.from_numpy(spoken))
        text = utterance["text"].upper().replace(" ", "|")
        chars += [CHARACTERS.index(c) for c in text]
    pad = nn.utils.rnn.pad_sequence
    mask = pad([torch.ones(len(w), dtype=torch.long) for w in waves], True)
    return (
        pad([torch.from_numpy(w) for w in waves], True),
        mask,
        pad(phones, True, padding_value=-100),
        torch.tensor(chars),
        torch.tensor([len(u["text"]) for u in batch]),
    )


def disturb(samples, speed, rng):
    """Changes speed and timbre, adds noise, and normalises as the extractor does."""
    noise_rng = np.random.default_rng(rng.getrandbits(32))
    if speed != 1:
        places = np.arange(0, len(samples) - 1, speed)
        samples = np.interp(places, np.arange(len(samples)), samples)
    if rng.random() < 0.6:
        taps = noise_rng.standard_normal(12) * np.exp(-np.arange(12) / 2.0) * 0.4
        taps[0] = 1
        samples = np.convolve(samples, taps)[: len(samples)]
    if rng.random() < 0.6:
        noise = noise_rng.standard_normal(len(samples))
        if rng.random() < 0.5:
            noise = np.convolve(noise, np.ones(6) / 6, "same")
        decibels = rng.uniform(12, 40)
        power = np.mean(samples**2) / np.mean(noise**2) * 10 ** (-decibels / 10)
        samples = samples + noise * np.sqrt(power)
    samples = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
    return samples.astype(np.float32)


def save_encoder(model, folder):
    """Writes the encoder as a Hugging Face folder, weights in 16 bit.

    Arguments
    ---------
    model : HubertForCTC
        Stays in 32 bit.
    folder : pathlib.Path
        Made if it is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(
        json.dumps({c: i for i, c in enumerate(CHARACTERS)}) + "\n"
    )
    tokenizer = Wav2Vec2CTCTokenizer(folder / "vocab.json", word_delimiter_token="|")
    extractor = Wav2Vec2FeatureExtractor(
        sampling_rate=SAMPLE_RATE, do_normalize=True, return_attention_mask=True
    )
    Wav2Vec2Processor(extractor, tokenizer).save_pretrained(folder)
    extractor.save_pretrained(folder)
    half = HubertForCTC(model.config)
    half.load_state_dict(model.state_dict())
    half.half().save_pretrained(folder)
    # Stored in 16 bit to be small, meant to run in 32: CPUs are slow in half.
    config = json.loads((folder / "config.json").read_text())
    config["dtype"] = "float32"
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def word_error_rate(model, items):
    """Greedy CTC words against the transcripts.

    Arguments
    ---------
    model : HubertForCTC
        In eval mode.
    items : list of tuple
        (samples [S], text in upper case).

    Returns
    -------
    words, characters : float
        Error rates in per cent.
    """
    errors, total = np.zeros(2), np.zeros(2)
    for samples, text in items:
        samples = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
        with torch.no_grad():
            ids = model(torch.tensor(samples[None], dtype=torch.float32)).logits
        best = torch.unique_consecutive(ids[0].argmax(-1)).tolist()
        heard = "".join(CHARACTERS[i] for i in best if i > 3).replace("|", " ")
        for k, (a, b) in enumerate(((text.split(), heard.split()), (text, heard))):
            errors[k] += _distance(a, b)
            total[k] += len(a)
    return tuple(100 * errors / total)


def _distance(a, b):
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        last, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (x != y))
    return row[-1]
