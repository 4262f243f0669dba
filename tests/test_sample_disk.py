"""`biasgpu sample` where it cannot write: no space, no right; what it says and how it goes on."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import biasgpu
from tests.commands import OPTIONS, ROOT, assert_same, command, uninterrupted

CANDIDATES = 4_000_000
# Commits as often as it can; where a limit is given, no file may grow further once it samples.
WITHIN = """
import os, resource, sys
from biasgpu.cli import main
from biasgpu.sampling import session
session.COMMIT_EVERY_S = 0.0
room = int(os.environ["ROOM"])
loop = session.Session._loop
def limited(self):
    size = self._store.path.stat().st_size
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + room, hard))
    return loop(self)
if room >= 0:
    session.Session._loop = limited
main()
"""


def check_stopped(path: Path, process: subprocess.Popen[str], reason: str) -> None:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 5, (out, err)
    assert reason in err
    assert "committed before is safe" in err
    assert f"biasgpu sample --resume {path}" in " ".join(err.split())
    assert "Traceback" not in err
    stopped = biasgpu.open(path)
    assert not stopped.complete
    assert 0 <= stopped.n_candidates < CANDIDATES
    assert not (path.parent / "run.h5.tmp").exists()


def resume(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "biasgpu", "sample", "--resume", str(path), "--engine", "cpu"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    assert_same(biasgpu.open(path), uninterrupted(CANDIDATES))


@pytest.mark.parametrize("room", [0, 300_000])
def test_a_limit_on_file_sizes(tmp_path: Path, room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.h5"
    monkeypatch.setenv("ROOM", str(room))
    process = command(WITHIN, "sample", *OPTIONS, "--candidates", str(CANDIDATES), "-o", str(path))
    check_stopped(path, process, "the file may not grow further")
    resume(path)


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """A small file system in memory."""
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("only the superuser can mount a small file system")
    folder.mkdir()
    tmpfs = [mount, "-t", "tmpfs", "-o", options, "none", str(folder)]
    if subprocess.run(tmpfs, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOM", "-1")
    with mounted(tmp_path / "disk", "size=700k") as folder:
        path = folder / "run.h5"
        process = command(
            WITHIN, "sample", *OPTIONS, "--candidates", str(CANDIDATES), "-o", str(path)
        )
        check_stopped(path, process, "the disk is full")
        remount = ["mount", "-o", "remount,size=20m", str(folder)]
        subprocess.run(remount, check=True, capture_output=True)
        resume(path)


def check_refused(folder: Path, reason: str) -> None:
    begin = [sys.executable, "-m", "biasgpu", "sample", *OPTIONS, "--candidates", "100"]
    done = subprocess.run(
        [*begin, "-o", str(folder / "run.h5")], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 1, done.stderr
    text = " ".join(done.stderr.split())
    assert f"run.h5 could not be written: {reason}" in text
    assert "choose another place" in text
    assert "Traceback" not in text
    assert os.listdir(folder) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not stop the superuser")
def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o555)
    check_refused(folder, "permission denied")


def test_a_read_only_file_system(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "ro") as folder:
        check_refused(folder, "read-only file system")
