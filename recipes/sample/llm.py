"""The sample's LLM: a small Llama with a SentencePiece tokenizer.

It reads many stories of the grammar and the King James Bible, so that it knows how a
story goes on and has some general text to forget.
"""

import io
import json
import math
import random
import time

import numpy as np
import sentencepiece
import torch
from stories import BOYS, GIRLS
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import BPE
from torch import nn
from tqdm import tqdm
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

VOCABULARY = 1500
#: Tokens of one training sequence, and sequences of one step.
CONTEXT, BATCH = 96, 16

_NAMES = frozenset(GIRLS + BOYS)


def make_tokenizer(folder, lines, names):
    """Trains a SentencePiece BPE model and writes it, also as a fast tokenizer.

    Arguments
    ---------
    folder : pathlib.Path
        Gets tokenizer.model, tokenizer.json and tokenizer_config.json.
    lines : list of str
        Text to train on.
    names : iterable of str
        Words that have to be one token.

    Returns
    -------
    PreTrainedTokenizerFast
        What ``AutoTokenizer.from_pretrained(folder)`` gives.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=model,
        vocab_size=VOCABULARY,
        model_type="bpe",
        character_coverage=1.0,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        split_digits=True,
        num_threads=1,
        bos_id=1,
        eos_id=2,
        unk_id=0,
        pad_id=-1,
        minloglevel=2,
    )
    (folder / "tokenizer.model").write_bytes(model.getvalue())
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    vocabulary = {pieces.id_to_piece(i): i for i in range(len(pieces))}
    missing = [name for name in names if "▁" + name not in vocabulary]
    assert not missing, f"not single tokens: {missing}"
    fast = Tokenizer(
        BPE(
            vocabulary,
            _merges(pieces, vocabulary),
            unk_token="<unk>",
            byte_fallback=True,
            fuse_unk=True,
        )
    )
    # Unlike SentencePiece itself, no second blank before a text that begins with one.
    fast.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    fast.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    fast.add_special_tokens(
        [
            AddedToken(t, special=True, normalized=False)
            for t in ("<unk>", "<s>", "</s>")
        ]
    )
    fast.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", 1)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=fast,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        model_max_length=2048,
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )
    tokenizer.save_pretrained(folder)
    # The name that every transformers since 4.0 knows.
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    return tokenizer


def _merges(pieces, vocabulary):
    """The merges that SentencePiece applies, in its order (as Hugging Face does)."""
    merges = []
    for piece, score in vocabulary.items():
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in vocabulary and right in vocabulary:
                merges.append((score, vocabulary[left], vocabulary[right], left, right))
    return [(left, right) for *_, left, right in sorted(merges)]


def new_llm(seed):
    """An untrained Llama of 1.6 million weights.

    Arguments
    ---------
    seed : int
        Of its first weights.

    Returns
    -------
    LlamaForCausalLM
        In 32 bit.
    """
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=160,
        intermediate_size=416,
        num_hidden_layers=4,
        num_attention_heads=5,
        num_key_value_heads=5,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        attn_implementation="sdpa",
    )
    return LlamaForCausalLM(config)


def train_llm(model, tokenizer, stories, verses, steps, seed, log=print):
    """Trains in place, half on stories, half on verses.

    Arguments
    ---------
    model : LlamaForCausalLM
        From :func:`new_llm`.
    tokenizer : PreTrainedTokenizerFast
        From :func:`make_tokenizer`.
    stories, verses : list of str
        One text a line. Every text starts with BOS and ends with EOS.
    steps : int
        Of :data:`BATCH` sequences of :data:`CONTEXT` tokens.
    seed : int
        Order of the data.
    log : callable
        Gets a line of text now and then.
    """
    rng = random.Random(seed)
    streams = [_pack(tokenizer, texts, rng) for texts in (stories, verses)]
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=3e-3, betas=(0.9, 0.95), weight_decay=0.05
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 3e-3, total_steps=steps, pct_start=0.06, final_div_factor=100
    )
    model.train()
    sums, began, half = np.zeros(2), time.time(), BATCH // 2
    for step in tqdm(range(1, steps + 1), desc="llm", unit="step", mininterval=5):
        rows = [next(stream) for stream in streams for _ in range(half)]
        ids = torch.tensor(np.array(rows))
        logits = model(ids[:, :-1]).logits
        losses = nn.functional.cross_entropy(
            logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none"
        ).view(BATCH, -1)
        optimizer.zero_grad()
        losses.mean().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        sums += losses[:half].mean().item(), losses[half:].mean().item()
        if step % 100 == 0:
            log(
                f"step {step}: stories {sums[0] / 100:.3f} verses {sums[1] / 100:.3f} "
                f"({time.time() - began:.0f} s)"
            )
            sums[:] = 0
    model.eval()


def _pack(tokenizer, texts, rng):
    """Endless rows of CONTEXT + 1 tokens, each beginning with a text's BOS."""
    encoded = [ids + [2] for ids in tokenizer(texts).input_ids]
    row = []
    while True:
        rng.shuffle(encoded)
        for ids in encoded:
            row += ids
            if len(row) > CONTEXT:
                yield row[: CONTEXT + 1]
                row = []


def save_llm(model, folder):
    """Writes the LLM beside its tokenizer, weights in 16 bit.

    Arguments
    ---------
    model : LlamaForCausalLM
        Stays in 32 bit.
    folder : pathlib.Path
        As given to :func:`make_tokenizer`.
    """
    half = LlamaForCausalLM(model.config)
    half.load_state_dict(model.state_dict())
    half.half().save_pretrained(folder)
    # Stored in 16 bit to be small, meant to run in 32: CPUs are slow in half.
    config = json.loads((folder / "config.json").read_text())
    config["dtype"] = "float32"
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


@torch.no_grad()
def second_half_loss(model, tokenizer, first, second):
    """Mean NLL of a text given what comes before it, nats a token.

    Arguments
    ---------
    model, tokenizer
        Of this module.
    first, second : str
        Halves of a story. With an empty first half, the second has no context.
    """
    context = tokenizer(first).input_ids
    target = tokenizer(second, add_special_tokens=False).input_ids
    logits = model(torch.tensor([context + target])).logits[0, len(context) - 1 : -1]
    return nn.functional.cross_entropy(logits, torch.tensor(target)).item()


def preference(model, tokenizer, stories, seed, same_names=False):
    """How often the true second half of a story beats that of another story.

    Arguments
    ---------
    model, tokenizer
        Of this module.
    stories : list of list of str
        Held-out stories, a list of sentences each.
    seed : int
        Draws the other story.
    same_names : bool
        Whether to draw it only from stories of the same persons, so that names do
        not give it away. Stories without such another are left out.

    Returns
    -------
    share : float
        In per cent; chance is 50.
    number : int
        Stories that were asked for.
    """
    rng = random.Random(seed)

    def persons(story):
        return frozenset(_NAMES & set(" ".join(story).split()))

    wins = asked = 0
    for story in stories:
        others = [s for s in stories if s is not story]
        if same_names:
            others = [s for s in others if persons(s) == persons(story)]
        if not others:
            continue
        other = rng.choice(others)
        first = " ".join(story[: len(story) // 2])
        true, false = (" ".join(s[len(s) // 2 :]) for s in (story, other))
        wins += second_half_loss(model, tokenizer, first, true) < second_half_loss(
            model, tokenizer, first, false
        )
        asked += 1
    return 100 * wins / asked, asked


def perplexity(model, tokenizer, lines):
    """Perplexity a token over lines of text, each alone after BOS."""
    losses = tokens = 0
    for line in lines:
        number = len(tokenizer(line, add_special_tokens=False).input_ids)
        losses += number * second_half_loss(model, tokenizer, "", line)
        tokens += number
    return math.exp(losses / tokens)
