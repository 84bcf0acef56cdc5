"""Speech that is read while it is spoken, and an LLM that goes on when it ends.

python examples/live.py [MODEL] [FILE]

A file stands for a microphone: its chunks come one after another.
"""

import pathlib
import sys

import soundfile

from ssr_plugin import SpeechLM

SAMPLE = pathlib.Path(__file__).parents[1] / "recipes/sample/corpus/dev-sample"


def main(model="results/distill", file=SAMPLE / "12/1200/12-1200-0000.opus"):
    lm = SpeechLM.from_pretrained(model)
    rate = soundfile.info(file).samplerate
    # 80 ms each; a microphone's may have any size.
    chunks = soundfile.blocks(file, blocksize=rate * 8 // 100, dtype="float32")
    prompt = lm.growing_prompt()
    prompt.append("They said: ")
    for speech in lm.stream_speech(chunks, rate):
        print(f"{speech.starts[0]:6.2f} to {speech.ends[-1]:.2f} s  {speech.text}")
        # The LLM reads it now, not when the speaker has stopped.
        prompt.append(speech)
    prompt.append(" then")
    print("written: then", end="")
    for text in prompt.stream(max_new_tokens=20, do_sample=False):
        print(text, end="", flush=True)
    print()


if __name__ == "__main__":
    main(*sys.argv[1:])
