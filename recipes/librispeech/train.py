"""Trains on LibriSpeech: python recipes/librispeech/train.py hparams/distill.yaml"""

from ssr_plugin.training.run_training import main

from prepare import LibriSpeech

if __name__ == "__main__":
    main(LibriSpeech)
