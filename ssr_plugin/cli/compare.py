"""``ssr compare``: evaluations side by side."""

WHAT = "tell how evaluations differ, and how sure that is"
HOW = """
  ssr compare results/a results/b
  ssr compare results/a results/b results/c --save results/compared

Each figure of the later evaluations comes with its difference to the first one's, and
the 95 % interval of that, by bootstrap over the items that both answered."""


def add_arguments(parser):
    """What it can be told."""
    parser.add_argument(
        "folders",
        nargs="+",
        metavar="FOLDER",
        help="output folders of evaluations, two or more",
    )
    parser.add_argument(
        "--save", metavar="FOLDER", help="write compare.md and compare.html here, too"
    )


def run(options):
    """Prints how evaluations differ, and writes it where that is wanted."""
    from ssr_plugin.evaluation.report.compare_runs import compare_runs, write_comparison
    from ssr_plugin.evaluation.report.document import to_markdown

    blocks = compare_runs(options.folders)
    print(to_markdown(blocks, options.save or "."))
    if options.save:
        write_comparison(blocks, options.save)
