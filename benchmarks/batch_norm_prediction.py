"""How fast networks with batch norms should be screened on a GPU, from its kernels' machine code.

    python -m benchmarks.batch_norm_prediction

A prediction, not a measurement: for each kernel the pipe that binds, as if it never waited, and the
memory as if nothing were kept in caches from one kernel to the next.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from benchmarks.batch_norm_kernels import ensemble, launches, name
from benchmarks.direct_kernels import Launch, binary  # no interpreter

# isort: split
from benchmarks import sass
from benchmarks.direct_prediction import QUARTERS_PER_S
from biasgpu.architectures import Architecture, resnet4
from biasgpu.engines.triton_batch_norm_forward import Program
from biasgpu.kernels import batch_norm_plan as plan
from biasgpu.kernels.direct_plan import BLOCK

BYTES_PER_S = {"H100": 3.35e12, "H200": 4.8e12}  # NVIDIA's data sheets
PIPES = ("issue", "fp64", "alu")
CANDIDATES = 2  # of a draw with two logits


def turns(launch: Launch) -> float:
    """How often the innermost loop of a kernel goes round, in a program."""
    n, constants = launch.numbers, launch.constants
    match launch.kernel.__name__:
        case "_settle_kernel":
            return n["n_channels"] * n["taps"] + (n["n_tiles"] if constants["NORMED"] else 0)
        case "_products_kernel":
            return n["n_terms"]
        case "_total_kernel":
            return -(-n["n_units"] // plan.LANES) + -(-n["n_tiles"] // plan.LANES)
        case "_features_kernel":
            return n["n_channels"] * n["taps"]
        case "_element_kernel":
            return n["size"] ** 2 - 1 + 1 / n["n_tiles"]  # one program adds up a draw's bounds
        case "_decide_kernel":
            return n["n_samples"]
        case _:
            return 0


def executed(launch: Launch, code: list[tuple[int, str]]) -> Counter[str]:
    """Instructions of a draw's warps by pipe, and cycles of the first level of cache ("l1").

    In convolutions loops are counted as they lie in each other; of the others, which take little
    and which compilers unroll, all code once and the innermost loop as often as it goes round.
    """
    warps = launch.tiles / BLOCK * launch.options["num_warps"]
    if "SIDE" in launch.constants:
        n = launch.numbers
        counts = sass.executed(code, [[n["n_channels"], n["n_rows"]]])
        tile = plan.Tile(*(launch.constants[key] for key in ("SIDE", "WINDOWS", "UNITS")))
        found = Counter({key: warps * counts[key] for key in PIPES})
        found["l1"] = warps * n["n_channels"] * plan.l1_cycles(tile)
        return found
    loops = list(innermost(sass.loops(code)))
    loop = min(loops, key=lambda one: one.end - one.begin, default=sass.Loop(-1, -2))
    total: Counter[str] = Counter()
    for address, text in code:
        times = 1 + turns(launch) * (loop.begin <= address <= loop.end)
        for kind in {"issue", sass.pipe(text)}:
            total[kind] += warps * times  # type: ignore[assignment]
    total["l1"] = 8 * total["load"]  # 64 bits a lane
    return total


def innermost(loops: list[sass.Loop]) -> Iterator[sass.Loop]:
    """The loops without others inside."""
    for loop in loops:
        yield from innermost(loop.inner) if loop.inner else [loop]


def prediction(architecture: Architecture, shape: tuple[int, ...], n_train: int) -> dict[str, Any]:
    """Candidates a second on an H100 and an H200, and what binds.

    Args:
        architecture: under the uniform prior.
        shape: of an input.
        n_train: samples.
    """
    made = ensemble(architecture, shape=shape, n_train=n_train)
    codes: dict[str, list[tuple[int, str]]] = {}
    by_kernel: Counter[str] = Counter()
    pipes: Counter[str] = Counter()
    total = 0.0
    for launch in launches(made):
        title = name(launch)
        if title not in codes:
            codes[title] = sass.disassemble(binary(launch, "sm_90").asm["cubin"])
        counts = executed(launch, codes[title])
        cycles = {key: sass.CYCLES[key] * counts[key] for key in PIPES}
        cycles["l1"] = counts["l1"]
        worst = max(cycles, key=lambda key: cycles[key])
        total += cycles[worst]
        by_kernel[launch.kernel.__name__.strip("_").removesuffix("_kernel")] += cycles[worst]
        pipes["instructions"] += counts["issue"]
        pipes["fp64"] += counts["fp64"]
        pipes[f"cycles bound by {worst}"] += cycles[worst]
    n_bytes = Program(made, made.x_train).cost(n_train).memory_bytes
    ceilings = {
        gpu: CANDIDATES / max(total / QUARTERS_PER_S, n_bytes / speed)
        for gpu, speed in BYTES_PER_S.items()
    }
    return {
        "architecture": str(architecture), "shape": list(shape), "n_train": n_train,
        "warp_instructions_per_draw": round(pipes.pop("instructions")),
        "fp64_warp_instructions_per_draw": round(pipes.pop("fp64")),
        "cycles_per_draw": round(total),
        **{key: round(value) for key, value in pipes.items()},
        "cycles_by_kernel": {key: round(value) for key, value in by_kernel.most_common()},
        "memory_bytes_per_draw": n_bytes,
        "ceiling_by_cycles": CANDIDATES * QUARTERS_PER_S / total,
        "ceiling_candidates_per_s": ceilings,
    }  # fmt: skip


def main() -> None:
    """Print the tables of docs/gpu.md."""
    for width, shape, n_train in (
        ("2/6", (1, 28, 28), 16),
        ("1", (1, 28, 28), 16),
        ("2/6", (3, 32, 32), 16),
        ("2/6", (1, 28, 28), 100),
    ):
        print(json.dumps(prediction(resnet4(width), shape, n_train)), flush=True)


if __name__ == "__main__":
    main()
