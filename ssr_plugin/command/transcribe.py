"""``ssr transcribe``: what was said."""

from ssr_plugin.command.files import find_audio
from ssr_plugin.command.model import batches, load_model, read_speech
from ssr_plugin.command.prompts import unescape
from ssr_plugin.command.show import (
    show,
    show_json,
    show_text,
    spell_tokens,
    timed_words,
)
from ssr_plugin.problems import Problems


def run(options):
    """Prints what was said in each recording; returns the problems."""
    prompt = options.prompt
    if prompt is not None:
        if options.times:
            raise ValueError(
                "--times are those of the tokens heard: what the LLM writes after a "
                "--prompt has none"
            )
        prompt = unescape(prompt)
    paths = find_audio(options.files)
    alone = len(paths) == 1
    lm = load_model(options)
    problems = Problems("transcribing", max_share=1.0)
    found = read_speech(lm, paths, options.batch_seconds, problems)
    for batch in batches(item for item in found if item[1] is not None):
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
                    show(*([] if alone else [path]), start, end, word)
            else:
                show_text(path, text, alone)
    return problems


def _record(path, text, speech, tokenizer):
    """All that is known of a recording."""
    spelt = spell_tokens(tokenizer, speech.tokens)
    times = zip(speech.tokens, spelt, speech.starts, speech.ends, strict=True)
    return {
        "path": str(path),
        "text": text,
        "hypothesis": speech.hypothesis,
        "segments": speech.segments,
        "seconds": speech.seconds,
        "tokens": [
            {"id": id, "text": own, "start": start, "end": end}
            for id, own, start, end in times
        ],
    }
