"""Trains on Common Voice: python recipes/common_voice/train.py hparams/distill.yaml"""

from ssr_plugin.training.run_training import main

from prepare import CommonVoice

if __name__ == "__main__":
    main(CommonVoice)
