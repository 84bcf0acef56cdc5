"""``ssr speak``: a text set as recordings, for models to hear."""

from collections import Counter

from ssr_plugin import build
from ssr_plugin.tasks.speak import read_texts, speak

# Options of speak that have a default of their own.
_OPTIONS = ("seed", "max_words", "marks", "max_skipped_share", "num_workers")


def run(options):
    """Speaks the texts and prints how many; what is left out is no problem."""
    own = {"command": options.synthesizer_command, "voices": options.voices}
    own = {key: value for key, value in own.items() if value}
    synthesizer = build.synthesizer(options.synthesizer, own)
    texts = read_texts(options.source, options.data, options.max_items)
    given = {key: getattr(options, key) for key in _OPTIONS}
    given = {key: value for key, value in given.items() if value is not None}
    skipped = speak(texts, options.output, synthesizer, **given)
    spoken = len(texts) - len(skipped)
    print(f"{options.output}: {spoken} spoken, {len(skipped)} left out")
    kinds = Counter(reason.partition(":")[0] for reason in skipped.values())
    for reason, count in kinds.most_common():
        print(f"  {count}: {reason}")
