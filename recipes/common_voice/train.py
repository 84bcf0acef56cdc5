"""Trains on Common Voice: python recipes/common_voice/train.py hparams/distill.yaml"""

from prepare import CommonVoice

if __name__ == "__main__":
    # Here: processes that align import this file again, and need nothing of it.
    from ssr_plugin.training.run_training import main

    main(CommonVoice)
