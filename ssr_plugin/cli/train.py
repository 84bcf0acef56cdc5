"""``ssr train``: a stage of training, as a YAML describes it."""

from ssr_plugin.cli.arguments import add_yaml

SUMMARY = "train a connector, a segmenter or the LLM, as a YAML says"
USAGE = """
  ssr train hparams/distill.yaml
  ssr train hparams/distill.yaml --help
  ssr train hparams/distill.yaml --data_folder /data/LibriSpeech --number_of_epochs 50
  ssr train hparams/distill.yaml --dataset csv --data_folder clips --train_splits train
  torchrun --nproc_per_node 4 -m ssr_plugin train hparams/distill.yaml

The YAML is your own, or one of the package: distill.yaml, segmenter.yaml,
finetune.yaml. With --help after it, its keys are listed; --key value overrides each.
--dataset names the kind of data set: librispeech, ljspeech, mls, common_voice,
gigaspeech, voxpopuli, kaldi, lhotse, huggingface, csv, or one of an extension."""


def add_arguments(parser):
    """Adds the arguments of the command."""
    add_yaml(parser)


def run(options):
    """Runs the stage."""
    from ssr_plugin.training.run_training import main

    main(argv=options.words, program="ssr train")
