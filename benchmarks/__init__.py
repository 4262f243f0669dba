"""Benchmarks: ratios and fractions of measured ceilings, each from one run."""
