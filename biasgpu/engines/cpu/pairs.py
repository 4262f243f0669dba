"""The law for pairs of a network and a sample: each lane has an input of its own."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from biasgpu.engines.cpu.program import Program
from biasgpu.engines.cpu.screen import compiled_exact
from biasgpu.engines.cpu.vectors import LANES_F64
from biasgpu.engines.cpu.workspace import Workspace


def pair_space(program: Program, features: int) -> Workspace:
    """Memory for pairs: the inputs take the place of activations."""
    return Workspace.make(program, -(-features // program.buffer_units), np.float64)


def pair_logits(
    program: Program,
    seed: np.uint64,
    draws: npt.NDArray[np.uint64],
    rows: npt.NDArray[np.float64],
    space: Workspace,
) -> npt.NDArray[np.float64]:
    """Logits of draw i on input i.

    Args:
        program: of the networks.
        seed: of given weights their address.
        draws: uint64 `(n,)`.
        rows: float64 `(n, features)`, as `Program.inputs` makes them.
        space: from `pair_space`.

    Returns:
        float64 `(n, outputs)`.
    """
    n, features = rows.shape
    short = -n % LANES_F64
    rows = np.concatenate([rows, np.zeros((short, features))])
    lanes = rows.reshape(-1, LANES_F64, features).transpose(0, 2, 1)
    names = np.concatenate([draws, np.repeat(draws[-1:], short)])
    out = np.empty((len(names), 1, program.n_outputs))
    # Bounds are nothing that the law needs.
    peaks = np.zeros(1)
    compiled_exact()(
        program.ops, program.constants, program.quads, program.family, seed, np.empty(0), peaks,
        np.ascontiguousarray(lanes).reshape(-1), 1, program.n_outputs, names, out, *space.buffers,
    )  # fmt: skip
    return out[:n, 0]
