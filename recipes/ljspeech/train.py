"""Trains on LJSpeech: python recipes/ljspeech/train.py hparams/distill.yaml"""

from ssr_plugin.training.run_training import main

from prepare import LJSpeech

if __name__ == "__main__":
    main(LJSpeech)
