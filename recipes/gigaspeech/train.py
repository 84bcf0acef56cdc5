"""Trains on GigaSpeech: python recipes/gigaspeech/train.py hparams/distill.yaml"""

from prepare import GigaSpeech

if __name__ == "__main__":
    # Here: processes that align import this file again, and need nothing of it.
    from ssr_plugin.training.run_training import main

    main(GigaSpeech)
