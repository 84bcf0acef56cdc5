"""What the command ``ssr`` can be told. Nothing here loads torch."""

import argparse

from ssr_plugin import __version__

DEFAULT_MODEL = "results/distill"

_FILES = "audio files, folders of them, or globs in quotes"
_PROMPT = (
    "what the LLM reads: {audio} is where a recording goes, \\n a new line; with more "
    "files than places, each group of files makes a prompt of its own"
)


def make_parser():
    """The parser of all commands.

    Returns
    -------
    argparse.ArgumentParser

    Example
    -------
    >>> options = make_parser().parse_args(["transcribe", "a.wav", "--json"])
    >>> options.command, options.files, options.json
    ('transcribe', ['a.wav'], True)
    """
    parser = argparse.ArgumentParser(
        prog="ssr",
        description="Speech read by a text LLM (SSR-Connector).",
        epilog="ssr COMMAND --help tells more, with examples.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for add in (
        _add_transcribe,
        _add_generate,
        _add_align,
        _add_embed,
        _add_export,
        _add_speak,
        _add_compare,
    ):
        add(commands)
    return parser


def _add(commands, name, what, how):
    return commands.add_parser(
        name,
        help=what,
        description=f"{what[0].upper()}{what[1:]}.\n{how.rstrip()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _add_transcribe(commands):
    parser = _add(
        commands,
        "transcribe",
        "write down what was said",
        """
  ssr transcribe talk.wav                       the text alone
  ssr transcribe talks/ --json > talks.jsonl    all that is known of each recording
  ssr transcribe "talks/**/*.flac" --times      when each word was said

Text is that of the tokens whose embeddings are nearest to the vectors of speech, or,
with --prompt, what the LLM writes after them (for an LLM tuned to transcribe). Of many
files each line is path, tab, text. A file that cannot be read is named and left out;
the exit status is then 1.""",
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help=_FILES)
    parser.add_argument(
        "--prompt", metavar="TEXT", help="let the LLM write after vectors and this text"
    )
    _add_length(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument(
        "--json",
        action="store_true",
        help="a line of JSON for each file: path, text, the segmenter's hypothesis, "
        "tokens with times, seconds, segments",
    )
    form.add_argument(
        "--times",
        action="store_true",
        help="a line for each word heard: start and end in s, word",
    )
    _add_model(parser)


def _add_generate(commands):
    parser = _add(
        commands,
        "generate",
        "let the LLM write after a prompt with recordings in it",
        r"""
  ssr generate --prompt "{audio}\nQuestion: who called?\nAnswer:" call.wav
  ssr generate --chat --prompt "Sum this up: {audio}" talk.wav --stream
  ssr generate --prompt "{audio}\nIn short:" talks/ --json > talks.jsonl
  ssr generate --prompt "{audio} means yes.\n{audio} means" one.wav two.wav""",
    )
    _add_prompt(parser)
    options = parser.add_argument_group("how it writes")
    _add_length(options)
    options.add_argument(
        "--sample",
        action="store_true",
        help="draw tokens, rather than take the likeliest",
    )
    options.add_argument(
        "--temperature", type=float, help="implies --sample; higher: more varied"
    )
    options.add_argument(
        "--top-p", type=float, help="implies --sample; share of probability drawn from"
    )
    options.add_argument(
        "--num-beams", type=int, default=1, help="beams searched (default %(default)s)"
    )
    options.add_argument("--seed", type=int, help="the same again with the same seed")
    form = parser.add_mutually_exclusive_group()
    form.add_argument(
        "--stream", action="store_true", help="of one prompt: print while it is written"
    )
    form.add_argument(
        "--json", action="store_true", help="a line of JSON for each prompt"
    )
    _add_model(parser)


def _add_align(commands):
    parser = _add(
        commands,
        "align",
        "find when each word of a transcript was said",
        """
  ssr align talk.wav --text "good morning"      start and end in s, word
  ssr align talks/ --format textgrid --output grids/
  ssr align talks/ --aligner ctc --aligner-option source=facebook/wav2vec2-base-960h

No model of this package is needed. Without --text the transcript of talk.wav is read
from talk.txt or talk.lab beside it, or from a *.trans.txt there (id, blank, text).""",
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help=_FILES)
    parser.add_argument("--text", help="the transcript, of one file")
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
    parser.add_argument(
        "--format",
        choices=("text", "json", "ctm", "textgrid"),
        default="text",
        help="json keeps all; every form but text is read again by --aligner files",
    )
    parser.add_argument(
        "--output",
        metavar="FOLDER",
        help="a file here for each recording, named after it, rather than all printed",
    )
    parser.add_argument(
        "--num-workers", type=int, metavar="N", help="processes (default: all cores)"
    )


def _add_embed(commands):
    parser = _add(
        commands,
        "embed",
        "keep recordings as vectors in the LLM's embedding space",
        """
  ssr embed talks/ --output talks.safetensors

The file holds a tensor [N, H] for each path, with tokens, times and texts as JSON in
its metadata. In Python, ssr_plugin.inference.vectors.load_speech reads it, and what it
gives goes into any prompt.""",
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help=_FILES)
    parser.add_argument(
        "--output", metavar="FILE.safetensors", required=True, help="where vectors go"
    )
    _add_model(parser)


def _add_export(commands):
    parser = _add(
        commands,
        "export",
        "write prompts with recordings in them for vLLM",
        r"""
  ssr export --prompt "{audio}\nIn short:" talks/ --output prompts.safetensors
  ssr export --prompt "{audio}\nIn short:" talk.wav |
      curl localhost:8000/v1/completions -H "Content-Type: application/json" -d @-

A stock vLLM with prompt embeddings switched on writes after them; how to start it is
told on stderr. The file holds a tensor [L, H] for each prompt, in the order of their
names; without --output each is printed as a request to vLLM's server.""",
    )
    _add_prompt(parser)
    _add_length(parser)
    parser.add_argument(
        "--output", metavar="FILE.safetensors", help="a file rather than requests"
    )
    _add_model(parser)


def _add_speak(commands):
    parser = _add(
        commands,
        "speak",
        "turn a text set into speech, for the evaluation to hear",
        """
  ssr speak copa /data/COPA --output speech/copa
  ssr speak mmlu /data/MMLU --output speech/mmlu --synthesizer flite --max-items 500
  ssr speak mine.txt --output speech/mine --voices en-gb en-us+f2
  ssr speak copa /data/COPA --output speech/copa --synthesizer command \\
      --command "piper --model {voice} --output_file {wav}" --voices amy.onnx

The folder gets recordings (16 kHz FLAC), manifest.csv (which recipes/template reads as
a data set) and skipped.json: what is left out and why. Left out is what reads badly
aloud, such as formulas, blanks to fill and long texts. A text's voice is chosen by its
id. What is there already is not spoken again, so a run that was stopped goes on.""",
    )
    parser.add_argument(
        "source",
        metavar="SET",
        help="a task's name, or a text file with one text a line",
    )
    parser.add_argument("data", nargs="?", metavar="DATA", help="the task's own files")
    parser.add_argument(
        "--output", metavar="FOLDER", required=True, help="where the speech goes"
    )
    voice = parser.add_argument_group("who speaks")
    voice.add_argument(
        "--synthesizer",
        default="espeak",
        metavar="NAME",
        help="espeak (espeak-ng), flite, command, or one that an extension adds "
        "(default %(default)s)",
    )
    voice.add_argument(
        "--voices", nargs="+", metavar="VOICE", help="to draw from (default: its own)"
    )
    voice.add_argument(
        "--command",
        dest="synthesizer_command",
        metavar="LINE",
        help="of --synthesizer command: any program; {voice}, {wav} (to be written) "
        "and {text} are filled in; without {text} it is given on standard input",
    )
    voice.add_argument(
        "--seed", type=int, metavar="N", help="another one gives ids other voices"
    )
    what = parser.add_argument_group("what is spoken")
    what.add_argument(
        "--max-items",
        type=int,
        metavar="N",
        help="only so many, drawn at random but always the same",
    )
    what.add_argument(
        "--max-words", type=int, metavar="N", help="longer texts are left out (100)"
    )
    what.add_argument(
        "--marks",
        metavar="CHARS",
        help="read well besides letters and digits (usual punctuation, & %% $); texts "
        "with anything else are left out",
    )
    parser.add_argument(
        "--max-skipped-share",
        type=float,
        metavar="SHARE",
        help="of failed texts, beyond which it ends with an error (0.01)",
    )
    parser.add_argument(
        "--num-workers", type=int, metavar="N", help="spoken at once (default: cores)"
    )


def _add_compare(commands):
    parser = _add(
        commands,
        "compare",
        "tell how evaluations differ, and how sure that is",
        """
  ssr compare results/a results/b
  ssr compare results/a results/b results/c --save results/compared

Each figure of the later evaluations comes with its difference to the first one's, and
the 95 % interval of that, by bootstrap over the items that both answered.""",
    )
    parser.add_argument(
        "folders",
        nargs="+",
        metavar="FOLDER",
        help="output folders of evaluations, two or more",
    )
    parser.add_argument(
        "--save", metavar="FOLDER", help="write compare.md and compare.html here, too"
    )


def _add_prompt(parser):
    parser.add_argument("files", nargs="*", metavar="FILE", help=_FILES)
    parser.add_argument("--prompt", metavar="TEXT", required=True, help=_PROMPT)
    parser.add_argument(
        "--chat",
        action="store_true",
        help="put the prompt, as the user's turn, into the LLM's chat template",
    )


def _add_length(parser):
    parser.add_argument(
        "--max-new-tokens",
        type=int,
        default=128,
        metavar="N",
        help="tokens written by the LLM at most (default %(default)s)",
    )


def _add_model(parser):
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model",
        default=DEFAULT_MODEL,
        help="folder of a run or of save_pretrained, or hub id (default %(default)s)",
    )
    group.add_argument("--revision", help="commit, tag or branch on the hub")
    group.add_argument(
        "--encoder-source", metavar="SOURCE", help="the encoder, if it was moved"
    )
    group.add_argument(
        "--llm-source", metavar="SOURCE", help="the LLM, if it was moved"
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
        default=60.0,
        metavar="S",
        help="audio that goes through together; less: less memory (default "
        "%(default)s)",
    )
