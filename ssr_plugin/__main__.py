"""``python -m ssr_plugin``: the command ``ssr``."""

import sys

from ssr_plugin.cli import main

if __name__ == "__main__":
    sys.exit(main())
