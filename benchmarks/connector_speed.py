"""How much audio a second of training gets through: SSR's forms, and the usual rival.

Times whole optimiser steps (forward, loss, backward, AdamW) on the same random frames
and segments for every variant, in one process, turn by turn, and prints the ratio to
the rival: ten frames stacked, an MLP, and the transcript's loss through the whole LLM.
No data and no encoder are needed:

    python benchmarks/connector_speed.py --llm recipes/sample/llm --width 192
    python benchmarks/connector_speed.py --llm HuggingFaceTB/SmolLM2-135M --width 512
"""

import argparse
import statistics
import time

import torch
import torch.nn.functional as F

from ssr_plugin.connectors import (
    StackMLPConnector,
    VocabularyConnector,
    ssr_connector,
)
from ssr_plugin.connectors.ssr import PUBLISHED
from ssr_plugin.llm.llm_losses import transcription_loss
from ssr_plugin.llm.text_llm import TextLLM
from ssr_plugin.nnet.candidates import draw_candidates
from ssr_plugin.nnet.precision import resolve_precision
from ssr_plugin.training.losses import cosine_distance, squared_error

FRAME_RATE = 50
TOKENS_PER_SECOND = 3.3
RIVAL = "stack + MLP, through the LLM"
# Name, options of the connector.
VARIANTS = (
    ("frame form (published)", PUBLISHED),
    ("frame form, 2 frames stacked", {**PUBLISHED, "stack": 2}),
    ("token form", {**PUBLISHED, "form": "token"}),
    ("token form, 2 layers", {"head": "direct"}),
    ("the same, vocabulary head", {}),  # as hparams/distill.yaml has it
)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--llm", default="recipes/sample/llm", help="folder or hub id")
    parser.add_argument(
        "--width", type=int, default=192, help="of the encoder's frames"
    )
    parser.add_argument("--batch", type=int, default=8, help="utterances")
    parser.add_argument("--seconds", type=float, default=12.0, help="of each")
    parser.add_argument(
        "--candidates", type=int, default=2000, help="tokens told apart"
    )
    parser.add_argument("--rounds", type=int, default=5, help="steps timed of each")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()

    torch.manual_seed(0)
    device = torch.device(options.device)
    llm = TextLLM(options.llm).to(device)
    table = llm.table()
    frames = round(options.seconds * FRAME_RATE)
    tokens = round(options.seconds * TOKENS_PER_SECOND)
    features = torch.randn(options.batch, frames, options.width, device=device)
    ends = torch.linspace(frames / tokens, frames, tokens, device=device).long() - 1
    boundaries = ends.expand(options.batch, -1).contiguous()
    targets = torch.randint(len(table), (options.batch * tokens,), device=device)
    half = resolve_precision("auto", options.device) == "bf16"

    rival = StackMLPConnector(options.width, llm).to(device).train()
    fixed = torch.arange(9, frames, 10, device=device).expand(options.batch, -1)
    steps = {RIVAL: make_rival_step(rival, llm, features, fixed, targets, half)}
    for name, choice in VARIANTS:
        connector = ssr_connector(options.width, llm, **choice).to(device).train()
        optimizer = torch.optim.AdamW(connector.parameters(), fused=True)
        steps[name] = make_step(
            connector,
            optimizer,
            features,
            boundaries,
            targets,
            table,
            half,
            options.candidates,
        )
        size = sum(p.numel() for p in connector.parameters())
        print(f"{name}: {size / 1e6:.1f} M parameters")
    times = {name: [] for name in steps}
    for turn in range(options.rounds + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if turn:  # the first warms up
                times[name].append(time.perf_counter() - start)
    print(f"\n{'variant':<32}{'audio s/s':>12}{'ratio':>8}")
    audio = options.batch * options.seconds
    base = statistics.median(times[RIVAL])
    for name, taken in times.items():
        median = statistics.median(taken)
        print(f"{name:<32}{audio / median:>12.0f}{base / median:>8.2f}")


def make_rival_step(connector, llm, features, boundaries, targets, half):
    """A function that makes one optimiser step through the frozen LLM."""
    optimizer = torch.optim.AdamW(connector.parameters(), fused=True)
    batch, count = boundaries.shape
    counts = torch.full((batch,), count, device=features.device)
    tokens = targets.view(batch, -1)
    llm.load_model()

    def step():
        with torch.autocast(features.device.type, torch.bfloat16, enabled=half):
            vectors = connector(features, boundaries.contiguous()).vectors
            loss = transcription_loss(llm, vectors, counts, tokens)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def make_step(connector, optimizer, features, boundaries, targets, table, half, count):
    """A function that makes one optimiser step."""

    def step():
        with torch.autocast(features.device.type, torch.bfloat16, enabled=half):
            if isinstance(connector, VocabularyConnector):
                candidates = draw_candidates(targets, targets, len(table), count)
                output = connector(features, boundaries, None, candidates)
                index = torch.searchsorted(candidates, targets)
                loss = F.cross_entropy(output.token_logits, index)
            else:
                output, loss = connector(features, boundaries), 0.0
            z, h = output.vectors.flatten(0, 1).float(), table[targets].float()
            loss = loss + squared_error(z, h) + 5 * cosine_distance(z, h)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


if __name__ == "__main__":
    main()
