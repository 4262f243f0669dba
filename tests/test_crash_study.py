"""`biasgpu compare`, killed at random moments and repeated, ends as an uninterrupted one."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

import biasgpu
from biasgpu.study.updates import differences
from tests.commands import command, read_line
from tests.studies import N_JOBS, OPTIONS, assert_same, make

KILLS = 12
# Commits as often as it can, takes its time, and says when the first file is due.
SLOWLY = """
import time
from biasgpu.cli import main
from biasgpu.sampling import session
from biasgpu.study.work import Worker
session.COMMIT_EVERY_S = 0.0
make = Worker.make
def announced(self, job):
    print("making", flush=True)
    time.sleep(0.02)
    return make(self, job)
Worker.make = announced
main()
"""


@pytest.mark.crash
def test_kill_at_random_moments(tmp_path: Path) -> None:
    whole = make(tmp_path / "whole")
    path = tmp_path / "study"
    moments = random.Random(3)
    done = -1
    for _ in range(KILLS):
        what = ["--resume", str(path), "--engine", "reference"]
        if not (path / "study.json").exists():
            what = [*OPTIONS, "-o", str(path)]
        process = command(SLOWLY, "compare", *what, "--quiet")
        try:
            read_line(process, "making")
            time.sleep(moments.random() * 0.4)
            assert process.poll() is None
        finally:
            process.kill()
            process.communicate()
        found = biasgpu.open_study(path)
        assert differences(found.definition, whole.definition) == []
        now = sum(not cell.problem for cell in found.cells())
        assert now >= done  # nothing is lost
        done = now
        if now == len(whole.cells()):
            break
    assert done > 0
    assert found.status()["state"] == "killed"
    assert_same(make(path).cells(), whole.cells())
    left = {name for name in os.listdir(path) if not name.endswith((".h5", ".status.json"))}
    assert left == {"study.json"}
    assert sum(name.endswith(".h5") for name in os.listdir(path)) == N_JOBS
