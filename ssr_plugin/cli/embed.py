"""``ssr embed``: recordings kept as vectors."""

import sys
import time

from ssr_plugin.cli.arguments import add_files, add_model

SUMMARY = "keep recordings as vectors in the LLM's embedding space"
USAGE = """
  ssr embed talks/ --output talks.safetensors
  ssr embed talks/ --output talks.safetensors --lm-fusion

Vectors are those of the connector alone; with --lm-fusion, the LLM's expectation is
multiplied in. The file holds a tensor [N, H] for each path, with tokens, times and
texts as JSON in its metadata. In Python, load_speech of
ssr_plugin.inference.speech_files reads it; its result goes into any prompt. In the end
it tells how many seconds of audio went through in a second (RTFx)."""


def add_arguments(parser):
    """Adds the arguments of the command."""
    add_files(parser)
    parser.add_argument(
        "--output", metavar="FILE.safetensors", required=True, help="where vectors go"
    )
    parser.add_argument(
        "--lm-fusion",
        action="store_true",
        help="let the LLM help: fewer errors, but some may be guessed",
    )
    add_model(parser)


def run(options):
    """Writes the vectors of all recordings into one file; returns the problems."""
    from ssr_plugin.cli.model import load_model, read_speech
    from ssr_plugin.cli.recordings import find_audio
    from ssr_plugin.files import printable
    from ssr_plugin.inference.speech_files import save_speech
    from ssr_plugin.problems import Problems

    paths = list(dict.fromkeys(find_audio(options.files)))
    lm = load_model(options)
    problems = Problems("embedding", max_share=1.0)
    speeches, begin = {}, time.monotonic()
    for path, speech in read_speech(
        lm, paths, options.batch_seconds, problems, options.lm_fusion
    ):
        if speech is not None:
            # A GPU's memory is not for what is done.
            speech.vectors = speech.vectors.cpu()
            speeches[printable(str(path))] = speech
    elapsed = time.monotonic() - begin
    if not speeches:
        raise ValueError("none of the recordings can be read: nothing is written")
    save_speech(options.output, speeches, lm)
    seconds = sum(speech.seconds for speech in speeches.values())
    print(
        f"{seconds:.1f} s of audio in {elapsed:.1f} s: {seconds / elapsed:.0f} times "
        f"real time",
        file=sys.stderr,
    )
    return problems
