"""Real servers on loopback for tests, the demo and the benchmarks, each a context manager."""
