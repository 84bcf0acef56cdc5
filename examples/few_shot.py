"""Spoken examples in the prompt: the LLM goes on as they do.

python examples/few_shot.py [MODEL] [FILE ANSWER FILE ANSWER ... FILE]

The last recording is the question. The sample's little LLM does not learn from
examples, as larger ones do: with it, this only shows how they are given.
"""

import pathlib
import sys

from ssr_plugin import SpeechLM

SAMPLE = pathlib.Path(__file__).parents[1] / "recipes/sample/corpus/dev-sample"
EXAMPLES = (
    SAMPLE / "12/1200/12-1200-0000.opus",
    "the cat was found",
    SAMPLE / "12/1200/12-1200-0001.opus",
    "sarah was the best",
    SAMPLE / "12/1200/12-1200-0002.opus",
)
# In words that the sample's LLM knows.
BEFORE, AFTER = "one said, ", ":\nand another said,"


def main(model="results/distill", *examples):
    *shown, question = examples or EXAMPLES
    lm = SpeechLM.from_pretrained(model)
    prompt = []
    for file, answer in zip(shown[::2], shown[1::2], strict=True):
        prompt += [BEFORE, pathlib.Path(file), f"{AFTER} {answer}.\n"]
    prompt += [BEFORE, pathlib.Path(question), AFTER]
    for content in prompt:
        is_file = isinstance(content, pathlib.Path)
        print(f"[{content.name}]" if is_file else content, end="")
    text = lm.generate(prompt, max_new_tokens=20, do_sample=False)
    print("", text.strip().partition("\n")[0])  # a line ends the answer


if __name__ == "__main__":
    main(*sys.argv[1:])
