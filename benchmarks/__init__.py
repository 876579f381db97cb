"""Programs that measure, and what they share. Start them from the root of the repository: `python -m benchmarks.demo`."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]  # where programs of this package are started, by people and by each other
RESULTS = ROOT / "benchmarks" / "results"

# Servers and their metrics are on this machine: no proxy of the environment stands before them.
os.environ["no_proxy"] = ",".join(filter(None, (os.environ.get("no_proxy"), os.environ.get("NO_PROXY"), "localhost,127.0.0.1,::1")))
