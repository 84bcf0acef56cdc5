"""Trains on MLS: python recipes/mls/train.py hparams/distill.yaml"""

from ssr_plugin.training.run_training import main

from prepare import MultilingualLibriSpeech

if __name__ == "__main__":
    main(MultilingualLibriSpeech)
