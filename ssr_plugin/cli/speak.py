"""``ssr speak``: a text set as recordings, for models to hear."""

import pathlib
from collections import Counter

SUMMARY = "turn a text set into speech, for the evaluation to hear"
USAGE = """
  ssr speak copa /data/COPA --output speech/copa
  ssr speak mmlu /data/MMLU --output speech/mmlu --synthesizer flite --max-items 500
  ssr speak mine.txt --output speech/mine --voices en-gb en-us+f2
  ssr speak meins.txt --output speech/meins --language de
  ssr speak copa /data/COPA --output speech/copa --synthesizer command \\
      --command "piper --model {voice} --output_file {wav}" --voices amy.onnx

The folder gets recordings (16 kHz FLAC), manifest.csv (which recipes/template reads as
a data set) and skipped.json: what is left out and why. Numbers, units, money, times and
abbreviations are spoken, and transcribed, as words; of other languages than English
numbers, and in some units. Left out is what reads badly aloud, such as formulas, blanks
to fill and long texts. A text's voice is chosen by its id.
What is there already is not spoken again, so a run that was stopped goes on."""

# Options of speak that have a default of their own.
_OPTIONS = ("seed", "max_words", "max_skipped_share", "num_workers")


def add_arguments(parser):
    """Adds the arguments of the command."""
    parser.add_argument(
        "source",
        metavar="SET",
        help="a benchmark's name, or a text file with one text a line",
    )
    parser.add_argument(
        "data", nargs="?", metavar="DATA", help="the benchmark's own files"
    )
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
        "and {text} are filled in, {text} as an argument of its own; without {text} it "
        "is given on standard input",
    )
    voice.add_argument(
        "--language",
        default="en",
        metavar="CODE",
        help="of a text file, such as de or pt-BR (default %(default)s); espeak then "
        "has a voice of it",
    )
    voice.add_argument(
        "--seed", type=int, metavar="N", help="another seed gives ids other voices"
    )
    content = parser.add_argument_group("what is spoken")
    content.add_argument(
        "--max-items",
        type=int,
        metavar="N",
        help="speak only N items, drawn at random but always the same",
    )
    content.add_argument(
        "--max-words", type=int, metavar="N", help="longer texts are left out (100)"
    )
    parser.add_argument(
        "--max-skipped-share",
        type=float,
        metavar="SHARE",
        help="share of failed texts beyond which it ends with an error (0.01)",
    )
    parser.add_argument(
        "--num-workers", type=int, metavar="N", help="spoken at once (default: cores)"
    )


def run(options):
    """Speaks the texts and prints how many; texts left out are no error."""
    from ssr_plugin import build
    from ssr_plugin.files import check_writable
    from ssr_plugin.folder_lock import locked
    from ssr_plugin.languages import parse_language
    from ssr_plugin.registry import get_registry
    from ssr_plugin.tts.speak_texts import speak

    # What is wrong with a name or a set shows whatever programs there are.
    get_registry().synthesizers.get(options.synthesizer)
    language = parse_language(options.language)
    texts = read_texts(options.source, options.data, options.max_items, language)
    synthesizer_options = {
        "command": options.synthesizer_command,
        "voices": options.voices or _voices(options.synthesizer, language),
    }
    synthesizer_options = {
        key: value for key, value in synthesizer_options.items() if value
    }
    if options.synthesizer == "command" and not options.synthesizer_command:
        raise ValueError(
            "--synthesizer command needs --command LINE: the program that speaks, such "
            "as 'piper --model {voice} --output_file {wav}'"
        )
    synthesizer = build.synthesizer(options.synthesizer, synthesizer_options)
    speak_options = {key: getattr(options, key) for key in _OPTIONS}
    speak_options["language"] = language
    speak_options = {
        key: value for key, value in speak_options.items() if value is not None
    }
    check_writable("--output", options.output)
    # Of two, one's manifest would be replaced by that of the other.
    with locked(options.output, "--output"):
        skipped = speak(texts, options.output, synthesizer, **speak_options)
    spoken = len(texts) - len(skipped)
    print(f"{options.output}: {spoken} spoken, {len(skipped)} left out")
    kinds = Counter(reason.partition(":")[0] for reason in skipped.values())
    for reason, count in kinds.most_common():
        print(f"  {count}: {reason}")


def _voices(synthesizer, language):
    """Voices of another language than English, where none are named."""
    from ssr_plugin.languages import is_english, primary

    if is_english(language) or synthesizer == "command":
        return None
    if synthesizer != "espeak":
        raise ValueError(f"--language {language} needs --voices that speak it")
    # espeak-ng's code of Mandarin.
    code = {"zh": "cmn"}.get(primary(language), language.lower())
    return [f"{code}{variant}" for variant in ("", "+f2", "+m3")]


def read_texts(source, data=None, max_items=None, language="en"):
    """What is to be spoken: of a benchmark, or of a text file.

    Arguments
    ---------
    source : str
        Name of a benchmark, or path of a file with one text a line.
    data : path-like or None
        Where the benchmark's files are.
    max_items : int or None
        Only so many, drawn at random but always the same.
    language : str
        BCP-47 code. Benchmarks are English.

    Returns
    -------
    dict
        Texts by id. A benchmark's examples are there, however few questions are.

    Raises
    ------
    ValueError
        If the benchmark has nothing that could be spoken, or not in that language.
    """
    from ssr_plugin import build
    from ssr_plugin.evaluation.harness.text_benchmark import TextBenchmark
    from ssr_plugin.languages import is_english
    from ssr_plugin.registry import get_registry
    from ssr_plugin.tts.speak_texts import read_lines

    path = pathlib.Path(source)
    if path.suffix == ".txt" or path.is_file():
        return read_lines(path, max_items)
    if not is_english(language):
        raise ValueError(
            f"--language {language} is for a text file: benchmarks are in English"
        )
    benchmark_class = get_registry().benchmarks.get(source)
    if not issubclass(benchmark_class, TextBenchmark):
        raise ValueError(f"the benchmark '{source}' has speech of its own")
    return build.benchmark(source, {source: {"data": data}}).texts(max_items)
