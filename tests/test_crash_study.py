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

# Commits as often as it can, takes its time, says when a file is due, and waits for its end when it
# comes to one more than the first argument says: it never finishes, however fast the machine.
SLOWLY = """
import sys
import time
from biasgpu.cli import main
from biasgpu.sampling import session
from biasgpu.study.work import Worker
session.COMMIT_EVERY_S = 0.0
make, left = Worker.make, int(sys.argv.pop(1))
def announced(self, job):
    global left
    if not left:
        print("waiting", flush=True)
        time.sleep(1e6)
    left -= 1
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
        most = moments.randint(1, min(3, left - 1))
        process = command(SLOWLY, str(most), "compare", *what, "--quiet")
        try:
            for _ in range(most):
                read_line(process, "making")
            if moments.random() < 0.3:
                read_line(process, "waiting")  # so that files are made, however slow the machine
            else:
                time.sleep(moments.random() * 0.15)  # while a file is made, or after it
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
