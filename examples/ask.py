"""A question about a recording: the LLM's own answer, or the likeliest of several.

python examples/ask.py [MODEL] [FILE QUESTION [ANSWER...]]

The sample's little LLM answers no questions; it knows how stories go on. What it is
asked here is how a sentence ends, which depends on the story that it heard.
"""

import pathlib
import sys

from ssr_plugin import SpeechLM

SAMPLE = pathlib.Path(__file__).parents[1] / "recipes/sample/corpus/dev-sample"
SENTENCE = " in the evening ben gave some milk to the"


def main(
    model="results/distill",
    file=SAMPLE / "12/1200/12-1200-0000.opus",
    question=SENTENCE,
    *answers,
):
    lm = SpeechLM.from_pretrained(model)
    if question == SENTENCE:
        answers = (" cat", " dog", " man")
    speech = lm.embed(file)  # read once, used in any number of prompts
    print(f"heard: {speech.text}\nasked: {question}")
    if lm.llm.tokenizer.chat_template is not None:
        turn = {"role": "user", "content": [speech, f"\n{question}"]}
        print(f"answer: {lm.chat([turn], max_new_tokens=60, do_sample=False)}")
    else:
        print(f"written: {lm.generate([speech, question], max_new_tokens=10)}")
    for answer in answers:
        given, without = (
            lm.score(context, answer) for context in ([speech, question], question)
        )
        print(f"{answer}: {given:.1f} nats; without the recording {without:.1f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
