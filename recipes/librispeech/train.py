"""Trains on LibriSpeech: python recipes/librispeech/train.py hparams/distill.yaml"""

from prepare import LibriSpeech
from ssr_plugin.training.main import main

if __name__ == "__main__":
    main(LibriSpeech)
