"""Every kernel compiled ahead of time, for GPUs that need not be here: no spills, few registers."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("triton", reason="triton is not installed")

ROOT = Path(__file__).parent.parent
CODE = """
import json, sys
from benchmarks.kernel_resources import VARIANTS, compiled
for target, names in json.loads(sys.argv[1]).items():
    for name in names or VARIANTS:
        print(json.dumps(compiled(name, target)))
"""
# Warps of an SM need registers: 65,536 of them are shared by all.
MOST_REGISTERS = {
    "gram 2": 64, "gram 4": 128, "gram 8": 255, "gram 2 wide": 128, "factor 2": 128, "outputs": 40,
    "check 2": 64, "reject": 48, "train sgd": 80, "train adam normal": 128,
    "train sgd stop": 80, "train adam stop norms": 128,
}  # fmt: skip
# Triton 3.6 and before spill a few registers of rarely used kernels.
OLD = importlib.metadata.version("triton") < "3.7"
MOST_SPILLED = {"gram 8 chunked": 64, "gram 16 pairs wide": 160} if OLD else {}


def compiled(wanted: dict[str, list[str]]) -> dict[tuple[str, str], dict[str, Any]]:
    """What the compilers say. In a process of its own: kernels there are not interpreted."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", CODE, json.dumps(wanted)],
        capture_output=True, text=True, cwd=ROOT, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {(row["target"], row["kernel"]): row for row in rows}


@pytest.mark.slow
def test_every_kernel_compiles_for_sm_90_and_spills_no_more_than_is_known() -> None:
    found = compiled({"sm_90": []})
    assert len(found) > 12
    for (_, name), row in found.items():
        assert row["spilled_bytes"] <= MOST_SPILLED.get(name, 0), row
        assert row["registers"] <= MOST_REGISTERS.get(name, 255), row
        assert row["shared_bytes"] <= 1024, row
    # The work of the inner loop, for 4 normals: what predictions of speed rest on.
    assert 200 < found["sm_90", "gram 2"]["innermost_loop"] < 330


@pytest.mark.slow
def test_kernels_compile_for_other_gpus() -> None:
    targets = ("sm_80", "sm_100", "sm_120", "gfx942")
    names = ["gram 2 wide", "factor 2", "train sgd", "train sgd stop", "train adam stop norms"]
    found = compiled(dict.fromkeys(targets, names))
    assert len(found) == len(targets) * len(names)
    for (_, name), row in found.items():
        most = 40 if OLD and name == "train sgd stop" else 0  # on sm_120
        assert row["spilled_bytes"] <= most, row
