"""Tiny CTC models, not trained, as folders."""

import json

import torch
from transformers import (
    HubertConfig,
    HubertForCTC,
    Wav2Vec2Config,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
)

LETTERS = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ'"]


def save_model(folder, tokens=LETTERS, norm="layer", hubert=False):
    config, model = (
        (HubertConfig, HubertForCTC) if hubert else (Wav2Vec2Config, Wav2Vec2ForCTC)
    )
    torch.manual_seed(0)
    model(
        config(
            vocab_size=len(tokens),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            conv_dim=(8,) * 7,
            num_conv_pos_embeddings=8,
            num_conv_pos_embedding_groups=2,
            feat_extract_norm=norm,
            conv_bias=norm == "layer",
            do_stable_layer_norm=norm == "layer",
            pad_token_id=0,
        )
    ).save_pretrained(folder)
    vocabulary = folder / "vocab.json"
    vocabulary.write_text(json.dumps({token: i for i, token in enumerate(tokens)}))
    Wav2Vec2CTCTokenizer(str(vocabulary)).save_pretrained(folder)
    Wav2Vec2FeatureExtractor(
        do_normalize=True, return_attention_mask=norm == "layer"
    ).save_pretrained(folder)
    return str(folder)
