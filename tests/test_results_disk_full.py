"""A full disk stops a run, and loses nothing that was committed."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import biasgpu.results
from biasgpu.errors import ResourceError
from biasgpu.fits import Fits
from biasgpu.results import Store, build, read, store
from biasgpu.task import Task

ROOT = Path(biasgpu.results.__file__).parents[2]
PRELUDE = """
import os, resource, signal, sys
from pathlib import Path
import numpy as np
from biasgpu.errors import ResourceError
from biasgpu.fits import Fits
from biasgpu.results import Store, read
from biasgpu.task import Task

x = np.random.default_rng(0).normal(size=(40, 50)).astype(np.float32)
task = Task("p", x[:4], np.arange(4) % 2, x[4:], np.arange(36) % 2, ("a", "b"))

def fits(first, n):
    index = np.arange(first, first + n, dtype=np.uint64)
    rest = [np.full(n, 4), index / 4, np.full(n, 0.5), np.full((n, 2), 0.5)]
    return Fits(index, *rest, np.ones((n, 36), np.uint8))

def fill(path, acknowledged=0, batches=10**9, n=500):
    store = Store.reopen(path) if path.exists() else Store.create(
        path, {}, task, provenance={}, keep_predictions=True, sync=False)
    with store:
        assert store.n_rows == acknowledged
        for _ in range(batches):
            store.append(fits(acknowledged, n), next_draw=acknowledged + n,
                         prefix_counts=np.zeros(5, np.int64), elapsed_s=0)
            acknowledged += n
            yield acknowledged

def check(path, acknowledged):
    stored = read(path)
    assert len(stored.fits) == acknowledged == stored.next_draw
    assert stored.fits.index.tolist() == list(range(acknowledged))
    assert stored.fits.margin.tolist() == [i / 4 for i in range(acknowledged)]
"""
LIMITS = (
    PRELUDE
    + """
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
for limit in [*range(0, 40_000, 1_111), *range(200_000, 1_500_000, 77_777)]:
    path = Path(sys.argv[1], f"run{limit}.h5")
    acknowledged = 0
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        for acknowledged in fill(path):
            pass
    except ResourceError as error:
        assert "may not grow" in error.what, error.what
        assert "--resume" in error.fix
    else:
        raise AssertionError("never full")
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert path.exists() == (limit > 200_000) or limit < 300_000
    assert {p.name for p in path.parent.iterdir()} <= {path.name}, list(path.parent.iterdir())
    if path.exists():
        check(path, acknowledged)
        for acknowledged in fill(path, acknowledged, 3):
            pass
        check(path, acknowledged)
        path.unlink()
print("good")
"""
)
MOUNTED = (
    PRELUDE
    + """
path = Path(sys.argv[1], "run.h5")
acknowledged = 0
try:
    for acknowledged in fill(path):
        pass
except ResourceError as error:
    assert "the disk is full" in error.what, error.what
check(path, acknowledged)
assert acknowledged > 1000, acknowledged
with Store.reopen(path) as store:
    store.finish("time")
check(path, acknowledged)
print("good")
"""
)


def run(code: str, folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
    )
    # Nothing on stderr: HDF5 does not try again when the interpreter ends.
    assert (done.stdout, done.stderr, done.returncode) == ("good\n", "", 0)


def test_a_limit_on_file_sizes(tmp_path: Path) -> None:
    run(LIMITS, tmp_path)


def test_a_full_file_system(tmp_path: Path) -> None:
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("only the superuser can mount a small file system")
    command = [mount, "-t", "tmpfs", "-o", "size=1m", "none", str(tmp_path)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        run(MOUNTED, tmp_path)
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="space cannot be claimed here")
def test_space_is_claimed_before_it_is_needed(tmp_path: Path) -> None:
    x = np.arange(12, dtype=np.float32).reshape(12, 1)
    task = Task("p", x[:4], np.arange(4) % 2, x[4:], np.arange(8) % 2, ("a", "b"))
    path = tmp_path / "run.h5"
    Store.create(path, {}, task, provenance={}, keep_predictions=True).close()
    facts = path.stat()
    assert facts.st_size > 100_000
    assert facts.st_blocks * 512 >= facts.st_size


@pytest.mark.parametrize("fails_at", range(8))
def test_a_write_that_fails_may_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    path = tmp_path / "run.h5"
    x = np.arange(12, dtype=np.float32).reshape(12, 1)
    task = Task("p", x[:4], np.arange(4) % 2, x[4:], np.arange(8) % 2, ("a", "b"))
    calls = iter(range(100))
    whole = store.write_all

    def failing(file: object, data: bytes) -> None:
        if next(calls) == fails_at:
            whole(file, data[: len(data) // 2])  # pyright: ignore[reportArgumentType]
            raise OSError(errno.ENOSPC, "No space left on device")
        whole(file, data)  # pyright: ignore[reportArgumentType]

    def fits(first: int) -> Fits:
        index = np.arange(first, first + 3, dtype=np.uint64)
        rest = np.full(3, 4), index / 4, np.full(3, 0.5), np.full((3, 2), 0.5)
        return Fits(index, *rest, np.ones((3, 8), np.uint8))

    def add(first: int) -> None:
        counts = np.zeros(5, np.int64)
        writer.append(fits(first), next_draw=first + 3, prefix_counts=counts, elapsed_s=0)

    with Store.create(path, {}, task, provenance={}, keep_predictions=True) as writer:
        add(0)
        with monkeypatch.context() as patch:
            patch.setattr(store, "write_all", failing)
            patch.setattr(build, "write_all", failing)
            if fails_at < 7:
                with pytest.raises(ResourceError, match="the disk is full"):
                    add(3)
                assert writer.n_rows == 3
                assert read(path).fits.index.tolist() == [0, 1, 2]
            add(3)
        assert read(path).fits.index.tolist() == [0, 1, 2, 3, 4, 5]
