"""Trains on LibriSpeech: python recipes/librispeech/train.py hparams/distill.yaml"""

from prepare import LibriSpeech

if __name__ == "__main__":
    # Here: processes that align import this file again, and need nothing of it.
    from ssr_plugin.training.run_training import main

    main(LibriSpeech)
