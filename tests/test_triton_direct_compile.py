"""Kernels of method "direct", compiled ahead of time in every published plan."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("triton", reason="triton is not installed")

from benchmarks import records

# Triton 3.6 and before spill a few registers of some convolutions.
MOST_SPILLED = 96 if importlib.metadata.version("triton") < "3.7" else 0
ROOT = Path(__file__).parent.parent
CODE = """
import json, sys
from benchmarks.direct_kernels import compiled, published
made = published()
for target, names in json.loads(sys.argv[1]).items():
    for name in names or made:
        print(json.dumps(compiled(made[name], target)))
"""
OTHERS = (
    "draw 1x2", "convolution 2x2 rectified pooled", "convolution 2x1 shared rectified pooled wide",
    "dense 2x8 shared rectified", "dense 4x2 normal wide", "pool 1x1", "decide 2x1",
    "product 2x64 shared rectified", "product 4x64 rectified", "product 8x64 shared rectified",
    "product 8x64 rectified 8 bits", "digits 4x1",
    "patches 2x64 rectified pooled 32 deep", "patches 8x64 rectified pooled 32 deep",
)  # fmt: skip
# Of the kernels in which most time goes: registers decide how many warps hide each other's waits.
MOST_REGISTERS = {
    "dense 2x8 shared rectified": 168, "dense 2x4 rectified": 96, "decide 2x1": 48,
    "product 2x64 shared rectified": 128, "product 2x64 rectified": 168,
    "convolution 2x2 shared rectified pooled": 96, "convolution 2x2 rectified pooled": 96,
}  # fmt: skip


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
def test_no_plan_spills_on_sm_90() -> None:
    found = compiled({"sm_90": []})
    assert len(found) > 80
    kinds = {name.split()[0] for _, name in found}
    assert kinds == {
        "draw",
        "dense",
        "convolution",
        "pool",
        "decide",
        "product",
        "digits",
        "patches",
    }
    for (_, name), row in found.items():
        assert row["spilled_bytes"] <= (MOST_SPILLED if "convolution" in name else 0), row
        assert row["registers"] <= MOST_REGISTERS.get(name, 255), row
        # Where the plan promises tensor cores there are such instructions, and nowhere else.
        assert (row["matrix_products"] > 0) == name.startswith(("product", "patches")), row
        if not name.startswith(("product", "digits", "patches")):
            assert row["shared_bytes"] <= 64, row  # threads keep to themselves
    # The work of a Philox block and its 32 products with two samples and of their bounds.
    assert found["sm_90", "dense 2x8 shared rectified"]["innermost_loop"] < 700
    # Of 8 blocks of 64 units in 64 threads: 32 weights, and what multiplies them.
    assert found["sm_90", "product 2x64 shared rectified"]["innermost_loop"] < 450
    assert found["sm_90", "product 8x64 shared rectified"]["innermost_loop"] < 470
    # Of 64 windows and draws in 128 threads: 4 positions of a pool, 32 sums each.
    assert found["sm_90", "patches 2x64 rectified pooled 32 deep"]["innermost_loop"] < 600


@pytest.mark.slow
def test_kernels_compile_for_other_gpus() -> None:
    targets = ("sm_80", "sm_100", "sm_120", "gfx942")
    found = compiled({target: list(OTHERS) for target in targets})
    assert len(found) == len(targets) * len(OTHERS)
    for (target, name), row in found.items():
        # AMD's take no product of fewer than 16 columns: 2 samples stay with threads there.
        tensor = name.startswith("patches") or (
            name.startswith("product") and (target != "gfx942" or "product 2x" not in name)
        )
        assert (row["matrix_products"] > 0) == tensor, row
        assert row["registers"] <= 512 if row["target"] == "gfx942" else 255, row
        assert row["spilled_bytes"] <= 64, row


@pytest.mark.slow
def test_predictions_count_instructions() -> None:
    """Loops are found and multiplied: a draw takes no fewer instructions than its random words."""
    code = """
import json
from benchmarks.direct_prediction import SHARES, prediction, row
from biasgpu.architectures import mlp
for n_inputs in (10, 20):
    print(json.dumps(prediction(mlp(8, 1), SHARES["mlp-2-8-1"], (n_inputs,), 16)))
print(json.dumps(row("mlp-2-8-1")))
"""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    small, large, now = (json.loads(line) for line in done.stdout.splitlines())
    # 8 units of 3 and of 5 blocks, in about 1.5 passes (with the 2 stages that half of all reach).
    grown = large["instructions_per_draw"] - small["instructions_per_draw"]
    assert 8 * 2 * 80 < grown < 3 * 8 * 2 * 160
    assert large["cycles_per_draw"]["imad"] > 2 * 20 * (8 * 5 + 4)
    assert large["binding"] in large["cycles_per_draw"]
    # What the tables say is predicted of these kernels.
    stored = next(r for r in records.read(records.PREDICTIONS) if r["work"] == now["work"])
    if stored["triton"] == now["triton"]:
        assert float(stored["candidates_per_s"]) == pytest.approx(now["candidates_per_s"])
        assert stored["binding"] == now["binding"]


@pytest.mark.slow
@pytest.mark.parametrize("target", ["sm_90", "gfx942"])
def test_exact_sums_start_from_zero(target: str) -> None:
    """A compiler that lets one product of digits start from the other's sum would make it round."""
    code = f"""
from benchmarks.direct_kernels import binary, ensemble, variants
from biasgpu.architectures import lenet
made = variants([ensemble(lenet("1/6"))], (False,))["patches 2x64 rectified pooled 32 deep"]
print(binary(made, "{target}").asm["ttir"])
"""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    zero = re.findall(
        r"(%\w+) = arith.constant dense<0.0\d*e\+00> : tensor<64x64xf32>", done.stdout
    )
    starts = re.findall(r"tt.dot %[\w#]+, %[\w#]+, (%[\w#]+)", done.stdout)
    assert len(starts) == 8 and set(starts) <= set(zero), (zero, starts)
