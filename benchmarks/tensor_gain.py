"""What dense layers take on tensor cores and where a thread multiplies, counted in machine code.

    python -m benchmarks.tensor_gain sm_90 sm_80

From it stem the numbers of `biasgpu/kernels/tensor_plan.py`, which decides by them.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any
from unittest import mock

os.environ.pop("TRITON_INTERPRET", None)  # before kernels are imported

from benchmarks import sass
from benchmarks.direct_kernels import Launch, ensemble, launches
from benchmarks.direct_prediction import executed
from biasgpu.architectures import Architecture, lenet, mlp, paper_mlp
from biasgpu.kernels import tensor_plan
from biasgpu.layers import Conv2d, Dense

CASES: tuple[tuple[str, Architecture, tuple[int, ...], str], ...] = (
    ("wide mlp", mlp(512, 2), (784,), "uniform"),
    ("wide mlp", mlp(512, 2), (784,), "uniform16"),
    ("wide mlp", mlp(512, 2), (784,), "uniform8"),
    ("paper-mlp 2/6", paper_mlp("2/6"), (1, 28, 28), "uniform"),
    ("lenet 2/6", lenet("2/6"), (1, 28, 28), "uniform"),
    ("lenet 1", lenet("1"), (1, 28, 28), "uniform"),
)
DENSE = ("_dense_kernel", "_digits_kernel", "_product_kernel")


def by_layer(found: list[tuple[Any, Launch]], samples: int, target: str) -> dict[int, Counter[str]]:
    """What a draw's thread executes in each dense layer of a stage of so many samples."""
    counts, layer, before = dict[int, Counter[str]](), -1, ""
    for stage, launch in found:
        kind = launch.kernel.__name__
        if stage.padded != samples or kind not in DENSE:
            continue
        layer += not (kind == "_product_kernel" and before == "_digits_kernel")
        counts[layer] = counts.get(layer, Counter()) + executed(launch, target)
        before = kind
    return counts


def rows(targets: list[str]) -> Iterator[dict[str, Any]]:
    """For each case, layer, number of samples and target: instructions and cycles both ways."""
    for target in targets:
        for name, architecture, shape, prior in CASES:
            made = ensemble(architecture, prior, shape)
            ways = dict[bool, Any]()
            for tensor in (False, True):
                with mock.patch.object(tensor_plan, "pays", lambda *_, t=tensor, **__: t):
                    ways[tensor] = launches(made, 14, wide=(False,))
            steps = [step for step in made.steps if isinstance(step.layer, Dense)]
            images = any(isinstance(step.layer, Conv2d) for step in made.steps)
            for samples in (2, 4, 8):
                thread, tensor = (by_layer(ways[way], samples, target) for way in (False, True))
                for number, step in enumerate(steps):
                    layer = step.layer
                    assert isinstance(layer, Dense)
                    drawn = {
                        "bits": made.prior.bits,
                        "samples": samples,
                        "shared": not (number or images),
                    }
                    taken = tensor_plan.pays(
                        step.fan_in, layer.units, step.blocks_per_unit, **drawn
                    )
                    yield {
                        "target": target, "case": name, "prior": prior, "samples": samples,
                        "layer": f"{step.fan_in}-{layer.units}",
                        "weights": step.fan_in * layer.units,
                        **_both(thread[number], tensor[number], step.fan_in * layer.units),
                        "plan": "tensor cores" if taken else "threads",
                    }  # fmt: skip


def _both(thread: Counter[str], tensor: Counter[str], weights: int) -> dict[str, Any]:
    found = dict[str, Any]()
    for name, counts in (("thread", thread), ("tensor", tensor)):
        cycles = sass.cycles(counts)
        binds = max(cycles, key=lambda key: cycles[key])
        found[f"{name}_instructions"] = round(counts["issue"] / weights, 2)
        found[f"{name}_cycles"] = round(cycles[binds] / weights, 2)
        found[f"{name}_binds"] = binds
    return found


def main() -> None:
    """Print what `rows` finds."""
    for row in rows(sys.argv[1:] or ["sm_90", "sm_80"]):
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
