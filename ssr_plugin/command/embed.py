"""``ssr embed``: recordings kept as vectors."""

from ssr_plugin.command.files import find_audio
from ssr_plugin.command.model import load_model, read_speech
from ssr_plugin.inference.vectors import save_speech
from ssr_plugin.problems import Problems


def run(options):
    """Writes the vectors of all recordings into one file; returns the problems."""
    paths = list(dict.fromkeys(find_audio(options.files)))
    lm = load_model(options)
    problems = Problems("embedding", max_share=1.0)
    found = read_speech(lm, paths, options.batch_seconds, problems)
    speeches = {str(path): speech for path, speech in found if speech is not None}
    if not speeches:
        raise ValueError("none of the recordings can be read: nothing is written")
    save_speech(options.output, speeches, lm)
    return problems
