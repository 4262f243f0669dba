"""What is measured on a GPU, by name, and what is asked for."""

from __future__ import annotations

from benchmarks import baseline

PREFIX = "gpu-"  # of works in results.csv
DEFERRED = "deferred-512"
WORKS = (*baseline.WORKS, DEFERRED)
TARGETS = {"lenet-2/6": 100e6, "paper-mlp-2/6": 150e6, "mlp-2-8-1": 5e9}  # candidates a second
RATIO = 300.0  # x the published way on the same GPU
REACHED = 0.6  # of the ceiling: an assumption of predictions
