"""``ssr export``: prompts with speech in them, for vLLM."""

import sys

from ssr_plugin.cli.arguments import add_length, add_model, add_prompt

SUMMARY = "write prompts with recordings in them for vLLM"
USAGE = r"""
  ssr export --prompt "{audio}\nIn short:" talks/ --output prompts.safetensors
  ssr export --prompt "{audio}\nIn short:" talk.wav |
      curl localhost:8000/v1/completions -H "Content-Type: application/json" -d @-

An unchanged vLLM with prompt embeddings switched on continues them; stderr says how to
start it. With --api chat, each request is one of /v1/chat/completions: the prompt is
the user's turn, and the server applies the chat template. The file holds a tensor
[L, H] for each prompt, in the order of their names; without --output each is printed as
a request to vLLM's server."""


def add_arguments(parser):
    """Adds the arguments of the command."""
    add_prompt(parser)
    add_length(parser)
    parser.add_argument(
        "--api",
        choices=("completions", "chat"),
        default="completions",
        help="which of the server's the requests are for (default completions)",
    )
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
        chat_request,
        completion_request,
        save_prompts,
        serving,
    )
    from ssr_plugin.problems import Problems

    if options.api == "chat" and (options.chat or options.output):
        raise ValueError(
            "--api chat makes requests alone, to whose text the server applies the "
            "chat template: leave --chat and --output out"
        )
    groups = group_files(options.prompt, options.files)
    lm = load_model(options)
    model, command = serving(lm, find_folder(options.model, options.revision))
    print(f"for a server started with: {command}", file=sys.stderr)
    problems = Problems("exporting", max_share=1.0)
    prompts = {}
    if options.api == "chat":
        for _, prompt in read_prompts(lm, groups, options, problems):
            messages = [{"role": "user", "content": prompt}]
            show_json(chat_request(lm, messages, model, options.max_new_tokens))
        return problems
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
