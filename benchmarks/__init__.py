"""Benchmarks: Longtake against its peers and against the limit, in the same run."""
