"""`python -m cuslayer`: the command line."""

import sys

from cuslayer.cli import main

if __name__ == "__main__":
    sys.exit(main())
