"""The parts of the load test: what a camera does and when, what was measured, and what it means. `benchmarks/locustfile.py` puts them together."""
