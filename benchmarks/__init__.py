"""Programs that measure, and what they share. Start them from the root of the repository: `python -m benchmarks.demo`."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]  # where programs of this package are started, by people and by each other
RESULTS = ROOT / "benchmarks" / "results"
