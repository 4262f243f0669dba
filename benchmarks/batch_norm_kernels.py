"""The kernels for networks with batch norms in every plan of ResNet4, compiled without a GPU.

python -m benchmarks.batch_norm_kernels sm_90 gfx942
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from benchmarks.direct_kernels import META, TYPES, Launch, compiled  # first: no interpreter

# isort: split
import numpy as np
import torch

from biasgpu import priors
from biasgpu.architectures import Architecture, resnet4
from biasgpu.batch_norm import BatchNormEnsemble
from biasgpu.engines.triton_batch_norm_forward import Forward, Program, Space
from biasgpu.engines.triton_space import DrawList
from biasgpu.kernels import batch_norm_launch, direct_launch
from biasgpu.kernels.direct_plan import BLOCK, Stage

MNIST, CIFAR10 = (1, 28, 28), (3, 32, 32)
WIDTHS = ("1/6", "2/6", "3/6", "4/6", "5/6", "1", "2", "4")
FLAGS = (
    "SHARED", "LINEAR", "DENSE", "BIASED", "NORMED", "RECTIFIED", "POOLED", "JOINED",
    "FORK_NORMED", "FORK_RECTIFIED", "AFTER", "SUMMED", "RANDOM", "NORMAL", "SQUARED", "LAST",
)  # fmt: skip


def name(launch: Launch) -> str:
    """A kernel and its constants, for people."""
    constants = launch.constants
    parts = [launch.kernel.__name__.strip("_").removesuffix("_kernel")]
    if "SIDE" in constants:
        parts.append("{SIDE}x{WINDOWS}x{UNITS}".format(**constants))
    parts += [flag.lower() for flag in FLAGS if constants.get(flag)]
    parts += [f"{constants['BITS']} bits"] if constants.get("BITS", 32) < 32 else []
    return " ".join(parts)


def ensemble(
    architecture: Architecture, prior: str = "uniform", shape: tuple[int, ...] = MNIST,
    n_train: int = 16,
) -> BatchNormEnsemble:  # fmt: skip
    """An ensemble for two classes."""
    x = np.ones((n_train, *shape), dtype=np.float32)
    return BatchNormEnsemble(architecture, priors.make(prior), shape, 2, 0, x)


def launches(made: BatchNormEnsemble, n: int = BLOCK) -> list[Launch]:
    """All launches of some draws, in order: recorded, on tensors without memory."""
    program, found = Program(made, made.x_train), list[Launch]()
    n_train = len(made.x_train)
    stage, runs = Stage(0, n_train), (batch_norm_launch._run, direct_launch._run)

    def record(kernel: Any, _: Any, grid: tuple[int, ...]) -> Any:
        def launched(*args: Any, **constants: Any) -> None:
            known = ("num_warps", "enable_fp_fusion", "maxnreg")
            options = {key: constants.pop(key) for key in known if key in constants}
            names = [name for name in kernel.arg_names if name not in constants]
            given = dict(zip(names, args, strict=True))
            signature = {
                name: "constexpr" if name in constants
                else TYPES[given[name].dtype] if isinstance(given[name], torch.Tensor) else "i32"
                for name in kernel.arg_names
            }  # fmt: skip
            numbers = {key: value for key, value in given.items() if isinstance(value, int)}
            one = Launch(kernel, signature, constants, options, numbers, grid[0])
            found.append(one)

        return launched

    def empty(dtype: torch.dtype, size: int = n) -> torch.Tensor:
        return torch.empty(size, dtype=dtype, device=META)

    names = direct_launch.Names(
        empty(torch.int64, 2), empty(torch.int64), empty(torch.int64), empty(torch.int32, BLOCK)
    )
    lists = DrawList.empty(n, META).parts
    batch_norm_launch._run = direct_launch._run = record
    try:
        capacity = -(-n // BLOCK) * BLOCK
        space = Space.make(program, n_train, stage.padded, capacity, META)
        logits = Forward(program, META)(names, stage, True, space)
        direct_launch.decide(
            names, empty(torch.int64, n_train), logits, empty(torch.int16), lists, lists, stage,
            n_outputs=made.n_outputs, last=True,
        )  # fmt: skip
    finally:
        batch_norm_launch._run, direct_launch._run = runs
    return found


def variants(made: list[BatchNormEnsemble]) -> dict[str, Launch]:
    """What there is to compile for some ensembles: name -> launch."""
    found: dict[str, Launch] = {}
    for one in made:
        for launch in launches(one):
            found.setdefault(name(launch), launch)
    return found


def published() -> dict[str, Launch]:
    """What ResNet4 leads to: all widths and depths, both data sets, priors and training sets."""
    made = [
        ensemble(resnet4(width, depth), shape=shape)
        for width in WIDTHS for depth in (4, 3, 2) for shape in (MNIST, CIFAR10)
    ]  # fmt: skip
    made += [ensemble(resnet4("2/6"), n_train=n) for n in (1, 2, 4, 100, 500)]
    made += [
        ensemble(resnet4("2/6"), prior)
        for prior in ("kaiming-normal", "kaiming-uniform", "uniform16", "uniform8")
    ]
    made += [ensemble(resnet4("2/6", head="one-logit", bias="prior"))]
    return variants(made)


def rows(targets: list[str]) -> Iterator[dict[str, Any]]:
    """Every variant for every target."""
    for target in targets:
        for title, launch in published().items():
            yield {**compiled(launch, target), "kernel": title}


def main() -> None:
    """Print what `rows` finds."""
    for row in rows(sys.argv[1:] or ["sm_80", "sm_90", "sm_100", "sm_120", "gfx942"]):
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
