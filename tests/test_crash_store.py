"""A writer that dies at any moment leaves a file that opens, with all that it acknowledged."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import biasgpu.results
from biasgpu.fits import Fits
from biasgpu.results import Store, build, handle, read, store
from biasgpu.task import Task

ROOT = Path(biasgpu.results.__file__).parents[2]
KILLS = 40
WRITER = """
import sys
import numpy as np
from biasgpu.fits import Fits
from biasgpu.results import Store
from biasgpu.task import Task

path, new = sys.argv[1], sys.argv[2] == "new"
x = np.arange(24, dtype=np.float32).reshape(24, 1)
task = Task("p", x[:4], np.arange(4) % 2, x[4:], np.arange(20) % 2, ("a", "b"))
store = (
    Store.create(path, {}, task, provenance={}, keep_predictions=True, sync=False)
    if new
    else Store.reopen(path, provenance={"again": True}, sync=False)
)
n = store.n_rows
sizes = np.random.default_rng(n)
print(n, flush=True)
while True:
    size = int(sizes.integers(0, 60))
    index = np.arange(n, n + size, dtype=np.uint64)
    bits = (index[:, None] >> np.arange(20, dtype=np.uint64) & np.uint64(1)).astype(np.uint8)
    rest = np.full(size, 4), index / 4, np.full(size, 0.5), np.full((size, 2), 0.5)
    n += size
    store.append(Fits(index, *rest, bits), next_draw=n, prefix_counts=np.full(5, n), elapsed_s=0)
    print(n, flush=True)
    if sizes.random() < 0.02:
        store.finish("fits")
"""


def check(path: Path, acknowledged: int) -> int:
    """The file holds at least what was acknowledged, and nothing wrong."""
    stored = read(path)
    n = len(stored.fits)
    assert n >= acknowledged
    assert (stored.next_draw, stored.prefix_counts.tolist()) == (n, [n] * 5)
    index = np.arange(n, dtype=np.uint64)
    assert np.array_equal(stored.fits.index, index)
    assert np.array_equal(stored.fits.margin, index / 4)
    bits = index[:, None] >> np.arange(20, dtype=np.uint64) & np.uint64(1)
    assert stored.fits.test_predictions is not None
    assert np.array_equal(stored.fits.test_predictions, bits)
    return n


@pytest.mark.crash
def test_kill_at_random_moments(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    moments = random.Random(5)
    acknowledged = 0
    for kill in range(KILLS):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), "go on" if kill else "new"],
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        assert writer.stdout is not None
        with writer.stdout as lines:
            # It goes on from all that was found, no less and no more.
            assert int(lines.readline()) == acknowledged
            # At least a few, however slow the machine, and then at any moment.
            for _ in range(moments.randint(0, 4)):
                acknowledged = int(lines.readline())
            time.sleep(moments.random() * 0.04)
            writer.kill()
            writer.wait()
            last = [line for line in lines.read().split(b"\n")[:-1] if line]
        acknowledged = check(path, int(last[-1]) if last else acknowledged)
    assert acknowledged > 1000
    with Store.reopen(path) as again:
        again.finish("fits")
    assert check(path, acknowledged) == acknowledged
    assert [p.name for p in tmp_path.iterdir()] == ["run.h5"]


def test_every_moment_between_and_within_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stops at every single write, and in the middle of each, by looking at the file there."""
    path, looks = tmp_path / "run.h5", []
    whole = store.write_all
    before = after = 0

    def look() -> None:
        if path.exists():
            looks.append(check(path, before))
            assert looks[-1] in (before, after)

    def watched(file: object, data: bytes) -> None:
        middle = len(data) // 2
        for part in (data[:middle], data[middle:]):
            whole(file, part)  # pyright: ignore[reportArgumentType]
            look()

    def watched_replace(source: Path, target: Path) -> None:
        look()
        replace(source, target)
        look()

    replace = os.replace
    monkeypatch.setattr(store, "write_all", watched)
    monkeypatch.setattr(build, "write_all", watched)
    monkeypatch.setattr(handle.os, "replace", watched_replace)
    monkeypatch.setattr(handle, "_FIRST_ROWS", (16, 16))
    x = np.arange(24, dtype=np.float32).reshape(24, 1)
    task = Task("p", x[:4], np.arange(4) % 2, x[4:], np.arange(20) % 2, ("a", "b"))
    with Store.create(path, {}, task, provenance={}, keep_predictions=True, sync=False) as writer:
        for size in (5, 0, 11, 1, 40, 7):
            after = before + size
            index = np.arange(before, after, dtype=np.uint64)
            bits = index[:, None] >> np.arange(20, dtype=np.uint64) & np.uint64(1)
            rest = np.full(size, 4), index / 4, np.full(size, 0.5), np.full((size, 2), 0.5)
            fits = Fits(index, *rest, bits.astype(np.uint8))
            writer.append(fits, next_draw=after, prefix_counts=np.full(5, after), elapsed_s=0)
            before = after
        writer.finish("fits")
    assert len(looks) > 100
    assert set(looks) == {0, 5, 16, 17, 57, 64}
    assert check(path, 64) == 64
