"""`python -m masklet` is the command `masklet`."""

import sys

from masklet.cli import main

if __name__ == "__main__":
    sys.exit(main())
