"""``ssr pool``: several evaluations as one."""

SUMMARY = "pool evaluations: one figure of all their items, with one interval"
USAGE = """
  ssr pool results/fold-1-evaluated results/fold-2-evaluated results/fold-3-evaluated
  ssr pool results/a results/b --by utterance --save results/pooled

Each run may be of another model and another data set: folds over speakers, or test sets
too small to tell by themselves. Intervals are by bootstrap over speakers, whose
utterances are not independent; --by utterance draws utterances."""


def add_arguments(parser):
    """Adds the arguments of the command."""
    parser.add_argument(
        "folders", nargs="+", metavar="FOLDER", help="output folders of evaluations"
    )
    parser.add_argument(
        "--by",
        choices=("speaker", "utterance"),
        default="speaker",
        help="what the bootstrap draws (default: speaker)",
    )
    parser.add_argument(
        "--save",
        metavar="FOLDER",
        help="write pool.md, pool.html and pool.json here, too",
    )


def run(options):
    """Prints the figures of all runs together; writes them, too, if asked."""
    from ssr_plugin.evaluation.report.document import to_markdown
    from ssr_plugin.evaluation.report.pool_runs import pool_runs, show_pool, write_pool

    pooled = pool_runs(options.folders, options.by)
    print(to_markdown(show_pool(pooled), options.save or "."))
    if options.save:
        write_pool(pooled, options.save)
