"""``ssr convert``: DinoSR's published checkpoint as an encoder's folder."""

SUMMARY = "make an encoder's folder of DinoSR's published checkpoint"
USAGE = """
  ssr convert dinosr.ckpt results/dinosr
  ssr train hparams/distill.yaml --encoder_source results/dinosr --encoder_layer 5

The checkpoint is fairseq's; fairseq is not needed, and nothing in the file is executed.
The folder is a Data2VecAudioModel of transformers, which computes the same
(docs/dinosr.md)."""


def add_arguments(parser):
    """Adds the arguments of the command."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="the published file")
    parser.add_argument("folder", metavar="FOLDER", help="gets the encoder")


def run(options):
    """Converts, and tells what it is."""
    from ssr_plugin.encoders.dinosr import convert_dinosr

    config = convert_dinosr(options.checkpoint, options.folder).config
    print(
        f"{options.folder}: {config.num_hidden_layers} layers of "
        f"{config.hidden_size}, {config.num_attention_heads} heads"
    )
