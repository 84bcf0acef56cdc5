"""Trains on MLS: python recipes/mls/train.py hparams/distill.yaml"""

from prepare import MultilingualLibriSpeech

if __name__ == "__main__":
    # Here: processes that align import this file again, and need nothing of it.
    from ssr_plugin.training.run_training import main

    main(MultilingualLibriSpeech)
