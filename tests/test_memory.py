"""Memory stays flat, however many candidates."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.commands import ROOT

# Prints the peak memory in KiB after a million candidates, and after twenty million.
WATCHED = """
import sys

import biasgpu
from biasgpu.sampling.events import Progress

task = biasgpu.task("kink", n_train=40)
few, many = 10**6, 2 * 10**7

def peak():
    # Not getrusage: its maximum outlives exec, so it would be the memory of the tests' process.
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))

def on_event(event):
    if isinstance(event, Progress) and event.n_candidates >= few:
        peaks.append(peak())

peaks = []
run = biasgpu.sample(
    task, biasgpu.mlp(width=4, depth=1, bias="prior"), "uniform", candidates=many,
    engine="cpu", threads=2, on_event=on_event, batch_draws=int(sys.argv[1]) or None,
)
assert run.n_candidates == many
print(peaks[0], peak())
"""


@pytest.mark.parametrize("batch_draws", [0, 500_000])
def test_peak_memory(batch_draws: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, str(batch_draws)],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    before, after = (int(text) / 1024 for text in done.stdout.split())
    assert after < 1000
    if batch_draws:  # which else grows with the speed at first, up to a quarter of a second's work
        assert after - before < 50
