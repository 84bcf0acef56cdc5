"""Trains on LJSpeech: python recipes/ljspeech/train.py hparams/distill.yaml"""

from prepare import LJSpeech

if __name__ == "__main__":
    # Here: processes that align import this file again, and need nothing of it.
    from ssr_plugin.training.run_training import main

    main(LJSpeech)
