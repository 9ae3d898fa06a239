"""Suites that measure quality and latency together: ``python -m benchmarks SUITE``."""
