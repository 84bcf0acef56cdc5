"""A benchmark: an utterance is heard; which word of it came last?"""

from ssr_plugin.evaluation.harness.choice_benchmark import ChoiceTask
from ssr_plugin.evaluation.harness.corpus_benchmark import as_spoken, read_utterances
from ssr_plugin.evaluation.harness.items import Item


class LastWord(ChoiceTask):
    name = "mine"
    reads_corpus = True
    about = "An utterance is heard; which word came last, and which first?"

    def __init__(self, dataset, splits, seed=0, rule=None):
        super().__init__(rule)
        self.dataset, self.splits = dataset, splits

    def items(self, align):
        items = []
        for split in self.splits:
            utterances = read_utterances(self.dataset, split, max_skipped_share=0.01)
            for name, spoken in as_spoken(utterances, align).items():
                first, *_, last = spoken.text.lower().split()
                if first != last:
                    items.append(Item(name, (spoken,), (f" {last}", f" {first}"), 0))
        return items
