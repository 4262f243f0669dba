"""What the kernels of the triton engine are given: the first layer's coefficients, constants of
bounds, and where a draw may be rejected early. Small, computed on the host in float64.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from biasgpu.deferred.ensemble import DeferredEnsemble
from biasgpu.deferred.plan import Layer
from biasgpu.kernels import plan
from biasgpu.kernels.normal import EPSILON, EPSILON_WIDE
from biasgpu.kernels.reject import SMALLEST_POSITIVE
from biasgpu.kernels.workspace import Coefficients
from biasgpu.margins import LAW_ROUNDOFF

MAX_NORMAL = 6.34
LARGE = 1e100  # standard deviations and lengths beyond which float64 might overflow in the law
SPREAD = 2.0**-40  # between the shortest input and the longest
HUGE = 1e140  # activations beyond which nothing is decided before they are known


class Inputs:
    """What the kernels need to know of an ensemble and its training set.

    Args:
        ensemble: which networks; its first layer's inputs are shared.
        y_train: int64 `(n_train,)`.
        device: where the kernels run.
    """

    def __init__(
        self, ensemble: DeferredEnsemble, y_train: npt.NDArray[np.int64], device: torch.device
    ) -> None:
        shared = ensemble.shared
        assert shared is not None
        self._plan = ensemble.plan
        self._root = shared[1][: len(y_train), : len(y_train)]
        self._y_train = y_train
        self._device = device

    def epsilon(self, wide: bool) -> Tensor:
        """The relative error of an output normal, and of the law's sums: float64 `(1,)`."""
        return self._to_device(np.array([_relative_error(0, wide)]))

    def _usable(self, root: npt.NDArray[np.float64]) -> bool:
        """Whether lengths and deviations keep away from the ends of float64 and of float32."""
        lengths = np.sqrt((root * root).sum(axis=1))
        longest = float(lengths.max(initial=0.0))
        near = (lengths == 0) | (lengths >= SPREAD * longest)
        deviations = [layer.std for layer in self._plan.layers]
        scales = [*deviations, longest or 1.0]
        return bool(near.all()) and all(1 / LARGE < scale < LARGE for scale in scales)

    def first_coefficients(self, n_samples: int, wide: bool) -> Coefficients:
        """The first layer's, which all draws share."""
        root = self._root[:n_samples, :n_samples]
        longest = float(np.sqrt((root * root).sum(axis=1)).max()) or 1.0
        poison = 1.0 if self._usable(root) else float("nan")
        with np.errstate(over="ignore", invalid="ignore"):
            values = (root / longest).astype(np.float64 if wide else np.float32)
            bound = _relative_error(n_samples, wide) * np.abs(values.astype(np.float64))
            error = np.sqrt((bound * bound).sum(axis=1)) * (1 + 2.0**-20) * poison
            limit = bound.sum(axis=1) * MAX_NORMAL * (1 + 2.0**-20) * poison
            # Of the first sample's pre-activations the signs are the normals'.
            limit[0] *= 0.0
            unit = np.array([poison / (longest * self._plan.layers[0].std)])
        return Coefficients(
            self._to_device(values.reshape(-1)),
            self._to_device(error),
            self._to_device(limit),
            self._to_device(unit),
            capacity=0,
        )

    def shared_root(self, n_samples: int) -> tuple[Tensor, Tensor]:
        """The output layer's coefficients where no hidden layer stands before it."""
        root = np.ascontiguousarray(self._root[:n_samples, :n_samples]).reshape(-1)
        usable = self._usable(self._root[:n_samples, :n_samples])
        return self._to_device(root), self._to_device(root * (0.0 if usable else float("nan")))

    def parameters(self, number: int, n_samples: int, wide: bool) -> Tensor:
        """The factor kernel's, for the inputs of layer `number`."""
        layer, before = self._plan.layers[number], self._plan.layers[number - 1]
        gamma = plan.tiles(before).gamma(n_samples, wide)
        law = 8 * n_samples * (layer.columns / 4 + 64) * LAW_ROUNDOFF
        sums = (4 * n_samples + 16) * LAW_ROUNDOFF
        epsilon = _relative_error(n_samples, wide)
        return self._to_device(np.array([layer.std, layer.bias, gamma, law, epsilon, sums]))

    def early_rule(self) -> Tensor | None:
        """The layers of `reject._reject_kernel`, where what it says is true."""
        hidden, root = self._plan.hidden, self._root
        if not hidden or not hidden[-1].rectified or self._plan.n_outputs > 2:
            return None
        if (
            self._y_train[:2].tolist() != [0, 1]
            or root[0, 0] <= 0
            or not self._usable(root[:2, :2])
        ):
            return None
        shortest, longest = root[0, 0], math.sqrt((root[:2] ** 2).sum(axis=1).max())
        for layer in hidden:
            shortest *= layer.std * SMALLEST_POSITIVE
            longest *= layer.std * 2 * MAX_NORMAL * math.sqrt(layer.units)
            longest += 1
            if not 1 / HUGE < shortest < longest < HUGE:
                return None
        return self._to_device(
            np.array([_probe(layer) for layer in hidden if layer.rectified], dtype=np.int64)
        )

    def _to_device(self, values: npt.NDArray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self._device)


def _relative_error(n_samples: int, wide: bool) -> float:
    """Of the terms of a sum of normals: the normal's, the coefficient's, the sum's, the law's."""
    normal = EPSILON_WIDE if wide else EPSILON
    return normal * (1 + 2.0**-10) + (n_samples + 5) * plan.UNIT_ROUNDOFF[wide]


def _probe(layer: Layer) -> tuple[int, int, int]:
    return layer.offset, layer.units, plan.probe_group(layer)
