"""Evaluates a model: python recipes/librispeech/evaluate.py hparams/evaluate.yaml"""

from ssr_plugin.evaluation.run_evaluation import main

from prepare import LibriSpeech

if __name__ == "__main__":
    main(LibriSpeech)
