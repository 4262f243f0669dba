"""Kernels for networks with batch norms, compiled ahead of time in every plan of ResNet4."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("triton", reason="triton is not installed")

from tests.test_triton_direct_compile import MOST_SPILLED

ROOT = Path(__file__).parent.parent
CODE = """
import json, sys
from benchmarks.batch_norm_kernels import published
from benchmarks.direct_kernels import compiled
made = published()
for target, names in json.loads(sys.argv[1]).items():
    for name in names or made:
        print(json.dumps({**compiled(made[name], target), "kernel": name}))
"""
# One of each kind, of convolutions those with the most sums and the most loads.
OTHERS = (
    "parameters", "images 2x2x4 normed rectified pooled summed",
    "images 2x1x8 normed rectified summed", "settle linear normed random", "products squared",
    "total linear", "element normed rectified joined fork_normed fork_rectified", "features last",
)  # fmt: skip


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
    kinds = {name.split()[0] for _, name in found}
    assert kinds == {
        "parameters", "images", "settle", "products", "total", "element", "features", "decide",
    }  # fmt: skip
    for (_, name), row in found.items():
        assert row["spilled_bytes"] <= (MOST_SPILLED if "images" in name else 0), row
        # Threads exchange nothing but the sums of a program.
        assert row["shared_bytes"] <= 128, row
        assert row["registers"] <= (255 if "images" in name else 96), row
    # A row of the kernel: 96 products, and 4 that apply the batch norm before.
    assert found["sm_90", "images 2x1x8 normed rectified summed"]["innermost_loop"] < 210


@pytest.mark.slow
def test_drawn_batch_norms_are_rounded_twice() -> None:
    """1 + k s in one fused operation would be another weight than the law's; the interpreter, which
    fuses nothing, would not tell."""
    code = """
from benchmarks import sass
from benchmarks.batch_norm_kernels import ensemble, launches
from benchmarks.direct_kernels import binary
from biasgpu.architectures import resnet4
found = launches(ensemble(resnet4("1/6", 2)))
launch = next(one for one in found if one.constants.get("RANDOM"))
for _, text in sass.disassemble(binary(launch, "sm_90").asm["cubin"]):
    print(text)
"""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=environment
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line.split(" ", 1) for line in done.stdout.splitlines()]
    assert [name for name, rest in lines if name in ("FADD", "FFMA") and ", 1 " in rest] == ["FADD"]
    assert sum(name == "FMUL" for name, _ in lines) >= 2


@pytest.mark.slow
def test_kernels_compile_for_other_gpus() -> None:
    targets = ("sm_80", "sm_100", "sm_120", "gfx942")
    found = compiled({target: list(OTHERS) for target in targets})
    assert len(found) == len(targets) * len(OTHERS)
    for row in found.values():
        assert row["registers"] <= 512 if row["target"] == "gfx942" else 255, row
        assert row["spilled_bytes"] <= 64, row
