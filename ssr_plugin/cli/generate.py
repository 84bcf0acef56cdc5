"""``ssr generate``: the LLM continues a prompt."""

from ssr_plugin.cli.arguments import add_length, add_model, add_prompt
from ssr_plugin.cli.live import add_live, check_live, generate_live

SUMMARY = "let the LLM write after a prompt with recordings in it"
USAGE = r"""
  ssr generate --prompt "{audio}\nQuestion: who called?\nAnswer:" call.wav
  ssr generate --chat --prompt "Sum this up: {audio}" talk.wav --stream
  ssr generate --prompt "{audio}\nIn short:" talks/ --json > talks.jsonl
  arecord -f S16_LE -r 16000 | ssr generate --live --prompt "{audio}\nAnswer:" -
  ssr generate --prompt "{audio} means yes.\n{audio} means" one.wav two.wav"""


def add_arguments(parser):
    """Adds the arguments of the command."""
    add_prompt(parser)
    options = parser.add_argument_group("how it writes")
    add_length(options)
    options.add_argument(
        "--sample",
        action="store_true",
        help="draw tokens at random instead of taking the likeliest",
    )
    options.add_argument(
        "--temperature", type=float, help="implies --sample; higher: more varied"
    )
    options.add_argument(
        "--top-p", type=float, help="implies --sample; share of probability drawn from"
    )
    options.add_argument(
        "--num-beams", type=int, default=1, help="beams searched (default %(default)s)"
    )
    options.add_argument("--seed", type=int, help="the same seed gives the same text")
    form = parser.add_mutually_exclusive_group()
    form.add_argument(
        "--stream", action="store_true", help="of one prompt: print while it is written"
    )
    form.add_argument(
        "--json", action="store_true", help="a line of JSON for each prompt"
    )
    add_live(parser)
    parser.add_argument(
        "--end-pause",
        type=float,
        default=1.5,
        metavar="S",
        help="with --live: the LLM begins when nobody has spoken for so long (default "
        "%(default)s), or the audio has ended",
    )
    add_model(parser)


def run(options):
    """Prints the text after each prompt; returns the problems."""
    import torch

    from ssr_plugin.cli.model import in_batches, load_model
    from ssr_plugin.cli.prompt_files import group_files, live_contents, read_prompts
    from ssr_plugin.cli.show import show_json, show_text
    from ssr_plugin.problems import Problems

    check_live(options)
    groups = group_files(options.prompt, options.files)
    if options.live and options.json:
        raise ValueError("--live prints while it is written: leave --json out")
    alone = len(groups) == 1
    if options.stream and not alone:
        raise ValueError(f"--stream is for one prompt, and there are {len(groups)}")
    lm = load_model(options)
    if options.seed is not None:
        torch.manual_seed(options.seed)
    arguments = _generation_options(options)
    if options.live:
        generate_live(lm, options, live_contents(lm, options), arguments)
        return None
    problems = Problems("generating", max_share=1.0)
    for batch in in_batches(read_prompts(lm, groups, options, problems)):
        prompts = [prompt for _, prompt in batch]
        if options.stream:
            for piece in lm.stream(prompts[0], **arguments):
                print(piece, end="", flush=True)
            print()
            continue
        for (paths, _), text in zip(
            batch, lm.generate(prompts, **arguments), strict=True
        ):
            if options.json:
                show_json({"paths": [str(path) for path in paths], "text": text})
            else:
                show_text(" ".join(map(str, paths)), text, alone)
    return problems


def _generation_options(options):
    """Options of transformers' generate."""
    sampling = {"temperature": options.temperature, "top_p": options.top_p}
    sampling = {key: value for key, value in sampling.items() if value is not None}
    return {
        "max_new_tokens": options.max_new_tokens,
        "num_beams": options.num_beams,
        "do_sample": options.sample or bool(sampling),
        **sampling,
    }
