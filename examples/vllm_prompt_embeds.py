"""Prompts with speech in them for a stock vLLM, which needs nothing of this package.

python examples/vllm_prompt_embeds.py [MODEL] [FILE...]

Where vLLM is not installed, transformers reads the same file in its place.
"""

import importlib.util
import pathlib
import sys
import tempfile

from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from ssr_plugin import SpeechLM
from ssr_plugin.inference.vllm_export import save_prompts, serving

SAMPLE = pathlib.Path(__file__).parents[1] / "recipes/sample/corpus/dev-sample"


def main(model="results/distill", *files):
    files = files or sorted(SAMPLE.glob("12/*/*.opus"))
    lm = SpeechLM.from_pretrained(model)
    embeds = lm.embed_prompts([[pathlib.Path(file), "\n"] for file in files])
    _, command = serving(lm, model)
    print(f"a server for them: {command}")
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "prompts.safetensors"
        save_prompts(path, {f"{i:04d}": x for i, x in enumerate(embeds)}, lm)
        prompts = [embeds for _, embeds in sorted(load_file(path).items())]
    for text in write(lm.llm.source, prompts):
        print(text.strip())


def write(source, prompts, most=20):
    """What an LLM that was not tuned writes after prompts [L, H]."""
    if importlib.util.find_spec("vllm"):
        from vllm import LLM, SamplingParams

        llm = LLM(source, enable_prompt_embeds=True)
        inputs = [{"prompt_embeds": embeds} for embeds in prompts]
        outputs = llm.generate(inputs, SamplingParams(temperature=0, max_tokens=most))
        return [output.outputs[0].text for output in outputs]
    llm = AutoModelForCausalLM.from_pretrained(source)
    tokenizer = AutoTokenizer.from_pretrained(source)
    options = {"max_new_tokens": most, "do_sample": False}
    written = [llm.generate(inputs_embeds=x[None], **options)[0] for x in prompts]
    return tokenizer.batch_decode(written, skip_special_tokens=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
