"""Trains on GigaSpeech: python recipes/gigaspeech/train.py hparams/distill.yaml"""

from ssr_plugin.training.run_training import main

from prepare import GigaSpeech

if __name__ == "__main__":
    main(GigaSpeech)
