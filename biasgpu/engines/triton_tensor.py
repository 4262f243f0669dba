"""Dense layers of the triton engine that go to tensor cores: which, their inputs, their bounds.

The law adds up y = sum_k w_k H_k, a drawn bias being a weight whose input is 1. The kernels add up
sum_k v_k x_k exactly, in whole numbers: v_k = odd times step before it is rounded to w_k, x_k a
whole number of units. Let h_k be the engine's input, which lies within e_k of H_k, and

    eps   a bound of |w - v| / |v|: 2^-24, or 0 where the step is a power of two
    W     2^24 times the step (2^16, 2^8 with so many bits): more than any |v|
    unit  of the inputs, a power of two: |h_k - x_k| < unit, |x_k| <= 2^30 unit
    g     gamma of the law's float64 (`biasgpu.margins`)
    n     terms

Then |y - sum_k v_k x_k| is at most

    sum_k |v_k| ((1 + eps) (1 + g) e_k + (eps + (1 + eps) g) |h_k| + unit)
    <= sum_k |v_k| slack_k + W n unit

with the slack of `direct_dense`, whose gain and inject are `margins.exact_sum_constants`. Of the
first layer's inputs, whose e is 0, W sum_k slack_k stands for the sum: the same for all units. Of
others it is another exact product: with b an odd integer's upper byte, |v_k| is less than W (m + 1)
/ 128 for m = b, or -1 - b if b is negative; and a slack is a whole number up to 127 of units of its
own, rounded upwards.

Putting the sums together rounds, in float32. An odd integer is 2 (b2 2^16 + b1 2^8 + b0) + 65793
for signed bytes (16 bits: 2 (b1 2^8 + b0) + 257; 8 bits: 2 b0 + 1), and x_k = q3 2^24 + ... + q0.
Sums of bytes times digits are whole numbers below 2^31 (n <= 2^15). Each is rounded at most 8
times: when converted, added to those of other bytes (twice), multiplied by what it is worth, added
to those of other digits (3 times), and to the 65793 sum_k x_k. That is gamma_10 of the sum of their
magnitudes. All but that of the two top ones together are at most 2^-6.98 W n 2^31 unit, so with the
computed y the rounding is below

    gamma_10 (1 + gamma_10) |y| + gamma_10 W n unit (2 * 2^22 + 2 * 2^24.02)

65793 sum_k x_k being at most 2^22 W n unit (and rounded thrice more). The first term is below
2^-20 |y|, the second below 29 W n unit: hence the kernels' `ROUNDINGS` and `UNITS_OF_BOUND`. On a
machine that flushes small numbers, `tiny` pays for them.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from biasgpu.engines.triton_program import Op, Program
from biasgpu.kernels import direct_digits, tensor_plan
from biasgpu.kernels.direct_plan import FIRST_SAMPLES, Stage
from biasgpu.kernels.direct_plan import stages as plan_stages
from biasgpu.kernels.tensor_launch import maker

RESTS = {32: 65793, 16: 257, 8: 1}
UNITS_OF_BOUND = float(direct_digits.UNITS_OF_BOUND.value)
MOST_WEIGHTS = 0.9  # on tensor cores: the others take as long as 4 samples add to those
LEAST, MOST = -40, 100  # exponents of the largest input that the kernels tell apart


def layers(program: Program, samples: int) -> frozenset[int]:
    """The layers that go to tensor cores in a stage of so many samples, a power of two."""
    return frozenset(
        number for number, op in enumerate(program.ops) if _taken(program, number, op, samples)
    )


def stages(program: Program, n_train: int) -> list[Stage]:
    """Of samples: where nearly all weights go to tensor cores, more samples cost next to nothing.

    There the first stage takes 4, which most of those that 2 would leave do not survive.
    """
    taken = layers(program, 2 * FIRST_SAMPLES)
    sizes = [op.units * op.step.columns for op in program.ops]
    share = sum(sizes[number] for number in taken) / sum(sizes)
    plain = not any(op.kernel for op in program.ops)
    return plan_stages(n_train, FIRST_SAMPLES * (2 if plain and share > MOST_WEIGHTS else 1))


def _taken(program: Program, number: int, op: Op, samples: int) -> bool:
    drawn, step = program.weights(number), op.step
    return (
        not op.kernel
        and tensor_plan.takes(step.columns, program.scale(number), drawn.normal)
        and tensor_plan.DIGITS * samples >= tensor_plan.LEAST_COLUMNS[maker()]
        and tensor_plan.pays(
            step.fan_in, op.units, drawn.blocks_per_unit, bits=drawn.bits, samples=samples,
            shared=number == 0,
        )
    )  # fmt: skip


def shared_digits(
    program: Program, stage: Stage
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """The first layer's inputs for `direct_tensor._product_kernel`: see `direct_digits`.

    Returns:
        digits int8 `(steps, 32 / bits, 4 * stage.padded, 32)`, numbers float32 `(4, stage.padded)`.
    """
    op, drawn, step = program.ops[0], program.weights(0), program.scale(0)
    x, slack, _ = program.shared(stage, wide=False, exact=frozenset({0}))
    x, slack = x.astype(np.float64), slack.astype(np.float64)
    if op.biased:
        inject = program.constants(0, False, frozenset({0}))[2]
        x = np.pad(x, ((0, 0), (0, 1)), constant_values=1.0)
        slack = np.pad(slack, ((0, 0), (0, 1)), constant_values=inject)
    exponent = np.frexp(np.abs(x).max(axis=1))[1] - 1
    unit = np.ldexp(1.0, np.clip(exponent, LEAST, MOST) - 29)
    whole = np.rint(np.clip(x / unit[:, None], -(2.0**30), 2.0**30)).astype(np.int64)
    live = slack.sum(axis=1)
    most = 2.0 ** min(drawn.bits, 24) * step
    bound = most * (live + UNITS_OF_BOUND * x.shape[1] * unit) * (1.0 + 2.0**-20)
    bound = np.where(live == 0, 0.0, np.where(exponent > MOST, math.inf, bound))
    joins = RESTS[drawn.bits] * step * unit * whole.sum(axis=1)
    with np.errstate(over="ignore"):
        numbers = np.stack([2.0 * step * unit, joins, bound, 0.0 * bound]).astype(np.float32)
    n_steps, per_word = tensor_plan.steps(drawn.blocks_per_unit), 32 // drawn.bits
    padded = np.zeros((stage.padded, n_steps * tensor_plan.DEPTH * per_word), dtype=np.int64)
    padded[:, : x.shape[1]] = whole
    found = np.empty((tensor_plan.DIGITS, *padded.shape), dtype=np.int8)
    for q in range(tensor_plan.DIGITS):
        found[q] = padded.astype(np.int8)  # the lowest byte, signed
        padded = (padded - found[q]) >> 8
    apart = found.reshape(tensor_plan.DIGITS, stage.padded, n_steps, tensor_plan.DEPTH, per_word)
    digits = apart.transpose(2, 4, 1, 0, 3)
    return np.ascontiguousarray(digits).reshape(n_steps, per_word, -1, tensor_plan.DEPTH), numbers
