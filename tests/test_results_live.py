"""Reading while a run is written: neither side disturbs the other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np

import biasgpu.results
from biasgpu.results import read, read_config, read_status

ROOT = Path(biasgpu.results.__file__).parents[2]
BATCHES = 600
WRITER = """
import sys, time
import numpy as np
from biasgpu.fits import Fits
from biasgpu.results import StatusFile, Store
from biasgpu.task import Task

x = np.arange(12, dtype=np.float32).reshape(12, 1)
task = Task("p", x[:4], np.arange(4) % 2, x[4:], np.arange(8) % 2, ("a", "b"))
path, batches = sys.argv[1], int(sys.argv[2])
status = StatusFile(path)
n = 0
with Store.create(path, {"a": 1}, task, provenance={}, keep_predictions=False, sync=False) as store:
    print("created", flush=True)
    for batch in range(1, batches + 1):
        size = 10 + batch % 40
        index = np.arange(n, n + size, dtype=np.uint64)
        n += size
        rest = np.full(size, 4), index / 4, np.full(size, 0.5), np.full((size, 2), 0.5)
        store.append(Fits(index, *rest), next_draw=n, elapsed_s=batch,
                     prefix_counts=np.full(5, batch), counters={"n_rows": n})
        assert status.write({"batch": batch})
        time.sleep(0.002)
    store.finish("fits")
"""


def test_a_reader_sees_whole_commits_and_never_stops_the_writer(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(BATCHES)],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert writer.stdout is not None
    try:
        assert writer.stdout.readline() == b"created\n"
        seen: set[int] = set()
        last = 0
        # Any program may also keep the file open with HDF5's own locks in force.
        with h5py.File(path):
            while not (stored := read(path)).complete:
                batch = int(stored.elapsed_s)
                assert batch >= last
                last = batch
                seen.add(batch)
                n = stored.next_draw
                assert stored.counters == ({"n_rows": n} if batch else {})
                assert stored.prefix_counts.tolist() == [batch] * 5
                assert np.array_equal(stored.fits.index, np.arange(n))
                assert np.array_equal(stored.fits.margin, np.arange(n) / 4)
                assert not stored.recovered
                assert read_config(path) == {"a": 1}
                if batch:
                    assert read_status(path)["batch"] >= batch - 1
        assert writer.wait(timeout=30) == 0
        assert len(seen) > 20
        assert read(path).elapsed_s == BATCHES
    finally:
        writer.kill()
        writer.wait()
        writer.stdout.close()
