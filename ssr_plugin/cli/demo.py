"""``ssr demo``: a page in the browser to try a model on."""

import sys

from ssr_plugin.cli.arguments import add_aligner, add_model, aligner_arguments

SUMMARY = "show a page in the browser to try a model on"
USAGE = """
  ssr demo                                  the model in results/distill
  ssr demo me/model --max-seconds 60
  ssr demo MODEL --examples my_recordings/ --aligner ctc \\
      --aligner-option source=facebook/wav2vec2-base-960h
  ssr demo MODEL --host 0.0.0.0             for all who reach this machine

Needs gradio: pip install ssr-plugin[demo]. Record or upload speech; the page shows its
segments and tokens, what each part reads, how long each took, and what the LLM says to
a question about it. Nothing is fetched from the network, and nothing is sent there.
There is no password."""


def add_arguments(parser):
    """Adds the arguments of the command."""
    group = parser.add_argument_group("the page")
    group.add_argument(
        "--host", default="127.0.0.1", help="address to serve on (default %(default)s)"
    )
    group.add_argument(
        "--port", type=int, help="port (default: the first free one from 7860 on)"
    )
    group.add_argument(
        "--browser", action="store_true", help="open the page in a browser"
    )
    group.add_argument(
        "--examples",
        action="append",
        metavar="FILE",
        help="recordings that the page offers: files, folders, globs in quotes; may be "
        "repeated (default: some of the bundled sample's)",
    )
    group.add_argument(
        "--prompt",
        metavar="TEXT",
        help="what the LLM reads: {audio} is where the recording goes, {question} "
        "where the question goes, \\n a new line",
    )
    limits = parser.add_argument_group("limits for one person")
    for name, kind, default, meaning in (
        ("seconds", float, 30, "longest recording, s"),
        ("megabytes", float, 20, "largest file, MB"),
        ("characters", int, 2000, "longest transcript; a question has half of it"),
        ("new-tokens", int, 128, "tokens that the LLM writes at most"),
        ("waiting", int, 16, "people who wait for the model at most"),
    ):
        limits.add_argument(
            f"--max-{name}",
            type=kind,
            default=default,
            metavar="N",
            help=f"{meaning} (default %(default)s)",
        )
    add_aligner(parser)
    add_model(parser, named=False)


def run(options):
    """Serves the page until Ctrl-C, or until it is told to end."""
    import signal

    from ssr_plugin.alignment.align_manifest import make_aligner
    from ssr_plugin.cli.model import load_model
    from ssr_plugin.cli.prompt_files import unescape
    from ssr_plugin.demo.page import import_gradio, serve_page
    from ssr_plugin.demo.uploads import Limits

    # Uploads are deleted then, too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # What can be wrong shows before a model is loaded.
    import_gradio()
    limits = Limits(
        options.max_seconds,
        options.max_megabytes,
        options.max_characters,
        options.max_new_tokens,
        options.max_waiting,
    )
    aligner = make_aligner(options.aligner, aligner_arguments(options))
    examples = _examples(options.examples)
    lm = load_model(options)
    with serve_page(
        lm,
        limits,
        options.host,
        options.port,
        options.browser,
        aligner=aligner,
        template=None if options.prompt is None else unescape(options.prompt),
        examples=examples,
    ) as (page, address):
        print(f"open {address} in a browser; Ctrl-C ends it", flush=True)
        if options.host not in ("127.0.0.1", "localhost"):
            print(
                "all who reach this machine can use the page: there is no password",
                file=sys.stderr,
            )
        page.block_thread()


def _examples(names):
    """Recordings that the page offers, with their transcripts where there are any."""
    from ssr_plugin import shipped
    from ssr_plugin.cli.recordings import find_audio, read_transcript
    from ssr_plugin.demo.page import Example

    if names is None:
        names = [str(shipped.folder() / "recipes/sample/corpus/dev-sample")]
    examples = []
    for path in find_audio(names):
        try:
            text = read_transcript(path)
        except ValueError:
            text = ""
        # LibriSpeech's capitals are no more than its habit.
        text = text.lower() if text.isupper() else text
        examples.append(Example(path, text))
    return examples
