"""``ssr align``: when each word of a transcript was said."""

import pathlib

from ssr_plugin.cli.arguments import add_aligner, add_files, aligner_arguments

SUMMARY = "find when each word of a transcript was said"
USAGE = """
  ssr align talk.wav --text "good morning"      start and end in s, word
  ssr align talks/ --format textgrid --output grids/
  ssr align - --text "good morning" < talk.wav
  ssr align talks/ --aligner ctc --aligner-option source=facebook/wav2vec2-base-960h

No model of this package is needed. Without --text the transcript of talk.wav is read
from talk.txt or talk.lab beside it, or from a *.trans.txt there (id, blank, text)."""

# Not .txt: that is the suffix of transcripts.
_SUFFIXES = {"text": ".tsv", "json": ".json", "ctm": ".ctm", "textgrid": ".TextGrid"}


def add_arguments(parser):
    """Adds the arguments of the command."""
    add_files(parser)
    parser.add_argument("--text", help="the transcript, of one file")
    add_aligner(parser)
    parser.add_argument(
        "--language",
        metavar="CODE",
        help="what is spoken, such as de: numbers are then found by its words",
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
        help="write a file for each recording here, named after it; print nothing",
    )
    parser.add_argument(
        "--num-workers", type=int, metavar="N", help="processes (default: all cores)"
    )


def run(options):
    """Prints or writes each recording's words; returns the problems."""
    import tempfile

    from ssr_plugin.alignment.align_manifest import make_aligner
    from ssr_plugin.alignment.base import AlignmentItem
    from ssr_plugin.alignment.cache import align
    from ssr_plugin.alignment.number_aligner import with_number_words
    from ssr_plugin.alignment.record import AlignmentError
    from ssr_plugin.cli.recordings import STDIN, find_audio, read_transcript
    from ssr_plugin.problems import Problems

    paths = list(dict.fromkeys(find_audio(options.files)))
    _check(options, paths)
    aligner = make_aligner(options.aligner, aligner_arguments(options))
    aligner = with_number_words(aligner, options.language)
    problems = Problems("aligning", max_share=1.0)
    items = []
    with tempfile.TemporaryDirectory() as cache:
        for path in paths:
            try:
                text = options.text or read_transcript(path)
                wav = _keep_stdin(cache) if path == STDIN else path
            except (OSError, ValueError) as error:
                problems.add(path, error)
                continue
            items.append(AlignmentItem(str(path), str(wav), text))
        alignments, failed = align(
            items,
            aligner,
            cache,
            num_workers=options.num_workers,
            max_skipped_share=1.0,
        )
        problems.reasons |= failed.reasons
        for path, alignment in alignments.items():
            try:
                _write(pathlib.Path(path), alignment, options, len(paths) > 1)
            except AlignmentError as error:
                problems.add(path, error.reason)
    return problems


def _check(options, paths):
    """Refuses wrong options before anything is done."""
    if options.text is not None and len(paths) > 1:
        raise ValueError(
            f"--text is the transcript of one recording, and there are {len(paths)}: "
            f"put transcripts beside them"
        )
    if options.output is None:
        if options.format == "textgrid":
            raise ValueError("TextGrids are not printed: give --output FOLDER")
        return
    paths_by_stem = {}
    for path in paths:
        other = paths_by_stem.setdefault(path.stem, path)
        if other != path:
            raise ValueError(
                f"'{other}' and '{path}' would be written to the same file: align them "
                f"one after the other, into two folders"
            )


def _keep_stdin(folder):
    """The recording on standard input as a file, which aligners can read."""
    import soundfile

    from ssr_plugin.cli.recordings import STDIN, read_stdin
    from ssr_plugin.data.samples import read_mono

    samples, rate = read_mono(read_stdin(), str(STDIN))
    path = pathlib.Path(folder) / "stdin.wav"
    soundfile.write(path, samples, rate, subtype="FLOAT")
    return path


def _write(path, alignment, options, show_path):
    """Prints an alignment, or writes it to its own file."""
    import dataclasses
    import json

    from ssr_plugin.alignment.writers import to_ctm, words, write_textgrid
    from ssr_plugin.cli.show import show_line
    from ssr_plugin.files import atomic_path, printable

    alignment = dataclasses.replace(alignment, id=path.stem)
    target = None
    if options.output is not None:
        target = (
            pathlib.Path(options.output) / f"{path.stem}{_SUFFIXES[options.format]}"
        )
    if options.format == "textgrid":
        write_textgrid(target, alignment)
        return
    if options.format == "ctm":
        text = to_ctm(alignment)
    elif options.format == "json":
        record = {"path": str(path), **alignment.to_json()}
        text = json.dumps(record, ensure_ascii=False)
    else:
        head = f"{path}\t" if show_path and target is None else ""
        text = "\n".join(
            f"{head}{start:.3f}\t{end:.3f}\t{word}"
            for word, start, end in words(alignment)
        )
    if target is None:
        show_line(text)
        return
    with atomic_path(target) as partial:
        partial.write_text(printable(text) + "\n", encoding="utf-8")
