"""``ssr evaluate``: a model, benchmarks, a report."""

from ssr_plugin.cli.arguments import add_yaml

SUMMARY = "evaluate a model on benchmarks, as a YAML says, and write a report"
USAGE = """
  ssr evaluate hparams/evaluate.yaml --model results/distill
  ssr evaluate hparams/evaluate.yaml --help
  ssr evaluate hparams/evaluate.yaml --benchmarks "[continuation, asr]" \\
      --dataset ljspeech --data_folder /data/LJSpeech-1.1

With --help after the YAML, its keys are listed; --key value overrides each."""


def add_arguments(parser):
    """Adds the arguments of the command."""
    add_yaml(parser)


def run(options):
    """Evaluates."""
    from ssr_plugin.evaluation.run_evaluation import main

    main(argv=options.words, program="ssr evaluate")
