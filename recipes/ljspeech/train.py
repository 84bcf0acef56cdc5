"""Trains on LJSpeech: python recipes/ljspeech/train.py hparams/distill.yaml"""

from prepare import LJSpeech
from ssr_plugin.training.main import main

if __name__ == "__main__":
    main(LJSpeech)
