"""``ssr compare``: evaluations side by side."""

SUMMARY = "compare evaluations, with intervals of the differences"
USAGE = """
  ssr compare results/a results/b
  ssr compare results/a results/b results/c --save results/compared

Each figure of the later evaluations is shown with its difference to the first one's and
the 95 % interval of the difference, by bootstrap over the items that both answered."""


def add_arguments(parser):
    """Adds the arguments of the command."""
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
    """Prints how evaluations differ; writes it, too, if asked."""
    from ssr_plugin.evaluation.report.compare_runs import compare_runs, write_comparison
    from ssr_plugin.evaluation.report.document import to_markdown

    blocks = compare_runs(options.folders)
    print(to_markdown(blocks, options.save or "."))
    if options.save:
        write_comparison(blocks, options.save)
