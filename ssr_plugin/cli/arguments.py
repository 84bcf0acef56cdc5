"""Arguments that several subcommands share. Nothing here loads torch."""

import argparse

DEFAULT_MODEL = "results/distill"

_FILES = (
    "audio files, folders of them, globs in quotes, or - for a file on standard input"
)
_PROMPT = (
    "what the LLM reads: {audio} is where a recording goes, \\n a new line; with more "
    "files than places, each group of files makes a prompt of its own"
)


def add_files(parser):
    """Adds recordings, one or more."""
    parser.add_argument("files", nargs="+", metavar="FILE", help=_FILES)


def add_aligner(parser):
    """Adds which aligner it is, and its options."""
    parser.add_argument(
        "--aligner",
        default="pocketsphinx",
        help="a registered name: pocketsphinx (English; the default), ctc, even, ...",
    )
    parser.add_argument(
        "--aligner-option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an option of the aligner; may be repeated",
    )


def aligner_arguments(options):
    """The aligner's options as "--key", "value", ...

    Raises
    ------
    ValueError
        If one is not of the form KEY=VALUE.
    """
    arguments = []
    for option in options.aligner_option:
        key, equals, value = option.partition("=")
        if not equals:
            raise ValueError(
                f"--aligner-option '{option}' is not of the form KEY=VALUE"
            )
        arguments += [f"--{key}", value]
    return arguments


def add_prompt(parser):
    """Adds a prompt with recordings in it."""
    parser.add_argument("files", nargs="*", metavar="FILE", help=_FILES)
    parser.add_argument("--prompt", metavar="TEXT", required=True, help=_PROMPT)
    parser.add_argument(
        "--chat",
        action="store_true",
        help="put the prompt, as the user's turn, into the LLM's chat template",
    )


def add_length(parser):
    """Adds how much is written."""
    parser.add_argument(
        "--max-new-tokens",
        type=int,
        default=128,
        metavar="N",
        help="tokens written by the LLM at most (default %(default)s)",
    )


def add_model(parser, named=True):
    """Adds which model it is, where it runs, and how much audio it takes at a time.

    Arguments
    ---------
    parser : argparse.ArgumentParser
    named : bool
        Whether the model is ``--model``, or else the command's own first word.
    """
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model" if named else "model",
        **({} if named else {"nargs": "?"}),
        default=DEFAULT_MODEL,
        metavar="MODEL",
        help="folder of a run or of save_pretrained, or hub id (default %(default)s)",
    )
    group.add_argument("--revision", help="commit, tag or branch on the hub")
    group.add_argument(
        "--encoder-source", metavar="SOURCE", help="the encoder, if it was moved"
    )
    group.add_argument(
        "--llm-source",
        metavar="SOURCE",
        help="the LLM, if it was moved; or a GGUF file of it",
    )
    group.add_argument(
        "--quantization",
        choices=("4bit", "8bit"),
        help="of the LLM's layers (extra [quantized])",
    )
    group.add_argument(
        "--segmenter",
        help="another for audio alone than the model's: asr (a recogniser), fixed, or "
        "the folder of a trained one",
    )
    group.add_argument(
        "--recognizer",
        metavar="SOURCE",
        help="of --segmenter asr: a Whisper or CTC model (default: the encoder's own)",
    )
    group.add_argument(
        "--language",
        help="of --segmenter asr: what Whisper hears, as en (default: it finds out)",
    )
    group.add_argument("--device", help="cpu, cuda, cuda:1 (default: a GPU if any)")
    group.add_argument(
        "--dtype",
        default="float32",
        help="of the LLM: float32, bfloat16 or float16 (default %(default)s)",
    )
    group.add_argument(
        "--batch-seconds",
        type=float,
        metavar="S",
        help="seconds of audio in a batch; less needs less memory (default: 60 on a "
        "CPU, 960 on a GPU)",
    )
    group.add_argument(
        "--num-workers",
        type=int,
        metavar="N",
        help="processes that read files ahead; 0: none (default: all cores but one for "
        "a GPU, those that are free for a CPU; at most 12)",
    )


def add_yaml(parser):
    """Adds a YAML and overrides of its keys, which another parser reads."""
    parser.add_argument(
        "words",
        nargs=argparse.REMAINDER,
        metavar="YAML [--key value ...]",
        help="a YAML, and values that replace its own",
    )


def asr_options(options):
    """Options of the segmenter "asr" that a command was given.

    Arguments
    ---------
    options : argparse.Namespace

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        If there are some, and the segmenter is another.
    """
    given = {"source": options.recognizer, "language": options.language}
    given = {key: value for key, value in given.items() if value is not None}
    if given and options.segmenter != "asr":
        raise ValueError("--recognizer and --language are for --segmenter asr")
    return given
