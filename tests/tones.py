"""A tiny Whisper that has learnt a language of tones, made in a few seconds."""

import torch
from transformers import (
    GenerationConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperTokenizer,
)

SAMPLE_RATE = 16000
# The pitch of each word, Hz.
WORDS = {"red": 300.0, "green": 600.0, "blue": 1200.0, "white": 2400.0}
#: Length of a word and of the pause after it, s.
WORD, PAUSE = 0.3, 0.2
SECONDS = 2
_UTTERANCES, _BATCH = 400, 16


def speak(words, lead=0.1, seconds=None, gain=0.3):
    """Words as tones.

    Returns
    -------
    wav : torch.Tensor
        [S]
    times : list of (float, float)
        Start and end of each word, s.
    """
    parts, times, now = [torch.zeros(round(lead * SAMPLE_RATE))], [], lead
    for word in words:
        phase = torch.arange(round(WORD * SAMPLE_RATE)) / SAMPLE_RATE
        parts.append(gain * torch.sin(2 * torch.pi * WORDS[word] * phase))
        parts.append(torch.zeros(round(PAUSE * SAMPLE_RATE)))
        times.append((now, now + WORD))
        now += WORD + PAUSE
    wav = torch.cat(parts)
    if seconds:
        wav = torch.nn.functional.pad(wav, (0, round(seconds * SAMPLE_RATE) - len(wav)))
    return wav, times


def make_tokenizer(folder):
    letters = sorted(set("".join(WORDS)) | {"\u0120"})
    pieces = [*letters, *("\u0120" + word for word in WORDS)]
    special = [
        "<|endoftext|>",
        "<|startoftranscript|>",
        "<|en|>",
        "<|de|>",
        "<|translate|>",
        "<|transcribe|>",
        "<|startoflm|>",
        "<|startofprev|>",
        "<|nospeech|>",
        "<|notimestamps|>",
    ]
    merges = []
    for word in WORDS:
        whole = "\u0120"
        for letter in word:
            merges.append((whole, letter))
            whole += letter
            if whole not in pieces:
                pieces.append(whole)
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    vocabulary["<|endoftext|>"] = len(vocabulary)
    tokenizer = WhisperTokenizer(vocab=vocabulary, merges=merges)
    tokenizer.add_special_tokens({"additional_special_tokens": special[1:]})
    tokenizer.save_pretrained(folder)
    return tokenizer


def make_whisper(folder, steps=450):
    """Trains the model and saves it with all that a whole Whisper's folder has."""
    tokenizer = make_tokenizer(folder)
    extractor = WhisperFeatureExtractor(chunk_length=SECONDS)
    extractor.save_pretrained(folder)
    end, start, no_speech = tokenizer.convert_tokens_to_ids(
        ["<|endoftext|>", "<|startoftranscript|>", "<|nospeech|>"]
    )
    torch.manual_seed(0)
    model = WhisperForConditionalGeneration(
        WhisperConfig(
            vocab_size=len(tokenizer) + 8,
            d_model=32,
            encoder_layers=1,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=64,
            decoder_ffn_dim=64,
            num_mel_bins=80,
            max_source_positions=50 * SECONDS,
            max_target_positions=32,
            pad_token_id=end,
            bos_token_id=end,
            eos_token_id=end,
            decoder_start_token_id=start,
            attn_implementation="eager",
        )
    )
    generator = torch.Generator().manual_seed(0)
    tokenizer.set_prefix_tokens(language="en", task="transcribe")
    prefix = tokenizer.prefix_tokens
    names = list(WORDS)
    ids = {x: tokenizer(" " + x, add_special_tokens=False).input_ids for x in names}
    spectra, targets = [], []
    for _ in range(_UTTERANCES):
        count = int(torch.randint(0, 4, (), generator=generator))
        chosen = torch.randint(0, len(names), (count,), generator=generator)
        words = [names[i] for i in chosen]
        wav, _ = speak(words, 0.4 * float(torch.rand((), generator=generator)))
        noise = torch.randn(SECONDS * SAMPLE_RATE, generator=generator) * 1e-3
        noise[: len(wav)] += wav[: len(noise)]
        spectra.append(extractor(noise.numpy(), sampling_rate=SAMPLE_RATE))
        said = [token for word in words for token in ids[word]]
        # Where nothing is said, the first state says so.
        first = prefix[1:] if words else [no_speech, *prefix[2:]]
        targets.append(torch.tensor([*first, *said, end]))
    spectra = torch.stack([torch.tensor(x["input_features"][0]) for x in spectra])
    optimizer = torch.optim.AdamW(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=steps)
    model.train()
    for _ in range(steps):
        rows = torch.randint(0, _UTTERANCES, (_BATCH,), generator=generator)
        said = [targets[i] for i in rows]
        labels = torch.nn.utils.rnn.pad_sequence(said, True, padding_value=-100)
        read = torch.cat([torch.full((_BATCH, 1), start), labels[:, :-1]], 1)
        # The language is given, whatever the first state says.
        read[:, 1] = prefix[1]
        logits = model(
            input_features=spectra[rows],
            decoder_input_ids=read.where(read >= 0, end),
        ).logits
        loss = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), labels.flatten(), ignore_index=-100
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    model.eval()
    model.generation_config = GenerationConfig(
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        decoder_start_token_id=start,
        is_multilingual=True,
        lang_to_id={
            name: tokenizer.convert_tokens_to_ids(name) for name in ("<|en|>", "<|de|>")
        },
        task_to_id={
            name: tokenizer.convert_tokens_to_ids(f"<|{name}|>")
            for name in ("transcribe", "translate")
        },
        no_timestamps_token_id=tokenizer.convert_tokens_to_ids("<|notimestamps|>"),
        alignment_heads=[[0, 0], [0, 1]],
        max_length=32,
    )
    model.save_pretrained(folder)
