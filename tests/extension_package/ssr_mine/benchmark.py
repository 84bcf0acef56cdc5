"""A benchmark: an utterance is heard; which word of it came last?"""

from ssr_plugin.evaluation.harness.choice_benchmark import ChoiceBenchmark
from ssr_plugin.evaluation.harness.corpus_benchmark import as_spoken, read_utterances


class LastWord(ChoiceBenchmark):
    name = "mine"
    reads_corpus = True
    about = "An utterance is heard; which word came last, and which first?"

    def __init__(self, dataset, splits, seed=0, metric=None, max_items=None):
        super().__init__(metric, max_items)
        self.dataset, self.splits = dataset, splits

    def items(self, align):
        self.align = align
        return super().items(align)

    def docs(self):
        docs = {}
        for split in self.splits:
            utterances = read_utterances(self.dataset, split, max_skipped_share=0.01)
            docs |= as_spoken(utterances, self.align)
        return {name: x for name, x in docs.items() if len(set(ends(x))) == 2}

    def doc_to_text(self, doc):
        return [doc]

    def doc_to_choice(self, doc):
        return [f" {word}" for word in ends(doc)]


def ends(spoken):
    first, *_, last = spoken.text.lower().split()
    return last, first
