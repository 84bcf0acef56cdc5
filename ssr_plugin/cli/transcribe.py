"""``ssr transcribe``: what was said."""

from ssr_plugin.cli.arguments import add_files, add_length, add_model
from ssr_plugin.cli.live import add_live, check_live, transcribe_live

SUMMARY = "write down what was said"
USAGE = """
  ssr transcribe talk.wav                       the text alone
  ssr transcribe talks/ --json > talks.jsonl    all that is known of each recording
  ssr transcribe "talks/**/*.flac" --times      when each word was said
  arecord -r 16000 -f S16_LE -d 5 | ssr transcribe -
  arecord -r 16000 -f S16_LE | ssr transcribe --live -      words while they are said
  ssr transcribe talk.wav --no-lm-fusion        what is heard, and nothing guessed

The text is that of the tokens whose embeddings are nearest to the vectors of speech.
The LLM's expectation helps (LM fusion), unless --no-lm-fusion is given. With --prompt
the LLM writes the text after the vectors (for an LLM tuned to transcribe). With many
files each line is path, tab, text. A file that cannot be read is named and left out;
the exit status is then 1.

With --live, words are printed while they are said, a new line after a pause; with
--json a line for each piece, in which "heard" is the audio by then in s."""


def add_arguments(parser):
    """Adds the arguments of the command."""
    add_files(parser)
    parser.add_argument(
        "--prompt", metavar="TEXT", help="let the LLM write after vectors and this text"
    )
    parser.add_argument(
        "--no-lm-fusion",
        dest="lm_fusion",
        action="store_false",
        help="what the connector alone hears, without the LLM's help",
    )
    add_length(parser)
    add_live(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument(
        "--json",
        action="store_true",
        help="a line of JSON for each file: path, text, the segmenter's hypothesis, "
        "tokens with times, seconds, segmentation, lm_fusion",
    )
    form.add_argument(
        "--times",
        action="store_true",
        help="a line for each word: start and end in s, word",
    )
    add_model(parser)


def run(options):
    """Prints what was said in each recording; returns the problems."""
    from ssr_plugin.cli.model import in_batches, load_model, read_speech
    from ssr_plugin.cli.prompt_files import unescape
    from ssr_plugin.cli.recordings import find_audio
    from ssr_plugin.cli.show import show_fields, show_json, show_text, timed_words
    from ssr_plugin.problems import Problems

    check_live(options)
    prompt = options.prompt
    if prompt is not None:
        if options.live:
            raise ValueError(
                "--live prints what the vectors say: for text that the LLM writes when "
                "the speaker stops, use ssr generate --live"
            )
        if options.times:
            raise ValueError(
                "--times are those of the vectors' tokens: text that the LLM writes "
                "after a --prompt has none"
            )
        prompt = unescape(prompt)
    if options.live:
        transcribe_live(load_model(options), options)
        return None
    paths = find_audio(options.files)
    alone = len(paths) == 1
    lm = load_model(options)
    problems = Problems("transcribing", max_share=1.0)
    # An LLM that writes was tuned on the vectors of the connector alone.
    lm_fusion = options.lm_fusion and prompt is None
    embedded = read_speech(lm, paths, options.batch_seconds, problems, lm_fusion)
    for batch in in_batches(item for item in embedded if item[1] is not None):
        texts = lm.transcribe(
            [speech for _, speech in batch],
            prompt=prompt,
            max_new_tokens=options.max_new_tokens,
            do_sample=False,
        )
        for (path, speech), text in zip(batch, texts, strict=True):
            if options.json:
                show_json(_record(path, text, speech, lm.llm.tokenizer))
            elif options.times:
                for word, start, end in timed_words(speech, lm.llm.tokenizer):
                    show_fields(*([] if alone else [path]), start, end, word)
            else:
                show_text(path, text, alone)
    return problems


def _record(path, text, speech, tokenizer):
    """All that is known of a recording."""
    from ssr_plugin.cli.show import token_records

    return {
        "path": str(path),
        "text": text,
        "hypothesis": speech.hypothesis,
        "segmentation": speech.segmentation,
        "lm_fusion": speech.lm_fusion,
        "seconds": speech.seconds,
        "tokens": token_records(tokenizer, speech),
    }
