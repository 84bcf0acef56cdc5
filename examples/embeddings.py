"""Recordings as vectors in the LLM's embedding space: compared, kept, used again.

python examples/embeddings.py [MODEL] [FILE...]
"""

import pathlib
import sys
import tempfile

import torch

from ssr_plugin import SpeechLM
from ssr_plugin.inference.speech_files import load_speech, save_speech

SAMPLE = pathlib.Path(__file__).parents[1] / "recipes/sample/corpus/dev-sample"


def main(model="results/distill", *files):
    files = files or sorted(SAMPLE.glob("1[12]/*/*.opus"))
    lm = SpeechLM.from_pretrained(model)
    # What the connector alone hears; lm_fusion=True multiplies in what the LLM expects.
    speeches = dict(zip(map(str, files), lm.embed(list(files)), strict=True))
    for name, speech in speeches.items():
        # One vector for each token, [N, H], close to the LLM's own embedding of it.
        embeddings = lm.llm.embed(torch.tensor(speech.tokens, device=lm.device))
        near = torch.cosine_similarity(speech.vectors, embeddings).mean()
        print(f"{name}: {list(speech.vectors.shape)}, cosine to tokens {near:.2f}")
    means = torch.stack([speech.vectors.mean(0) for speech in speeches.values()])
    alike = torch.cosine_similarity(means[:, None], means[None], dim=-1)
    alike.fill_diagonal_(-1)
    for name, i in zip(speeches, alike.argmax(1).tolist(), strict=True):
        print(f"most like {pathlib.Path(name).name}: {pathlib.Path(files[i]).name}")
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "speech.safetensors"
        save_speech(path, speeches, lm)
        name, again = next(iter(load_speech(path).items()))
        print(f"kept and loaded: {again.text == speeches[name].text}")
        print(lm.generate([again, " then"], max_new_tokens=10, do_sample=False))


if __name__ == "__main__":
    main(*sys.argv[1:])
