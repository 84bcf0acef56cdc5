"""Perplexity of text: what tuning has cost the LLM, or what it reads well."""

import math

from ssr_plugin.data.subsets import draw_names
from ssr_plugin.data.text_files import read_documents
from ssr_plugin.evaluation.harness.conditions import Base, Text
from ssr_plugin.evaluation.harness.item_scoring import context_length
from ssr_plugin.evaluation.harness.items import PromptItem
from ssr_plugin.evaluation.harness.measured_benchmark import MeasuredBenchmark
from ssr_plugin.evaluation.harness.metric import Metric
from ssr_plugin.metrics.perplexity import document_losses

PERPLEXITY = Metric(
    "perplexity",
    "",
    "Of the LLM's tokens, each document by itself. Lower is better.",
    exponential=True,
)
BITS = Metric(
    "bits_per_byte",
    "",
    "Bits that the LLM needs for a byte of UTF-8: comparable among LLMs of different "
    "tokens. Lower is better.",
)


class TextPerplexity(MeasuredBenchmark):
    """The LLM's loss on text, before and after it was tuned.

    Arguments
    ---------
    data : str, list of str or dict
        Of :func:`ssr_plugin.data.text_files.read_documents`: text files, or a data set
        of the Hugging Face hub.
    max_items : int or None
        Only so many documents, drawn at random but always the same.
    longest : int
        Most tokens that the LLM reads at once, if it can so many: of longer documents
        each such piece is read by itself.

    Example
    -------
    >>> path = getfixture("tmp_path") / "a.txt"
    >>> _ = path.write_text("one\\n\\ntwo\\n")
    >>> [item.reference for item in TextPerplexity(path).items(align=None)]
    ['one', 'two']
    """

    name = "perplexity"
    metric_list = (PERPLEXITY, BITS)
    about = (
        "Each document, or piece of a long one, is read by itself after the LLM's "
        "start token. Nothing is heard."
    )

    def __init__(self, data, max_items=None, longest=1024):
        self.data = data if isinstance(data, list | dict) else self.find_data(data)
        self.max_items = max_items
        self.longest = longest

    def settings(self):
        """See :meth:`Benchmark.settings`."""
        return {"longest": self.longest}

    def items(self, align):
        """See :meth:`Benchmark.items`."""
        source = self.data if isinstance(self.data, list | dict) else str(self.data)
        documents = {
            f"{number:06d}": document
            for number, document in enumerate(read_documents(source, "data"), start=1)
        }
        return [
            PromptItem(name, reference=documents[name])
            for name in draw_names(documents, self.max_items)
        ]

    def takes(self, condition):
        """See :meth:`Benchmark.takes`."""
        return condition.name in (Text.name, Base.name)

    def answer(self, lm, items, condition, inputs, problems):
        """See :meth:`Benchmark.answer`."""
        tokenizer = lm.llm.tokenizer
        # The start token comes first.
        longest = min(self.longest, (context_length(lm) or self.longest + 1) - 1)
        documents = [
            tokenizer(item.reference, add_special_tokens=False, verbose=False).input_ids
            for item in items
        ]
        with condition.reader(lm) as llm:
            losses = document_losses(llm, documents, longest)
        for item, ids, loss in zip(items, documents, losses, strict=True):
            ratios = {
                PERPLEXITY.name: [loss, len(ids)],
                BITS.name: [loss / math.log(2), len(item.reference.encode())],
            }
            yield item, {"metrics": ratios}
