"""Input gradients by PyTorch's own differentiation, in float64: for layers without a compiled form.

The same numbers as `input_gradient.norms_by_law` but for rounding, several times as fast.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from biasgpu.layout import Step
from biasgpu.measures.batches import Floats
from biasgpu.packing import Packing
from biasgpu.torch_modules import module_of

SAMPLES = 256  # at a time: activations that fit the caches


def norms_by_torch(
    steps: Sequence[Step],
    flat: npt.NDArray[np.float32],
    x: npt.NDArray[np.float32],
    pairs: Sequence[tuple[int, int]],
    *,
    threads: int | None = None,
) -> Floats:
    """The largest norm over some differences of two logits; batch norms by their own statistics.

    Args:
        steps: the layers in their places.
        flat: float32 `(n, n_parameters)`.
        x: float32 `(samples, *shape)`.
        pairs: outputs (a, b) of the differences z_b - z_a; a = -1 for z_b alone.
        threads: CPU threads; None leaves it to PyTorch.

    Returns:
        float64 `(n, samples)`.
    """
    result = np.zeros((len(flat), len(x)))
    threads_before = torch.get_num_threads()
    torch.set_num_threads(threads or threads_before)
    try:
        for row, layers in zip(result, map(Packing(tuple(steps)).unpack, flat), strict=True):
            module = _module(steps, layers)
            for start in range(0, len(x), SAMPLES):
                some = torch.from_numpy(x[start : start + SAMPLES].astype(np.float64))
                block = row[start : start + SAMPLES]
                for norms in _norms(module, some, pairs):
                    np.maximum(block, norms, out=block)  # keeps what is not a number
    finally:
        torch.set_num_threads(threads_before)
    return result


def _module(steps: Sequence[Step], layers: Sequence[tuple | None]) -> torch.nn.Module:
    weights = {
        f"{step.position}.{name}": torch.tensor(part)
        for step, parts in zip(steps, layers, strict=True)
        for (name, _), part in zip(step.parts, parts or (), strict=True)
    }
    return module_of(steps, weights).double().requires_grad_(False)


def _norms(
    module: torch.nn.Module, x: torch.Tensor, pairs: Sequence[tuple[int, int]]
) -> list[Floats]:
    with torch.enable_grad():
        x.requires_grad_()
        logits = module(x)
        found: list[Floats] = []
        for low, high in pairs:
            difference = logits[:, high] - (logits[:, low] if low >= 0 else 0.0)
            (gradient,) = torch.autograd.grad(difference.sum(), x, retain_graph=True)
            found.append(torch.linalg.vector_norm(gradient.flatten(1), dim=1).numpy())
    return found
