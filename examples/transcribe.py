"""What was said in recordings, and when.

python examples/transcribe.py [MODEL] [FILE...]
"""

import pathlib
import sys

from ssr_plugin import SpeechLM

SAMPLE = pathlib.Path(__file__).parents[1] / "recipes/sample/corpus/dev-sample"


def main(model="results/distill", *files):
    files = files or sorted(SAMPLE.glob("12/*/*.opus"))
    lm = SpeechLM.from_pretrained(model)
    # A list goes through in batches; one file alone gives the same. LM fusion, as
    # lm.transcribe has it: the LLM helps by what it expects.
    speeches = lm.embed(list(files), lm_fusion=True)
    for file, speech in zip(files, speeches, strict=True):
        print(f"{file}: {speech.text}")
        rate = len(speech) / speech.seconds
        print(f"  {speech.seconds:.1f} s, {rate:.1f} vectors a second; at first:")
        for token, start, end in zip(
            speech.tokens[:3], speech.starts, speech.ends, strict=False
        ):
            print(f"  {start:5.2f} to {end:.2f} s  {lm.llm.tokenizer.decode([token])}")


if __name__ == "__main__":
    main(*sys.argv[1:])
