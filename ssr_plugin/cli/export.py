"""``ssr export``: prompts with speech in them, for vLLM."""

import sys

from ssr_plugin.cli.arguments import add_length, add_model, add_prompt

SUMMARY = "write prompts with recordings in them for vLLM"
USAGE = r"""
  ssr export --prompt "{audio}\nIn short:" talks/ --output prompts.safetensors
  ssr export --prompt "{audio}\nIn short:" talk.wav |
      curl localhost:8000/v1/completions -H "Content-Type: application/json" -d @-

An unchanged vLLM with prompt embeddings switched on continues them; stderr says how to
start it. The file holds a tensor [L, H] for each prompt, in the order of their names;
without --output each is printed as a request to vLLM's server."""


def add_arguments(parser):
    """Adds the arguments of the command."""
    add_prompt(parser)
    add_length(parser)
    parser.add_argument(
        "--output", metavar="FILE.safetensors", help="a file rather than requests"
    )
    add_model(parser)


def run(options):
    """Writes or prints each prompt; returns the problems."""
    from ssr_plugin.cli.model import in_batches, load_model
    from ssr_plugin.cli.prompt_files import group_files, read_prompts
    from ssr_plugin.cli.show import show_json
    from ssr_plugin.inference.pretrained import find_folder
    from ssr_plugin.inference.vllm_export import (
        completion_request,
        save_prompts,
        serving,
    )
    from ssr_plugin.problems import Problems

    groups = group_files(options.prompt, options.files)
    lm = load_model(options)
    model, command = serving(lm, find_folder(options.model, options.revision))
    print(f"for a server started with: {command}", file=sys.stderr)
    problems = Problems("exporting", max_share=1.0)
    prompts = {}
    for batch in in_batches(read_prompts(lm, groups, options, problems)):
        for embeds in lm.embed_prompts([prompt for _, prompt in batch]):
            if options.output is None:
                show_json(completion_request(embeds, model, options.max_new_tokens))
            else:
                prompts[f"{len(prompts):06d}"] = embeds.cpu()
    if options.output is not None:
        if not prompts:
            raise ValueError("no prompt has all its recordings: nothing is written")
        save_prompts(options.output, prompts, lm)
    return problems
