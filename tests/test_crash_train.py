"""`biasgpu train`, killed at random moments and resumed, ends as an uninterrupted one."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import numpy as np
import pytest

import biasgpu
from biasgpu.training.trained import Trained
from tests.commands import command, read_line
from tests.train_cases import COLUMNS, assert_same

KILLS = 12
COMMITS = 40  # of a session, which then waits for its end: it never finishes
NETWORKS = 10**9
OPTIONS = [
    *("--data", "kink", "--n-train", "8", "--width", "4", "--depth", "1", "--seed", "4"),
    *("--learning-rate", "0.1", "--epochs", "2", "--keep-epochs", "0,1", "--gradient-norms"),
    *("--engine", "reference", "--networks", str(NETWORKS)),
]  # fmt: skip
# Commits as often as it can, and says when the first batch is due and when one is committed.
OFTEN = f"""
import time
from biasgpu.cli import main
from biasgpu.sampling import session
from biasgpu.training import pace
session.COMMIT_EVERY_S, pace.BATCH_S = 0.0, 0.01
loop = session.Session._loop
def announced(self):
    print("training", flush=True)
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


def check_nothing_lost(before: Trained | None, path: Path) -> Trained:
    """The file opens and goes on from what it held: no row gone, none changed."""
    now = biasgpu.open(path)
    assert not now.complete
    assert now.prefix_counts.sum() == now.n_networks
    assert now.n_fits == len(now.fits)
    if before is not None:
        assert now.n_networks >= before.n_networks
        for name in COLUMNS:
            old = getattr(before.fits, name)
            if old is not None:
                np.testing.assert_array_equal(getattr(now.fits, name)[: len(old)], old)
    return now


@pytest.mark.crash
def test_kill_at_random_moments(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    moments = random.Random(2)
    before: Trained | None = None
    grown = waited = 0
    for _ in range(KILLS):
        what = ["--resume", str(path)] if path.exists() else [*OPTIONS, "-o", str(path)]
        process = command(OFTEN, "train", *what, "--quiet")
        try:
            read_line(process, "training")
            if moments.random() < 0.5:
                waited += 1
                for _ in range(moments.randint(1, COMMITS)):
                    read_line(process, "committed")
                time.sleep(moments.random() * 0.01)
            else:
                time.sleep(moments.random() * 0.3)
            assert process.poll() is None
        finally:
            process.kill()
            process.communicate()
        now = check_nothing_lost(before, path)
        grown += before is None or now.n_networks > before.n_networks
        before = now
    assert before is not None
    assert grown >= waited > KILLS / 3
    end = before.n_networks + 50  # the rest need not take long
    done = biasgpu.resume(path, networks=end)
    whole = biasgpu.train(
        biasgpu.task("kink", n_train=8), biasgpu.mlp(4, 1), networks=end, seed=4,
        learning_rate=0.1, epochs=2, keep_epochs=(0, 1), gradient_norms=True, engine="reference",
    )  # fmt: skip
    for trained in (done, biasgpu.open(path)):
        assert_same(trained, whole)
    assert len(whole.fits) > 20
    # Nothing is left behind but the results and the status.
    assert sorted(os.listdir(tmp_path)) == ["run.h5", "run.h5.status.json"]
