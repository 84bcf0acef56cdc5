"""WER and speed of what a model hears, as the Open ASR leaderboard measures them."""

from ssr_plugin.evaluation.harness.corpus_benchmark import CorpusBenchmark
from ssr_plugin.evaluation.harness.items import PromptItem, SpokenText
from ssr_plugin.evaluation.harness.metric import Metric
from ssr_plugin.languages import first_language, is_english
from ssr_plugin.metrics.leaderboard_wer import is_scored, leaderboard_errors

WER = Metric(
    "wer_leaderboard",
    "%",
    "Words that are wrong or missing, and those too many, in % of the transcript's; "
    "both texts normalised as the Open ASR leaderboard's. Lower is better.",
    factor=100,
)
RTFX = Metric(
    "rtfx",
    "",
    "Seconds of audio that are heard in a second, on the machine of this run: from "
    "samples to text, without reading files. The cascade's text comes out of the same "
    "pass as the vectors, which counts for both. Higher is better.",
)


class OpenASR(CorpusBenchmark):
    """What is heard in whole utterances, as text; no LLM writes it.

    Of ``predicted`` it is the text of the vectors, as ``ssr transcribe
    --no-lm-fusion`` gives it; of ``predicted_lm_fusion`` that of ``ssr transcribe``; of
    ``cascade`` the segmenter's own hypothesis. What has no words to score is left out,
    as the leaderboard does (Srivastav et al., arXiv 2510.06961).

    Arguments
    ---------
    dataset, splits, seed, max_items, max_skipped_share
        Of :class:`CorpusBenchmark`. The leaderboard's short-form sets are
        ``hf-audio/esb-datasets-test-only-sorted``, read by the data set
        ``huggingface``.

    Raises
    ------
    ValueError
        If the data set is not English.
    """

    name = "open_asr"
    timed = True
    metric_list = (WER, RTFX)
    about = (
        "What is heard in whole utterances, as text: of vectors the text that they "
        "read as, of the cascade the segmenter's hypothesis. Words and speed as of the "
        "Open ASR leaderboard, arXiv 2510.06961."
    )

    def __init__(self, dataset, splits, **corpus):
        super().__init__(dataset, splits, **corpus)
        language = first_language(dataset and dataset.language)
        if not is_english(language):
            raise ValueError(
                f"open_asr: the leaderboard's normaliser is English, and the data set "
                f"is '{language}': use the benchmark segments"
            )

    def takes(self, condition):
        """See :meth:`Benchmark.takes`: nothing is known but the audio."""
        return condition.segmentation == "predicted"

    def items(self, align):
        """See :meth:`Benchmark.items`; nothing is aligned."""
        rows = self.utterances()
        items = [
            PromptItem(
                name,
                (SpokenText(row.text, str(row.wav)),),
                row.text,
                speaker=row.speaker,
            )
            for name, row in rows.items()
            if is_scored(row.text)
        ]
        if not items:
            raise ValueError(
                f"test_splits: no transcript of '{self.dataset.folder}' has words that "
                f"are scored"
            )
        left = len(rows) - len(items)
        self.notes = [f"{left} utterances have no words to score"] if left else []
        return items

    def answer(self, lm, items, condition, inputs, problems):
        """See :meth:`Benchmark.answer`."""
        for item in items:
            (speech,) = inputs.of(condition, item)
            errors = leaderboard_errors(item.reference, condition.reading(speech))
            spent = inputs.seconds_of(condition, item)
            ratios = {WER.name: list(errors), RTFX.name: [speech.seconds, spent]}
            yield item, {"metrics": ratios}
