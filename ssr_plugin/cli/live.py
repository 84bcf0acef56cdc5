"""Commands on speech that is still going on: ``--live``."""

import contextlib
import dataclasses
import sys
import time

# A line of text ends where nobody speaks for so long, s.
_LINE_PAUSE = 1.0
# Audio after which it is told that a machine is too slow, s.
_PATIENCE = 20.0


def add_live(parser):
    """Adds that the speech is still going on, and how."""
    group = parser.add_argument_group("speech that is still going on")
    group.add_argument(
        "--live",
        action="store_true",
        help="read FILE, or - for standard input, as it comes: WAV or AU from a pipe, "
        "or samples without a header with --pcm",
    )
    group.add_argument(
        "--pcm",
        type=int,
        metavar="HZ",
        help="samples have no header: their rate; one channel, 16 bits, little-endian",
    )
    group.add_argument(
        "--step",
        type=float,
        metavar="S",
        help="seconds of audio from one look at it to the next (default: 0.32; with "
        "--segmenter asr 1)",
    )
    group.add_argument(
        "--look-ahead",
        type=float,
        metavar="S",
        help="seconds of audio behind what is settled; more: fewer errors, later "
        "(default: 0.32)",
    )


def check_live(options):
    """Refuses options that do not go together, before anything is loaded.

    Arguments
    ---------
    options : argparse.Namespace

    Raises
    ------
    ValueError
        If some of them are for ``--live``, which is not given, or there are more
        recordings than one.

    Example
    -------
    >>> import argparse
    >>> check_live(argparse.Namespace(live=False, pcm=8000, step=None, look_ahead=None))
    Traceback (most recent call last):
        ...
    ValueError: --pcm is for --live
    """
    if not options.live:
        for name in ("pcm", "step", "look_ahead"):
            if getattr(options, name) is not None:
                raise ValueError(f"--{name.replace('_', '-')} is for --live")
    elif len(options.files) != 1:
        raise ValueError(
            f"--live reads one recording at a time, and there are {len(options.files)}"
        )


@contextlib.contextmanager
def live_speech(lm, options, lm_fusion=False, end_pause=None):
    """The stream that a command reads, and what is settled of it.

    Ctrl-C ends the audio, not the command.

    Arguments
    ---------
    lm : SpeechLM
    options : argparse.Namespace
        Of :func:`check_live`.
    lm_fusion : bool
    end_pause : float or None
        Of :meth:`ssr_plugin.inference.speech_lm.SpeechLM.stream_speech`.

    Yields
    ------
    stream : ssr_plugin.inference.speech_stream.SpeechStream
    pieces : iterator of list of Speech
        After each chunk what it settled: mostly nothing.
    """
    from ssr_plugin.data.audio_stream import open_stream
    from ssr_plugin.inference.speech_stream import SpeechStream

    (source,) = options.files
    with open_stream(0 if source == "-" else source, options.pcm) as (rate, chunks):
        stream = SpeechStream(lm.embedder, rate, lm_fusion)
        given = {"step": options.step, "look_ahead": options.look_ahead}
        given = {key: value for key, value in given.items() if value is not None}
        if given:
            settings = dataclasses.replace(stream.settings, **given)
            stream = SpeechStream(lm.embedder, rate, lm_fusion, settings)
        yield stream, _pieces(stream, chunks, end_pause)


def _pieces(stream, chunks, end_pause):
    computing = _Computing()
    try:
        for chunk in chunks:
            with computing:
                settled = stream.push(chunk)
            yield settled
            computing.complain(stream.seconds)
            pause = stream.pause
            if end_pause is not None and pause is not None and pause >= end_pause:
                break
    except KeyboardInterrupt:
        pass
    yield stream.finish()


class _Computing:
    """How long computing took, and whether that was told to be too long."""

    def __init__(self):
        self.seconds, self._begin, self._told = 0.0, 0.0, False

    def __enter__(self):
        self._begin = time.monotonic()

    def __exit__(self, *exception):
        self.seconds += time.monotonic() - self._begin

    def complain(self, heard):
        """Says once that speech comes faster than it is read."""
        if self._told or heard < _PATIENCE or self.seconds < heard:
            return
        self._told = True
        print(
            f"this machine reads {heard:.0f} s of speech in {self.seconds:.0f} s, so "
            f"that text comes later and later: give a longer --step, or --device cuda",
            file=sys.stderr,
        )


def transcribe_live(lm, options):
    """Prints words as they are settled.

    Arguments
    ---------
    lm : SpeechLM
    options : argparse.Namespace
        Of ``ssr transcribe``.
    """
    printers = {"json": _JsonPrinter, "times": _TimesPrinter}
    form = next((name for name in printers if getattr(options, name)), None)
    printer = printers.get(form, _TextPrinter)(lm.llm.tokenizer)
    with live_speech(lm, options, options.lm_fusion) as (stream, pieces):
        for settled in pieces:
            for speech in settled:
                printer.show(speech, stream.seconds)
            if (stream.pause or 0.0) >= _LINE_PAUSE:
                printer.end_line()
        printer.end_line()


class _TextPrinter:
    """The text as it goes on; a new line after a pause."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        self._begun = False

    def show(self, speech, seconds):
        from ssr_plugin.cli.show import spell_tokens

        text = "".join(spell_tokens(self.tokenizer, speech.tokens))
        text = text if self._begun else text.lstrip()
        self._begun = self._begun or bool(text)
        print(text, end="", flush=True)

    def end_line(self):
        if self._begun:
            print(flush=True)
        self._begun = False


class _TimesPrinter:
    """A line for each word, once the next has begun or nobody speaks."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        self._waiting = None

    def show(self, speech, seconds):
        if self._waiting is None:
            self._waiting = dataclasses.replace(speech, tokens=[], starts=[], ends=[])
        for name in ("tokens", "starts", "ends"):
            getattr(self._waiting, name).extend(getattr(speech, name))
        # The last may go on.
        self._print(words_left=1)

    def end_line(self):
        self._print(words_left=0)

    def _print(self, words_left):
        from ssr_plugin.cli.show import show_fields, timed_words

        if self._waiting is None:
            return
        words = timed_words(self._waiting, self.tokenizer)
        told = words[: len(words) - words_left]
        for word, start, end in told:
            show_fields(start, end, word)
        sys.stdout.flush()
        if told:
            # The tokens of what is left are those that begin after it.
            until = told[-1][2]
            kept = [i for i, x in enumerate(self._waiting.starts) if x >= until]
            kept = kept if words_left else []
            for name in ("tokens", "starts", "ends"):
                values = getattr(self._waiting, name)
                values[:] = [values[i] for i in kept]


class _JsonPrinter:
    """A line for each piece, with the audio that had been heard by then."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer

    def show(self, speech, seconds):
        from ssr_plugin.cli.show import show_json, token_records

        show_json(
            {
                "text": speech.text,
                "hypothesis": speech.hypothesis,
                "segmentation": speech.segmentation,
                "lm_fusion": speech.lm_fusion,
                "heard": round(seconds, 3),
                "tokens": token_records(self.tokenizer, speech),
            }
        )
        sys.stdout.flush()

    def end_line(self):
        pass


def generate_live(lm, options, contents, arguments):
    """Prints what the LLM writes once the speaker has stopped.

    Speech and all before it has been read by then.

    Arguments
    ---------
    lm : SpeechLM
    options : argparse.Namespace
        Of ``ssr generate``.
    contents : list of str or None
        Of a prompt; None is where the speech goes.
    arguments : dict
        Of transformers' ``generate``.
    """
    prompt = lm.growing_prompt()
    for content in contents:
        if content is not None:
            prompt.append(content)
            continue
        with live_speech(lm, options, end_pause=options.end_pause) as (_, pieces):
            for settled in pieces:
                for speech in settled:
                    prompt.append(speech)
    for text in prompt.stream(**arguments):
        print(text, end="", flush=True)
    print()
