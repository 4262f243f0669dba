"""The kernels of method "direct" in every plan that an ensemble leads to, compiled without a GPU.

Launches are recorded, not made: the engine's own code runs on tensors without memory.

    python -m benchmarks.direct_kernels sm_90 gfx942
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

os.environ.pop("TRITON_INTERPRET", None)  # before kernels are imported

import numpy as np
import torch
import triton
from triton.compiler import ASTSource

from benchmarks.architectures import PUBLISHED
from benchmarks.kernel_resources import TARGETS, resources
from biasgpu import priors
from biasgpu.architectures import Architecture, mlp
from biasgpu.engines.triton_forward import Forward
from biasgpu.engines.triton_program import Program
from biasgpu.engines.triton_space import DrawList, Space
from biasgpu.engines.triton_tensor import stages
from biasgpu.ensemble import Ensemble
from biasgpu.kernels import direct_launch, tensor_plan
from biasgpu.kernels import direct_plan as plan

META = torch.device("meta")
TYPES = {
    torch.float32: "*fp32", torch.float64: "*fp64", torch.int64: "*i64", torch.int32: "*i32",
    torch.int16: "*i16", torch.int8: "*i8",
    torch.float16: "*fp16",
}  # fmt: skip


@dataclass(frozen=True)
class Launch:
    """A kernel with what it is compiled for, and how often a draw's thread runs it.

    Attributes:
        kernel: the function, a `triton.JITFunction`.
        signature: argument -> type.
        constants: argument -> value.
        options: of the compiler.
        numbers: argument -> value, of those that are numbers.
        tiles: programs that share a block of draws.
    """

    kernel: Any
    signature: dict[str, str]
    constants: dict[str, Any]
    options: dict[str, Any]
    numbers: dict[str, int]
    tiles: int

    @property
    def name(self) -> str:
        """The kernel and its constants, for people."""
        kind = self.kernel.__name__.strip("_").removesuffix("_kernel")
        tile = self.constants.get("ROWS", self.constants.get("UNITS", 1))
        parts = [kind, f"{self.constants.get('SAMPLES', 1)}x{tile}"]
        flags = ("SHARED", "BIASED", "RECTIFIED", "POOLED", "NORMAL", "WIDE", "LAST")
        parts += [flag.lower() for flag in flags if self.constants.get(flag)]
        parts += [f"{self.constants['DEPTH']} deep"] if "DEPTH" in self.constants else []
        parts += [f"{self.constants['BITS']} bits"] if self.constants.get("BITS", 32) < 32 else []
        return " ".join(parts)


def launches(
    ensemble: Ensemble, n_train: int = 16, wide: tuple[bool, ...] = (False, True)
) -> list[tuple[plan.Stage, Launch]]:
    """All launches of a block of draws that goes through every stage, in order."""
    x = np.random.default_rng(0).integers(0, 256, (n_train, *ensemble.shape)).astype(np.float32)
    program, found = Program(ensemble, x), list[tuple[plan.Stage, Launch]]()
    stage, run = stages(program, n_train)[0], direct_launch._run
    n = plan.BLOCK

    def record(kernel: Any, _: Any, grid: tuple[int, ...]) -> Any:
        def launched(*args: Any, **constants: Any) -> None:
            known = ("num_warps", "num_stages", "enable_fp_fusion", "maxnreg")
            options = {key: constants.pop(key) for key in known if key in constants}
            names = [name for name in kernel.arg_names if name not in constants]
            given = dict(zip(names, args, strict=True))
            signature = {
                name: "constexpr" if name in constants
                else TYPES[given[name].dtype] if isinstance(given[name], torch.Tensor) else "i32"
                for name in kernel.arg_names
            }  # fmt: skip
            numbers = {key: value for key, value in given.items() if isinstance(value, int)}
            found.append((stage, Launch(kernel, signature, constants, options, numbers, grid[0])))

        return launched

    def empty(dtype: torch.dtype) -> torch.Tensor:
        return torch.empty(max(n, n_train), dtype=dtype, device=META)

    names = direct_launch.Names(*map(empty, (torch.int64, torch.int64, torch.int64, torch.int32)))
    names = names.slice(0, n)
    lists = DrawList.empty(n, META).parts
    direct_launch._run = record
    try:
        forward = Forward(program, META)
        for stage in stages(program, n_train):
            for kind in wide:
                space = Space.make(program, stage.padded, n, kind, META)
                logits = forward(names, stage, kind, space)
                direct_launch.decide(
                    names, empty(torch.int64), logits, empty(torch.int16), lists, lists, stage,
                    n_outputs=ensemble.n_outputs, last=stage.end == n_train,
                )  # fmt: skip
    finally:
        direct_launch._run = run
    return found


def ensemble(
    architecture: Architecture, prior: str = "uniform", shape: tuple[int, ...] = (1, 28, 28)
) -> Ensemble:
    """An ensemble for two classes."""
    return Ensemble(architecture, priors.make(prior), shape, 2, 0)


def variants(made: list[Ensemble], wide: tuple[bool, ...] = (False, True)) -> dict[str, Launch]:
    """What there is to compile for some ensembles: name -> launch."""
    found: dict[str, Launch] = {}
    for one in made:
        for _, launch in launches(one, wide=wide):
            found.setdefault(launch.name, launch)
    return found


def published() -> dict[str, Launch]:
    """What the published architectures lead to, under uniform and normal priors, and wide mlps.

    Also a layer of few inputs, which all draws share: it stays with threads.
    """
    ensembles = [ensemble(one) for one in PUBLISHED]
    normal = [ensemble(one, "kaiming-normal") for one in PUBLISHED[1:3]]
    wide = [ensemble(mlp(512, 2), name) for name in ("uniform", "kaiming-normal", "uniform8")]
    few = ensemble(mlp(40, 1), shape=(12,))
    return variants([*ensembles, *normal, *wide, few])


def binary(launch: Launch, target: str) -> Any:
    """Compile a launch for a target."""
    constants, options = dict(launch.constants), dict(launch.options)
    if target.startswith("gfx"):
        options.pop("maxnreg", None)
        if "PACKED" in constants:  # whose permutations are NVIDIA's
            constants["PACKED"] = False
        if "BOUNDS" in constants:
            constants["BOUNDS"] = tensor_plan.bounds(constants["SAMPLES"], "hip")
    # As for tensors of PyTorch: Triton looks at addresses when it launches.
    aligned = {
        (place,): [["tt.divisibility", 16]]
        for place, name in enumerate(launch.kernel.arg_names)
        if launch.signature[name].startswith("*")
    }
    source = ASTSource(launch.kernel, launch.signature, constexprs=constants, attrs=aligned)
    return triton.compile(source, target=TARGETS[target], options=options)


def compiled(launch: Launch, target: str) -> dict[str, Any]:
    """Compile a launch; see `kernel_resources.resources`."""
    found = resources(binary(launch, target), target)
    return {"kernel": launch.name, "target": target, **found}


def rows(targets: list[str]) -> Iterator[dict[str, Any]]:
    """Every variant of the published architectures for every target."""
    for target in targets:
        for launch in published().values():
            yield compiled(launch, target)


def main() -> None:
    """Print what `rows` finds."""
    for row in rows(sys.argv[1:] or list(TARGETS)):
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
