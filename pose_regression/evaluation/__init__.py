"""From annotated people to the benchmarks' scores."""
