"""How fast method "direct" should be on a GPU, from the instructions of its compiled kernels.

    python -m benchmarks.direct_prediction      # takes a minute; writes results/predictions.csv

A prediction, not a measurement: cycles of the pipe that binds, as if it never waited, and a share
of that; beside it what is predicted of the published way (`published_prediction.py`).
`python -m benchmarks.table` prints both beside what was measured.
"""

from __future__ import annotations

import csv
import os
import sys
from collections import Counter
from typing import Any

os.environ.pop("TRITON_INTERPRET", None)  # before kernels are imported

import triton

from benchmarks import baseline, published_prediction, records, sass
from benchmarks.direct_kernels import Launch, binary, ensemble, launches
from benchmarks.gpu_names import REACHED
from biasgpu.architectures import Architecture

GPU = "H200"
QUARTERS_PER_S = 132 * 4 * 1.755e9  # cycles a second of all quarters of an H200's multiprocessors
WARP = 32
# Shares of draws that reach samples 0, 2, 6 and 14 (MNIST 7 and 0, data seed 200, uniform prior,
# 40,000 draws by the cpu engine), and of draws that its bounds in float32, much like these, leave
# open.
SHARES = {
    "lenet-2/6": (1.0, 0.143, 0.0070, 0.0006),
    "paper-mlp-2/6": (1.0, 0.156, 0.0080, 0.0005),
    # Independent guesses, with biases and one logit.
    "mlp-2-8-1": (1.0, 0.5, 2.0**-5, 2.0**-13, 2.0**-21),
}
RETRIED = 0.02


def trips(launch: Launch) -> list[list[float]]:
    """How often the loops of a kernel go round."""
    n = launch.numbers
    match launch.kernel.__name__:
        case "_dense_kernel":
            words = [4.0] if launch.constants["TURNED"] else []
            return [[n["n_chunks"], n["blocks_per_unit"] / n["n_chunks"], *words]]
        case "_draw_kernel":
            return [[n["blocks_per_unit"]]]
        case "_convolution_kernel":
            windows = n["rows_out"] * n["columns_out"]
            channels, kernel = n["n_channels"], launch.constants["KERNEL"]
            return [[channels], [windows, channels, kernel]]
        case "_patches_kernel":
            return [[n["n_tiles"]]]
        case "_product_kernel":
            return [[n["n_steps"]]]
        case "_digits_kernel":
            fields = 32 // launch.constants["BITS"]
            return [[-(-n["n_inputs"] // 32)], [n["n_steps"] * fields]]
        case "_decide_kernel":
            return [[n["n_samples"]]]
        case _:
            return [[(n["height"] // n["size"]) * (n["width"] // n["size"]), n["size"], n["size"]]]


def executed(launch: Launch, target: str = "sm_90") -> Counter[str]:
    """Instructions of a draw's thread in all tiles of a launch, by pipe."""
    done = binary(launch, target)
    counts = sass.executed(sass.disassemble(done.asm["cubin"]), trips(launch))
    times = launch.tiles * launch.options["num_warps"] * WARP / launch.constants["BLOCK"]
    return Counter({name: times * count for name, count in counts.items()})  # type: ignore[misc]


def prediction(
    architecture: Architecture, shares: tuple[float, ...], shape: tuple[int, ...], n_train: int = 16
) -> dict[str, Any]:
    """Candidates a second on an H200, and what binds.

    Args:
        architecture: under the uniform prior.
        shares: of draws that reach each stage.
        shape: of an input.
        n_train: samples.
    """
    found = launches(ensemble(architecture, shape=shape), n_train)
    stages = list(dict.fromkeys(stage for stage, _ in found))
    total: Counter[str] = Counter()
    for stage, launch in found:
        share = shares[stages.index(stage)] if stages.index(stage) < len(shares) else 0.0
        share *= RETRIED if launch.constants.get("WIDE") else 1.0
        for name, count in executed(launch).items():
            total[name] += share * count  # type: ignore[assignment]
    cycles = sass.cycles(total)
    binding = max(cycles, key=lambda name: cycles[name])
    return {
        "architecture": str(architecture),
        "instructions_per_draw": round(total["issue"]),
        "cycles_per_draw": {name: round(value) for name, value in cycles.items()},
        "binding": binding,
        "ceiling_candidates_per_s": 2 * WARP * QUARTERS_PER_S / cycles[binding],
    }


def row(work: str) -> dict[str, Any]:
    """What is predicted of a work of `baseline.WORKS`."""
    architecture, n_train, shape = baseline.WORKS[work]
    found = prediction(architecture, SHARES[work], shape, n_train)
    ours = REACHED * found["ceiling_candidates_per_s"]
    at_most, expected = published_prediction.at_most(work), published_prediction.expected(work)
    return {
        "work": work,
        "gpu": GPU,
        "triton": triton.__version__,
        "instructions_per_draw": found["instructions_per_draw"],
        "binding": found["binding"],
        "ceiling_candidates_per_s": found["ceiling_candidates_per_s"],
        "candidates_per_s": ours,
        "published_at_most_per_s": at_most,
        "published_per_s": expected,
        "ratio_at_least": ours / at_most,
        "ratio": ours / expected,
    }


def main() -> None:
    """Predict all works anew."""
    rows = [row(work) for work in SHARES]
    with records.PREDICTIONS.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    for one in rows:
        sys.stdout.write(f"{one}\n")


if __name__ == "__main__":
    main()
