"""``ssr evaluate``: a model, benchmarks, a report."""

from ssr_plugin.cli.arguments import add_yaml

WHAT = "evaluate a model on benchmarks, as a YAML says, and write a report"
HOW = """
  ssr evaluate hparams/evaluate.yaml --model results/distill
  ssr evaluate hparams/evaluate.yaml --help
  ssr evaluate hparams/evaluate.yaml --benchmarks "[continuation, asr]" \\
      --dataset ljspeech --data_folder /data/LJSpeech-1.1

With --help after the YAML, its keys are told; each is overridden by --key value."""


def add_arguments(parser):
    """What it can be told."""
    add_yaml(parser)


def run(options):
    """Evaluates."""
    from ssr_plugin.evaluation.run_evaluation import main

    main(argv=options.words, program="ssr evaluate")
