"""`biasgpu sample`, killed at random moments and resumed, ends as an uninterrupted run."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import biasgpu
from biasgpu.run import Run
from tests.commands import COLUMNS, OPTIONS, assert_same, command, read_line, uninterrupted

KILLS = 20
DRAWS, COMMITS = 500, 100  # of a batch; of a session, which then waits for its end
CANDIDATES = 2 * DRAWS * COMMITS * (KILLS + 1)  # so it never finishes, however fast the machine
# Commits as often as it can, and says when the first batch is due and when one is committed.
OFTEN = f"""
import time
from biasgpu.cli import main
from biasgpu.sampling import pace, session
session.COMMIT_EVERY_S, pace.MAX_DRAWS = 0.0, {DRAWS}
loop = session.Session._loop
def announced(self):
    print("sampling", flush=True)
    return loop(self)
session.Session._loop = announced
commit, left = session.Session._commit, {COMMITS}
def committed(self, progress):
    global left
    commit(self, progress)
    print("committed", flush=True)
    left -= 1
    if not left:
        time.sleep(1e6)
session.Session._commit = committed
main()
"""


def check_nothing_lost(before: Run | None, path: Path) -> Run:
    """The file opens and goes on from what it held: no row gone, none changed."""
    now = biasgpu.open(path)
    assert not now.complete
    assert now.prefix_counts.sum() == now.n_draws
    assert now.n_fits == (now.fits.prefix == now.task.n_train).sum()
    if before is not None:
        assert now.n_draws >= before.n_draws
        assert (now.prefix_counts >= before.prefix_counts).all()
        assert len(now.fits) >= len(before.fits)
        for name in COLUMNS:
            old = getattr(before.fits, name)
            np.testing.assert_array_equal(getattr(now.fits, name)[: len(old)], old)
    return now


@pytest.mark.crash
def test_kill_at_random_moments(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    moments = random.Random(1)
    start = [*OPTIONS, "--candidates", str(CANDIDATES), "-o", str(path)]
    whole = uninterrupted(CANDIDATES)  # first, for it leaves the compiled code on disk
    before: Run | None = None
    grown = early = waited = 0
    for _ in range(KILLS):
        what = ["--resume", str(path), "--engine", "cpu"] if path.exists() else start
        process = command(OFTEN, "sample", *what, "--threads", "1", "--quiet")
        try:
            if moments.random() < 0.25:
                early += 1
                time.sleep(moments.random() * 0.8)  # while it starts
            else:
                read_line(process, "sampling")
                if moments.random() < 0.5:
                    waited += 1
                    for _ in range(moments.randint(1, COMMITS)):
                        read_line(process, "committed")
                    time.sleep(moments.random() * 0.01)
                else:
                    time.sleep(moments.random() * 0.25)
            assert process.poll() is None
        finally:
            process.kill()
            process.communicate()
        if path.exists():
            now = check_nothing_lost(before, path)
            grown += before is None or now.n_draws > before.n_draws
            before = now
    assert before is not None
    assert early > 2
    assert grown >= waited > 4
    assert len(before.fits) > 100
    done = biasgpu.resume(path, engine="cpu")
    stored = biasgpu.open(path)
    for run in (done, stored):
        assert (run.n_candidates, run.complete) == (CANDIDATES, True)
        assert_same(run, whole)
    assert whole.n_fits > 100
    # Nothing is left behind but the results and the status.
    assert sorted(os.listdir(tmp_path)) == ["run.h5", "run.h5.status.json"]


@pytest.mark.crash
def test_others_while_it_runs(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    process = command(
        OFTEN, "sample", *OPTIONS, "--candidates", "1e12", "-o", str(path), "--quiet", "--threads=1"
    )
    try:
        read_line(process, "sampling")
        before = None
        for _ in range(20):  # while it writes
            read_line(process, "committed")
            before = check_nothing_lost(before, path)
        assert before is not None
        assert before.n_draws > 0
        others = [
            ["sample", "--resume", str(path), "--candidates", "1e13"],
            ["sample", *OPTIONS, "--candidates", "9", "-o", str(path)],
            ["sample", *OPTIONS, "--candidates", "9", "-o", str(path), "--overwrite"],
        ]
        for other in others:
            done = subprocess.run(
                [sys.executable, "-m", "biasgpu", *other], capture_output=True, text=True
            )
            assert done.returncode == 3, done.stderr
            refusal = "exists" if other[-1] == str(path) else f"another process (pid {process.pid})"
            assert refusal in done.stderr
        assert process.poll() is None
    finally:
        process.kill()
        process.communicate()
    check_nothing_lost(before, path)
