"""Evaluates a model: python recipes/librispeech/evaluate.py hparams/evaluate.yaml"""

from prepare import LibriSpeech

if __name__ == "__main__":
    # Here: processes that align import this file again, and need nothing of it.
    from ssr_plugin.evaluation.run_evaluation import main

    main(LibriSpeech)
