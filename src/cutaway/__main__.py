"""`python -m cutaway`: the command line. In: words. Out: the command's exit code."""

import sys

from .apps.cli import main

if __name__ == "__main__":
    sys.exit(main())
