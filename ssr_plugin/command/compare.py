"""``ssr compare``: evaluations side by side."""

from ssr_plugin.tasks.compare import compare_runs, write_comparison
from ssr_plugin.tasks.document import to_markdown


def run(options):
    """Prints how evaluations differ, and writes it where that is wanted."""
    blocks = compare_runs(options.folders)
    print(to_markdown(blocks, options.save or "."))
    if options.save:
        write_comparison(blocks, options.save)
