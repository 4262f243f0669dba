"""Gradients by parameters, and what becomes of them: a step, or in a look a sum."""

from __future__ import annotations

import triton
import triton.language as tl

from biasgpu.kernels.train_phases import _window


@triton.jit
def update(
    row, parameters, states, sums, acts, deltas, n, rate, power_1, power_2, n_parameters,
    alive, looks, adds, OPTIMIZER: tl.constexpr, STOP: tl.constexpr, NORMS: tl.constexpr,
    WINDOW: tl.constexpr, PADDED: tl.constexpr, E: tl.constexpr, G: tl.constexpr,
):  # fmt: skip
    """Gradients by weights (unit, channel, i, j) and biases, sums over (sample, y, x); a step.

    Args:
        sums: in a look, gradients are added up there, and no step is taken.
        alive: int32 `(G,)`: 0 where a network has stopped, and keeps its weights.
        looks, adds: whether this is a look, and a later batch than its first.
    """
    units, channels = tl.load(row + 1), tl.load(row + 2)
    kernel, padding = _window(row, WINDOW, PADDED)
    in_height, in_width = tl.load(row + 5), tl.load(row + 6)
    out_height, out_width = tl.load(row + 7), tl.load(row + 8)
    in_at, out_at = tl.load(row + 9), tl.load(row + 10)
    weight_at = tl.load(row + 11)
    g = tl.arange(0, G)[None, :]
    window = kernel * kernel
    n_weights = units * channels * window
    # Biases follow their layer's weights: inputs of theirs are 1.
    total = n_weights + units
    for start in range(0, total, E):
        e = start + tl.arange(0, E)[:, None]
        inside = e < total
        bias = e >= n_weights
        j, rest = e % kernel - padding, e // kernel
        i, rest = rest % kernel - padding, rest // kernel
        unit = tl.where(bias, e - n_weights, rest // channels)
        channel = rest % channels
        sum_ = tl.zeros([E, G], tl.float32)
        for sample in range(n):
            plane = in_at + (sample * channels + channel) * in_height * in_width
            above = out_at + (sample * units + unit) * out_height * out_width
            for y in range(out_height):
                good = inside & ~bias
                if PADDED:
                    good = good & (y + i >= 0) & (y + i < in_height)
                inputs = acts + (plane + (y + i) * in_width + j) * G + g
                outputs = deltas + (above + y * out_width) * G + g
                for x in range(out_width):
                    valid = good
                    if PADDED:
                        valid = valid & (x + j >= 0) & (x + j < in_width)
                    h = tl.load(inputs + x * G, mask=valid, other=0.0)
                    d = tl.load(outputs + x * G, mask=inside, other=0.0)
                    sum_ += tl.where(bias, d, h * d)
        at = weight_at + e
        moves = inside
        if STOP:
            moves = inside & (alive[None, :] != 0)
        if NORMS:
            if looks:
                # Of all elements or of none: in the interpreter `&` of a block and a number is no
                # mask.
                added = e < tl.where(adds, total, 0)
                before = tl.load(sums + at * G + g, mask=added, other=0.0)
                tl.store(sums + at * G + g, before + sum_, mask=inside)
            else:
                _step(
                    parameters + at * G + g, states + at * G + g, sum_, moves, rate, power_1,
                    power_2, n_parameters, OPTIMIZER, G,
                )  # fmt: skip
        else:
            _step(
                parameters + at * G + g, states + at * G + g, sum_, moves, rate, power_1, power_2,
                n_parameters, OPTIMIZER, G,
            )  # fmt: skip


@triton.jit
def _step(
    to, state, gradient, inside, rate, power_1, power_2, n_parameters,
    OPTIMIZER: tl.constexpr, G: tl.constexpr,
):  # fmt: skip
    """One optimiser's step; see `biasgpu.training.law.Optimizer`."""
    value = tl.load(to, mask=inside, other=0.0)
    if OPTIMIZER == 0:
        value -= rate * gradient
    if OPTIMIZER == 1:
        speed = 0.9 * tl.load(state, mask=inside, other=0.0) + gradient
        tl.store(state, speed, mask=inside)
        value -= rate * speed
    if OPTIMIZER == 2:
        second_at = state + n_parameters * G
        first = 0.9 * tl.load(state, mask=inside, other=0.0) + 0.1 * gradient
        second = 0.999 * tl.load(second_at, mask=inside, other=0.0)
        second += 0.001 * gradient * gradient
        tl.store(state, first, mask=inside)
        tl.store(second_at, second, mask=inside)
        mean = first / (1.0 - power_1).to(tl.float32)
        spread = tl.sqrt_rn(second / (1.0 - power_2).to(tl.float32))
        value -= rate * mean / (spread + 1e-8)
    tl.store(to, value, mask=inside)
