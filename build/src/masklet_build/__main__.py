"""`python -m masklet_build`."""

import sys

from masklet_build.cli import main

sys.exit(main())
