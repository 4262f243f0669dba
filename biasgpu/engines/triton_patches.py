"""A first convolution on tensor cores: its patches, made once on the host, and its bounds.

The engine computes y = sum_k w_k x_k (+ b) for weights w of a unit and the patch x of a window, the
n pixels being the law's own. Images are bytes that were normalised: in each channel

    x = a k + z + r         k whole, a and z float32, |r| <= rho

with a the step between grey levels, z what k = 0 stands for (less than a step, where images are
centred) and rho what the normalisation rounded: all of it measured here, on the training images. A
weight is made whole, too: a w 2^e is rounded to q = B d1 + d0, with a base B = 2^12 or a bit less
and digits of at most B / 2. Tensor cores compute sum d1 k and sum d0 k. Digits and pixels are
float16 without rounding, and every sum of their products, in whatever order and groups, is a whole
number below n max|k| B / 2 <= 2^24. So nothing is rounded however tensor cores add up: all that is
asked of them is that products are exact and that addends are lined up with 24 bits at the least,
which all that were examined keep (sources below). What is left, with u = 2^-24, in terms of
A = a max|k| of the channel and the stage's sample:

    pixels                       sum |w| rho
    a w 2^e and its rounding     u sum |w| A + n max|k| 2^-e / 2
    B sum d1 k + sum d0 k        u sum |w| A       one fused product
    adding sum w z and b         2 u (sum |w| (A + |z|) + |b|)
    sum w z, in any order        gamma_(n+1) sum |w| |z|

so the slack of a pixel is inject (A + |z|) + gamma_(n+4) |z| + gain rho with the gain and inject of
`biasgpu.margins` for a sum of 6 roundings, and n max|k| 2^-e / 2 joins tiny.

Source:
    Fasi, Higham, Mikaitis and Pranesh, "Numerical behavior of NVIDIA tensor cores", PeerJ Computer
    Science 7:e330 (2021); Khattak and Mikaitis, "Accurate models of NVIDIA tensor cores",
    arXiv:2512.07004 (2025), for H100 and B200; Li et al., "FTTN: Feature-targeted testing for
    numerical properties of NVIDIA and AMD matrix accelerators", arXiv:2403.00232 (2024).
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from biasgpu.engines.triton_program import Program, up
from biasgpu.kernels import direct_patches_plan as patch_plan
from biasgpu.kernels.direct_plan import Stage
from biasgpu.kernels.direct_weights import EPSILON_NORMAL
from biasgpu.margins import UNIT_ROUNDOFF, LayerConstants, gamma, layer_constants

Floats = npt.NDArray[np.float64]
LEVELS = 255  # of grey, beside the lowest
FINER = 4  # times a step may be finer than any two levels that occur
NOISE = 2.0**-19  # of the largest pixel: what normalising may have rounded
ROUNDINGS = 6
LARGEST_NORMAL = 6.34  # of 2^32 words
MOST_EXPONENT = 100  # of a scale: far from the ends of float32
UP = 1.0 + 2.0**-20


class PatchedLayer:
    """A program's first layer, a convolution, as a product of matrices.

    Args:
        program: whose first layer is one.

    Attributes:
        usable: whether its images are bytes that were normalised, and few enough pixels of them
            make a patch.
    """

    def __init__(self, program: Program) -> None:
        self._program = program
        self._op = program.ops[0]
        drawn, scale = program.weights(0), program.scale(0)
        largest = scale * (LARGEST_NORMAL if drawn.normal else 2.0 ** min(drawn.bits, 24))
        self._eps = EPSILON_NORMAL if drawn.normal else 0.0
        found = [_levels(program.x[:, channel]) for channel in range(program.x.shape[1])]
        self._steps = np.array([step for step, _ in found])
        self._zeros = np.array([zero for _, zero in found])
        usable = bool((self._steps > 0).all())
        self._k = np.zeros(program.x.shape, dtype=np.float16)
        self._base_bits, self._exponent = patch_plan.MAX_BASE_BITS, 0
        if usable:
            steps, zeros = (v[:, None, None] for v in (self._steps, self._zeros))
            self._k = np.rint((program.x - zeros) / steps).astype(np.float16)
            bits = patch_plan.base_bits(self._op.step.fan_in, self._most)
            # So that a w 2^e stays below B^2 / 2.
            reach = math.frexp(largest * float(self._steps.max()))[1]
            self._base_bits = bits or patch_plan.MIN_BASE_BITS
            self._exponent = 2 * self._base_bits - 1 - reach
            usable = bits is not None and abs(self._exponent) <= MOST_EXPONENT
        self.usable = usable

    @property
    def _most(self) -> int:
        return int(np.abs(self._k.astype(np.float64)).max(initial=0.0))

    @property
    def scale(self) -> npt.NDArray[np.float32]:
        """Base, its inverse and what a unit of a sum is worth: float32 `(3,)`."""
        base = 2.0**self._base_bits
        return np.array([base, 1.0 / base, 2.0**-self._exponent], dtype=np.float32)

    def constants(self, plain: Floats) -> Floats:
        """From the layer's constants elsewhere (`Program.constants`) to those on tensor cores."""
        own, found = self._margins(), plain.copy()
        found[1:3] = up(own.tiny), up(own.inject)
        return found

    def inputs(self, stage: Stage) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.float32]]:
        """A stage's patches, and what there is to know of each tap.

        Returns:
            `(n_tiles, positions, ROWS, depth)` and `(2 + stage.padded, depth)`, as
            `kernels/direct_patches.py` takes them. Samples beyond the stage repeat its last.
        """
        chosen = np.minimum(stage.first + np.arange(stage.padded), stage.end - 1)
        k, x = self._k[chosen], self._program.x[chosen]
        steps, zeros = (v[:, None, None] for v in (self._steps, self._zeros))
        off = np.abs(x - (steps * k.astype(np.float64) + zeros)).max(axis=(2, 3))
        reach = self._steps * np.abs(k.astype(np.float64)).max(axis=(2, 3))
        own, n = self._margins(), self._op.step.fan_in
        shift = np.abs(self._zeros)
        slack = own.inject * np.maximum(reach + shift, own.floor_hmax) + own.gain * off
        slack += gamma(n + 4, UNIT_ROUNDOFF["float32"]) * shift
        slack = np.where(reach + shift + off == 0, 0.0, slack * UP)
        rows = np.stack([self._steps * 2.0**self._exponent, self._zeros, *slack])
        found = np.zeros((len(rows), patch_plan.depth(n)), dtype=np.float32)
        found[:, :n] = np.repeat(rows.astype(np.float32), self._op.kernel**2, axis=1)
        return self._laid_out(k), found

    def _laid_out(self, k: npt.NDArray[np.float16]) -> npt.NDArray[np.float16]:
        """From images `(samples, channels, height, width)` to tiles of patches."""
        op, samples = self._op, len(k)
        size, step = op.kernel, 2 if op.pooled else 1
        _, rows, columns = op.step.out_shape
        rows, columns = rows // step, columns // step
        views = np.lib.stride_tricks.sliding_window_view(k, (size, size), axis=(2, 3))
        n_rows = rows * columns * samples
        n_tiles = patch_plan.n_tiles(rows * columns, samples)
        fan_in, deep = op.step.fan_in, patch_plan.depth(op.step.fan_in)
        found = np.zeros((step * step, n_tiles * patch_plan.ROWS, deep), dtype=np.float16)
        for position in range(step * step):
            view = views[:, :, position // step :: step, position % step :: step]
            patches = view[:, :, :rows, :columns].transpose(2, 3, 0, 1, 4, 5)
            found[position, :n_rows, :fan_in] = patches.reshape(n_rows, fan_in)
        for row in range(n_rows, n_tiles * patch_plan.ROWS):  # the last window of the same sample
            found[:, row] = found[:, n_rows - samples + row % samples]
        tiles = found.reshape(step * step, n_tiles, patch_plan.ROWS, deep)
        return np.ascontiguousarray(tiles.transpose(1, 0, 2, 3))

    def _margins(self) -> LayerConstants:
        n = self._op.step.fan_in
        own = layer_constants(n, ROUNDINGS, self._eps, "float32")
        whole = n * self._most * 2.0**-self._exponent / 2
        return replace(own, tiny=own.tiny + whole * UP)


def _levels(x: Floats) -> tuple[float, float]:
    """Step and zero of a channel's grey levels, both float32; a step of 0 if they are none.

    The least distance of two levels is a step, or a few where not all levels occur.
    """
    values = np.unique(x)
    low, high = float(values[0]), float(values[-1])
    noise = NOISE * max(abs(low), abs(high))
    apart = np.diff(values)
    apart = apart[apart > 2 * noise]
    if not len(apart):
        return 0.0, 0.0
    for finer in range(1, FINER + 1):
        n_levels = round((high - low) / float(apart.min()) * finer)
        if n_levels > LEVELS:
            break
        step = float(np.float32((high - low) / n_levels))
        # A whole number for what is next to 0, which keeps what 0 stands for small.
        shift = min(max(round(-low / step), 0), n_levels)
        zero = float(np.float32(low + shift * step))
        if np.abs(values - zero - step * np.rint((values - zero) / step)).max() <= noise:
            return step, zero
    return 0.0, 0.0
