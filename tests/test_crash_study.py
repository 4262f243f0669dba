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
    time.sleep(0.05)
    return make(self, job)
Worker.make = announced
main()
"""


@pytest.mark.crash
def test_kill_at_random_moments(tmp_path: Path) -> None:
    whole = make(tmp_path / "whole")
    path = tmp_path / "study"
    moments = random.Random(3)
    left, kills = N_JOBS, 0
    while left > 1:
        what = ["--resume", str(path), "--engine", "reference"]
        if not (path / "study.json").exists():
            what = [*OPTIONS, "-o", str(path)]
        process = command(SLOWLY, "compare", *what, "--quiet")
        try:
            for _ in range(moments.randint(1, min(3, left))):
                read_line(process, "making")
            time.sleep(moments.random() * 0.15)  # while a file is made, or the next one
            assert process.poll() is None
        finally:
            process.kill()
            process.communicate()
        kills += 1
        found = biasgpu.open_study(path)
        assert differences(found.definition, whole.definition) == []
        problems = [cell.about["file"] for cell in found.cells() if cell.problem]
        now = len(set(problems))
        assert now <= left  # nothing is lost
        left = now
    assert kills >= 4
    assert biasgpu.open_study(path).status()["state"] == "killed"
    assert_same(make(path).cells(), whole.cells())
    left = {name for name in os.listdir(path) if not name.endswith((".h5", ".status.json"))}
    assert left == {"study.json"}
    assert sum(name.endswith(".h5") for name in os.listdir(path)) == N_JOBS
